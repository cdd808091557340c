"""What holds after any sequence of creations and destructions on any board."""

from __future__ import annotations

from collections.abc import Callable

import pynvml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_catalog.boards import ENGINES, Board, load_catalog
from gpu_sandbox import gpus
from tests.conformance.nvml.gpu import Gpu, where

BOARDS = ["a30", "a100-sxm4-40gb", "h100-80gb-hbm3", "rtx-pro-6000-blackwell-server-edition"]


def live_ids(gpu: Gpu) -> list[int]:
    return [gi.id for gi in gpus.read(gpu.root.path).gpus[0].gpu_instances]


def check(gpu: Gpu, board: Board) -> None:
    live = gpus.read(gpu.root.path).gpus[0].gpu_instances
    units = [unit for gi in live for unit in range(gi.start, gi.start + gi.size)]
    assert len(units) == len(set(units)), "instances overlap"
    for engine in ENGINES:
        used = sum(board.profile(gi.profile).engine(engine) for gi in live)
        assert used <= board.engines(engine), engine
    for gi in live:
        assert gi.start in board.profile(gi.profile).starts
    files = {path.name for path in gpu.root.proc_driver.glob("capabilities/gpu0/mig/gi*")}
    assert files == {f"gi{gi.id}" for gi in live}


@pytest.mark.parametrize("key", BOARDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_instances_never_overlap_nor_share_engines_and_capacity_is_what_can_be_created(
    key: str, data: st.DataObject, make_gpu: Callable[..., Gpu]
) -> None:
    board = load_catalog().board(key)
    gpu = make_gpu(key)
    gpus.reset(gpu.root.path, 0)
    for _ in range(data.draw(st.integers(1, 12), label="steps")):
        live = live_ids(gpu)
        if data.draw(st.booleans(), label="destroy") and live:
            gpu.destroy(data.draw(st.sampled_from(live), label="which"))
        else:
            profile = data.draw(st.sampled_from(board.profiles), label="create")
            start = data.draw(st.sampled_from([None, *profile.starts]), label="at")
            room = gpu.remaining(profile.gi_profile_id)
            try:
                created = where(gpu.create(profile.gi_profile_id, start))
            except pynvml.NVMLError_InsufficientResources:
                assert start is not None or room == 0
            else:
                assert room > 0
                assert start in (None, created[1])
        check(gpu, board)
    for profile in board.profiles:
        room = gpu.remaining(profile.gi_profile_id)
        made = [gpu.create(profile.gi_profile_id) for _ in range(room)]
        assert gpu.remaining(profile.gi_profile_id) == 0 or room < profile.max_instances
        for gi in made:
            pynvml.nvmlGpuInstanceDestroy(gi)
