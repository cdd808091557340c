from __future__ import annotations

from typing import Any

import pytest

from gpu_dra_driver.claims import ConfigError, OpaqueConfig, check_configs

VERSION = "resource.nvidia.com/v1beta1"


def config(*requests: str, driver: str = "gpu.nvidia.com", **parameters: Any) -> OpaqueConfig:
    return OpaqueConfig(requests, driver, {"apiVersion": VERSION, **parameters})


GPU: dict[str, Any] = {"kind": "GpuConfig"}
MIG: dict[str, Any] = {"kind": "MigDeviceConfig"}
TIME_SLICING: dict[str, Any] = {"sharing": {"strategy": "TimeSlicing"}}
MPS: dict[str, Any] = {"sharing": {"strategy": "MPS", "mpsConfig": {}}}


@pytest.mark.parametrize(
    ("configs", "kinds"),
    [
        pytest.param([], [("r", "gpu")], id="none"),
        pytest.param([config(**GPU)], [("r", "gpu")], id="without sharing it changes nothing"),
        pytest.param([config(**MIG)], [("r", "mig")], id="for partitions too"),
        pytest.param(
            [config(**GPU, **TIME_SLICING)],
            [("r", "mig")],
            id="for all requests: does not fit this device, so it is passed over",
        ),
        pytest.param([config("other", **GPU, **MPS)], [("r", "gpu")], id="for another request"),
        pytest.param([config(driver="nic.example.com", kind="Whatever", x=1)], [("r", "gpu")], id="of another driver"),
        pytest.param(
            [config(**GPU, **TIME_SLICING), config(**GPU)],
            [("r", "gpu")],
            id="the claim's own, last, wins over the class's",
        ),
        pytest.param([config("r", **GPU, **MPS)], [("rr", "gpu")], id="a name's beginning is not the name"),
    ],
)
def test_accepted(configs: list[OpaqueConfig], kinds: list[tuple[str, str]]) -> None:
    check_configs(configs, kinds)


@pytest.mark.parametrize(
    ("configs", "kinds", "complaint"),
    [
        pytest.param([config(**GPU, **TIME_SLICING)], [("r", "gpu")], "'TimeSlicing' for request 'r' is not supported yet", id="time-slicing"),
        pytest.param([config(**MIG, **MPS)], [("r", "mig")], "'MPS' for request 'r' is not supported yet", id="MPS"),
        pytest.param([config("main", **GPU, **MPS)], [("main/sub", "gpu")], "not supported yet", id="for main: also for its alternatives"),
        pytest.param([config("main/sub", **GPU, **MPS)], [("main/sub", "gpu")], "not supported yet", id="for an alternative"),
        pytest.param([config(**GPU), config(**GPU, **MPS)], [("r", "gpu")], "not supported yet", id="the last wins"),
        pytest.param([config("r", **GPU)], [("r", "mig")], "cannot apply GpuConfig to request 'r'", id="named, of the wrong kind"),
        pytest.param([config(**GPU, unexpectedField=1)], [("r", "gpu")], 'strict decoding error: unknown field "unexpectedField"', id="unknown field"),
        pytest.param([config(**GPU, sharing={"strategi": 1})], [("r", "gpu")], 'unknown field "sharing.strategi"', id="unknown field inside"),
        pytest.param([config(kind="GPUConfig")], [("r", "gpu")], "no kind 'GPUConfig' is registered", id="unknown kind"),
        pytest.param([OpaqueConfig((), "gpu.nvidia.com", {"apiVersion": "v1", **GPU})], [("r", "gpu")], "for version 'v1'", id="unknown version"),
        pytest.param([OpaqueConfig((), "gpu.nvidia.com", [1])], [("r", "gpu")], "expected an object", id="not an object"),
        pytest.param([config(**GPU, sharing="MPS")], [("r", "gpu")], "sharing must be an object", id="sharing is not an object"),
        pytest.param([config(kind="VfioDeviceConfig")], [("r", "gpu")], "no passthrough devices", id="passthrough"),
    ],
)  # fmt: skip
def test_refused(configs: list[OpaqueConfig], kinds: list[tuple[str, str]], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("(", r"\(")):
        check_configs(configs, kinds)
