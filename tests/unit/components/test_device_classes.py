"""MigDeviceClasses: the menu that certain boards make, word for word, and what is refused."""

from typing import Any

import pulumi
import pytest

from eks_gpu_dra import InvalidInputs, MigDeviceClasses, MigDeviceClassesArgs
from eks_gpu_dra._checks import dns_subdomain, label_value
from eks_gpu_dra.device_classes import class_name, offered_classes
from gpu_catalog.boards import load_catalog
from tests.unit.components.recording import Program, run, unknown

A100 = "a100-sxm4-40gb"
A100_80 = "a100-sxm4-80gb"


def classes(preview: bool = False, **args: Any) -> Program:
    inputs: MigDeviceClassesArgs = {"boards": [A100], **args}  # type: ignore[typeddict-item]
    return run(lambda: MigDeviceClasses("gpus", inputs).names, preview=preview)


def test_a_profiles_class_word_for_word() -> None:
    (one,) = [
        each
        for each in offered_classes([A100], nvidia_names=True, extended_resources=True)
        if each.offers == "1g.5gb+me"
    ]
    assert one.to_manifest() == {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {
            "name": "mig-1g.5gb.me",
            "labels": {
                "app.kubernetes.io/managed-by": "eks-gpu-dra",
                "eks-gpu-dra/type": "mig",
                "eks-gpu-dra/profile": "1g.5gb.me",
                "eks-gpu-dra/memory": "4864Mi",
                "eks-gpu-dra/slices": "1",
            },
        },
        "spec": {
            "selectors": [
                {
                    "cel": {
                        "expression": "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'mig'"
                        " && device.attributes['gpu.nvidia.com'].profile == '1g.5gb+me'"
                    }
                }
            ],
            "extendedResourceName": "nvidia.com/mig-1g.5gb.me",
        },
    }


def test_the_menu_of_an_a100() -> None:
    program = classes()
    assert {each.inputs["metadata"]["name"] for each in program.of_kind("DeviceClass")} == {
        *("gpu", "gpu.nvidia.com", "mig.nvidia.com"),
        *("mig-1g.5gb", "mig-1g.5gb.me", "mig-1g.10gb", "mig-2g.10gb", "mig-3g.20gb", "mig-4g.20gb", "mig-7g.40gb"),
    }
    assert program.named("gpus").type == "eks-gpu-dra:index:MigDeviceClasses"
    assert all(each.parent == "gpus" for each in program.of_kind("DeviceClass"))
    assert all(each.name == f"gpus-{each.inputs['metadata']['name']}" for each in program.of_kind("DeviceClass"))
    assert program.result == {
        "gpu": "gpu",
        "1g.5gb": "mig-1g.5gb",
        "1g.5gb+me": "mig-1g.5gb.me",
        "1g.10gb": "mig-1g.10gb",
        "2g.10gb": "mig-2g.10gb",
        "3g.20gb": "mig-3g.20gb",
        "4g.20gb": "mig-4g.20gb",
        "7g.40gb": "mig-7g.40gb",
    }


def test_the_engine_gets_the_manifest_unchanged() -> None:
    program = classes(kubernetes_version="1.36")
    for device_class in offered_classes([A100], nvidia_names=True, extended_resources=True):
        registered = program.named(f"gpus-{device_class.name}")
        assert registered.type == "kubernetes:resource.k8s.io/v1:DeviceClass"
        assert registered.inputs == device_class.to_manifest()


def test_boards_that_share_a_profile_name_make_one_class_that_promises_the_least_memory() -> None:
    both = offered_classes([A100, A100_80], nvidia_names=False, extended_resources=False)
    (shared,) = [each for each in both if each.offers == "1g.10gb"]
    sizes = [load_catalog().board(board).profile("1g.10gb").memory_mib for board in (A100, A100_80)]
    assert len(set(sizes)) == 2
    assert shared.labels["eks-gpu-dra/memory"] == f"{min(sizes)}Mi"


def test_a_product_name_is_as_good_as_a_key() -> None:
    assert classes(boards=["NVIDIA A100-SXM4-40GB"]).result == classes().result


