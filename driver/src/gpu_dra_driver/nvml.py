"""NVML, the GPUs' own interface: the only module that touches pynvml.

Owns loading the library from the driver installation by explicit path, reading GPUs and their MIG instances as plain
values, and the four calls that change partitions. It decides nothing: what to create or destroy is `mig`'s business, what
to publish `inventory`'s. A failing GPU is returned as a failure beside the healthy ones, never raised for the whole node.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gpu_catalog.devices import mig_profile_name
from gpu_dra_driver.gpus import ComputeInstance, Gpu, GpuFailure, GpuInstance, InstanceProfile, MigMode

# NVML numbers its brands and architectures; Kubernetes objects carry NVIDIA's names for them. An unknown number must not
# take a GPU away from the cluster, so it becomes "Unknown".
_BRANDS = {
    1: "Quadro", 2: "Tesla", 3: "NVS", 4: "Grid", 5: "GeForce", 6: "Titan", 7: "NvidiaVApps", 8: "NvidiaVPC", 9: "NvidiaVCS",
    10: "NvidiaVWS", 11: "NvidiaCloudGaming", 12: "QuadroRTX", 13: "NvidiaRTX", 14: "Nvidia", 15: "GeForceRTX", 16: "TitanRTX",
}  # fmt: skip
_ARCHITECTURES = {
    2: "Kepler", 3: "Maxwell", 4: "Pascal", 5: "Volta", 6: "Turing", 7: "Ampere", 8: "Ada Lovelace", 9: "Hopper", 10: "Blackwell",
    13: "Rubin",
}  # fmt: skip
_ADDRESSING_MODES = {0: "None", 1: "HMM", 2: "ATS"}
_UNKNOWN = "Unknown"

# Profile enum -> suffix of the profile's name (1_SLICE_REV1 is "+me", NO_ME "-me" and so on).
_PROFILE_SUFFIX = {
    7: "+me",
    8: "+me",
    10: "+gfx",
    11: "+gfx",
    12: "+gfx",
    13: "-me",
    14: "-me",
    15: "+me.all",
    16: "+me.all",
    17: "+gfx",
}
# Enums past the newest known one answer INVALID_ARGUMENT, so a little headroom costs nothing and finds new profiles.
_GPU_INSTANCE_PROFILES = range(24)
_COMPUTE_INSTANCE_PROFILES = range(9)
# REV1 and NVLINK variants have the slice counts of the plain profiles; taking them would give the right name, wrong engines.
_FULL_COMPUTE_PROFILES = range(7)
_SHARED_ENGINES = 0

T = TypeVar("T")


class NvmlError(Exception):
    """An NVML call failed. `code` is NVML's return code; `call` says what was being done."""

    def __init__(self, call: str, code: int, text: str) -> None:
        self.call, self.code = call, code
        super().__init__(f"NVML could not {call}: {text} (code {code})")


INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NOT_FOUND = 6
FUNCTION_NOT_FOUND = 13
IN_USE = 19
INSUFFICIENT_RESOURCES = 23
# What NVML answers for a profile or feature that this GPU or library lacks.
_ABSENT = frozenset({INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND})


class LibraryUnusableError(Exception):
    """The file is no NVML library that this process can load."""


