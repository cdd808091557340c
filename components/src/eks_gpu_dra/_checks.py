"""Checks of plain values a user wrote. Each yields what is wrong, where, and what to write instead; none raises.

A check is a function of a property path and a plain value. It never sees a Pulumi Output: `_args` resolves those first.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpu_catalog import spelling


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one input: the property path as the user wrote it, and what to do about it."""

    path: str
    reason: str


Check = Callable[[str, Any], Iterator[Problem]]

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_LOCAL_IMAGE = re.compile(r"localhost/[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})")


def nearest(word: object, known: Iterable[str]) -> str:
    """A tail for an error text: the nearest known words, or all of them when none is near and they are few."""
    options = list(known)
    if close := spelling.nearest(str(word), options):
        return "did you mean " + " or ".join(repr(option) for option in close) + "?"
    if len(options) <= 20:
        return "known are " + ", ".join(options)
    return f"none of the {len(options)} known ones is near"


def _text_matching(pattern: re.Pattern[str], longest: int, what: str) -> Check:
    def check(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, str) or len(value) > longest or not pattern.fullmatch(value):
            yield Problem(path, f"{value!r} is not {what}")

    return check


dns_label = _text_matching(
    _DNS_LABEL, 63, "a DNS label: write 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
)
dns_subdomain = _text_matching(
    _DNS_SUBDOMAIN,
    253,
    "a Kubernetes object name: write a-z, 0-9, '-' and '.', beginning and ending with a letter or digit",
)


def text(path: str, value: Any) -> Iterator[Problem]:
    """A string that is not blank."""
    if not isinstance(value, str) or not value.strip():
        yield Problem(path, f"{value!r} is not a text: write a string that is not empty")


def flag(path: str, value: Any) -> Iterator[Problem]:
    """True or False, and not a string that looks like one: "false" is true to Python."""
    if not isinstance(value, bool):
        yield Problem(path, f"{value!r} is not a boolean: write true or false without quotes")


def absolute_path(path: str, value: Any) -> Iterator[Problem]:
    """An absolute, normal path: kubelet and the container runtime compare such paths as strings."""
    if not isinstance(value, str) or not value.startswith("/"):
        yield Problem(path, f"{value!r} is not an absolute path: begin it with '/'")
    elif value != "/" and any(part in ("", ".", "..") for part in value[1:].split("/")):
        yield Problem(path, f"{value!r} is not a normal path: leave out '//', '.', '..' and a '/' at the end")


def pinned_image(path: str, value: Any) -> Iterator[Problem]:
    """An image by digest, so that every node runs the same bytes; `localhost/` images cannot be pulled and need none."""
    if isinstance(value, str) and (_DIGEST.fullmatch(value) or _LOCAL_IMAGE.fullmatch(value)):
        return
    yield Problem(
        path,
        f"{value!r} is not pinned: write registry/name@sha256:<64 hex digits> (`docker buildx imagetools inspect IMAGE` prints "
        "the digest), or localhost/name:tag for an image imported on the node",
    )


def one_of(*allowed: str) -> Check:
    """One word of a closed list."""

    def check(path: str, value: Any) -> Iterator[Problem]:
        if value not in allowed:
            yield Problem(path, f"{value!r} is unknown: {nearest(value, allowed)}")

    return check


def whole_number(least: int, most: int) -> Check:
    """An integer in a range. 2.0 passes: through the component plugin every number arrives as a float."""

    def check(path: str, value: Any) -> Iterator[Problem]:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or value != int(value) or not least <= value <= most:
            yield Problem(path, f"{value!r} is not a whole number from {least} to {most}")

    return check


def label_value(path: str, value: Any) -> Iterator[Problem]:
    """A Kubernetes label value."""
    if not isinstance(value, str):
        yield Problem(path, f"{value!r} is not a string: put it in quotes")
    elif value and not _LABEL_NAME.fullmatch(value):
        yield Problem(path, f"{value!r} is not a label value: write up to 63 letters, digits, '-', '_' and '.'")


def labels(path: str, value: Any) -> Iterator[Problem]:
    """A map of Kubernetes labels, as a node selector is."""
    if not isinstance(value, Mapping):
        yield Problem(path, f"{value!r} is not a map of label names to values")
        return
    for key, item in value.items():
        prefix, _, name = str(key).rpartition("/")
        if not _LABEL_NAME.fullmatch(name) or (prefix and not _DNS_SUBDOMAIN.fullmatch(prefix)):
            yield Problem(f"{path}[{key!r}]", "is not a label name: write name or dns.domain/name")
        yield from label_value(f"{path}[{key!r}]", item)


def list_of(check: Check) -> Check:
    """A list whose every item passes `check`."""

    def check_list(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            yield Problem(path, f"{value!r} is not a list")
            return
        for index, item in enumerate(value):
            yield from check(f"{path}[{index}]", item)

    return check_list


def map_of(check: Check, *, keys: Check = text) -> Check:
    """A map whose every key passes `keys` and every value `check`."""

    def check_map(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, Mapping):
            yield Problem(path, f"{value!r} is not a map")
            return
        for key, item in value.items():
            yield from keys(f"{path}[{key!r}]", key)
            yield from check(f"{path}[{key!r}]", item)

    return check_map


def record(fields: Mapping[str, Check], *, required: Iterable[str] = ()) -> Check:
    """A map with known keys only, each checked by its own check."""
    needed = tuple(required)

    def check_record(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, Mapping):
            yield Problem(path, f"{value!r} is not a map with the keys {', '.join(fields)}")
            return
        for key, item in value.items():
            if key not in fields:
                yield Problem(f"{path}.{key}", f"is not an input: {nearest(key, fields)}")
            else:
                yield from fields[key](f"{path}.{key}", item)
        for key in needed:
            if key not in value:
                yield Problem(f"{path}.{key}", "is missing")

    return check_record


_TOLERATION = record(
    {
        "key": text,
        "operator": one_of("Exists", "Equal"),
        "value": label_value,
        "effect": one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
        "tolerationSeconds": whole_number(0, 2**31 - 1),
    }
)


def tolerations(path: str, value: Any) -> Iterator[Problem]:
    """A list of Kubernetes tolerations."""
    yield from list_of(_TOLERATION)(path, value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for index, item in enumerate(value):
            if isinstance(item, Mapping) and item.get("operator") == "Exists" and item.get("value"):
                yield Problem(f"{path}[{index}].value", "has no meaning with operator Exists: leave it out")
