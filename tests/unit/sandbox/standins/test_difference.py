"""What changed, and whether that means a new object."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_sandbox.standins.kubernetes.api import Cause
from gpu_sandbox.standins.kubernetes.difference import Change, changed_paths, judge, render
from gpu_sandbox.standins.kubernetes.values import UNKNOWN, Object, Secret, plain

from .strategies import keys, marked


def named(**others: object) -> Object:
    return {"metadata": {"name": "a"}, **others}


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({"a": 1}, {"a": 1.0}, {}),
        ({"a": 1}, {"a": True}, {"a": Change.UPDATE}),
        ({"a": None}, {}, {}),
        ({"a": "x"}, {"a": Secret("x")}, {}),
        ({"a": "x"}, {"a": UNKNOWN}, {"a": Change.UPDATE}),
        ({}, {"a": {}}, {"a": Change.ADD}),
        ({"a": [1, 2]}, {"a": [1]}, {"a[1]": Change.DELETE}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, {"a[0].b": Change.UPDATE}),
        ({"m": {"a/b": "1"}}, {"m": {"a/b": "2"}}, {'m["a/b"]': Change.UPDATE}),
        ({"m": {'q"': 1}}, {"m": {}}, {'m["q\\""]': Change.DELETE}),
    ],
)
def test_changes(old: Object, new: Object, changes: dict[str, Change]) -> None:
    assert {render(path): change for path, change in changed_paths(old, new).items()} == changes


@given(st.dictionaries(keys, marked, max_size=5))
def test_nothing_differs_from_itself_secret_or_not(value: Object) -> None:
    assert changed_paths(value, plain(value)) == {}


@given(st.dictionaries(keys, marked, max_size=5), st.dictionaries(keys, marked, max_size=5))
def test_a_change_seen_one_way_is_seen_the_other_way(one: Object, other: Object) -> None:
    assert changed_paths(one, other).keys() == changed_paths(other, one).keys()


IMMUTABLE = [
    "field is immutable",
    "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
    "spec is immutable after creation except resources.requests",
    "may not change once set",
    "cannot change roleRef",
    "pod updates may not change fields other than `spec.containers[*].image`",
]


@pytest.mark.parametrize("message", IMMUTABLE)
def test_immutable_fields_replace(message: str) -> None:
    old, new = named(spec={"a": 1, "b": 1}), named(spec={"a": 2, "b": 2})
    found = judge(old, new, identity_changed=False, replaced_fields=(), refusal=(Cause("Invalid", message, "spec.a"),))
    assert found.replaces == {"spec.a"}
    assert found.delete_first, "two objects cannot have one name"


def test_an_immutable_field_that_holds_the_changed_one() -> None:
    old, new = named(spec={"selector": {"x": 1}, "selectors": 1}), named(spec={"selector": {"x": 2}, "selectors": 2})
    refusal = (Cause("Invalid", "field is immutable", "spec.selector"),)
    assert judge(old, new, identity_changed=False, replaced_fields=(), refusal=refusal).replaces == {"spec.selector.x"}


def test_a_field_named_in_no_input_replaces_by_all_that_changed() -> None:
    refusal = (Cause("Invalid", "field is immutable", "spec"),)
    found = judge(named(other=1), named(other=2), identity_changed=False, replaced_fields=(), refusal=refusal)
    assert found.replaces == {"other"}


def test_an_invalid_value_is_no_reason_to_replace() -> None:
    refusal = (Cause("Invalid", "field is immutable", "spec.a"), Cause("Invalid", "must be positive", "spec.b"))
    found = judge(
        named(spec={"a": 1}), named(spec={"a": 2}), identity_changed=False, replaced_fields=(), refusal=refusal
    )
    assert not found.replaces


def test_generated_names_let_the_new_object_come_first() -> None:
    metadata = {"name": "a-1234", "annotations": {"pulumi.com/autonamed": "true"}}
    old, new = {"metadata": metadata, "data": {"x": 1}}, {"metadata": metadata, "data": {"x": 2}}
    found = judge(old, new, identity_changed=False, replaced_fields={"data"})
    assert found.replaces == {"data.x"}
    assert not found.delete_first


def test_another_name_is_another_object() -> None:
    old, new = named(data=1), {"metadata": {"name": "b"}, "data": 2}
    found = judge(old, new, identity_changed=True, replaced_fields=())
    assert found.replaces == {"metadata.name"}
    assert not found.delete_first
