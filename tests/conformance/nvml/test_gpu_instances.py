"""GPU instances: profiles, placements, ids, room, creation and destruction."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pynvml
import pytest

from gpu_catalog.boards import Board, load_catalog
from tests.conformance.nvml.gpu import Gpu, nvml_error, where

MIG_BOARDS = load_catalog().mig_boards()
A100, H100, A30 = "a100-sxm4-40gb", "h100-80gb-hbm3", "a30"
GH200, RTX_PRO = "gh200-480gb", "rtx-pro-6000-blackwell-server-edition"


# ---- profiles ----


@pytest.mark.parametrize("board", MIG_BOARDS, ids=lambda board: board.key)
def test_profiles_are_the_catalogues(board: Board, make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(board.key)
    reported = {}
    for enum in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        try:
            info = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(gpu.handle, enum)
        except pynvml.NVMLError_NotSupported:
            continue
        reported[enum] = (
            info.id,
            info.name,
            info.sliceCount,
            info.instanceCount,
            info.memorySizeMB,
            info.multiprocessorCount,
            (info.copyEngineCount, info.decoderCount, info.encoderCount, info.jpegCount, info.ofaCount),
            tuple(gpu.placements(info.id)),
        )
    assert reported == {
        profile.gi_profile_enum: (
            profile.gi_profile_id,
            f"MIG {profile.name}",
            profile.slices,
            profile.max_instances,
            profile.memory_mib,
            profile.multiprocessors,
            (profile.copy_engines, profile.decoders, profile.encoders, profile.jpeg_engines, profile.ofa_engines),
            tuple((start, profile.size) for start in profile.starts),
        )
        for profile in board.profiles
    }


def test_a_profile_looks_the_same_by_enum_by_id_and_in_the_old_struct(a100: Gpu) -> None:
    by_enum = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(a100.handle, pynvml.NVML_GPU_INSTANCE_PROFILE_3_SLICE)
    by_id = pynvml.nvmlDeviceGetGpuInstanceProfileInfoById(a100.handle, 9)
    old = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(a100.handle, pynvml.NVML_GPU_INSTANCE_PROFILE_3_SLICE, version=1)
    assert bytes(by_enum) == bytes(by_id)
    for field, _ in pynvml.c_nvmlGpuInstanceProfileInfo_t._fields_:
        assert getattr(old, field) == getattr(by_enum, field)


def test_unknown_profiles(a100: Gpu) -> None:
    for call, code in (
        (lambda: pynvml.nvmlDeviceGetGpuInstanceProfileInfo(a100.handle, 18), pynvml.NVML_ERROR_INVALID_ARGUMENT),
        (lambda: pynvml.nvmlDeviceGetGpuInstanceProfileInfo(a100.handle, 5), pynvml.NVML_ERROR_NOT_SUPPORTED),
        (lambda: pynvml.nvmlDeviceGetGpuInstanceProfileInfoById(a100.handle, 77), pynvml.NVML_ERROR_NOT_SUPPORTED),
        (lambda: a100.placements(77), pynvml.NVML_ERROR_NOT_SUPPORTED),
        (lambda: pynvml.nvmlDeviceCreateGpuInstance(a100.handle, 77), pynvml.NVML_ERROR_INVALID_ARGUMENT),
    ):
        with nvml_error(code):
            call()


def test_profiles_and_placements_can_be_read_with_mig_off_but_nothing_created(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(A100, mig_enabled=False)
    assert pynvml.nvmlDeviceGetGpuInstanceProfileInfo(gpu.handle, 0).id == 19
    assert gpu.placements(9) == [(0, 4), (4, 4)]
    for call in (
        lambda: gpu.create(19),
        lambda: gpu.create(19, 0),
        lambda: gpu.remaining(19),
        lambda: gpu.instances(19),
    ):
        with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
            call()
    with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
        pynvml.nvmlDeviceGetGpuInstanceById(gpu.handle, 0)


# ---- placement ----


@pytest.mark.parametrize(
    ("board", "created"),
    [
        (A100, "19@6=13 19@4=11 14@0=3 9!"),
        (A100, "9@4=2 19@0=7 14@2=4 19@1=8"),
        (A100, "14@4=5 19@6=13 19@0=7 19@1=8 19@2=9 19@3=10"),
        (A100, "19@6=13 14@4=5 5@0=1"),
        (H100, "19@6=13 19@4=11 19@5=12 19@0=7 19@1=8 19@2=9 19@3=10 19!"),
        (GH200, "15@4=5 15@0=3 15@2=4 15@6=6 15!"),
        (A30, "14@0=3 14@1=4 5@2=2 5!"),
        (RTX_PRO, "14@0=3 14@3=4 14@6=5 14@9=6 14!"),
        (RTX_PRO, "5@0=1 14@6=5 14@9=6"),
    ],
)
def test_default_placement_is_what_was_seen_on_real_boards(
    board: str, created: str, make_gpu: Callable[..., Gpu]
) -> None:
    """`profile@start=id` for each instance in turn, `profile!` where the driver had no room left."""
    gpu = make_gpu(board)
    seen = []
    for step in created.split():
        profile = step.split("@")[0].rstrip("!")
        try:
            gi, start, _ = where(gpu.create(int(profile)))
        except pynvml.NVMLError_InsufficientResources:
            seen.append(f"{profile}!")
        else:
            seen.append(f"{profile}@{start}={gi}")
    assert " ".join(seen) == created


@pytest.mark.parametrize("board", MIG_BOARDS, ids=lambda board: board.key)
def test_ids_follow_from_the_position_alone(board: Board, make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(board.key)
    first_of = {1: 0, 2: 1, 4: 3, 8: 7}  # whole, halves, quarters, eighths
    for profile in board.profiles:
        for start in profile.starts:
            gi = gpu.create(profile.gi_profile_id, start)
            parts = board.grid_units // profile.size
            assert where(gi) == (first_of[parts] + start // profile.size, start, profile.size), profile.name
            pynvml.nvmlGpuInstanceDestroy(gi)


def test_an_occupied_placement_is_a_lack_of_resources(a100: Gpu) -> None:
    a100.create(14, 2)
    for start in (2, 3):
        with nvml_error(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES):
            a100.create(19, start)
    with nvml_error(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES):
        a100.create(0)
    assert where(a100.create(19, 4)) == (11, 4, 1)


@pytest.mark.parametrize(("profile", "start", "size"), [(14, 1, 2), (14, 6, 2), (19, 7, 1), (9, 0, 3), (19, 99, 1)])
def test_a_placement_off_the_grid_is_an_invalid_argument(profile: int, start: int, size: int, a100: Gpu) -> None:
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        a100.create(profile, start, size)


# ---- engines ----


@pytest.mark.parametrize(
    ("board", "fits", "fails"),
    [
        (A100, [20], [20]),  # the only OFA is taken
        (A100, [20, 19, 19, 19, 19, 19, 19], [19]),
        (RTX_PRO, [65, 67, 67, 67], [67]),  # +me.all beside -me only
        (RTX_PRO, [65], [14, 47, 21, 5]),
        (RTX_PRO, [64, 66], [66]),
        (RTX_PRO, [21, 14, 14], [21]),
        (RTX_PRO, [47, 47, 47, 47], [47]),  # +gfx may fill all quarters
    ],
)
def test_engines_are_counted_beside_grid_units(
    board: str, fits: list[int], fails: list[int], make_gpu: Callable[..., Gpu]
) -> None:
    gpu = make_gpu(board)
    for profile in fits:
        gpu.create(profile)
    for profile in fails:
        assert gpu.remaining(profile) == 0
        with nvml_error(pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES):
            gpu.create(profile)


def test_remaining_capacity(a100: Gpu) -> None:
    profiles = (19, 20, 15, 14, 9, 5, 0)
    assert [a100.remaining(each) for each in profiles] == [7, 1, 4, 3, 2, 1, 1]
    a100.create(9, 4)
    assert [a100.remaining(each) for each in profiles] == [4, 1, 2, 2, 1, 1, 0]
    a100.create(19, 1)
    assert [a100.remaining(each) for each in profiles] == [3, 1, 1, 1, 0, 0, 0]


def test_all_legal_placements_are_listed_whatever_exists(a100: Gpu) -> None:
    a100.create(0)
    assert a100.placements(14) == [(0, 2), (2, 2), (4, 2)]


# ---- look-up and destruction ----


def test_instances_are_found_by_profile_and_by_id(a100: Gpu) -> None:
    a100.create(19, 3)
    a100.create(19, 1)
    a100.create(9, 4)
    assert [where(each)[0] for each in a100.instances(19)] == [8, 10]
    assert a100.instances(14) == []
    info = pynvml.nvmlGpuInstanceGetInfo(pynvml.nvmlDeviceGetGpuInstanceById(a100.handle, 2))
    assert (info.profileId, info.placement.start, info.placement.size) == (9, 4, 4)
    assert pynvml.nvmlDeviceGetUUID(info.device) == pynvml.nvmlDeviceGetUUID(a100.handle)
    for unknown in (1, 14, 15, 4000):
        with nvml_error(pynvml.NVML_ERROR_NOT_FOUND):
            pynvml.nvmlDeviceGetGpuInstanceById(a100.handle, unknown)
    count = ctypes.c_uint()
    room = (pynvml.c_nvmlGpuInstance_t * 7)()
    with nvml_error(pynvml.NVML_ERROR_NOT_FOUND):
        pynvml.nvmlDeviceGetGpuInstances(a100.handle, 77, room, ctypes.byref(count))


def test_an_instance_with_compute_instances_is_in_use(a100: Gpu) -> None:
    gi = a100.create(9)
    ci = pynvml.nvmlGpuInstanceCreateComputeInstance(gi, 2)
    with nvml_error(pynvml.NVML_ERROR_IN_USE):
        pynvml.nvmlGpuInstanceDestroy(gi)
    pynvml.nvmlComputeInstanceDestroy(ci)
    pynvml.nvmlGpuInstanceDestroy(gi)
    assert a100.remaining(0) == 1


def test_a_handle_is_invalid_once_its_instance_is_destroyed_even_if_the_id_is_taken_again(a100: Gpu) -> None:
    old = a100.create(9, 4)
    pynvml.nvmlGpuInstanceDestroy(old)
    new = a100.create(9, 4)
    assert where(new)[0] == 2
    for call in (pynvml.nvmlGpuInstanceGetInfo, pynvml.nvmlGpuInstanceDestroy):
        with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
            call(old)
    with nvml_error(pynvml.NVML_ERROR_INVALID_ARGUMENT):
        pynvml.nvmlGpuInstanceCreateComputeInstance(old, 2)
