"""Claims: the manifests word for word, the component's children, and every wrong template in one error."""

from typing import Any

import pulumi
import pytest

from eks_gpu_dra import ClaimTemplates, ClaimTemplatesArgs, InvalidInputs
from eks_gpu_dra.claims import ClaimRequest, GpuClaimTemplate
from tests.unit.components.recording import Program, run, unknown


def templates(preview: bool = False, **args: Any) -> Program:
    inputs: ClaimTemplatesArgs = {"namespace": "demo", "templates": {"small": "1g.5gb"}, **args}  # type: ignore[typeddict-item]
    return run(lambda: ClaimTemplates("claims", inputs).names, preview=preview)


def exactly(program: Program, name: str) -> dict[str, Any]:
    (request,) = program.named(f"claims-{name}").inputs["spec"]["spec"]["devices"]["requests"]
    found: dict[str, Any] = request["exactly"]
    return found


def test_a_manifest_word_for_word() -> None:
    template = GpuClaimTemplate(
        name="pair",
        namespace="demo",
        requests=[
            ClaimRequest.of_profile("2g.10gb", count=2, selectors=["device.attributes['gpu.nvidia.com'].index == 0"])
        ],
        labels={"team": "a"},
    )
    assert template.to_manifest() == {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "pair", "namespace": "demo", "labels": {"team": "a"}},
        "spec": {
            "metadata": {"labels": {"team": "a"}},
            "spec": {
                "devices": {
                    "requests": [
                        {
                            "name": "slice",
                            "exactly": {
                                "deviceClassName": "mig-2g.10gb",
                                "allocationMode": "ExactCount",
                                "count": 2,
                                "selectors": [
                                    {"cel": {"expression": "device.attributes['gpu.nvidia.com'].index == 0"}}
                                ],
                            },
                        }
                    ]
                }
            },
        },
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("1g.5gb", {"deviceClassName": "mig-1g.5gb", "count": 1}),
        ("1g.5gb+me", {"deviceClassName": "mig-1g.5gb.me", "count": 1}),
        ("gpu", {"deviceClassName": "gpu", "count": 1}),
        ({"profile": "3g.20gb", "count": 4}, {"deviceClassName": "mig-3g.20gb", "count": 4}),
        ({"profile": "3g.20gb", "count": 2.0}, {"deviceClassName": "mig-3g.20gb", "count": 2}),
        ({"device_class": "ours", "selectors": ["true"]}, {"deviceClassName": "ours", "selectors": [{"cel": {"expression": "true"}}]}),
    ],
)  # fmt: skip
def test_what_a_template_asks_for(spec: Any, expected: dict[str, Any]) -> None:
    assert exactly(templates(templates={"t": spec}), "t").items() >= expected.items()


def test_an_own_class_may_be_another_resources_output() -> None:
    def program() -> None:
        later = pulumi.Output.from_input("later")
        ClaimTemplates("claims", {"namespace": "demo", "templates": {"t": {"device_class": later}}})

    assert exactly(run(program), "t")["deviceClassName"] == "later"


def test_the_engine_gets_the_manifest_unchanged() -> None:
    program = templates(templates={"small": "1g.5gb", "whole": "gpu"})
    small = program.named("claims-small")
    assert small.type == "kubernetes:resource.k8s.io/v1:ResourceClaimTemplate"
    labels = {"app.kubernetes.io/managed-by": "eks-gpu-dra", "eks-gpu-dra/profile": "1g.5gb"}
    manifest = GpuClaimTemplate(
        name="small", namespace="demo", requests=[ClaimRequest.of_profile("1g.5gb")], labels=labels
    ).to_manifest()
    assert small.inputs == manifest
    assert program.children_of("claims") == {"claims-small", "claims-whole"}
    assert program.named("claims").type == "eks-gpu-dra:index:ClaimTemplates"


def test_outputs_name_what_was_made() -> None:
    program = templates(preview=True, templates={"small": "1g.5gb", "whole": "gpu"})
    assert program.result == {"small": "small", "whole": "whole"}
    assert program.outputs["claims"] == [{"names": program.result, "namespace": "demo"}]


@pytest.mark.parametrize(
    ("args", "path", "says"),
    [
        ({"templates": {"a": "1g.6gb+m"}}, "templates['a'].profile", "did you mean"),
        ({"templates": {"a": "1g.10gb"}, "boards": ["a30"]}, "templates['a'].profile", "not a MIG profile of a30"),
        ({"templates": {"A_b": "gpu"}}, "templates['A_b']", "object name"),
        ({"templates": {"a": {"profil": "gpu", "profile": "gpu"}}}, "templates['a'].profil", "did you mean 'profile'"),
        ({"templates": {"a": {"profile": "gpu", "device_class": "x"}}}, "templates['a']", "not both"),
        ({"templates": {"a": {"count": 1}}}, "templates['a']", "one of profile and device_class"),
        ({"templates": {"a": {"profile": "gpu", "count": 33}}}, "templates['a'].count", "1 to 32"),
        ({"templates": {"a": {"profile": "gpu", "count": True}}}, "templates['a'].count", "1 to 32"),
        ({"templates": {"a": {"profile": "gpu", "selectors": "true"}}}, "templates['a'].selectors", "is not a list"),
        ({"templates": {"a": {"profile": "gpu", "selectors": ["x" * 10241]}}}, "templates['a'].selectors[0]", "10240 bytes"),
        ({"templates": {"a": {"profile": "gpu", "selectors": ["true"] * 33}}}, "templates['a'].selectors", "join some"),
        ({"templates": {"a": 3}}, "templates['a']", "neither a profile name nor a map"),
        ({"templates": {}}, "templates", "at least one"),
        ({"templates": "1g.5gb"}, "templates", "not a map"),
        ({"namespace": "Demo"}, "namespace", "DNS label"),
        ({"boards": ["l4"]}, "boards[0]", "has no MIG"),
    ],
)  # fmt: skip
def test_a_wrong_input_says_which_and_what_to_do(args: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(InvalidInputs) as caught:
        templates(**args)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert says in problem.reason


def test_all_wrong_templates_come_in_one_error() -> None:
    with pytest.raises(InvalidInputs) as caught:
        templates(namespace="Demo", templates={"a": "x", "b": {"count": 0, "profile": "gpu"}, "c": None})
    assert {problem.path for problem in caught.value.problems} == {
        "namespace",
        "templates['a'].profile",
        "templates['b'].count",
        "templates['c']",
    }


def test_unknown_values_do_not_fail_a_preview() -> None:
    program = run(
        lambda: ClaimTemplates("claims", {"namespace": unknown(), "templates": {"a": {"device_class": unknown()}}}),
        preview=True,
    )
    assert program.children_of("claims") == {"claims-a"}


def test_what_decides_or_is_judged_must_be_plain() -> None:
    with pytest.raises(InvalidInputs, match=r"templates: is an output"):
        run(lambda: ClaimTemplates("claims", {"namespace": "demo", "templates": unknown()}), preview=True)  # type: ignore[typeddict-item]
    with pytest.raises(InvalidInputs, match=r"templates\['a'\]\.profile: is an output"):
        run(
            lambda: ClaimTemplates("claims", {"namespace": "demo", "templates": {"a": {"profile": unknown()}}}),  # type: ignore[dict-item]
            preview=True,
        )
