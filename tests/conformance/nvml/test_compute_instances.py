"""Compute instances and the MIG devices they are."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

import pynvml
import pytest

from gpu_catalog.boards import Board, load_catalog
from gpu_sandbox import gpus
from tests.conformance.nvml.gpu import Gpu, nvml_error

MIG_BOARDS = load_catalog().mig_boards()
CI_PROFILES = range(pynvml.NVML_COMPUTE_INSTANCE_PROFILE_COUNT)
REV1 = pynvml.NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE_REV1


def compute_profiles(gi: Any) -> dict[int, tuple[int, int]]:
    """Compute profile id to (slices, how many) of a GPU instance."""
    found = {}
    for enum in CI_PROFILES:
        try:
            info = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(gi, enum, 0)
        except pynvml.NVMLError_NotSupported:
            continue
        found[info.id] = (info.sliceCount, info.instanceCount)
    return found


def placements(gi: Any, profile: int) -> list[tuple[int, int]]:
    count = ctypes.c_uint()
    pynvml.nvmlGpuInstanceGetComputeInstancePossiblePlacements(gi, profile, None, ctypes.byref(count))
    found = (pynvml.c_nvmlComputeInstancePlacement_t * count.value)()
    pynvml.nvmlGpuInstanceGetComputeInstancePossiblePlacements(gi, profile, found, ctypes.byref(count))
    return [(each.start, each.size) for each in found]


@pytest.mark.parametrize("board", MIG_BOARDS, ids=lambda board: board.key)
def test_compute_profiles_are_the_catalogues(board: Board, make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(board.key)
    for profile in board.profiles:
        gi = gpu.create(profile.gi_profile_id, profile.starts[0])
        expected = {each.ci_profile_id: (each.slices, each.max_instances) for each in profile.compute_instances}
        if REV1 in expected:
            expected[0] = (1, 1)  # drivers that look for one slice find the plain profile too
        assert compute_profiles(gi) == expected, profile.name
        whole = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(gi, profile.ci_profile_id, 0)
        assert whole.multiprocessorCount == profile.multiprocessors
        assert (whole.sharedCopyEngineCount, whole.sharedDecoderCount) == (profile.copy_engines, profile.decoders)
        pynvml.nvmlGpuInstanceDestroy(gi)


@pytest.mark.parametrize(
    ("gi_profile", "ci_profile", "starts", "size"),
    [(9, 0, [0, 1, 2], 1), (9, 1, [0], 2), (9, 2, [0], 3), (5, 1, [0, 2], 2), (0, 1, [0, 2, 4], 2), (0, 2, [0, 4], 3)],
)
def test_placements_inside_a_gpu_instance(
    gi_profile: int, ci_profile: int, starts: list[int], size: int, a100: Gpu
) -> None:
    assert placements(a100.create(gi_profile), ci_profile) == [(start, size) for start in starts]


def test_a_gpu_instance_is_filled_slice_by_slice(a100: Gpu) -> None:
    gi = a100.create(9)
    created = [pynvml.nvmlGpuInstanceCreateComputeInstance(gi, 0) for _ in range(3)]
    infos = [pynvml.nvmlComputeInstanceGetInfo(each) for each in created]
    assert [(info.id, info.placement.start, info.placement.size) for info in infos] == [(0, 0, 1), (1, 1, 1), (2, 2, 1)]
    assert pynvml.nvmlGpuInstanceGetComputeInstanceRemainingCapacity(gi, 0) == 0
    with nvml_error(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES):
        pynvml.nvmlGpuInstanceCreateComputeInstance(gi, 0)
    assert {pynvml.nvmlDeviceGetName(info.device) for info in infos} == {"NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb"}
    assert len(a100.mig_uuids()) == 3


def test_a_compute_instance_at_a_place(a100: Gpu) -> None:
    gi = a100.create(5)
    place = pynvml.c_nvmlComputeInstancePlacement_t(2, 2)
    ci = pynvml.nvmlGpuInstanceCreateComputeInstanceWithPlacement(gi, 1, ctypes.byref(place))
    info = pynvml.nvmlComputeInstanceGetInfo(ci)
    assert (info.placement.start, info.placement.size, info.profileId) == (2, 2, 1)
    with nvml_error(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES):
        pynvml.nvmlGpuInstanceCreateComputeInstanceWithPlacement(gi, 1, ctypes.byref(place))
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        off = pynvml.c_nvmlComputeInstancePlacement_t(1, 2)
        pynvml.nvmlGpuInstanceCreateComputeInstanceWithPlacement(gi, 1, ctypes.byref(off))


def test_profiles_that_do_not_exist(a100: Gpu) -> None:
    gi = a100.create(14)
    for profile in (2, 3, 4, 5, 6, 7, 8):
        with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
            pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(gi, profile, 0)
    for profile, engines in ((9, 0), (0, 1)):
        with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
            pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(gi, profile, engines)


def test_compute_instances_are_found_by_profile_and_by_id(a100: Gpu) -> None:
    gi = a100.create(9)
    for _ in range(2):
        pynvml.nvmlGpuInstanceCreateComputeInstance(gi, 0)
    room, count = (pynvml.c_nvmlComputeInstance_t * 3)(), ctypes.c_uint()
    pynvml.nvmlGpuInstanceGetComputeInstances(gi, 0, room, ctypes.byref(count))
    assert [pynvml.nvmlComputeInstanceGetInfo(room[i]).id for i in range(count.value)] == [0, 1]
    assert pynvml.nvmlComputeInstanceGetInfo(pynvml.nvmlGpuInstanceGetComputeInstanceById(gi, 1)).id == 1
    for unknown in (2, 8, 4000):
        with nvml_error(pynvml.NVML_ERROR_NOT_FOUND):
            pynvml.nvmlGpuInstanceGetComputeInstanceById(gi, unknown)


def test_a_mig_device_tells_what_it_is(a100: Gpu) -> None:
    info = a100.create_device(9, 4, ci_profile=2)
    device = info.device
    assert pynvml.nvmlDeviceIsMigDeviceHandle(device).value == 1
    assert pynvml.nvmlDeviceIsMigDeviceHandle(a100.handle).value == 0
    assert (pynvml.nvmlDeviceGetGpuInstanceId(device), pynvml.nvmlDeviceGetComputeInstanceId(device)) == (2, 0)
    assert pynvml.nvmlDeviceGetName(device) == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    assert pynvml.nvmlDeviceGetMemoryInfo(device).total == 19968 * 2**20
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device)
    assert pynvml.nvmlDeviceGetUUID(parent) == pynvml.nvmlDeviceGetUUID(a100.handle)
    has = pynvml.nvmlDeviceGetAttributes(device)
    assert (has.multiprocessorCount, has.gpuInstanceSliceCount, has.computeInstanceSliceCount) == (42, 3, 3)
    assert (has.memorySizeMB, has.sharedCopyEngineCount, has.sharedDecoderCount) == (19968, 3, 2)
    assert pynvml.nvmlComputeInstanceGetInfo(pynvml.nvmlGpuInstanceGetComputeInstanceById(info.gpuInstance, 0)).id == 0


def test_questions_that_make_no_sense_of_a_device(a100: Gpu) -> None:
    device = a100.create_device(19).device
    for call in (pynvml.nvmlDeviceGetMinorNumber, pynvml.nvmlDeviceGetMigMode, pynvml.nvmlDeviceGetPersistenceMode):
        with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
            call(device)
    for call in (pynvml.nvmlDeviceGetGpuInstanceId, pynvml.nvmlDeviceGetAttributes):
        with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
            call(a100.handle)


def test_a_uuid_is_new_at_each_creation_of_the_same_place(a100: Gpu) -> None:
    uuids = set()
    for _ in range(5):
        uuids.add(pynvml.nvmlDeviceGetUUID(a100.create_device(19, 3).device))
        a100.destroy(10)
    assert len(uuids) == 5
    assert all(re.fullmatch(r"MIG-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in uuids)


def test_mig_devices_by_index_and_by_uuid(a100: Gpu) -> None:
    first, second = a100.create_device(19, 0), a100.create_device(9, 4, ci_profile=2)
    by_index = a100.mig_uuids()
    assert by_index == [pynvml.nvmlDeviceGetUUID(second.device), pynvml.nvmlDeviceGetUUID(first.device)]  # GI 2, GI 7
    found = pynvml.nvmlDeviceGetHandleByUUID(by_index[1].encode())
    assert pynvml.nvmlDeviceGetGpuInstanceId(found) == 7
    for empty in range(2, 7):
        with nvml_error(pynvml.NVML_ERROR_NOT_FOUND):
            pynvml.nvmlDeviceGetMigDeviceHandleByIndex(a100.handle, empty)
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(a100.handle, 7)


def test_a_gpu_instance_alone_is_no_mig_device(a100: Gpu) -> None:
    a100.create(9)
    assert a100.mig_uuids() == []


def test_handles_are_invalid_once_the_compute_instance_is_destroyed(a100: Gpu) -> None:
    gi = a100.create(19)
    ci = pynvml.nvmlGpuInstanceCreateComputeInstance(gi, 0)
    device = pynvml.nvmlComputeInstanceGetInfo(ci).device
    pynvml.nvmlComputeInstanceDestroy(ci)
    pynvml.nvmlGpuInstanceCreateComputeInstance(gi, 0)
    for call, handle in (
        (pynvml.nvmlComputeInstanceDestroy, ci),
        (pynvml.nvmlComputeInstanceGetInfo, ci),
        (pynvml.nvmlDeviceGetUUID, device),
        (pynvml.nvmlDeviceGetMemoryInfo, device),
    ):
        with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
            call(handle)


def test_a_process_keeps_a_compute_instance_in_use(a100: Gpu) -> None:
    gi = a100.create(19, 0)
    ci = pynvml.nvmlGpuInstanceCreateComputeInstance(gi, 0)
    gpus.hold(a100.root.path, 0, 4242, gi=7, ci=0)
    with nvml_error(pynvml.NVML_ERROR_IN_USE):
        pynvml.nvmlComputeInstanceDestroy(ci)
    for handle in (a100.handle, pynvml.nvmlComputeInstanceGetInfo(ci).device):
        (process,) = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        assert (process.pid, process.gpuInstanceId, process.computeInstanceId) == (4242, 7, 0)
    gpus.hold(a100.root.path, 0, 0, gi=7, ci=0)
    pynvml.nvmlComputeInstanceDestroy(ci)
