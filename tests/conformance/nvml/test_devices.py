"""Enumeration and what NVML says of one GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pynvml
import pytest

from gpu_catalog.boards import Board, load_catalog
from gpu_sandbox import gpus
from tests.conformance.nvml.gpu import Gpu, nvml_error

BOARDS = load_catalog().boards
ARCHITECTURES = {
    "Turing": pynvml.NVML_DEVICE_ARCH_TURING,
    "Ampere": pynvml.NVML_DEVICE_ARCH_AMPERE,
    "Ada Lovelace": pynvml.NVML_DEVICE_ARCH_ADA,
    "Hopper": pynvml.NVML_DEVICE_ARCH_HOPPER,
    "Blackwell": pynvml.NVML_DEVICE_ARCH_BLACKWELL,
}
BRANDS = {
    "Nvidia": pynvml.NVML_BRAND_NVIDIA,
    "NvidiaRTX": pynvml.NVML_BRAND_NVIDIA_RTX,
    "Tesla": pynvml.NVML_BRAND_TESLA,
}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.key)
def test_every_board_of_the_catalogue_reports_its_facts(board: Board, make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(board.key).handle
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(gpu)
    assert {
        "name": pynvml.nvmlDeviceGetName(gpu),
        "memory": pynvml.nvmlDeviceGetMemoryInfo(gpu).total,
        "architecture": pynvml.nvmlDeviceGetArchitecture(gpu),
        "brand": pynvml.nvmlDeviceGetBrand(gpu),
        "compute capability": f"{major}.{minor}",
    } == {
        "name": board.product_name,
        "memory": board.memory_mib * 2**20,
        "architecture": ARCHITECTURES[board.architecture],
        "brand": BRANDS[board.brand],
        "compute capability": board.compute_capability,
    }
    if board.pci_device_ids:
        assert f"0x{pynvml.nvmlDeviceGetPciInfo(gpu).pciDeviceId:08X}" == board.pci_device_ids[0]


def test_eight_gpus_sit_where_a_p4d_has_them(
    install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]
) -> None:
    root = install()
    open_nvml(root)
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    bus_ids = [pynvml.nvmlDeviceGetPciInfo(each).busId for each in handles]
    assert bus_ids == [f"00000000:{bus}:{slot}.0" for bus in ("10", "20", "90", "A0") for slot in ("1C", "1D")]
    assert [pynvml.nvmlDeviceGetMinorNumber(each) for each in handles] == list(range(8))
    assert [pynvml.nvmlDeviceGetIndex(each) for each in handles] == list(range(8))
    nodes = [
        (root.sysfs / f"bus/pci/devices/0000:{each[9:].lower()}/numa_node").read_text().strip() for each in bus_ids
    ]
    assert nodes == ["0"] * 4 + ["1"] * 4
    roots = {(root.sysfs / f"bus/pci/devices/0000:{each[9:].lower()}").resolve().parent.name for each in bus_ids}
    assert roots == {"pci0000:10", "pci0000:20", "pci0000:90", "pci0000:a0"}


def test_a_gpu_is_found_by_uuid_and_by_bus_id(
    install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]
) -> None:
    open_nvml(install())
    third = pynvml.nvmlDeviceGetHandleByIndex(3)
    for found in (
        pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(third).encode()),
        pynvml.nvmlDeviceGetHandleByPciBusId(pynvml.nvmlDeviceGetPciInfo(third).busId.encode()),
        pynvml.nvmlDeviceGetHandleByPciBusId(b"0000:20:1d.0"),
    ):
        assert pynvml.nvmlDeviceGetIndex(found) == 3
    with nvml_error(pynvml.NVML_ERROR_NOT_FOUND):
        pynvml.nvmlDeviceGetHandleByUUID(b"GPU-00000000-0000-0000-0000-000000000000")
    with nvml_error(pynvml.NVML_ERROR_NOT_FOUND):
        pynvml.nvmlDeviceGetHandleByPciBusId(b"0000:33:00.0")
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        pynvml.nvmlDeviceGetHandleByPciBusId(b"nonsense")


def test_boards_may_be_mixed(install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]) -> None:
    open_nvml(install(["a100-sxm4-40gb", "l4", "h100-80gb-hbm3"]))
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(3)]
    assert [pynvml.nvmlDeviceGetName(each) for each in handles] == [
        "NVIDIA A100-SXM4-40GB",
        "NVIDIA L4",
        "NVIDIA H100 80GB HBM3",
    ]
    assert pynvml.nvmlDeviceGetMigMode(handles[0]) == [1, 1]
    with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
        pynvml.nvmlDeviceGetMigMode(handles[1])


def test_versions(a100: Gpu) -> None:
    assert pynvml.nvmlSystemGetDriverVersion() == "580.126.20"
    assert pynvml.nvmlSystemGetCudaDriverVersion() == 13000
    assert pynvml.nvmlSystemGetNVMLVersion() == "13.580.126.20"


def test_settings_are_kept(a100: Gpu) -> None:
    pynvml.nvmlDeviceSetPersistenceMode(a100.handle, 1)
    pynvml.nvmlDeviceSetComputeMode(a100.handle, pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
    assert pynvml.nvmlDeviceGetPersistenceMode(a100.handle) == 1
    assert pynvml.nvmlDeviceGetComputeMode(a100.handle) == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        pynvml.nvmlDeviceSetComputeMode(a100.handle, 9)


def test_a_gpu_that_is_partitioned_has_no_utilisation(a100: Gpu, make_gpu: Callable[..., Gpu]) -> None:
    with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
        pynvml.nvmlDeviceGetUtilizationRates(a100.handle)


def test_nothing_runs_on_an_idle_gpu(a100: Gpu) -> None:
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(a100.handle) == []
    assert pynvml.nvmlDeviceGetGraphicsRunningProcesses(a100.handle) == []


def test_misuse_gives_errors_and_not_crashes(a100: Gpu) -> None:
    library = pynvml.nvmlLib
    wild = ctypes.c_void_p(0x4E56_1000_0000_0000 | 0xFF << 36)  # right tag and kind, GPU 255
    for handle in (None, wild, ctypes.c_void_p(0xDEADBEEF)):
        assert library.nvmlDeviceGetName(handle, ctypes.create_string_buffer(96), 96) == 2
        assert library.nvmlDeviceGetMigMode(handle, ctypes.byref(ctypes.c_uint()), ctypes.byref(ctypes.c_uint())) == 2
        assert library.nvmlGpuInstanceDestroy(handle) == 2
        assert library.nvmlComputeInstanceDestroy(handle) == 2
    assert (
        library.nvmlDeviceGetName(a100.handle, ctypes.create_string_buffer(4), 4) == pynvml.NVML_ERROR_INSUFFICIENT_SIZE
    )
    assert library.nvmlDeviceGetName(a100.handle, None, 96) == pynvml.NVML_ERROR_INVALID_ARGUMENT
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        pynvml.nvmlDeviceGetHandleByIndex(1)


def test_initialisation_is_counted(install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]) -> None:
    root = install(count=1)
    open_nvml(root)
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    pynvml.nvmlShutdown()
    with nvml_error(pynvml.NVML_ERROR_UNINITIALIZED):
        pynvml.nvmlDeviceGetName(gpu)
    with nvml_error(pynvml.NVML_ERROR_UNINITIALIZED):
        pynvml.nvmlShutdown()
    pynvml.nvmlInit()  # the fixture shuts down once
    assert pynvml.nvmlDeviceGetName(gpu) == "NVIDIA A100-SXM4-40GB"


def test_without_a_state_there_is_no_driver(
    build: gpus.Build, open_nvml: Callable[..., None], tmp_path: object
) -> None:
    with nvml_error(pynvml.NVML_ERROR_DRIVER_NOT_LOADED):
        open_nvml(gpus.DriverRoot(build.library.parent))


def test_a_damaged_state_is_refused(install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]) -> None:
    root = install(count=1)
    with root.state.open("r+b") as state:
        state.write(b"not this")
    with nvml_error(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH):
        open_nvml(root)


def test_gpus_replaced_under_a_session_must_be_initialised_anew(
    install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]
) -> None:
    open_nvml(install(count=1))
    old = pynvml.nvmlDeviceGetHandleByIndex(0)
    root = install("h100-80gb-hbm3", 2)
    with nvml_error(pynvml.NVML_ERROR_DRIVER_NOT_LOADED):
        pynvml.nvmlDeviceGetName(old)
    open_nvml(root)
    assert pynvml.nvmlDeviceGetCount() == 2
    assert pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(1)) == "NVIDIA H100 80GB HBM3"
