"""Struct layouts and exported names against nvidia-ml-py's own definitions."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from gpu_sandbox import gpus
from gpu_sandbox.gpus.build import SOURCES
from tests.conformance.nvml.gpu import Gpu

# Our C name, nvidia-ml-py's class. Fields are compared by position: both sides list them in ABI order.
STRUCTS = {
    "nvmlPciInfo_t": pynvml.nvmlPciInfo_t,
    "nvmlMemory_t": pynvml.c_nvmlMemory_t,
    "nvmlMemory_v2_t": pynvml.c_nvmlMemory_v2_t,
    "nvmlUtilization_t": pynvml.c_nvmlUtilization_t,
    "nvmlProcessInfo_t": pynvml.c_nvmlProcessInfo_v3_t,
    "nvmlDeviceAddressingMode_t": pynvml.c_nvmlDeviceAddressingMode_t,
    "nvmlDeviceAttributes_t": pynvml.c_nvmlDeviceAttributes,
    "nvmlEventData_t": pynvml.c_nvmlEventData_t,
    "nvmlGpuInstancePlacement_t": pynvml.c_nvmlGpuInstancePlacement_t,
    "nvmlGpuInstanceProfileInfo_t": pynvml.c_nvmlGpuInstanceProfileInfo_t,
    "nvmlGpuInstanceProfileInfo_v2_t": pynvml.c_nvmlGpuInstanceProfileInfo_v2_t,
    "nvmlGpuInstanceInfo_t": pynvml.c_nvmlGpuInstanceInfo_t,
    "nvmlComputeInstanceProfileInfo_t": pynvml.c_nvmlComputeInstanceProfileInfo_t,
    "nvmlComputeInstanceProfileInfo_v2_t": pynvml.c_nvmlComputeInstanceProfileInfo_v2_t,
    "nvmlComputeInstanceInfo_t": pynvml.c_nvmlComputeInstanceInfo_t,
}

# What a DRA driver, its health check and nvidia-ml-py call. Unversioned twins are the fall-back that go-nvml looks up.
CALLED_BY_DRIVERS = """
nvmlInit_v2 nvmlInitWithFlags nvmlShutdown nvmlErrorString nvmlSystemGetDriverVersion nvmlSystemGetCudaDriverVersion
nvmlDeviceGetCount_v2 nvmlDeviceGetHandleByIndex_v2 nvmlDeviceGetHandleByUUID nvmlDeviceGetHandleByPciBusId_v2
nvmlDeviceGetName nvmlDeviceGetMinorNumber nvmlDeviceGetIndex nvmlDeviceGetUUID nvmlDeviceGetMemoryInfo
nvmlDeviceGetArchitecture nvmlDeviceGetBrand nvmlDeviceGetCudaComputeCapability nvmlDeviceGetPciInfo_v3
nvmlDeviceGetAddressingMode nvmlDeviceGetVirtualizationMode nvmlDeviceGetPersistenceMode nvmlDeviceSetPersistenceMode
nvmlDeviceGetMigMode nvmlDeviceSetMigMode nvmlDeviceGetMaxMigDeviceCount nvmlDeviceGetMigDeviceHandleByIndex
nvmlDeviceIsMigDeviceHandle nvmlDeviceGetGpuInstanceId nvmlDeviceGetComputeInstanceId
nvmlDeviceGetDeviceHandleFromMigDeviceHandle nvmlDeviceGetGpuInstanceProfileInfo
nvmlDeviceGetGpuInstanceProfileInfoV nvmlDeviceGetGpuInstanceProfileInfoByIdV
nvmlDeviceGetGpuInstancePossiblePlacements_v2 nvmlDeviceGetGpuInstanceRemainingCapacity nvmlDeviceCreateGpuInstance
nvmlDeviceCreateGpuInstanceWithPlacement nvmlDeviceGetGpuInstances nvmlDeviceGetGpuInstanceById nvmlGpuInstanceGetInfo
nvmlGpuInstanceDestroy nvmlGpuInstanceGetComputeInstanceProfileInfo nvmlGpuInstanceGetComputeInstanceProfileInfoV
nvmlGpuInstanceGetComputeInstanceRemainingCapacity nvmlGpuInstanceGetComputeInstancePossiblePlacements
nvmlGpuInstanceCreateComputeInstance nvmlGpuInstanceCreateComputeInstanceWithPlacement
nvmlGpuInstanceGetComputeInstances nvmlGpuInstanceGetComputeInstanceById nvmlComputeInstanceGetInfo_v2
nvmlComputeInstanceDestroy nvmlDeviceGetAttributes_v2 nvmlDeviceGetComputeRunningProcesses_v3 nvmlEventSetCreate
nvmlDeviceGetSupportedEventTypes nvmlDeviceRegisterEvents nvmlEventSetWait_v2 nvmlEventSetFree
""".split()  # noqa: SIM905 - sixty names read better without quotes


@pytest.fixture(scope="module")
def c_layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[int]]]:
    """Size and field offsets of each struct as the C compiler lays them out."""
    work = tmp_path_factory.mktemp("abi")
    lines = []
    for name, struct in STRUCTS.items():
        fields = _c_fields(name, struct)
        offsets = "".join(f", offsetof({name}, {field})" for field in fields)
        lines.append(f'printf("{name} %zu{" %zu" * len(fields)}\\n", sizeof({name}){offsets});')
    (work / "abi.c").write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "nvml_abi.h"\nint main(void) {\n'
        + "\n".join(lines)
        + "\n}\n"
    )
    subprocess.run(["cc", f"-I{SOURCES / 'lib'}", str(work / "abi.c"), "-o", str(work / "abi")], check=True)
    answer = subprocess.run([str(work / "abi")], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in answer.splitlines()]
    return {name: (int(size), [int(each) for each in offsets]) for name, size, *offsets in rows}


def _c_fields(name: str, struct: Any) -> list[str]:
    ours = {"nvmlDeviceAddressingMode_t": {"value": "value", "mode": "value"}}.get(name, {})
    return [ours.get(field[0], field[0]) for field in struct._fields_]


@pytest.mark.parametrize("name", STRUCTS)
def test_structs_are_laid_out_as_nvidia_ml_py_reads_them(
    name: str, c_layouts: dict[str, tuple[int, list[int]]]
) -> None:
    struct = STRUCTS[name]
    offsets = [getattr(struct, field[0]).offset for field in struct._fields_]
    assert c_layouts[name] == (ctypes.sizeof(struct), offsets)


def test_every_name_that_drivers_call_is_exported(build: gpus.Build) -> None:
    library = ctypes.CDLL(str(build.library))
    assert [name for name in CALLED_BY_DRIVERS if not hasattr(library, name)] == []


def test_nothing_but_nvml_is_exported(build: gpus.Build) -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(build.library)], capture_output=True, text=True, check=True
    )
    names = [line.split()[-1] for line in listing.stdout.splitlines()]
    assert names
    assert [name for name in names if not name.startswith("nvml")] == []


def test_a_call_that_is_not_simulated_is_reported_as_such(a100: Gpu) -> None:
    with pytest.raises(pynvml.NVMLError_FunctionNotFound):
        pynvml.nvmlDeviceGetFanSpeed(a100.handle)


@pytest.mark.parametrize(
    "call",
    [
        lambda gpu: _with_version(pynvml.nvmlDeviceGetMemoryInfo, gpu, 0x01000028),
        lambda gpu: _profile_info_with_version(gpu, 0x01000098),
        lambda gpu: _compute_profile_info_with_version(gpu, 0x02000080),
    ],
)
def test_a_struct_of_another_version_is_refused(call: Callable[[Gpu], Any], a100: Gpu) -> None:
    with pytest.raises(pynvml.NVMLError, check=lambda e: e.value == pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH):
        call(a100)


def _with_version(call: Callable[..., Any], gpu: Gpu, version: int) -> None:
    call(gpu.handle, version=version)


def _profile_info_with_version(gpu: Gpu, version: int) -> None:
    info = pynvml.c_nvmlGpuInstanceProfileInfo_v2_t()
    info.version = version
    pynvml._nvmlCheckReturn(pynvml.nvmlLib.nvmlDeviceGetGpuInstanceProfileInfoV(gpu.handle, 0, ctypes.byref(info)))


def _compute_profile_info_with_version(gpu: Gpu, version: int) -> None:
    info = pynvml.c_nvmlComputeInstanceProfileInfo_v2_t()
    info.version = version
    call = pynvml.nvmlLib.nvmlGpuInstanceGetComputeInstanceProfileInfoV
    pynvml._nvmlCheckReturn(call(gpu.create(9), 0, 0, ctypes.byref(info)))


def test_the_library_is_found_by_its_soname(
    build: gpus.Build, install: Callable[..., gpus.DriverRoot], tmp_path: Path
) -> None:
    """As a user's program does it: no preloading, only the loader's search path, and the state beside the library."""
    root = install(count=2)
    script = "import pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount(), pynvml.nvmlSystemGetDriverVersion())"
    run = subprocess.run(
        [sys.executable, "-c", script], env=root.environment(), capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stdout.split() == ["2", gpus.DRIVER_VERSION]