class Nvml:
    """An open NVML session. Calls release the GIL and NVML is thread-safe, so threads may share one session."""

    def __init__(self, library: Path) -> None:
        # Imported here: a `--help` or a settings error should not pay for it.
        import pynvml  # noqa: PLC0415

        self._nvml: Any = pynvml
        try:
            self._nvml.nvmlLib = ctypes.CDLL(str(library))
            # pynvml remembers functions by name: those of a library that was open before would be called.
            self._nvml._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001 - it offers no other way
        except OSError as error:
            raise LibraryUnusableError(f"cannot load {library}: {error}") from error
        self._profiles: dict[str, tuple[InstanceProfile, ...]] = {}
        self._call("initialise", self._nvml.nvmlInit)

    def close(self) -> None:
        """Ends the session."""
        self._call("shut down", self._nvml.nvmlShutdown)

    def _call(self, what: str, function: Callable[..., T], *args: object) -> T:
        try:
            return function(*args)
        except self._nvml.NVMLError as error:
            raise NvmlError(what, error.value, str(error)) from error

    def _optional(self, what: str, function: Callable[..., T], *args: object) -> T | None:
        """The call's result, or None where the GPU or the library has no such thing."""
        try:
            return self._call(what, function, *args)
        except NvmlError as error:
            if error.code in _ABSENT:
                return None
            raise

    def driver_version(self) -> str:
        """Version of the NVIDIA driver, as in the names of its libraries (580.126.20)."""
        return str(self._call("read the driver version", self._nvml.nvmlSystemGetDriverVersion))

    def cuda_driver_version(self) -> str:
        """CUDA version of the driver (13.0)."""
        number = int(self._call("read the CUDA version", self._nvml.nvmlSystemGetCudaDriverVersion_v2))
        return f"{number // 1000}.{number % 1000 // 10}"

    def gpus(self) -> list[Gpu | GpuFailure]:
        """Every GPU in NVML's order (PCI order); one that cannot be read becomes a GpuFailure in its place."""
        count = int(self._call("count the GPUs", self._nvml.nvmlDeviceGetCount))
        return [self._read_or_fail(index) for index in range(count)]

    def gpu(self, uuid: str) -> Gpu:
        """One GPU, read anew."""
        handle = self._handle(uuid)
        index = int(self._call(f"read the index of {uuid}", self._nvml.nvmlDeviceGetIndex, handle))
        return self._read(index, handle)

    def _read_or_fail(self, index: int) -> Gpu | GpuFailure:
        try:
            handle = self._call(f"open GPU {index}", self._nvml.nvmlDeviceGetHandleByIndex, index)
            return self._read(index, handle)
        except NvmlError as error:
            return GpuFailure(index, str(error))

    def _handle(self, uuid: str) -> Any:
        return self._call(f"find GPU {uuid}", self._nvml.nvmlDeviceGetHandleByUUID, uuid)

    def _read(self, index: int, handle: Any) -> Gpu:
        nvml, call, optional = self._nvml, self._call, self._optional
        uuid = str(call(f"read the UUID of GPU {index}", nvml.nvmlDeviceGetUUID, handle))
        pci = call(f"read the PCI address of {uuid}", nvml.nvmlDeviceGetPciInfo, handle)
        major, minor = call(f"read the compute capability of {uuid}", nvml.nvmlDeviceGetCudaComputeCapability, handle)
        brand = optional(f"read the brand of {uuid}", nvml.nvmlDeviceGetBrand, handle)
        architecture = optional(f"read the architecture of {uuid}", nvml.nvmlDeviceGetArchitecture, handle)
        # Unified-memory GPUs have no memory of their own to report.
        memory = optional(f"read the memory of {uuid}", nvml.nvmlDeviceGetMemoryInfo, handle)
        addressing = optional(f"read the addressing mode of {uuid}", nvml.nvmlDeviceGetAddressingMode, handle)
        mode = optional(f"read the MIG mode of {uuid}", nvml.nvmlDeviceGetMigMode, handle)
        mig_mode = MigMode(bool(mode[0]), bool(mode[1])) if mode is not None else None
        memory_bytes = int(memory.total) if memory is not None else None
        on = mig_mode is not None and mig_mode.current
        return Gpu(
            index=index,
            minor=int(call(f"read the minor number of {uuid}", nvml.nvmlDeviceGetMinorNumber, handle)),
            uuid=uuid,
            product_name=str(call(f"read the name of {uuid}", nvml.nvmlDeviceGetName, handle)),
            brand=_BRANDS.get(brand or 0, _UNKNOWN),
            architecture=_ARCHITECTURES.get(architecture or 0, _UNKNOWN),
            cuda_compute_capability=f"{major}.{minor}",
            pci_bus_id=f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0",
            pci_device_id=f"0x{pci.pciDeviceId:08X}",
            memory_bytes=memory_bytes,
            addressing_mode=_ADDRESSING_MODES.get(addressing) if addressing is not None else None,
            mig_mode=mig_mode,
            instances=tuple(self._read_instances(handle, uuid, memory_bytes or 0)) if on else (),
        )

    def _instance_profiles(self, handle: Any, uuid: str, memory_bytes: int) -> tuple[InstanceProfile, ...]:
        # Fixed for a GPU while MIG stays on, and asked for at every listing, so kept.
        known = self._profiles.get(uuid)
        if known is None:
            known = self._profiles[uuid] = tuple(self._read_profiles(handle, uuid, memory_bytes))
        return known

    def _read_profiles(self, handle: Any, uuid: str, memory_bytes: int) -> Iterator[InstanceProfile]:
        for enum in _GPU_INSTANCE_PROFILES:
            info = self._optional(
                f"read MIG profile {enum} of {uuid}", self._nvml.nvmlDeviceGetGpuInstanceProfileInfo, handle, enum
            )
            if info is not None:
                yield InstanceProfile(
                    id=info.id,
                    enum=enum,
                    name=self._profile_name(info, enum, memory_bytes),
                    slices=info.sliceCount,
                    memory_mib=info.memorySizeMB,
                    multiprocessors=info.multiprocessorCount,
                    copy_engines=info.copyEngineCount,
                    decoders=info.decoderCount,
                    encoders=info.encoderCount,
                    jpeg_engines=info.jpegCount,
                    ofa_engines=info.ofaCount,
                )

    @staticmethod
    def _profile_name(info: Any, enum: int, memory_bytes: int) -> str:
        if memory_bytes <= 0:  # unified memory: nothing to compute from, so NVML's own words ("MIG 1g.5gb")
            return str(info.name.decode().removeprefix("MIG "))
        return mig_profile_name(info.memorySizeMB, memory_bytes, info.sliceCount, _PROFILE_SUFFIX.get(enum, ""))

    def _read_instances(self, handle: Any, uuid: str, memory_bytes: int) -> Iterator[GpuInstance]:
        nvml = self._nvml
        for profile in self._instance_profiles(handle, uuid, memory_bytes):
            room = (nvml.c_nvmlGpuInstance_t * 16)()  # ids are 0..14
            count = ctypes.c_uint(len(room))
            what = f"list the {profile.name} instances of {uuid}"
            self._call(what, nvml.nvmlDeviceGetGpuInstances, handle, profile.id, room, ctypes.byref(count))
            for instance in room[: count.value]:
                info = self._call(what, nvml.nvmlGpuInstanceGetInfo, instance)
                computes = tuple(self._read_compute_instances(handle, instance, info.id, uuid))
                yield GpuInstance(info.id, profile, info.placement.start, info.placement.size, computes)

    def _read_compute_instances(self, handle: Any, instance: Any, gi_id: int, uuid: str) -> Iterator[ComputeInstance]:
        nvml = self._nvml
        for enum in _COMPUTE_INSTANCE_PROFILES:
            what = f"list the compute instances of GPU instance {gi_id} of {uuid}"
            profile = self._optional(
                what, nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo, instance, enum, _SHARED_ENGINES
            )
            if profile is None:
                continue
            room = (nvml.c_nvmlComputeInstance_t * 8)()  # ids are 0..7
            count = ctypes.c_uint(len(room))
            self._call(what, nvml.nvmlGpuInstanceGetComputeInstances, instance, profile.id, room, ctypes.byref(count))
            for compute in room[: count.value]:
                info = self._call(what, nvml.nvmlComputeInstanceGetInfo_v2, compute)
                yield ComputeInstance(info.id, profile.sliceCount, self._mig_uuid(handle, info, gi_id, uuid))

    def _mig_uuid(self, handle: Any, info: Any, gi_id: int, uuid: str) -> str:
        nvml = self._nvml
        what = f"read the UUID of MIG device {gi_id}/{info.id} of {uuid}"
        # The compute instance names its MIG device; walking the MIG devices by index takes seconds on a loaded node.
        direct = self._optional(what, nvml.nvmlDeviceGetUUID, info.device)
        if direct is not None and str(direct).startswith("MIG-"):
            return str(direct)
        for index in range(self._call(what, nvml.nvmlDeviceGetMaxMigDeviceCount, handle)):
            device = self._optional(
                what, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index
            )  # empty slots: NOT_FOUND
            if device is None:
                continue
            ids = (nvml.nvmlDeviceGetGpuInstanceId(device), nvml.nvmlDeviceGetComputeInstanceId(device))
            if ids == (gi_id, info.id):
                return str(self._call(what, nvml.nvmlDeviceGetUUID, device))
        raise NvmlError(what, NOT_FOUND, "NVML lists no MIG device for this compute instance")

    def mig_device_uuid(self, uuid: str, gi_id: int, ci_id: int) -> str | None:
        """UUID of the MIG device that has these ids now, or None: five quick calls instead of a listing."""
        nvml, handle = self._nvml, self._handle(uuid)
        what = f"check MIG device {gi_id}/{ci_id} of {uuid}"
        instance = self._optional(what, nvml.nvmlDeviceGetGpuInstanceById, handle, gi_id)
        compute = instance and self._optional(what, nvml.nvmlGpuInstanceGetComputeInstanceById, instance, ci_id)
        if not compute:
            return None
        info = self._call(what, nvml.nvmlComputeInstanceGetInfo_v2, compute)
        return self._mig_uuid(handle, info, gi_id, uuid)

    def mig_mode(self, uuid: str) -> MigMode | None:
        """The MIG mode of one GPU, or None where it has none. Raises NvmlError when the GPU is lost."""
        mode = self._optional(f"read the MIG mode of {uuid}", self._nvml.nvmlDeviceGetMigMode, self._handle(uuid))
        return None if mode is None else MigMode(bool(mode[0]), bool(mode[1]))

    def set_mig_mode(self, uuid: str, *, enabled: bool) -> None:
        """Switches MIG mode. Raises NvmlError also when NVML accepts the mode but cannot activate it now."""
        what = f"{'enable' if enabled else 'disable'} MIG mode on {uuid}"
        activation = int(self._call(what, self._nvml.nvmlDeviceSetMigMode, self._handle(uuid), int(enabled)))
        self._profiles.pop(uuid, None)
        if activation != 0:
            raise NvmlError(what, activation, f"accepted but not active: {self._nvml.NVMLError(activation)}")

    def create_gpu_instance(self, uuid: str, profile_id: int, start: int, size: int) -> int:
        """Creates a GPU instance at exactly this place and returns its id."""
        what = f"create a GPU instance of profile {profile_id} at unit {start} of {uuid}"
        placement = self._nvml.c_nvmlGpuInstancePlacement_t(start, size)
        create = self._nvml.nvmlDeviceCreateGpuInstanceWithPlacement
        instance = self._call(what, create, self._handle(uuid), profile_id, ctypes.byref(placement))
        return int(self._call(what, self._nvml.nvmlGpuInstanceGetInfo, instance).id)

    def create_whole_compute_instance(self, uuid: str, gi_id: int, slices: int) -> None:
        """Gives GPU instance `gi_id` the compute instance that spans all its `slices`."""
        nvml = self._nvml
        what = f"create the compute instance of GPU instance {gi_id} of {uuid}"
        instance = self._call(what, nvml.nvmlDeviceGetGpuInstanceById, self._handle(uuid), gi_id)
        for enum in _FULL_COMPUTE_PROFILES:
            read = nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo
            profile = self._optional(what, read, instance, enum, _SHARED_ENGINES)
            if profile is not None and profile.sliceCount == slices:
                self._call(what, nvml.nvmlGpuInstanceCreateComputeInstance, instance, profile.id)
                return
        raise NvmlError(what, NOT_FOUND, f"there is no compute instance profile of {slices} slices")

    def destroy_gpu_instance(self, uuid: str, gi_id: int) -> None:
        """Destroys GPU instance `gi_id` and its compute instances. One that is gone already is no error."""
        nvml = self._nvml
        what = f"destroy GPU instance {gi_id} of {uuid}"
        handle = self._handle(uuid)
        instance = self._optional(what, nvml.nvmlDeviceGetGpuInstanceById, handle, gi_id)
        if instance is None:
            return
        for compute in self._read_compute_instances(handle, instance, gi_id, uuid):
            found = self._optional(what, nvml.nvmlGpuInstanceGetComputeInstanceById, instance, compute.id)
            if found is not None:
                self._call(what, nvml.nvmlComputeInstanceDestroy, found)
        self._call(what, nvml.nvmlGpuInstanceDestroy, instance)
