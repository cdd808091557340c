"""Stack configuration: strict, every problem at once, each with its key, the nearest valid one and the line."""

from pathlib import Path
from typing import Any

import config
import program
import pulumi
import pytest
import sandbox

SOURCE = config.Source(
    "eks-gpu-dra",
    "stacks/Pulumi.sandbox.yaml",
    ["config:", "  eks-gpu-dra:shape: sandbox", "  eks-gpu-dra:mig_cnfig: all-balanced", "  eks-gpu-dra:claims:"],
)


def decode(**settings: Any) -> sandbox.SandboxSettings:
    return config.decode(sandbox.SandboxSettings, {"shape": "sandbox", **settings}, SOURCE)


def test_defaults_are_the_demo() -> None:
    settings = decode()
    assert settings.namespace == "demo"
    assert {name: (claim.profile, claim.count) for name, claim in settings.claims.items()} == {
        "large": ("3g.20gb", 1),
        "medium": ("2g.10gb", 1),
        "small": ("1g.5gb", 1),
    }


def test_texts_become_what_they_mean() -> None:
    settings = decode(gpus="4", workloads="false", claims={"a": "gpu", "b": {"profile": "1g.5gb", "count": 2}})
    assert (settings.gpus, settings.workloads) == (4, False)
    assert settings.claims["b"].count == 2
    assert settings.claims["a"].profile == "gpu"


@pytest.mark.parametrize(
    ("settings", "path", "says"),
    [
        ({"mig_cnfig": "x"}, "eks-gpu-dra:mig_cnfig (line 3)", "nearest: mig_config"),
        ({"claims": {"a": {"profile": "gpu", "cuont": 2}}}, "eks-gpu-dra:claims.a.cuont (line 4)", "nearest: count"),
        ({"claims": {"a": {"count": 2}}}, "eks-gpu-dra:claims.a.profile (line 4)", "is missing"),
        ({"images": {"drivr": "x"}}, "eks-gpu-dra:images.drivr", "nearest: driver"),
        ({"gpus": "many"}, "eks-gpu-dra:gpus", "'many'"),
        ({"gpus": 0}, "eks-gpu-dra:gpus", "greater than or equal to 1"),
        ({"claims": {"large": {"profile": "1g.5gb", "count": 99}}}, "claims.large.count", "less than or equal to 32"),
        ({"claims": "1g.5gb"}, "eks-gpu-dra:claims", "'1g.5gb'"),
        ({"namespace": "Demo"}, "eks-gpu-dra:namespace", "'Demo'"),
        ({"namespace": "default"}, "eks-gpu-dra:namespace", "Kubernetes' own"),
        ({"workloads": "perhaps"}, "eks-gpu-dra:workloads", "boolean"),
    ],
)
def test_a_wrong_setting_says_which_where_and_what(settings: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        decode(**settings)
    text = str(caught.value)
    assert text.startswith("stacks/Pulumi.sandbox.yaml: 1 setting is wrong:")
    assert path in text
    assert says in text


def test_all_wrong_settings_come_at_once_and_without_a_stack_trace() -> None:
    with pytest.raises(pulumi.RunError) as caught:
        decode(gpu="8", mig_cnfig="x", workloads="perhaps", claims={"large": {}})
    assert "4 settings are wrong" in str(caught.value)


def test_values_are_the_projects_own_decoded() -> None:
    pulumi.runtime.set_all_config(
        {"eks-gpu-dra:claims": '{"a": "gpu"}', "eks-gpu-dra:gpus": "4", "aws:region": "eu-west-1"}
    )
    try:
        assert config.values("eks-gpu-dra") == {"claims": {"a": "gpu"}, "gpus": "4"}
    finally:
        pulumi.runtime.set_all_config({})


def test_the_shipped_configuration_is_valid() -> None:
    import yaml

    file = Path(sandbox.__file__).with_name("Pulumi.sandbox.yaml")
    document = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]
    settings = {key.removeprefix("eks-gpu-dra:"): value for key, value in document.items()}
    assert config.decode(sandbox.SandboxSettings, settings, SOURCE).mig_config == "all-balanced"


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (None, "is missing; the shapes are: sandbox"),
        ("sandbx", "nearest: sandbox"),
        ("moon", "the shapes are: sandbox"),
    ],
)
def test_the_shape_must_be_one_there_is(shape: str | None, says: str) -> None:
    pulumi.runtime.set_all_config({} if shape is None else {f"{pulumi.get_project()}:shape": shape})
    try:
        with pytest.raises(config.ConfigError, match=says):
            program.declare()
    finally:
        pulumi.runtime.set_all_config({})
