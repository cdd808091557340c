"""Which Python runs a program, pack or plugin, and the environment that makes its virtual environment active.

Owns the reading of the runtime options `toolchain`, `virtualenv` and `typechecker`. Never creates or changes an
environment.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOOLCHAINS = ("", "pip", "uv")
_TYPE_CHECKERS = ("", "mypy", "pyright")
_OPTIONS = ("toolchain", "virtualenv", "typechecker")


class RuntimeOptionsError(ValueError):
    """The `runtime.options` of a project, pack or plugin cannot be honoured."""


@dataclass(frozen=True)
class Interpreter:
    """A Python executable and, when it belongs to one, its virtual environment."""

    executable: Path
    virtual_env: Path | None

    def activate(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment with this interpreter first on PATH, so that tools the program starts come from the same place."""
        active = {name: value for name, value in env.items() if name != "PYTHONHOME"}
        if self.virtual_env is not None:
            active["VIRTUAL_ENV"] = str(self.virtual_env)
            active["PATH"] = os.pathsep.join([str(self.virtual_env / "bin"), env.get("PATH", os.defpath)])
        return active


def check_options(options: Mapping[str, Any], where: Path) -> None:
    """Refuse options this host would otherwise ignore. All problems in one RuntimeOptionsError."""
    problems = [
        f"runtime option {name!r} is unknown; known are {', '.join(_OPTIONS)}"
        for name in options
        if name not in _OPTIONS
    ]
    if (toolchain := options.get("toolchain") or "") not in _TOOLCHAINS:
        problems.append(
            f"toolchain {toolchain!r} needs Pulumi's own language host; here use pip or uv with an existing environment"
        )
    if (checker := options.get("typechecker") or "") not in _TYPE_CHECKERS:
        problems.append(f"typechecker {checker!r} is unknown; choose mypy or pyright")
    if problems:
        raise RuntimeOptionsError(f"{where}: " + "; ".join(problems))


def find_interpreter(root: Path, options: Mapping[str, Any], env: Mapping[str, str]) -> Interpreter:
    """The interpreter for a program whose manifest lies in `root`.

    `virtualenv` is relative to `root`, as with Pulumi's host. Without it, `toolchain: uv` takes the nearest `.venv`
    upward, then PULUMI_PYTHON_CMD, then the interpreter that runs this host.
    """
    if named := options.get("virtualenv"):
        directory = (root / str(named)).absolute()
        executable = directory / "bin" / "python"
        if not executable.exists():
            raise RuntimeOptionsError(
                f"{root}: virtualenv {str(named)!r} has no bin/python in {directory}; create it with "
                f"`python3 -m venv {directory}` and install the program's requirements into it, or remove the option"
            )
        return Interpreter(executable, directory)
    if options.get("toolchain") == "uv":
        for ancestor in (root, *root.parents):
            if (executable := ancestor / ".venv" / "bin" / "python").exists():
                return Interpreter(executable, ancestor / ".venv")
    if command := env.get("PULUMI_PYTHON_CMD"):
        return Interpreter(Path(command), None)
    inside_venv = sys.prefix != sys.base_prefix
    return Interpreter(Path(sys.executable), Path(sys.prefix) if inside_venv else None)
