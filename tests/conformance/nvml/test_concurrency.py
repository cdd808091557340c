"""Many processes, one set of GPUs: nobody sees half a change, and a killed writer breaks nothing."""

from __future__ import annotations

import fcntl
import multiprocessing
import signal
import stat
import threading
import time
from collections.abc import Callable

import pynvml
import pytest

from gpu_sandbox import gpus
from tests.conformance.nvml import processes
from tests.conformance.nvml.gpu import Gpu, where


def test_two_processes_see_each_others_changes(a100: Gpu) -> None:
    created = processes.run(
        a100.root,
        "gi, ci = create_device(nvmlDeviceGetHandleByIndex(0), 19, 3); print(nvmlDeviceGetUUID(nvmlComputeInstanceGetInfo(ci).device))",
    )
    assert a100.mig_uuids() == [created]
    a100.destroy(10)
    assert (
        processes.run(a100.root, "print(nvmlDeviceGetGpuInstanceRemainingCapacity(nvmlDeviceGetHandleByIndex(0), 0))")
        == "1"
    )


def test_racing_processes_get_exactly_seven_small_instances_of_each_gpu(
    install: Callable[..., gpus.DriverRoot],
) -> None:
    root = install(count=2)
    script = """
sys.stdin.readline()
won = []
for i in range(2):
    gpu = nvmlDeviceGetHandleByIndex(i)
    for _ in range(7):
        try:
            info = nvmlGpuInstanceGetInfo(nvmlDeviceCreateGpuInstance(gpu, 19))
        except NVMLError_InsufficientResources:
            continue
        won.append(f"{i}/{info.id}")
print(*won)
"""
    racers = [processes.start(root, script) for _ in range(6)]
    won = []
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        out, err = racer.communicate(timeout=60)
        assert racer.returncode == 0, err
        won += out.split()
    assert sorted(won) == sorted(f"{gpu}/{gi}" for gpu in range(2) for gi in range(7, 14))


CHURN = """
gpu = nvmlDeviceGetHandleByIndex(0)
print("ready", flush=True)
while True:
    for start in range(7):
        create_device(gpu, 19, start)
    for start in range(7):
        gi = nvmlDeviceGetGpuInstanceById(gpu, 7 + start)
        nvmlComputeInstanceDestroy(nvmlGpuInstanceGetComputeInstanceById(gi, 0))
        nvmlGpuInstanceDestroy(gi)
"""


@pytest.mark.parametrize("delay_ms", range(0, 50, 5))
def test_a_writer_killed_in_the_middle_leaves_usable_gpus(delay_ms: int, a100: Gpu) -> None:
    with processes.start(a100.root, CHURN) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.02 + delay_ms / 1000)
        writer.send_signal(signal.SIGKILL)
    state = gpus.read(a100.root.path).gpus[0]
    for gi in state.gpu_instances:
        a100.destroy(gi.id)
    assert a100.remaining(0) == 1
    a100.create(0)  # the next writer sets the files right
    a100.destroy(0)
    assert list(a100.root.proc_driver.glob("capabilities/gpu0/mig/*")) == []
    assert sorted(each.name for each in (a100.root.dev / "nvidia-caps").iterdir()) == ["nvidia-cap1", "nvidia-cap2"]
    for start in range(7):
        a100.create_device(19, start)
    assert len(a100.mig_uuids()) == 7


def test_readers_never_see_half_a_change(a100: Gpu) -> None:
    """A 3g and a 4g are there in turn, never both and never neither's half: each snapshot is one GPU's whole state."""
    script = """
gpu = nvmlDeviceGetHandleByIndex(0)
print("ready", flush=True)
while True:
    for profile, start in ((19, 0), (19, 6)):
        create_device(gpu, profile, start)
    for gi_id in (13, 7):
        gi = nvmlDeviceGetGpuInstanceById(gpu, gi_id)
        nvmlComputeInstanceDestroy(nvmlGpuInstanceGetComputeInstanceById(gi, 0))
        nvmlGpuInstanceDestroy(gi)
"""
    with processes.start(a100.root, script) as writer:
        assert writer.stdout
        writer.stdout.readline()
        seen = set()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            instances = gpus.read(a100.root.path).gpus[0].gpu_instances
            seen.add(tuple((gi.id, len(gi.compute_instances)) for gi in instances))
        writer.kill()
    # In the order of creation and destruction: 7 is first to come and last to go.
    possible = {(), ((7, 0),), ((7, 1),), ((7, 1), (13, 0)), ((7, 1), (13, 1))}
    assert seen <= possible
    assert len(seen) > 1


def test_a_stopped_reader_does_not_hold_up_a_writer(a100: Gpu) -> None:
    script = """
gpu = nvmlDeviceGetHandleByIndex(0)
print("ready", flush=True)
while True:
    nvmlDeviceGetName(gpu)
"""
    with processes.start(a100.root, script) as reader:
        assert reader.stdout
        reader.stdout.readline()
        reader.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        a100.create_device(19, 0)
        assert time.monotonic() - began < 5
        reader.kill()


def test_a_container_cannot_hold_up_a_writer_by_locking_what_it_has_mounted(a100: Gpu) -> None:
    with a100.root.state.open("rb") as mounted:
        fcntl.flock(mounted, fcntl.LOCK_EX)
        a100.create_device(19, 0)
    assert stat.S_IMODE(a100.root.state.with_name(f"{a100.root.state.name}.lock").stat().st_mode) == 0o600


def test_threads_of_one_process_exclude_each_other(a100: Gpu) -> None:
    won: list[int] = []

    def race() -> None:
        for _ in range(7):
            try:
                won.append(where(a100.create(19))[0])
            except pynvml.NVMLError_InsufficientResources:
                continue

    racers = [threading.Thread(target=race) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(won) == list(range(7, 14))


def _create_all(root: gpus.DriverRoot, queue: multiprocessing.SimpleQueue[list[int]]) -> None:
    won = []
    for _ in range(7):
        try:
            won.append(where(Gpu(root).create(19))[0])
        except pynvml.NVMLError_InsufficientResources:
            continue
    queue.put(won)


def test_a_forked_child_excludes_its_parent(a100: Gpu) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.SimpleQueue[list[int]] = context.SimpleQueue()
    child = context.Process(target=_create_all, args=(a100.root, queue))
    child.start()
    _create_all(a100.root, queue)
    won = queue.get() + queue.get()
    child.join()
    assert sorted(won) == list(range(7, 14))


def test_one_gpus_writer_leaves_other_gpus_handles_alone(
    install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]
) -> None:
    root = install(count=2)
    open_nvml(root)
    device = Gpu(root, 1).create_device(19, 0).device
    uuid = pynvml.nvmlDeviceGetUUID(device)
    Gpu(root, 0).create_device(0, ci_profile=4)
    gpus.reset(root.path, 0)
    assert pynvml.nvmlDeviceGetUUID(device) == uuid
