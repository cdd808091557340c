"""Drift by ownership: what is ours is as declared, what was taken over is as it lives."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_sandbox.standins.kubernetes.ownership import imported_inputs, live_inputs, owned_fields
from gpu_sandbox.standins.kubernetes.values import Object, Secret, plain

from .strategies import keys, values

HEAD = {"apiVersion": "v1", "kind": "ConfigMap"}


def live_object(**content: Any) -> dict[str, Any]:
    return {**HEAD, "metadata": {"name": "a", "namespace": "n"}, **content}


def declared(**content: Any) -> Object:
    return live_object(**content)


@pytest.mark.parametrize(
    ("inputs", "live", "fields", "current"),
    [
        pytest.param(
            {"data": {"x": "1"}},
            {"data": {"x": "1", "y": "2"}},
            {"f:data": {"f:x": {}}},
            {"data": {"x": "1"}},
            id="added-by-others",
        ),
        pytest.param({"data": {"x": "1"}}, {"data": {"x": "2"}}, {}, {"data": {"x": "2"}}, id="taken-over"),
        pytest.param({"data": {"x": "1"}}, {}, {}, {}, id="removed"),
        pytest.param(
            {"spec": {"limits": {"cpu": "1000m"}}},
            {"spec": {"limits": {"cpu": "1"}}},
            {"f:spec": {"f:limits": {"f:cpu": {}}}},
            {"spec": {"limits": {"cpu": "1000m"}}},
            id="normalised",
        ),
        pytest.param(
            {"spec": {"hostNetwork": False}}, {"spec": {}}, {}, {"spec": {"hostNetwork": False}}, id="zero-dropped"
        ),
        pytest.param(
            {"spec": {"args": ["a"]}},
            {"spec": {"args": ["b"]}},
            {"f:spec": {"f:args": {}}},
            {"spec": {"args": ["a"]}},
            id="atomic-owned",
        ),
        pytest.param(
            {"spec": {"args": ["a"], "x": 1}},
            {"spec": {"args": ["b"], "x": 1}},
            {"f:spec": {"f:x": {}}},
            {"spec": {"args": ["b"], "x": 1}},
            id="atomic-taken-over",
        ),
        pytest.param(
            {"spec": {"ports": [{"port": 80}, {"port": 81}]}},
            {"spec": {"ports": [{"port": 80, "protocol": "TCP"}]}},
            {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}}},
            {"spec": {"ports": [{"port": 80}]}},
            id="list-item-removed",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "main", "image": "a"}]}},
            {"spec": {"containers": [{"name": "side", "image": "s"}, {"name": "main", "image": "b"}]}},
            {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:name": {}}}}},
            {"spec": {"containers": [{"name": "main", "image": "b"}]}},
            id="list-item-changed",
        ),
        pytest.param(
            {"finalizers": ["x", "y"]},
            {"finalizers": ["x"]},
            {"f:finalizers": {'v:"x"': {}}},
            {"finalizers": ["x"]},
            id="set",
        ),
        pytest.param(
            {"data": Secret({"x": "1"})}, {"data": {"x": "2"}}, {}, {"data": Secret({"x": "2"})}, id="secret-taken-over"
        ),
        pytest.param(
            {"stringData": Secret({"x": "1", "y": "2"})},
            {"data": {"x": "MQ==", "y": "Mw=="}},
            {"f:data": {"f:x": {}}},
            {"stringData": Secret({"x": "1", "y": "3"})},
            id="string-data",
        ),
    ],
)
def test_live_inputs(inputs: Object, live: Object, fields: Object, current: Object) -> None:
    assert live_inputs(declared(**inputs), live_object(**live), fields) == declared(**current)


def test_labels_taken_over_when_nothing_of_the_metadata_is_ours() -> None:
    inputs = {**HEAD, "metadata": {"name": "a", "labels": {"x": "1"}}}
    live = {**HEAD, "metadata": {"name": "a", "labels": {"x": "2"}, "uid": "u"}}
    assert live_inputs(inputs, live, {"f:data": {}})["metadata"] == {"name": "a", "labels": {"x": "2"}}


@given(st.dictionaries(keys, values.filter(lambda value: value is not None), max_size=4))
def test_an_object_that_is_as_declared_shows_no_drift_whoever_owns_it(content: Object) -> None:
    inputs = {"spec": content, **HEAD}
    assert plain(live_inputs(inputs, inputs, {"f:spec": {}})) == inputs


def test_owned_fields() -> None:
    entries = [
        {"manager": "me", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
        {"manager": "me", "operation": "Update", "fieldsV1": {"f:old": {}}},
        {"manager": "me", "operation": "Apply", "fieldsV1": {"f:data": {}}},
    ]
    live = {"metadata": {"managedFields": entries}}
    assert owned_fields(live, "me") == {"f:data": {}}
    assert owned_fields(live, "you") is None


def test_imported_inputs_leave_out_what_the_server_writes() -> None:
    metadata = {
        "name": "a",
        "uid": "u",
        "labels": {"x": "1"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        "managedFields": [],
    }
    live = {**HEAD, "metadata": metadata, "data": {"x": "1"}, "status": {"phase": "x"}}
    assert imported_inputs(live) == {**HEAD, "metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"x": "1"}}