def test_chosen_profiles_only() -> None:
    assert classes(profiles=["1g.5gb", "3g.20gb"]).result == {
        "gpu": "gpu",
        "1g.5gb": "mig-1g.5gb",
        "3g.20gb": "mig-3g.20gb",
    }


def test_nvidias_names_can_be_left_to_its_chart() -> None:
    names = {each.inputs["metadata"]["name"] for each in classes(owns_nvidia_names=False).of_kind("DeviceClass")}
    assert names.isdisjoint({"gpu.nvidia.com", "mig.nvidia.com"})


@pytest.mark.parametrize(
    ("args", "extended"),
    [
        ({}, False),
        ({"kubernetes_version": "1.35"}, False),
        ({"kubernetes_version": "1.36"}, True),
        ({"kubernetes_version": "1.37", "extended_resources": False}, False),
        ({"kubernetes_version": "1.37", "extended_resources": True}, True),
    ],
)
def test_extended_resources_where_the_api_server_keeps_them(args: dict[str, Any], extended: bool) -> None:
    named = [
        each.inputs["spec"]["extendedResourceName"]
        for each in classes(**args).of_kind("DeviceClass")
        if "extendedResourceName" in each.inputs["spec"]
    ]
    assert (len(named) == 8) is extended
    assert len(set(named)) == len(named), "two classes must not share an extended resource"
    assert not extended or {"nvidia.com/gpu", "nvidia.com/mig-1g.5gb"} <= set(named)


def test_every_board_of_the_catalogue_makes_valid_unique_objects() -> None:
    boards = [board.key for board in load_catalog().mig_boards()]
    every = offered_classes(boards, nvidia_names=True, extended_resources=True)
    assert len({each.name for each in every}) == len(every)
    for device_class in every:
        assert not list(dns_subdomain("name", device_class.name))
        for value in device_class.labels.values():
            assert not list(label_value("label", value))


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ("gpu", "gpu"),
        ("1g.5gb", "mig-1g.5gb"),
        ("1g.24gb+me.all", "mig-1g.24gb.me.all"),
        ("1g.24gb-me", "mig-1g.24gb-me"),
    ],
)
def test_class_names(profile: str, name: str) -> None:
    assert class_name(profile) == name


@pytest.mark.parametrize(
    ("args", "path", "says"),
    [
        ({"boards": ["a100-sxm-40gb"]}, "boards[0]", "a100-sxm4-40gb"),
        ({"boards": [A100, "t4"]}, "boards[1]", "has no MIG"),
        ({"boards": []}, "boards", "is empty"),
        ({"boards": A100}, "boards", "is not a list"),
        ({"profiles": ["1g.6gb"]}, "profiles[0]", "'1g.5gb'"),
        ({"profiles": ["1g.5gb", "3g.40gb"]}, "profiles[1]", "not a MIG profile of a100-sxm4-40gb"),
        ({"profiles": []}, "profiles", "is empty"),
        ({"owns_nvidia_names": "false"}, "owns_nvidia_names", "without quotes"),
        ({"kubernetes_version": 1.36}, "kubernetes_version", "in quotes"),
        ({"kubernetes_version": "1.33"}, "kubernetes_version", "1.34 or newer"),
        ({"extended_resources": True}, "extended_resources", "kubernetes_version 1.36"),
        ({"extended_resources": True, "kubernetes_version": "1.35"}, "extended_resources", "1.36"),
        ({"board": [A100]}, "board", "did you mean 'boards'"),
    ],
)
def test_a_wrong_input_says_which_and_what_to_do(args: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(InvalidInputs) as caught:
        classes(**args)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert says in problem.reason


def test_boards_must_be_known_before_anything_is_made() -> None:
    with pytest.raises(InvalidInputs, match="boards: is an output of another resource"):
        run(lambda: MigDeviceClasses("gpus", {"boards": unknown()}), preview=True)  # type: ignore[typeddict-item]


def test_names_are_known_in_a_preview() -> None:
    assert classes(preview=True).result["1g.5gb"] == "mig-1g.5gb"
    assert classes().outputs["gpus"] == [{"names": classes().result}]


def test_a_program_may_pass_none_for_an_optional_input() -> None:
    assert classes(profiles=None).result == classes().result
    assert isinstance(InvalidInputs("x", []), pulumi.InputPropertiesError)
