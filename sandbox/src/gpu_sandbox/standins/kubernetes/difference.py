"""What changed between two sets of inputs, and whether the object must be replaced. Pure.

Owns property paths and the judgement "update or replace". The cluster's answer to a dry run comes in as data.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gpu_sandbox.standins.kubernetes.api import Cause
from gpu_sandbox.standins.kubernetes.inputs import AUTONAMED
from gpu_sandbox.standins.kubernetes.values import Object, Value, plain, without_nulls

# How API validation says that a field cannot change. Kubernetes has no reason code for it, only these wordings.
_IMMUTABLE = re.compile(
    r"immutable|may not (be )?change|updates? to .* forbidden|(can ?not|can't) (be )?change|may not be updated",
    re.IGNORECASE,
)
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

Path = tuple[str | int, ...]


class Change(Enum):
    """What happened to one property."""

    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True)
class Difference:
    """Changed inputs, which of them force a replacement, and whether the old object must go first."""

    changes: Mapping[str, Change]
    replaces: frozenset[str]
    delete_first: bool

    @property
    def empty(self) -> bool:
        return not self.changes


def changed_paths(old: Object, new: Object) -> dict[Path, Change]:
    """Every leaf that differs. Secret or not makes no difference here; null means absent."""
    return dict(_compare(without_nulls(plain(old)), without_nulls(plain(new)), ()))


def render(path: Path) -> str:
    """A path as the engine writes it: `spec.ports[0].name`, `metadata.labels["a/b"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += '["' + part.replace('"', '\\"') + '"]'
    return text


def judge(
    old: Object, new: Object, *, identity_changed: bool, replaced_fields: Iterable[str], refusal: tuple[Cause, ...] = ()
) -> Difference:
    """The difference of checked inputs.

    `replaced_fields` are top-level inputs whose change always means a new object (the data of a ConfigMap). `refusal`
    is what the API server answered to a dry run of the update. If it refused nothing but changes of immutable fields,
    the object is replaced; any other refusal is left for the update itself to report.
    """
    paths = changed_paths(old, new)
    changes = {render(path): change for path, change in paths.items()}
    forced = {render(path) for path in paths if path[0] in set(replaced_fields)}
    if identity_changed:
        forced |= {render(path) for path in paths if path in _IDENTITY} or set(changes)
    if refusal and all(_IMMUTABLE.search(cause.message) for cause in refusal):
        for cause in refusal:
            named = {text for text in changes if _same_branch(text, cause.field)}
            forced |= named or set(changes)
    same_name = not identity_changed and not _autonamed(new)
    return Difference(changes, frozenset(forced), delete_first=bool(forced) and same_name)


_IDENTITY = frozenset({("metadata", "name"), ("metadata", "namespace"), ("apiVersion",), ("kind",), ("metadata",)})


def _compare(old: Value, new: Value, path: Path) -> Iterator[tuple[Path, Change]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                yield (*path, key), Change.DELETE
            elif key not in old:
                yield (*path, key), Change.ADD
            else:
                yield from _compare(old[key], new[key], (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            if index >= len(new):
                yield (*path, index), Change.DELETE
            elif index >= len(old):
                yield (*path, index), Change.ADD
            else:
                yield from _compare(old[index], new[index], (*path, index))
    elif type(old) is bool or type(new) is bool:
        if old is not new:
            yield path, Change.UPDATE
    elif old != new:
        yield path, Change.UPDATE


def _same_branch(changed: str, refused: str) -> bool:
    """Whether one property path lies within the other: `spec.selector` and `spec.selector.matchLabels.app`."""
    shorter, longer = sorted((changed, refused), key=len)
    return bool(shorter) and longer.startswith(shorter) and longer[len(shorter) : len(shorter) + 1] in ("", ".", "[")


def _autonamed(inputs: Object) -> bool:
    metadata: Any = plain(inputs).get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(annotations, dict) and annotations.get(AUTONAMED) == "true"
