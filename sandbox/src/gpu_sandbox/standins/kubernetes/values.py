"""Property values as the engine sends them, as Python values and back.

Owns secrets (a wrapper that keeps its mark), unknowns (a sentinel) and numbers (protobuf knows only doubles; Kubernetes
refuses `1.0` where it wants `1`). Knows nothing of Kubernetes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import struct_pb2

_SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
_SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the mark of a secret, not one
# The engine's placeholders for values not known yet, one per type.
_UNKNOWN_TEXTS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
_UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
# Above this a double no longer holds every integer.
_EXACT_INTEGERS = 2**53

# None, bool, int, float, str, list, dict, Secret or UNKNOWN.
Value = Any
Object = dict[str, Value]


class Unknown:
    """The type of UNKNOWN."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Secret:
    """A value the engine encrypts in its state."""

    value: Value


def decode(struct: struct_pb2.Struct) -> Object:
    """A Struct of the engine as a dict; integral numbers become int."""
    return {key: _decode_value(value) for key, value in struct.fields.items()}


def encode(values: Mapping[str, Value]) -> struct_pb2.Struct:
    """A dict as a Struct of the engine."""
    struct = struct_pb2.Struct()
    for key, value in values.items():
        struct.fields[key].CopyFrom(_encode_value(value))
    return struct


def plain(value: Value) -> Value:
    """The value with secrets opened: for sending to the API server and for comparing, never for the state."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def has_unknown(value: Value) -> bool:
    """Whether anything in the value is not known yet."""
    if isinstance(value, Secret):
        return has_unknown(value.value)
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return value is UNKNOWN


def without_nulls(value: Value) -> Value:
    """The value without null entries of objects: to Pulumi and to server-side apply they mean absent."""
    if isinstance(value, Secret):
        return Secret(without_nulls(value.value))
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def mark_secrets(value: Value, like: Value) -> Value:
    """Mark as secret in `value` what is secret in `like`.

    Lists of different length give no item-to-item mapping, so if `like` holds any secret the whole list is marked:
    too much hidden is better than something shown.
    """
    if isinstance(like, Secret):
        return value if isinstance(value, Secret) else Secret(value)
    if isinstance(value, dict) and isinstance(like, dict):
        return {key: mark_secrets(item, like.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(like, list):
        if len(value) == len(like):
            return [mark_secrets(item, other) for item, other in zip(value, like, strict=True)]
        return Secret(value) if _secrets(like) else value
    return value


def redactor(values: Value) -> Callable[[str], str]:
    """A function that hides the secret strings of `values` in a text, for messages that quote what was sent."""
    hidden = sorted({text for text in _strings(_secrets(values)) if len(text) > 2}, key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, "[secret]")
        return text

    return redact


def _secrets(value: Value) -> list[Value]:
    if isinstance(value, Secret):
        return [value.value]
    if isinstance(value, dict):
        return [secret for item in value.values() for secret in _secrets(item)]
    if isinstance(value, list):
        return [secret for item in value for secret in _secrets(item)]
    return []


def _strings(value: Value) -> list[str]:
    if isinstance(value, Secret):
        return _strings(value.value)
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def _decode_value(value: struct_pb2.Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        content = decode(value.struct_value)
        if content.get(_SIGNATURE_KEY) == _SECRET_SIGNATURE:
            return Secret(content.get("value"))
        return content
    if kind == "list_value":
        return [_decode_value(item) for item in value.list_value.values]
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWN_TEXTS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT_INTEGERS else number
    if kind == "bool_value":
        return value.bool_value
    return None


def _encode_value(value: Value) -> struct_pb2.Value:
    if isinstance(value, Secret):
        return struct_pb2.Value(struct_value=encode({_SIGNATURE_KEY: _SECRET_SIGNATURE, "value": value.value}))
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=_UNKNOWN_STRING)
    if isinstance(value, dict):
        return struct_pb2.Value(struct_value=encode(value))
    if isinstance(value, list):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_encode_value(item) for item in value]))
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
