"""The command lines and environments by which programs, packs and plugins start. Pure: starts nothing itself."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gpu_sandbox.standins.language_python import executor
from gpu_sandbox.standins.language_python.interpreter import Interpreter


class NotRunnableError(ValueError):
    """A plugin directory holds nothing that can be started."""


def program_command(request: Any, engine: str, interpreter: Interpreter) -> list[str]:
    """How to run the program of a RunRequest."""
    program = Path(request.info.program_directory, request.info.entry_point)
    return [
        str(interpreter.executable),
        "-u",
        str(Path(executor.__file__)),
        *("--monitor", request.monitor_address),
        *("--engine", engine),
        *("--project", request.project),
        *("--stack", request.stack),
        *("--organization", request.organization),
        *("--root-directory", request.info.root_directory),
        *("--working-directory", request.pwd),
        *("--parallel", str(request.parallel)),
        *(["--dry-run"] if request.dryRun else []),
        "--",
        str(program),
        *request.args,
    ]


def program_environment(request: Any, env: Mapping[str, str], interpreter: Interpreter) -> dict[str, str]:
    """The environment of the program: the engine's, plus configuration where the SDK looks for it."""
    return interpreter.activate(env) | {
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
    }


def plugin_environment(pairs: Sequence[str], interpreter: Interpreter) -> dict[str, str]:
    """The environment of a RunPluginRequest: the complete one, as NAME=value."""
    return interpreter.activate(dict(pair.split("=", 1) for pair in pairs if "=" in pair))


def pack_command(directory: Path, engine: str, interpreter: Interpreter) -> list[str]:
    """How to start a policy pack; `main` of its manifest may name another directory or file."""
    manifest = yaml.safe_load((directory / "PulumiPolicy.yaml").read_text())
    program = directory / str(manifest.get("main") or ".")
    return [str(interpreter.executable), "-u", "-m", "pulumi.policy", engine, str(program)]


def resource_plugin_command(directory: Path, arguments: Sequence[str], interpreter: Interpreter) -> list[str]:
    """How to start a component plugin or provider: its `__main__.py`, or the distribution its pyproject.toml describes."""
    python = [str(interpreter.executable), "-u"]
    if (directory / "__main__.py").exists():
        return [*python, str(directory), *arguments]
    if (pyproject := directory / "pyproject.toml").exists():
        document = tomllib.loads(pyproject.read_text())
        name = document.get("project", {}).get("name")
        if name and "build-system" in document:
            return [*python, "-m", "pulumi.run.plugin", name, *arguments]
    raise NotRunnableError(
        f"{directory}: nothing to run; a plugin needs `__main__.py`, or a pyproject.toml with [build-system] and "
        "[project] name"
    )
