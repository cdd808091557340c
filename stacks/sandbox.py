"""The stack shape `sandbox`: driver, device classes, claim templates and three workloads on the laptop cluster.

Everything is checked before the first resource is declared, and the first check is that the kubeconfig leads to the
sandbox: what is simulated is never deployed to another cluster.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import demand
import pulumi
import pulumi_kubernetes as kubernetes
from config import ConfigError, Problem, Settings, Source, decode
from pydantic import AfterValidator, BeforeValidator, Field

from eks_gpu_dra import ClaimTemplates, ClaimTemplateSpec, DraDriver, DraDriverArgs, FashionMnistTrio, MigDeviceClasses
from gpu_catalog.boards import Board, CatalogError, load_catalog
from gpu_catalog.layouts import LayoutError, builtin_mig_parted, parse_mig_parted
from gpu_sandbox.identity import Identity, NotTheSandboxError, require_sandbox
from gpu_sandbox.settings import StatePaths, read_settings, state_dir_from_environment

TIERS = ("large", "medium", "small")
KUBERNETES_VERSION = "1.36"
"""What the sandbox runs; it has extended resources on by default."""


class ClaimSettings(Settings):
    """One claim template."""

    profile: str
    count: int = Field(default=1, ge=1, le=32)


def _claim(value: Any) -> Any:
    return {"profile": value} if isinstance(value, str) else value


def _new_namespace(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
        raise ValueError("a namespace has 1 to 63 of a-z, 0-9 and '-', and begins and ends with a letter or digit")
    if value in ("default", "kube-system", "kube-public", "kube-node-lease"):
        raise ValueError("is Kubernetes' own: name one that does not exist yet, the stack creates and destroys it")
    return value


class ImageSettings(Settings):
    """Images to run in place of those the sandbox built and listed in its state directory."""

    driver: str | None = None
    workload: str | None = None


class SandboxSettings(Settings):
    """The configuration of this shape."""

    shape: Literal["sandbox"]
    kubeconfig: Path | None = None
    """The sandbox's kubeconfig. Default: $KUBECONFIG, else the one in the sandbox's state directory."""
    board: str | None = None
    """The board this stack is written for. Default: what the sandbox has; a different one there is an error."""
    gpus: int | None = Field(default=None, ge=1, le=16)
    """The number of GPUs this stack is written for. Default: what the sandbox has."""
    mig_config: str | None = None
    """Name of the MIG layout. Default: take the partitions as found."""
    mig_config_file: Path | None = None
    """A mig-parted v1 file, relative to stacks/, that defines mig_config. Default: the built-in layouts."""
    namespace: Annotated[str, AfterValidator(_new_namespace)] = "demo"
    """Namespace to create for the claim templates and the workloads."""
    claims: Mapping[str, Annotated[ClaimSettings, BeforeValidator(_claim)]] = {
        "large": ClaimSettings(profile="3g.20gb"),
        "medium": ClaimSettings(profile="2g.10gb"),
        "small": ClaimSettings(profile="1g.5gb"),
    }
    """Claim templates by name: a MIG profile, gpu, or {profile, count}."""
    workloads: bool = True
    """Run the three training pods; they use the claims large, medium and small."""
    images: ImageSettings = ImageSettings()


@dataclass(frozen=True)
class Node:
    """What the sandbox has, and where."""

    identity: Identity
    board: str
    gpus: int
    built_images: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """The checked answers to every question that decides which resources there are."""

    settings: SandboxSettings
    state_dir: Path
    board: str
    layout_text: str | None
    driver_image: str
    workload_image: str


def declare(values: Mapping[str, Any], source: Source) -> None:
    """Declares the stack. Raises ConfigError, or RunError when the kubeconfig is not the sandbox's."""
    settings = decode(SandboxSettings, values, source)
    kubeconfig = _kubeconfig_text(settings, source)
    try:
        identity = require_sandbox(kubeconfig)
    except NotTheSandboxError as error:
        raise pulumi.RunError(str(error)) from None
    resources(plan(settings, look_at(identity), source), identity, kubeconfig)


