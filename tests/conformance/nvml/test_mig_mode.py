"""MIG mode: when it takes effect, what it survives and what it destroys."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pynvml
import pytest

from gpu_sandbox import gpus
from tests.conformance.nvml.gpu import Gpu, nvml_error

A100, H100 = "a100-sxm4-40gb", "h100-80gb-hbm3"


def test_on_ampere_a_new_mode_waits_for_a_reset(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(A100, mig_enabled=False)
    assert pynvml.nvmlDeviceSetMigMode(gpu.handle, 1) == pynvml.NVML_ERROR_RESET_REQUIRED
    assert pynvml.nvmlDeviceGetMigMode(gpu.handle) == [0, 1]
    with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
        gpu.create(19)
    gpus.reset(gpu.root.path, 0)
    assert pynvml.nvmlDeviceGetMigMode(gpu.handle) == [1, 1]
    gpu.create(19)


def test_on_ampere_a_pending_mode_can_be_taken_back(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(A100, mig_enabled=False)
    pynvml.nvmlDeviceSetMigMode(gpu.handle, 1)
    assert pynvml.nvmlDeviceSetMigMode(gpu.handle, 0) == pynvml.NVML_SUCCESS
    assert pynvml.nvmlDeviceGetMigMode(gpu.handle) == [0, 0]


def test_on_hopper_a_new_mode_holds_at_once_and_turning_it_off_destroys_instances(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(H100, mig_enabled=False)
    assert pynvml.nvmlDeviceSetMigMode(gpu.handle, 1) == pynvml.NVML_SUCCESS
    assert pynvml.nvmlDeviceGetMigMode(gpu.handle) == [1, 1]
    device = gpu.create_device(19).device
    assert pynvml.nvmlDeviceSetMigMode(gpu.handle, 0) == pynvml.NVML_SUCCESS
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        pynvml.nvmlDeviceGetUUID(device)
    assert list(gpu.root.proc_driver.glob("capabilities/gpu0/mig/gi*")) == []


@pytest.mark.parametrize(("board", "after"), [(A100, [1, 1]), (H100, [0, 0])])
def test_a_reboot_ends_instances_and_on_hopper_the_mode(
    board: str, after: list[int], make_gpu: Callable[..., Gpu]
) -> None:
    gpu = make_gpu(board)
    gpu.create_device(19)
    gpus.reboot(gpu.root.path)
    assert pynvml.nvmlDeviceGetMigMode(gpu.handle) == after
    assert gpu.mig_uuids() == []
    assert sorted(each.name for each in (gpu.root.dev / "nvidia-caps").iterdir()) == ["nvidia-cap1", "nvidia-cap2"]


def test_on_ampere_a_pending_mode_takes_effect_at_reboot(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(A100, mig_enabled=False)
    pynvml.nvmlDeviceSetMigMode(gpu.handle, 1)
    gpus.reboot(gpu.root.path)
    assert pynvml.nvmlDeviceGetMigMode(gpu.handle) == [1, 1]


@pytest.mark.parametrize("board", [A100, H100])
def test_a_client_keeps_the_mode_pending(board: str, make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(board, mig_enabled=False)
    gpus.hold(gpu.root.path, 0, 4242)
    assert pynvml.nvmlDeviceSetMigMode(gpu.handle, 1) == pynvml.NVML_ERROR_IN_USE
    assert pynvml.nvmlDeviceGetMigMode(gpu.handle) == [0, 1]


def test_a_board_without_mig(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu("l4")
    for call, *arguments in (
        (pynvml.nvmlDeviceGetMigMode,),
        (pynvml.nvmlDeviceSetMigMode, 1),
        (pynvml.nvmlDeviceGetGpuInstanceProfileInfo, 0),
        (pynvml.nvmlDeviceCreateGpuInstance, 19),
        (pynvml.nvmlDeviceGetMigDeviceHandleByIndex, 0),
    ):
        with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
            call(gpu.handle, *arguments)
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu.handle) == 0


@pytest.mark.parametrize(("board", "count"), [(A100, 7), ("a30", 4), ("rtx-pro-6000-blackwell-server-edition", 4)])
def test_the_number_of_mig_devices_is_the_boards_when_on_and_none_when_off(
    board: str, count: int, make_gpu: Callable[..., Gpu]
) -> None:
    gpu = make_gpu(board, mig_enabled=False)
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu.handle) == 0
    pynvml.nvmlDeviceSetMigMode(gpu.handle, 1)
    gpus.reset(gpu.root.path, 0)
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu.handle) == count


def test_arguments_are_checked(a100: Gpu) -> None:
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        pynvml.nvmlDeviceSetMigMode(a100.handle, 2)
    library = pynvml.nvmlLib
    assert library.nvmlDeviceSetMigMode(a100.handle, 1, None) == pynvml.NVML_ERROR_INVALID_ARGUMENT
    assert library.nvmlDeviceGetMigMode(a100.handle, ctypes.byref(ctypes.c_uint()), None) == 2


def test_a_mode_change_of_a_gpu_that_is_in_use_cannot_be_forced_by_reset(a100: Gpu) -> None:
    gpus.hold(a100.root.path, 0, 4242)
    with pytest.raises(gpus.ControlError, match="a process holds the GPU"):
        gpus.reset(a100.root.path, 0)
