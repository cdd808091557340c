"""`MigDeviceClasses`: the DeviceClasses of the declared boards, so that `kubectl get deviceclass` reads like a menu."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from eks_gpu_dra import _checks as checks
from eks_gpu_dra._args import ArgsReader
from eks_gpu_dra._boards import check_profile, mig_boards
from eks_gpu_dra._kubernetes import as_args
from eks_gpu_dra.device_classes import GpuDeviceClass, offered_classes

_OLDEST = (1, 34)
_EXTENDED_RESOURCES_SINCE = (1, 36)


class MigDeviceClassesArgs(TypedDict):
    """Inputs of MigDeviceClasses."""

    boards: Sequence[str]
    """Boards of the cluster's GPU nodes, by catalogue key (a100-sxm4-40gb) or product name (NVIDIA A100-SXM4-40GB)."""
    profiles: NotRequired[Sequence[str]]
    """Only these MIG profiles. Default: every profile of the boards."""
    owns_nvidia_names: NotRequired[bool]
    """Also make the classes gpu.nvidia.com and mig.nvidia.com. Default: true; false beside NVIDIA's chart, which makes them itself."""
    kubernetes_version: NotRequired[str]
    """The cluster's minor version, for example 1.36. Without it nothing newer than 1.34 is used."""
    extended_resources: NotRequired[bool]
    """Let pods ask for nvidia.com/gpu and nvidia.com/mig-1g.5gb as with the device plugin. Default: true from kubernetes_version 1.36 on."""


class MigDeviceClasses(pulumi.ComponentResource):
    """A DeviceClass per MIG profile of the declared boards (mig-1g.5gb), one for whole GPUs (gpu), and NVIDIA's two names."""

    names: pulumi.Output[Mapping[str, str]]
    """Class name by MIG profile name, and by `gpu` for whole GPUs."""

    def __init__(self, name: str, args: MigDeviceClassesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        classes = _read(name, args)
        super().__init__("eks-gpu-dra:index:MigDeviceClasses", name, {}, opts)
        for device_class in classes:
            manifest = device_class.to_manifest()
            kubernetes.resource.v1.DeviceClass(
                f"{name}-{device_class.name}",
                metadata=as_args(manifest["metadata"]),
                spec=as_args(manifest["spec"]),
                opts=pulumi.ResourceOptions(parent=self),
            )
        # Plain names, so that a preview knows them before the cluster exists.
        self.names = pulumi.Output.from_input({each.offers: each.name for each in classes if each.offers is not None})
        self.register_outputs({"names": self.names})


def _read(name: str, args: MigDeviceClassesArgs) -> tuple[GpuDeviceClass, ...]:
    reader = ArgsReader(f"MigDeviceClasses {name!r}", args, MigDeviceClassesArgs)
    boards = reader.read_plain("boards", mig_boards, ())

    def known_profiles(path: str, value: Any) -> Iterator[checks.Problem]:
        problems = tuple(checks.list_of(checks.text)(path, value))
        yield from problems
        if not problems and not value:
            yield checks.Problem(path, "is empty: leave it out for every profile of the boards")
        if not problems and boards:
            for index, profile in enumerate(value):
                yield from check_profile(f"{path}[{index}]", profile, boards)

    profiles = reader.read_plain("profiles", known_profiles)
    nvidia_names = reader.read_plain("owns_nvidia_names", checks.flag, True)
    version = reader.read_plain("kubernetes_version", _minor_version)
    can_extend = version is not None and _parsed(version) >= _EXTENDED_RESOURCES_SINCE
    extended_resources = reader.read_plain("extended_resources", checks.flag, can_extend)
    if extended_resources and not can_extend:
        reader.problem(
            "extended_resources",
            "needs kubernetes_version 1.36 or newer: older API servers drop the names without a word, and pods that use them stay pending",
        )
    reader.finish()
    return offered_classes(boards, profiles, nvidia_names=nvidia_names, extended_resources=extended_resources)


def _parsed(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


def _minor_version(path: str, value: Any) -> Iterator[checks.Problem]:
    if not isinstance(value, str) or not re.fullmatch(r"\d+\.\d+", value):
        yield checks.Problem(path, f"{value!r} is not a minor version: write it in quotes, for example '1.36'")
    elif _parsed(value) < _OLDEST:
        yield checks.Problem(path, f"{value} has no resource.k8s.io/v1: Kubernetes 1.34 or newer is needed")
