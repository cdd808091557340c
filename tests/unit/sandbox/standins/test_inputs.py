"""Checked inputs: complete, named once, secrets hidden; and the manifest made of them."""

import re

import pytest

from gpu_sandbox.standins.kubernetes.inputs import AUTONAMED, Naming, check, identity, manifest
from gpu_sandbox.standins.kubernetes.tokens import GroupVersionKind, ObjectId
from gpu_sandbox.standins.kubernetes.values import UNKNOWN, Object, Secret

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")
NAMING = Naming("Settings", b"seed")


def test_a_name_is_made_and_kept() -> None:
    first = check(CONFIG_MAP, {"data": {}}, {}, NAMING, "team").inputs
    assert re.fullmatch(r"settings-[0-9a-f]{8}", first["metadata"]["name"])
    assert first["metadata"]["annotations"] == {AUTONAMED: "true"}
    assert (first["apiVersion"], first["kind"], first["metadata"]["namespace"]) == ("v1", "ConfigMap", "team")

    again = check(CONFIG_MAP, {"data": {}}, first, Naming("Settings", b"another seed"), "team").inputs
    assert again == first

    replacement = check(CONFIG_MAP, {"data": {}}, {}, Naming("Settings", b"another seed"), "team").inputs
    assert replacement["metadata"]["name"] != first["metadata"]["name"]


@pytest.mark.parametrize(
    ("naming", "name"),
    [
        (Naming("a", b"", "proposed", "propose"), "proposed"),
        (Naming("a", b"", "given", "enforce"), "given"),
    ],
)
def test_autonaming_configuration_is_honoured(naming: Naming, name: str) -> None:
    assert check(CONFIG_MAP, {}, {}, naming, None).inputs["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("metadata", "naming", "property_path"),
    [
        ({"generateName": "a-"}, NAMING, "metadata.generateName"),
        ({}, Naming("a", b"", "", "disable"), "metadata.name"),
        (
            {"name": "a", "annotations": {"pulumi.com/waitFor": "condition=Ready"}},
            NAMING,
            "metadata.annotations.pulumi.com/waitFor",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_path(metadata: Object, naming: Naming, property_path: str) -> None:
    assert list(check(CONFIG_MAP, {"metadata": metadata}, {}, naming, None).failures) == [property_path]


@pytest.mark.parametrize("metadata", [UNKNOWN, {"name": UNKNOWN, "namespace": UNKNOWN}, {"name": Secret("a")}])
def test_what_is_given_is_left_alone(metadata: object) -> None:
    assert check(CONFIG_MAP, {"metadata": metadata}, {}, NAMING, None).inputs["metadata"] == metadata


def test_a_secret_is_secret_however_it_was_declared() -> None:
    inputs = check(
        SECRET, {"metadata": {"name": "s"}, "stringData": {"a": "b"}, "data": {"c": "ZA=="}}, {}, NAMING, "x"
    ).inputs
    assert inputs["stringData"] == Secret({"a": "b"})
    assert inputs["data"] == Secret({"c": "ZA=="})
    assert manifest(inputs)["data"] == {"a": "Yg==", "c": "ZA=="}
    assert "stringData" not in manifest(inputs)


def test_a_manifest_has_no_nulls_no_status_no_marks() -> None:
    inputs = {"apiVersion": "v1", "kind": "Pod", "spec": Secret({"a": 1, "b": None}), "status": {"phase": "x"}}
    assert manifest(inputs) == {"apiVersion": "v1", "kind": "Pod", "spec": {"a": 1}}


def test_identity() -> None:
    assert identity({"metadata": {"name": "a"}}, "fallback") == ObjectId("fallback", "a")
    assert identity({"metadata": {"name": "a", "namespace": Secret("n")}}, "fallback") == ObjectId("n", "a")
