"""`FashionMnistTrio`: three training pods of different size side by side, each on a slice of its own.

Makes three Deployments and the ConfigMap with their scripts. It makes no claim template: `ClaimTemplates` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from eks_gpu_dra import _checks as checks
from eks_gpu_dra._args import ArgsReader, mapped
from eks_gpu_dra._kubernetes import GPU_TOLERATIONS, as_args, content_hash

TIERS = ("large", "medium", "small")

_SCRIPTS_DIRECTORY = "/scripts"
_WORK_DIRECTORY = "/training"
_DONE_FILE = f"{_WORK_DIRECTORY}/training-done"
# An image of PyTorch is many GB and is pulled before the first step: half an hour, in place of Kubernetes' ten minutes.
_READY_SECONDS = 1800


@dataclass(frozen=True)
class _Program:
    """A training program of this package: its files, the first being the one to run, and what it needs of the node."""

    files: tuple[str, ...]
    requests: Mapping[str, str]
    memory_limit: str


_AROUND = ("held_slice.py", "stay_running.py")
_PROGRAMS = {
    "pytorch": _Program(("train_pytorch.py", *_AROUND), {"cpu": "500m", "memory": "2Gi"}, "8Gi"),
    "cpu": _Program(("train_cpu.py", *_AROUND), {"cpu": "20m", "memory": "32Mi"}, "256Mi"),
}
_DEFAULT_PROGRAM = "pytorch"


class FashionMnistTrioArgs(TypedDict):
    """Inputs of FashionMnistTrio."""

    namespace: pulumi.Input[str]
    """Namespace of the pods; the claim templates must be in it too."""
    image: pulumi.Input[str]
    """Image of the pods: with PyTorch and torchvision for the program pytorch, with Python 3.10 or newer for cpu."""
    claim_templates: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    """Name of the ResourceClaimTemplate for each of large, medium and small, as ClaimTemplates' `names` gives them."""
    program: NotRequired[str]
    """pytorch: Fashion-MNIST on the slice; cpu: a small regression that only holds its slice. Default: pytorch."""
    command: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """An own training command in place of program. TIER says large, medium or small; touch TRAINING_DONE_FILE when done."""
    tolerations: NotRequired[pulumi.Input[Sequence[Mapping[str, Any]]]]
    """Tolerations of the pods, spelt as in a pod spec. Default: nvidia.com/gpu with effect NoSchedule."""
    image_pull_policy: NotRequired[pulumi.Input[str]]
    """Always, IfNotPresent or Never. Default: IfNotPresent."""


class FashionMnistTrio(pulumi.ComponentResource):
    """Three training pods, large, medium and small, each on its own slice. A pod is ready when its training is done."""

    deployments: pulumi.Output[Mapping[str, str]]
    """Name of the Deployment of each tier."""

    def __init__(self, name: str, args: FashionMnistTrioArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        trio = _read(name, args)
        super().__init__("eks-gpu-dra:index:FashionMnistTrio", name, {}, opts)
        scripts: list[pulumi.Resource] = []
        if trio.scripts:
            scripts.append(
                kubernetes.core.v1.ConfigMap(
                    f"{name}-scripts",
                    metadata={"name": trio.scripts_name, "namespace": trio.namespace},
                    data=trio.scripts,
                    immutable=True,
                    opts=pulumi.ResourceOptions(parent=self),
                )
            )
        for tier in TIERS:
            manifest = trio.deployment(tier)
            kubernetes.apps.v1.Deployment(
                f"{name}-{tier}",
                metadata=as_args(manifest["metadata"]),
                spec=as_args(manifest["spec"]),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=scripts,
                    custom_timeouts=pulumi.CustomTimeouts(create=f"{_READY_SECONDS}s", update=f"{_READY_SECONDS}s"),
                ),
            )
        self.deployments = pulumi.Output.from_input({tier: f"{name}-{tier}" for tier in TIERS})
        self.register_outputs({"deployments": self.deployments})


