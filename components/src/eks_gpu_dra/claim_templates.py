"""`ClaimTemplates`: the ResourceClaimTemplates of one namespace, each by profile, whole GPU or own class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from eks_gpu_dra import _checks as checks
from eks_gpu_dra._args import ArgsReader, holds_output
from eks_gpu_dra._boards import all_mig_boards, check_profile, mig_boards
from eks_gpu_dra._kubernetes import as_args
from eks_gpu_dra.claims import LONGEST_SELECTOR, MOST_DEVICES, MOST_SELECTORS, ClaimRequest, GpuClaimTemplate
from eks_gpu_dra.device_classes import LABEL_PREFIX, WHOLE_GPU, class_name


class ClaimTemplateSpec(TypedDict, total=False):
    """What a template asks for: a profile or a device class, and how many devices."""

    profile: str
    """A MIG profile (1g.5gb), or gpu for a whole GPU. Either this or device_class."""
    device_class: pulumi.Input[str]
    """Name of a DeviceClass of your own. Either this or profile."""
    count: int
    """How many devices, 1 to 32. Default: 1."""
    selectors: Sequence[str]
    """CEL expressions over `device` that must all hold besides the class's own."""


if TYPE_CHECKING:
    _Template = str | ClaimTemplateSpec
else:
    # The component plugin's schema has no unions; there the map's values are of any type.
    _Template = Any


class ClaimTemplatesArgs(TypedDict):
    """Inputs of ClaimTemplates."""

    namespace: pulumi.Input[str]
    """Namespace of the templates; pods use templates of their own namespace only."""
    templates: Mapping[str, _Template]
    """What each template asks for, by template name: a profile (1g.5gb), gpu, or {profile | device_class, count, selectors}."""
    boards: NotRequired[Sequence[str]]
    """Boards of the cluster's GPU nodes: each profile must be one of theirs. Default: of any board in the catalogue."""


class ClaimTemplates(pulumi.ComponentResource):
    """ResourceClaimTemplates of one namespace: a pod that names one gets devices of its own."""

    names: pulumi.Output[Mapping[str, str]]
    """Name of each ResourceClaimTemplate, by the name it was declared under."""
    namespace: pulumi.Output[str]
    """Namespace of the templates."""

    def __init__(self, name: str, args: ClaimTemplatesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        namespace, templates = _read(name, args)
        super().__init__("eks-gpu-dra:index:ClaimTemplates", name, {}, opts)
        for template in templates:
            manifest = template.to_manifest()
            kubernetes.resource.v1.ResourceClaimTemplate(
                f"{name}-{template.name}",
                metadata=as_args(manifest["metadata"]),
                spec=as_args(manifest["spec"]),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.names = pulumi.Output.from_input({template.name: template.name for template in templates})
        self.namespace = pulumi.Output.from_input(namespace)
        self.register_outputs({"names": self.names, "namespace": self.namespace})


def _read(name: str, args: ClaimTemplatesArgs) -> tuple[pulumi.Input[str], tuple[GpuClaimTemplate, ...]]:
    reader = ArgsReader(f"ClaimTemplates {name!r}", args, ClaimTemplatesArgs)
    namespace = reader.read("namespace", checks.dns_label)
    boards = reader.read_plain("boards", mig_boards, all_mig_boards())
    declared = reader.raw("templates")
    requests: dict[str, ClaimRequest] = {}
    if holds_output(declared) and not isinstance(declared, Mapping):
        reader.problem(
            "templates",
            "is an output of another resource: write a plain map, its names decide which resources are made",
        )
    elif declared is not None and not (isinstance(declared, Mapping) and declared):
        reader.problem(
            "templates", f"{declared!r} is not a map with at least one template, for example {{'small': '1g.5gb'}}"
        )
    else:
        for template_name, spec in (declared or {}).items():
            path = f"templates[{template_name!r}]"
            reader.checked(path, checks.dns_subdomain, template_name)
            request = _request(reader, path, spec, boards)
            if request is not None:
                requests[template_name] = request
    reader.finish()
    return namespace, tuple(
        GpuClaimTemplate(
            name=template_name, namespace=namespace, requests=[request], labels=_labels(declared[template_name])
        )
        for template_name, request in requests.items()
    )


def _request(reader: ArgsReader, path: str, spec: Any, boards: Sequence[str]) -> ClaimRequest | None:
    """The one request of a template; None after something wrong was reported that leaves nothing to build."""
    if isinstance(spec, str):
        spec = {"profile": spec}
    if not isinstance(spec, Mapping):
        reader.problem(path, f"{spec!r} is neither a profile name nor a map with the keys {', '.join(_CHECKS)}")
        return None
    given = {key: value for key, value in spec.items() if value is not None}
    for key, value in given.items():
        if key not in _CHECKS:
            reader.problem(f"{path}.{key}", f"is not an input: {checks.nearest(key, _CHECKS)}")
        elif key != "device_class" and holds_output(value):
            reader.problem(
                f"{path}.{key}",
                "is an output of another resource: write a plain value, so that policies can judge it before an update",
            )
            return None
    if ("profile" in given) == ("device_class" in given):
        reader.problem(path, "needs one of profile and device_class" + (", not both" if "profile" in given else ""))
        return None

    def profile_check(path: str, value: Any) -> Iterator[checks.Problem]:
        if value != WHOLE_GPU:
            yield from check_profile(path, value, boards)

    checked = {
        key: reader.checked(f"{path}.{key}", profile_check if key == "profile" else _CHECKS[key], value)
        for key, value in given.items()
        if key in _CHECKS
    }
    count, selectors = checked.get("count", 1), checked.get("selectors", ())
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if "device_class" in checked:
        return ClaimRequest(name="device", device_class=checked["device_class"], count=count, selectors=selectors)
    return ClaimRequest.of_profile(str(checked["profile"]), count=count, selectors=selectors)


def _selectors(path: str, value: Any) -> Iterator[checks.Problem]:
    yield from checks.list_of(checks.text)(path, value)
    if isinstance(value, Sequence) and len(value) > MOST_SELECTORS:
        yield checks.Problem(
            path, f"has {len(value)} expressions, a request may have {MOST_SELECTORS}: join some with &&"
        )
    for index, expression in enumerate(value if isinstance(value, Sequence) else ()):
        if len(str(expression).encode()) > LONGEST_SELECTOR:
            yield checks.Problem(f"{path}[{index}]", f"is longer than the {LONGEST_SELECTOR} bytes the API takes")


_CHECKS: dict[str, checks.Check] = {
    "profile": checks.text,
    "device_class": checks.dns_subdomain,
    "count": checks.whole_number(1, MOST_DEVICES),
    "selectors": _selectors,
}


def _labels(spec: str | Mapping[str, Any]) -> dict[str, str]:
    labels = {"app.kubernetes.io/managed-by": "eks-gpu-dra"}
    profile = spec if isinstance(spec, str) else spec.get("profile")
    if profile is not None:
        labels[f"{LABEL_PREFIX}/profile"] = class_name(profile).removeprefix("mig-")
    return labels
