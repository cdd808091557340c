"""Faults that an operator injects: lost GPUs, XID errors, slowness."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pynvml
import pytest

from gpu_sandbox import gpus
from tests.conformance.nvml import processes
from tests.conformance.nvml.gpu import Gpu, nvml_error

XID = pynvml.nvmlEventTypeXidCriticalError
WHOLE_GPU = 0xFFFFFFFF


@pytest.fixture
def pair(install: Callable[..., gpus.DriverRoot], open_nvml: Callable[..., None]) -> gpus.DriverRoot:
    root = install(count=2)
    open_nvml(root)
    return root


def watch(*handles: Any) -> Any:
    events = pynvml.nvmlEventSetCreate()
    for handle in handles:
        pynvml.nvmlDeviceRegisterEvents(handle, XID, events)
    return events


def test_a_lost_gpu_answers_nothing_and_leaves_others_alone(pair: gpus.DriverRoot) -> None:
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    device = Gpu(pair).create_device(19, 0).device
    gpus.lose(pair.path, 0)
    for call, *arguments in (
        (pynvml.nvmlDeviceGetHandleByIndex, 0),
        (pynvml.nvmlDeviceGetHandleByUUID, uuid.encode()),
        (pynvml.nvmlDeviceGetName, handle),
        (pynvml.nvmlDeviceGetMigMode, handle),
        (pynvml.nvmlDeviceCreateGpuInstance, handle, 19),
        (pynvml.nvmlDeviceGetUUID, device),
    ):
        with nvml_error(pynvml.NVML_ERROR_GPU_IS_LOST):
            call(*arguments)
    assert pynvml.nvmlDeviceGetCount() == 2
    assert pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(1)) == "NVIDIA A100-SXM4-40GB"


@pytest.mark.parametrize("revive", [lambda root: gpus.reset(root, 0), gpus.reboot], ids=["reset", "reboot"])
def test_a_lost_gpu_comes_back_empty(revive: Callable[..., None], pair: gpus.DriverRoot) -> None:
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    Gpu(pair).create_device(19, 0)
    gpus.lose(pair.path, 0)
    revive(pair.path)
    assert pynvml.nvmlDeviceGetUUID(handle) == uuid
    assert Gpu(pair).mig_uuids() == []


def test_losing_a_gpu_is_xid_79(pair: gpus.DriverRoot) -> None:
    events = watch(pynvml.nvmlDeviceGetHandleByIndex(0))
    gpus.lose(pair.path, 0)
    assert pynvml.nvmlEventSetWait(events, 1000).eventData == 79
    pynvml.nvmlEventSetFree(events)


def test_xid_events_reach_those_who_registered_in_order(pair: gpus.DriverRoot) -> None:
    first, second = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(2))
    both, only_second = watch(first, second), watch(second)
    gpus.inject_xid(pair.path, 0, 48)
    gpus.inject_xid(pair.path, 1, 94, gi=7, ci=0)
    got = [pynvml.nvmlEventSetWait(both, 1000) for _ in range(2)]
    assert [(event.eventType, event.eventData) for event in got] == [(XID, 48), (XID, 94)]
    assert [(event.gpuInstanceId, event.computeInstanceId) for event in got] == [(WHOLE_GPU, WHOLE_GPU), (7, 0)]
    assert [pynvml.nvmlDeviceGetIndex(event.device) for event in got] == [0, 1]
    assert pynvml.nvmlEventSetWait(only_second, 1000).eventData == 94
    for events in (both, only_second):
        with nvml_error(pynvml.NVML_ERROR_TIMEOUT):
            pynvml.nvmlEventSetWait(events, 0)
        pynvml.nvmlEventSetFree(events)


def test_what_happened_before_is_not_reported(a100: Gpu) -> None:
    gpus.inject_xid(a100.root.path, 0, 48)
    events = watch(a100.handle)
    began = time.monotonic()
    with nvml_error(pynvml.NVML_ERROR_TIMEOUT):
        pynvml.nvmlEventSetWait(events, 150)
    assert time.monotonic() - began >= 0.15
    pynvml.nvmlEventSetFree(events)


def test_a_waiter_is_woken_at_once(a100: Gpu) -> None:
    events = watch(a100.handle)
    woken: list[float] = []

    def wait() -> None:
        pynvml.nvmlEventSetWait(events, 20_000)
        woken.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.1)
    gpus.inject_xid(a100.root.path, 0, 31)
    injected = time.monotonic()
    waiter.join(timeout=10)
    assert woken
    assert woken[0] - injected < 0.5
    pynvml.nvmlEventSetFree(events)


def test_a_waiter_that_may_only_read_is_woken_too(a100: Gpu) -> None:
    state = a100.root.state
    wrapper = processes.in_namespace(f"mount --bind {state} {state}", f"mount -o remount,bind,ro {state}")
    script = f"""
events = nvmlEventSetCreate()
nvmlDeviceRegisterEvents(nvmlDeviceGetHandleByIndex(0), {XID}, events)
print("ready", flush=True)
print(nvmlEventSetWait(events, 20000).eventData)
"""
    with processes.start(a100.root, script, wrapper) as waiter:
        assert waiter.stdout
        waiter.stdout.readline()
        gpus.inject_xid(a100.root.path, 0, 63)
        out, err = waiter.communicate(timeout=15)
    assert out.strip() == "63", err


def test_event_types(a100: Gpu) -> None:
    assert pynvml.nvmlDeviceGetSupportedEventTypes(a100.handle) & XID
    events = pynvml.nvmlEventSetCreate()
    with nvml_error(pynvml.NVML_ERROR_NOT_SUPPORTED):
        pynvml.nvmlDeviceRegisterEvents(a100.handle, pynvml.nvmlEventTypeClock, events)
    pynvml.nvmlEventSetFree(events)


def test_an_event_storm_loses_the_oldest(a100: Gpu) -> None:
    events = watch(a100.handle)
    for code in range(1, 261):
        gpus.inject_xid(a100.root.path, 0, code)
    assert [pynvml.nvmlEventSetWait(events, 0).eventData for _ in range(256)] == list(range(5, 261))
    with nvml_error(pynvml.NVML_ERROR_TIMEOUT):
        pynvml.nvmlEventSetWait(events, 0)
    pynvml.nvmlEventSetFree(events)


def test_latency(a100: Gpu) -> None:
    handle = a100.handle
    gpus.set_latency(a100.root.path, call_us=20_000, mig_us=100_000)
    began = time.monotonic()
    pynvml.nvmlDeviceGetName(handle)
    call = time.monotonic() - began
    began = time.monotonic()
    pynvml.nvmlDeviceCreateGpuInstance(handle, 19)
    change = time.monotonic() - began
    gpus.set_latency(a100.root.path)
    began = time.monotonic()
    pynvml.nvmlDeviceGetName(handle)
    assert time.monotonic() - began < 0.02
    assert call >= 0.02
    assert change >= 0.12


def test_what_does_not_exist_cannot_fail(a100: Gpu) -> None:
    root = a100.root.path
    refusals: list[tuple[Callable[[], None], str]] = [
        (lambda: gpus.lose(root, 1), "no GPU 1: there are 1"),
        (lambda: gpus.hold(root, 0, 1, gi=7, ci=0), "no compute instance 0 in GPU instance 7"),
        (lambda: gpus.inject_xid(root, 0, 1, gi=7), "both its GPU instance and its compute instance"),
        (lambda: gpus.reboot(root / "nowhere"), "no simulated GPUs"),
    ]
    for action, message in refusals:
        with pytest.raises(gpus.ControlError, match=message):
            action()
