"""One GPU through nvidia-ml-py, in the words of the tests."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pynvml
import pytest

from gpu_sandbox.gpus import DriverRoot


@dataclass(frozen=True)
class Gpu:
    """The GPU at `index` of a driver root. Handles are pynvml's own."""

    root: DriverRoot
    index: int = 0

    @property
    def handle(self) -> Any:
        return pynvml.nvmlDeviceGetHandleByIndex(self.index)

    def create(self, profile_id: int, start: int | None = None, size: int | None = None) -> Any:
        """A GPU instance, at `start` if given."""
        if start is None:
            return pynvml.nvmlDeviceCreateGpuInstance(self.handle, profile_id)
        placement = pynvml.c_nvmlGpuInstancePlacement_t(start, size or self.size_of(profile_id))
        return pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(self.handle, profile_id, ctypes.byref(placement))

    def create_device(self, profile_id: int, start: int | None = None, ci_profile: int = 0) -> Any:
        """A GPU instance with one compute instance; the compute instance's info, whose `device` is the MIG device."""
        gi = self.create(profile_id, start)
        return pynvml.nvmlComputeInstanceGetInfo(pynvml.nvmlGpuInstanceCreateComputeInstance(gi, ci_profile))

    def destroy(self, gi_id: int) -> None:
        """A GPU instance with all that is in it."""
        gi = pynvml.nvmlDeviceGetGpuInstanceById(self.handle, gi_id)
        for ci_id in range(8):
            try:
                ci = pynvml.nvmlGpuInstanceGetComputeInstanceById(gi, ci_id)
            except pynvml.NVMLError_NotFound:
                continue
            pynvml.nvmlComputeInstanceDestroy(ci)
        pynvml.nvmlGpuInstanceDestroy(gi)

    def placements(self, profile_id: int) -> list[tuple[int, int]]:
        count = ctypes.c_uint()
        pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(self.handle, profile_id, None, ctypes.byref(count))
        found = (pynvml.c_nvmlGpuInstancePlacement_t * count.value)()
        pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(self.handle, profile_id, found, ctypes.byref(count))
        return [(each.start, each.size) for each in found]

    def size_of(self, profile_id: int) -> int:
        return self.placements(profile_id)[0][1]

    def instances(self, profile_id: int) -> list[Any]:
        room = pynvml.nvmlDeviceGetGpuInstanceProfileInfoById(self.handle, profile_id).instanceCount
        found = (pynvml.c_nvmlGpuInstance_t * room)()
        count = ctypes.c_uint()
        pynvml.nvmlDeviceGetGpuInstances(self.handle, profile_id, found, ctypes.byref(count))
        return list(found[: count.value])

    def remaining(self, profile_id: int) -> int:
        left: int = pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(self.handle, profile_id)
        return left

    def mig_uuids(self) -> list[str]:
        """UUIDs of the visible MIG devices, by index; empty slots are skipped as NVML's users must."""
        uuids = []
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(self.handle)):
            try:
                device = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(self.handle, index)
            except pynvml.NVMLError_NotFound:
                continue
            uuids.append(pynvml.nvmlDeviceGetUUID(device))
        return uuids


def where(gi: Any) -> tuple[int, int, int]:
    """(id, start, size) of a GPU instance."""
    info = pynvml.nvmlGpuInstanceGetInfo(gi)
    return info.id, info.placement.start, info.placement.size


def nvml_error(code: int) -> AbstractContextManager[Any]:
    """Expects this NVML error and no other."""
    return pytest.raises(pynvml.NVMLError, check=lambda error: error.value == code)