def look_at(identity: Identity) -> Node:
    """What the sandbox's state directory says it has."""
    found = read_settings(StatePaths(identity.state_dir))
    if found is None:
        raise pulumi.RunError(f"the sandbox in {identity.state_dir} is gone; start one with `sandbox up`")
    listing = identity.state_dir / "images.json"
    images = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else {}
    return Node(identity, found.board, found.gpus, images)


def plan(settings: SandboxSettings, node: Node, source: Source) -> Plan:
    """Checks the settings against the catalogue and the sandbox. Raises ConfigError with every problem."""
    problems: list[Problem] = []
    layout_text = _layout_text(settings, problems)
    board = _board(settings, node, problems)
    if settings.gpus is not None and settings.gpus != node.gpus:
        problems.append(Problem("gpus", _not_there(f"{settings.gpus} GPUs", node, f"--gpus {settings.gpus}")))
    if board is not None:
        made = _made(settings, board, settings.gpus or node.gpus, layout_text, problems)
        claims = {name: demand.Claim(claim.profile, claim.count) for name, claim in settings.claims.items()}
        for name, reason in demand.unmet(claims, board, made).items():
            problems.append(Problem(f"claims.{name}", reason))
    if settings.workloads and (missing := [tier for tier in TIERS if tier not in settings.claims]):
        problems.append(
            Problem("claims", f"has no {', '.join(missing)}, which the workloads use; add them or set workloads: false")
        )
    images = {**node.built_images, **settings.images.model_dump(exclude_none=True)}
    problems += [
        Problem(f"images.{name}", "is not set and not built; `sandbox images load` builds it")
        for name in ("driver", "workload")
        if name not in images
    ]
    if problems or board is None:
        raise ConfigError(source, problems)
    return Plan(
        settings=settings,
        state_dir=node.identity.state_dir,
        board=board.key,
        layout_text=layout_text,
        driver_image=images["driver"],
        workload_image=images["workload"],
    )


