"""Property values: nothing is lost between the engine and here, numbers stay what they are, secrets stay secret."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gpu_sandbox.standins.kubernetes.values import (
    UNKNOWN,
    Secret,
    Value,
    decode,
    encode,
    has_unknown,
    mark_secrets,
    plain,
    redactor,
    without_nulls,
)

from .strategies import keys, marked, values


@given(st.dictionaries(keys, marked, max_size=5))
def test_round_trip(value: dict[str, Value]) -> None:
    assert decode(encode(value)) == value


@given(st.dictionaries(keys, values, max_size=5))
def test_numbers_reach_the_api_server_as_declared(value: dict[str, Value]) -> None:
    """`1` through protobuf's doubles and back is `1` in JSON, not `1.0`, which Kubernetes refuses."""
    assert json.dumps(plain(decode(encode(value))), sort_keys=True) == json.dumps(value, sort_keys=True)


@given(st.dictionaries(keys, marked, max_size=5))
def test_marking_by_itself_changes_nothing(value: dict[str, Value]) -> None:
    assert mark_secrets(value, value) == value


@given(st.dictionaries(keys, marked, max_size=5))
def test_every_secret_of_the_inputs_is_marked_in_equal_outputs(value: dict[str, Value]) -> None:
    assert plain(mark_secrets(plain(value), value)) == plain(value)
    assert not set(unmarked_strings(mark_secrets(plain(value), value))) - set(unmarked_strings(value))


def unmarked_strings(value: Value) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in unmarked_strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in unmarked_strings(item)]
    return [value] if isinstance(value, str) else []


def test_lists_of_other_length_are_hidden_whole() -> None:
    assert mark_secrets([{"a": "x"}, {"a": "y"}], [{"a": Secret("x")}]) == Secret([{"a": "x"}, {"a": "y"}])
    assert mark_secrets([1, 2], [1]) == [1, 2]


def test_unknowns_are_found_anywhere() -> None:
    assert has_unknown({"a": [{"b": Secret({"c": UNKNOWN})}]})
    assert not has_unknown({"a": [{"b": Secret({"c": None})}]})


def test_nulls_mean_absent() -> None:
    assert without_nulls({"a": None, "b": {"c": None}, "d": [{"e": None}, None]}) == {"b": {}, "d": [{}, None]}


def test_messages_do_not_quote_secrets() -> None:
    redact = redactor({"data": {"password": Secret("pass"), "longer": Secret("password-2")}, "public": "example"})
    assert (
        redact('invalid value "password-2" near pass of example') == 'invalid value "[secret]" near [secret] of example'
    )
