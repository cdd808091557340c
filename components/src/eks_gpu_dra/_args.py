"""How every component reads its args: unknown keys refused, plain values checked at once, Outputs when they resolve.

All problems of one component end in one `InvalidInputs`. What is merely unknown in a preview is never an error.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pulumi

from eks_gpu_dra._checks import Check, Problem, nearest


class InvalidInputs(pulumi.InputPropertiesError, pulumi.RunError):
    """Every input of one component that is wrong.

    An InputPropertiesError, so the component plugin can return the property paths to other languages; a RunError, so a
    Python program ends with this text instead of a stack trace through the library.
    """

    def __init__(self, component: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [f"  {problem.path}: {problem.reason}" for problem in self.problems]
        count = "1 input is" if len(lines) == 1 else f"{len(lines)} inputs are"
        super().__init__(
            "\n".join([f"{component}: {count} wrong:", *lines]),
            [{"property_path": problem.path, "reason": problem.reason} for problem in self.problems],
        )


class ArgsReader:
    """Reads one args dictionary against its TypedDict and collects what is wrong with it.

    Call `read` or `read_plain` for each input, `problem` for rules that span inputs, then `finish` once, before the
    first resource is made.
    """

    def __init__(self, component: str, args: Mapping[str, Any], args_type: type) -> None:
        self._component = component
        self._problems: list[Problem] = []
        if not isinstance(args, Mapping):
            raise InvalidInputs(component, [Problem("args", f"{args!r} is not a dictionary of inputs")])
        # None means absent: a program then passes an optional value on without an `if`.
        self._args = {key: value for key, value in args.items() if value is not None}
        required: frozenset[str] = getattr(args_type, "__required_keys__", frozenset())
        optional: frozenset[str] = getattr(args_type, "__optional_keys__", frozenset())
        known = sorted(required | optional)
        for key in self._args:
            if key not in known:
                self.problem(str(key), f"is not an input: {nearest(key, known)}")
        for key in sorted(required - self._args.keys()):
            self.problem(key, "is missing: this input is required")

    def problem(self, path: str, reason: str) -> None:
        """Records a problem that no single check can see."""
        self._problems.append(Problem(path, reason))

    def read(self, key: str, check: Check, default: Any = None) -> Any:
        """The input, checked now if it is plain and when it resolves if it holds an Output."""
        return self.checked(key, check, self._args[key]) if key in self._args else default

    def raw(self, key: str) -> Any:
        """The input as the user wrote it, or None. The caller checks its parts with `checked`."""
        return self._args.get(key)

    def checked(self, path: str, check: Check, value: Any) -> Any:
        """A value at a path, checked now if it is plain and when it resolves if it holds an Output."""
        if not holds_output(value):
            self._problems.extend(check(path, value))
            return value

        def verify(resolved: Any) -> Any:
            if problems := tuple(check(path, resolved)):
                raise InvalidInputs(self._component, problems)
            return resolved

        return pulumi.Output.from_input(value).apply(verify)

    def read_plain(self, key: str, check: Check, default: Any = None) -> Any:
        """An input that decides which resources there are, so that it must be known before any of them is."""
        if key not in self._args:
            return default
        value = self._args[key]
        if holds_output(value):
            self.problem(
                key, "is an output of another resource: write a plain value, it decides which resources are made"
            )
            return default
        found = tuple(check(key, value))
        self._problems.extend(found)
        return default if found else value

    def finish(self) -> None:
        """Raises everything found so far as one error."""
        if self._problems:
            raise InvalidInputs(self._component, self._problems)


def holds_output(value: Any) -> bool:
    """Whether a value is an Output (or awaitable), or holds one at any depth."""
    if isinstance(value, pulumi.Output) or inspect.isawaitable(value):
        return True
    if isinstance(value, Mapping):
        return any(holds_output(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return any(holds_output(item) for item in value)
    return False


def joined(*parts: pulumi.Input[str]) -> pulumi.Input[str]:
    """The parts as one text. Plain parts stay plain, so a preview and its policies see the text, not an unknown."""
    if any(holds_output(part) for part in parts):
        return pulumi.Output.concat(*parts)
    return "".join(str(part) for part in parts)


def mapped(value: pulumi.Input[Any], function: Callable[[Any], Any]) -> Any:
    """The function of the value: now for a plain one, when it resolves for an Output."""
    if holds_output(value):
        return pulumi.Output.from_input(value).apply(function)
    return function(value)