@dataclass(frozen=True, kw_only=True)
class _Trio:
    """The checked inputs. Values may be Outputs."""

    name: str
    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    claim_templates: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    program: _Program
    command: pulumi.Input[Sequence[pulumi.Input[str]]] | None
    tolerations: pulumi.Input[Sequence[Mapping[str, Any]]]
    image_pull_policy: pulumi.Input[str]

    @property
    def scripts(self) -> dict[str, str]:
        """The program's files by name; none with an own command."""
        if self.command is not None:
            return {}
        folder = resources.files("eks_gpu_dra.workloads") / "scripts"
        return {file: (folder / file).read_text(encoding="utf-8") for file in self.program.files}

    @property
    def scripts_name(self) -> str:
        return f"{self.name}-scripts-{content_hash(self.scripts)}"

    def deployment(self, tier: str) -> dict[str, Any]:
        """The Deployment of one tier, in Kubernetes' own spelling."""
        labels = {
            "app.kubernetes.io/name": "fashion-mnist",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": tier,
        }
        volumes: list[dict[str, Any]] = [{"name": "work", "emptyDir": {"sizeLimit": "4Gi"}}]
        mounts: list[dict[str, Any]] = [{"name": "work", "mountPath": _WORK_DIRECTORY}]
        if self.command is None:
            volumes.append({"name": "scripts", "configMap": {"name": self.scripts_name}})
            mounts.append({"name": "scripts", "mountPath": _SCRIPTS_DIRECTORY, "readOnly": True})
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{self.name}-{tier}", "namespace": self.namespace, "labels": labels},
            "spec": {
                "replicas": 1,
                # The old pod gives its slice back before the new one asks for one: there may be no second to roll over to.
                "strategy": {"type": "Recreate"},
                "progressDeadlineSeconds": _READY_SECONDS,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "automountServiceAccountToken": False,
                        "enableServiceLinks": False,
                        "terminationGracePeriodSeconds": 10,
                        "securityContext": {
                            "runAsNonRoot": True,
                            "runAsUser": 65532,
                            "runAsGroup": 65532,
                            "fsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "tolerations": self.tolerations,
                        "resourceClaims": [
                            {"name": "slice", "resourceClaimTemplateName": self._claim_template(tier)},
                        ],
                        "containers": [
                            {
                                "name": "train",
                                "image": self.image,
                                "imagePullPolicy": self.image_pull_policy,
                                "command": self.command or ["python3", f"{_SCRIPTS_DIRECTORY}/{self.program.files[0]}"],
                                "env": [
                                    {"name": "TIER", "value": tier},
                                    {"name": "TRAINING_DONE_FILE", "value": _DONE_FILE},
                                    {"name": "DATA_DIR", "value": f"{_WORK_DIRECTORY}/data"},
                                    # The user has no home in the image, and the rest of the file system is read-only.
                                    {"name": "HOME", "value": _WORK_DIRECTORY},
                                    {"name": "TMPDIR", "value": _WORK_DIRECTORY},
                                ],
                                "readinessProbe": {
                                    "exec": {"command": ["test", "-f", _DONE_FILE]},
                                    "initialDelaySeconds": 2,
                                    "periodSeconds": 2,
                                },
                                "resources": {
                                    "claims": [{"name": "slice"}],
                                    "requests": dict(self.program.requests),
                                    "limits": {"memory": self.program.memory_limit},
                                },
                                "securityContext": {
                                    "allowPrivilegeEscalation": False,
                                    "readOnlyRootFilesystem": True,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                                "volumeMounts": mounts,
                            }
                        ],
                        "volumes": volumes,
                    },
                },
            },
        }

    def _claim_template(self, tier: str) -> pulumi.Input[str]:
        if isinstance(self.claim_templates, Mapping):
            return self.claim_templates[tier]
        of_tier: pulumi.Output[str] = mapped(self.claim_templates, lambda templates: templates[tier])
        return of_tier


def _read(name: str, args: FashionMnistTrioArgs) -> _Trio:
    reader = ArgsReader(f"FashionMnistTrio {name!r}", args, FashionMnistTrioArgs)
    reader.checked("name", checks.dns_label, name)  # the Deployments are called after the component
    program = reader.read_plain("program", checks.one_of(*_PROGRAMS))
    command = reader.read("command", _command)
    if program is not None and command is not None:
        reader.problem("program", "has no effect beside command: give one of the two")
    trio = _Trio(
        name=name,
        namespace=reader.read("namespace", checks.dns_label),
        image=reader.read("image", checks.text),
        claim_templates=reader.read("claim_templates", _one_per_tier),
        program=_PROGRAMS[program or _DEFAULT_PROGRAM],
        command=command,
        tolerations=reader.read("tolerations", checks.tolerations, GPU_TOLERATIONS),
        image_pull_policy=reader.read(
            "image_pull_policy", checks.one_of("Always", "IfNotPresent", "Never"), "IfNotPresent"
        ),
    )
    reader.finish()
    return trio


def _command(path: str, value: Any) -> Iterator[checks.Problem]:
    problems = tuple(checks.list_of(checks.text)(path, value))
    yield from problems
    if not problems and not value:
        yield checks.Problem(path, "is empty: write the program and its arguments as a list")


_one_per_tier = checks.record(dict.fromkeys(TIERS, checks.dns_subdomain), required=TIERS)