def resources(plan: Plan, identity: Identity, kubeconfig: str) -> None:
    """Declares every resource of the shape, on an explicit provider for the sandbox."""
    settings, state_dir = plan.settings, plan.state_dir
    provider = kubernetes.Provider(
        "sandbox",
        kubeconfig=pulumi.Output.secret(kubeconfig),
        # The cluster's own name for itself: a renewed certificate in the kubeconfig then replaces nothing.
        cluster_identifier=identity.sandbox_id,
        # The cluster is this stack's alone: what an update killed half-way made but did not record is taken over.
        upsert_existing_objects=True,
    )
    on_sandbox = pulumi.ResourceOptions(providers=[provider])
    driver_args: DraDriverArgs = {
        "image": plan.driver_image,
        "image_pull_policy": "Never",  # imported on the node; there is no registry to ask
        "kubelet_root": str(state_dir / "kubelet"),
        "driver_root": str(state_dir / "driver-root"),
        "cdi_root": str(state_dir / "cdi"),
        # The kernel's own files know no simulated GPU; their counterparts lie in the driver root, beside the library.
        "alt_proc_devices_path": "/driver-root/proc/devices",
        "alt_proc_driver_path": "/driver-root/proc/driver/nvidia",
        "alt_sysfs_path": "/driver-root/sys",
        "node_selector": {"nvidia.com/gpu.present": "true", "gpu-sandbox/simulated": "true"},
    }
    if settings.mig_config is not None:
        driver_args["mig_config"] = settings.mig_config
    if plan.layout_text is not None:
        driver_args["mig_config_data"] = plan.layout_text
    driver = DraDriver("dra-driver", driver_args, on_sandbox)
    classes = MigDeviceClasses(
        "device-classes", {"boards": [plan.board], "kubernetes_version": KUBERNETES_VERSION}, on_sandbox
    )
    namespace = kubernetes.core.v1.Namespace(
        "demo",
        metadata={
            "name": settings.namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
        # On destroy the namespace goes with all its pods while the driver still runs: a pod whose claim no driver
        # gives back stays Terminating for ever.
        opts=pulumi.ResourceOptions(provider=provider, depends_on=[driver, classes]),
    )
    specs: dict[str, str | ClaimTemplateSpec] = {
        name: {"profile": claim.profile, "count": claim.count} for name, claim in settings.claims.items()
    }
    in_namespace = pulumi.ResourceOptions.merge(on_sandbox, pulumi.ResourceOptions(depends_on=[namespace]))
    templates = ClaimTemplates(
        "claims", {"namespace": settings.namespace, "templates": specs, "boards": [plan.board]}, in_namespace
    )
    pulumi.export("namespace", settings.namespace)
    pulumi.export("device_classes", classes.names)
    pulumi.export("claim_templates", templates.names)
    if settings.workloads:
        trio = FashionMnistTrio(
            "fashion-mnist",
            {
                "namespace": settings.namespace,
                "image": plan.workload_image,
                "image_pull_policy": "Never",
                "program": "cpu",  # a simulated slice can be held, not computed on
                "claim_templates": templates.names.apply(lambda names: {tier: names[tier] for tier in TIERS}),
            },
            pulumi.ResourceOptions.merge(on_sandbox, pulumi.ResourceOptions(depends_on=[templates])),
        )
        pulumi.export("workloads", trio.deployments)


def _kubeconfig_text(settings: SandboxSettings, source: Source) -> str:
    named = settings.kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = Path(named).expanduser() if named else StatePaths(state_dir_from_environment()).kubeconfig
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror}); is the sandbox up? `sandbox up` starts it"
        raise ConfigError(source, [Problem("kubeconfig", reason)]) from None


def _board(settings: SandboxSettings, node: Node, problems: list[Problem]) -> Board | None:
    actual = load_catalog().board(node.board)
    if settings.board is None:
        return actual
    try:
        declared = load_catalog().board(settings.board)
    except CatalogError as error:
        problems.append(Problem("board", str(error)))
        return None
    if declared.key != actual.key:
        problems.append(Problem("board", _not_there(declared.key, node, f"--board {declared.key}")))
    return declared


def _not_there(declared: str, node: Node, flag: str) -> str:
    return (
        f"is {declared}, and the sandbox has {node.gpus} x {node.board}: leave it out of the configuration, "
        f"or `sandbox down` and `sandbox up {flag}`"
    )


def _layout_text(settings: SandboxSettings, problems: list[Problem]) -> str | None:
    if settings.mig_config_file is None:
        return None
    if settings.mig_config is None:
        problems.append(Problem("mig_config", "is missing: mig_config_file defines layouts, mig_config names one"))
    path = Path(__file__).parent / settings.mig_config_file
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        problems.append(Problem("mig_config_file", f"{path} cannot be read: {error.strerror}"))
        return None


def _made(
    settings: SandboxSettings, board: Board, gpus: int, layout_text: str | None, problems: list[Problem]
) -> Counter[str] | None:
    """The devices the layout makes; None when they are taken as found, or when the layout itself is wrong."""
    if settings.mig_config is None or (layout_text is None and settings.mig_config_file is not None):
        return None
    try:
        file = builtin_mig_parted() if layout_text is None else parse_mig_parted(layout_text)
    except LayoutError as error:
        problems += [Problem("mig_config_file", problem) for problem in error.problems]
        return None
    try:
        made = demand.offered(board, gpus, file, settings.mig_config)
    except LayoutError as error:
        problems += [Problem("mig_config", problem) for problem in error.problems]
        return None
    if not made:
        problems.append(Problem("mig_config", f"{settings.mig_config!r} makes no device of {gpus} x {board.key}"))
    return made
