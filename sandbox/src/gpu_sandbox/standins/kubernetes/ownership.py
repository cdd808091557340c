"""Which inputs still hold in the cluster, told by the ownership records of server-side apply. Pure.

The API server defaults, normalises (`1000m` becomes `1`) and completes what it is given, so comparing inputs with the
live object would report changes nobody made. It also records, per field, who set it last. A field still owned by this
provider is as declared, whatever it looks like now; a field taken over by somebody else is drift, and its live value is
what a refresh must show.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from gpu_sandbox.standins.kubernetes.values import Object, Secret, Value, plain

Fields = Mapping[str, Any]
_WHOLE: Fields = {}


def owned_fields(live: Mapping[str, Any], manager: str) -> Fields | None:
    """The field set (FieldsV1) the manager applied; None if it applied nothing."""
    for entry in (live.get("metadata") or {}).get("managedFields") or []:
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields: Fields = entry.get("fieldsV1") or _WHOLE
            return fields
    return None


def live_inputs(inputs: Object, live: Mapping[str, Any], fields: Fields) -> Object:
    """The inputs as the cluster now has them: as declared where owned, the live value (or nothing) where not."""
    # These are how the object is found, so they hold, but they are no part of a field set.
    identity = {"f:apiVersion": _WHOLE, "f:kind": _WHOLE}
    metadata = {"f:name": _WHOLE, "f:namespace": _WHOLE, **fields.get("f:metadata", {})}
    owned = {**fields, **identity, "f:metadata": metadata}
    if "stringData" in inputs:
        owned["f:stringData"] = fields.get("f:data") or {}
        live = {**live, "stringData": _decoded(live.get("data") or {})}
    return _object(inputs, live, owned)


def _decoded(data: Mapping[str, str]) -> dict[str, str]:
    """A Secret's data as the text a user wrote into stringData."""
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def imported_inputs(live: Mapping[str, Any]) -> Object:
    """Inputs that would declare an existing object: all but what the server writes."""
    inputs = {key: value for key, value in live.items() if key != "status"}
    metadata = live.get("metadata") or {}
    kept = {
        key: metadata[key] for key in ("name", "namespace", "labels", "annotations", "finalizers") if key in metadata
    }
    if annotations := {
        key: value for key, value in (kept.pop("annotations", None) or {}).items() if key not in _WRITTEN_BY_TOOLS
    }:
        kept["annotations"] = annotations
    return {**inputs, "metadata": kept}


_WRITTEN_BY_TOOLS = frozenset({"kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"})


def _value(declared: Value, live: Any, fields: Fields | None) -> Value:
    if isinstance(declared, Secret):
        return Secret(_value(declared.value, live, fields))
    if fields is None:
        return _unowned(declared, live)
    if isinstance(declared, dict) and any(key.startswith("f:") for key in fields):
        return _object(declared, live if isinstance(live, Mapping) else {}, fields)
    if isinstance(declared, list) and any(key.startswith(("k:", "v:")) for key in fields):
        return _list(declared, live if isinstance(live, list) else [], fields)
    return declared  # owned as a whole


def _object(declared: Object, live: Mapping[str, Any], fields: Fields) -> Object:
    current = {}
    for key, value in declared.items():
        found = _value(value, live.get(key), fields.get(f"f:{key}"))
        if found is not None:
            current[key] = found
    return current


def _list(declared: list[Value], live: list[Any], fields: Fields) -> list[Value]:
    current = []
    for item in declared:
        value = plain(item)
        if isinstance(value, dict):
            key = next((key for key in fields if key.startswith("k:") and _matches(json.loads(key[2:]), value)), None)
            if key is not None:
                current.append(_value(item, _find(live, json.loads(key[2:])), fields[key]))
        elif f"v:{json.dumps(value)}" in fields or value in live:
            current.append(item)
    return current


def _unowned(declared: Value, live: Any) -> Value:
    """The live value in the shape of what was declared; None if it is gone."""
    if isinstance(declared, Secret):
        found = _unowned(declared.value, live)
        return None if found is None else Secret(found)
    if live is None:
        # The API drops zero values it need not send, so an absent one is no change.
        return declared if plain(declared) in (False, 0, "", {}, []) else None
    if isinstance(declared, dict) and isinstance(live, Mapping):
        current = {key: _unowned(value, live.get(key)) for key, value in declared.items()}
        return {key: value for key, value in current.items() if value is not None}
    return declared if plain(declared) == live else live


def _matches(key: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Whether a list item is the one a key names; key fields the user left to default are not in the item."""
    return any(name in item for name in key) and all(item.get(name, value) == value for name, value in key.items())


def _find(live: list[Any], key: Mapping[str, Any]) -> Any:
    return next((item for item in live if all(item.get(name) == value for name, value in key.items())), None)
