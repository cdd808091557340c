"""Typed stack configuration: what the user wrote in Pulumi.<stack>.yaml, read strictly, with every problem at once.

A misspelt key is an error, not a default: the text names the key, the nearest valid one, and the file and line.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pydantic import BaseModel, ConfigDict, ValidationError

from gpu_catalog.spelling import hint


class Settings(BaseModel):
    """A part of a stack's configuration. Keys it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one setting: its dotted path below the project's name, and what to do about it."""

    path: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Where the configuration stands, to point the reader there."""

    project: str
    file: str
    lines: Sequence[str] = ()

    def locate(self, path: str) -> str:
        """`project:key (line 4)` for a dotted path; no line for a key that is not in the file."""
        key = re.escape(f"{self.project}:{path.split('.', maxsplit=1)[0]}")
        for number, line in enumerate(self.lines, start=1):
            if re.match(rf"\s*[\"']?{key}[\"']?\s*:", line):
                return f"{self.project}:{path} (line {number})"
        return f"{self.project}:{path}"


class ConfigError(pulumi.RunError):
    """The stack's configuration is wrong. A RunError, so that Pulumi shows this text and no stack trace."""

    def __init__(self, source: Source, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 setting is" if len(self.problems) == 1 else f"{len(self.problems)} settings are"
        lines = [f"  {source.locate(problem.path)}: {problem.reason}" for problem in self.problems]
        super().__init__("\n".join([f"{source.file}: {count} wrong:", *lines]))


def values(project: str) -> dict[str, Any]:
    """The project's settings by key, objects and lists as Python values. Settings of providers are left out."""
    prefix = f"{project}:"
    every = {**get_config_env(), **CONFIG.get()}
    return {key.removeprefix(prefix): _decoded(value) for key, value in every.items() if key.startswith(prefix)}


def source(project: str, stack: str) -> Source:
    """The stack's configuration file, which lies beside this program."""
    path = Path(__file__).with_name(f"Pulumi.{stack}.yaml")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return Source(project, f"{path.parent.name}/{path.name}", lines)


_Model = TypeVar("_Model", bound=Settings)


def decode(model: type[_Model], settings: Mapping[str, Any], source: Source) -> _Model:
    """The settings as a value of the model. Raises ConfigError with everything that is wrong."""
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        problems = [
            Problem(".".join(str(part) for part in detail["loc"]), _reason(model, detail)) for detail in error.errors()
        ]
        raise ConfigError(source, problems) from None


def _decoded(value: Any) -> Any:
    """Pulumi hands objects and lists over as JSON; a plain text stays as it is, for the model to read."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _reason(model: type[BaseModel], detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        known = _keys_at(model, detail["loc"][:-1])
        return f"is no setting{hint(str(detail['loc'][-1]), known)}; the settings here are: {', '.join(sorted(known))}"
    if detail["type"] == "missing":
        return "is missing"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{detail['input']!r}: {message[:1].lower()}{message[1:]}"


def _keys_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys that are allowed at a place in the document: follows fields, optional ones, lists and maps."""
    annotation: Any = model
    for part in location:
        nested = _model_in(annotation)
        annotation = get_args(annotation)[-1] if nested is None else nested.model_fields[str(part)].annotation
    nested = _model_in(annotation)
    return [] if nested is None else list(nested.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or wraps as optional or with a validator."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None
