"""Which Python, which command: the language host's decisions, without an engine."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import language_pb2

from gpu_sandbox.standins.language_python.children import Children
from gpu_sandbox.standins.language_python.commands import (
    NotRunnableError,
    pack_command,
    plugin_environment,
    program_command,
    program_environment,
    resource_plugin_command,
)
from gpu_sandbox.standins.language_python.interpreter import (
    Interpreter,
    RuntimeOptionsError,
    check_options,
    find_interpreter,
)

PYTHON = Interpreter(Path("/venv/bin/python"), Path("/venv"))


def make_venv(directory: Path) -> Path:
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_the_virtualenv_option_is_relative_to_the_project(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    (tmp_path / "project").mkdir()
    found = find_interpreter(tmp_path / "project", {"virtualenv": "../env"}, {})
    assert found.executable.resolve() == python
    with pytest.raises(
        RuntimeOptionsError, match=r"virtualenv 'gone' has no bin/python in .*; create it with `python3 -m venv"
    ):
        find_interpreter(tmp_path, {"virtualenv": "gone"}, {})


def test_without_one_uv_looks_upward_then_the_variable_then_this_interpreter(tmp_path: Path) -> None:
    python = make_venv(tmp_path / ".venv")
    project = tmp_path / "a" / "b"
    assert find_interpreter(project, {"toolchain": "uv"}, {}).executable == python
    assert find_interpreter(project, {}, {"PULUMI_PYTHON_CMD": "python3.12"}).executable == Path("python3.12")
    assert find_interpreter(project, {}, {}).executable == Path(sys.executable)


def test_options_that_would_be_ignored_are_refused_together() -> None:
    check_options({"toolchain": "uv", "virtualenv": ".venv", "typechecker": "mypy"}, Path("/p"))
    with pytest.raises(RuntimeOptionsError) as refused:
        check_options({"toolchain": "poetry", "typechecker": "pytype", "speed": "high"}, Path("/p"))
    for said in ("/p:", "'speed' is unknown", "'poetry' needs Pulumi's own", "'pytype' is unknown"):
        assert said in str(refused.value)


def test_activation_puts_the_environment_first() -> None:
    active = PYTHON.activate({"PATH": "/bin", "PYTHONHOME": "/x", "A": "b"})
    assert active == {"PATH": "/venv/bin:/bin", "VIRTUAL_ENV": "/venv", "A": "b"}


def run_request(**changes: Any) -> Any:
    info = language_pb2.ProgramInfo(root_directory="/root", program_directory="/root/stacks", entry_point=".")
    values = {"project": "p", "stack": "s", "organization": "o", "pwd": "/root/stacks", "parallel": 4, **changes}
    return language_pb2.RunRequest(info=info, monitor_address="m:1", **values)


def test_the_program_starts_where_pulumi_yaml_says() -> None:
    command = program_command(run_request(dryRun=True, args=["--flag"]), "e:1", PYTHON)
    assert command[:2] == ["/venv/bin/python", "-u"]
    assert command[2].endswith("executor.py")
    assert command[-4:] == ["--dry-run", "--", "/root/stacks", "--flag"]
    assert "--dry-run" not in program_command(run_request(), "e:1", PYTHON)


def test_configuration_travels_in_the_environment_and_not_on_the_command_line() -> None:
    request = run_request(config={"p:password": "hunter2"}, configSecretKeys=["p:password"])
    environment = program_environment(request, {"PATH": "/bin"}, PYTHON)
    assert environment["PULUMI_CONFIG"] == '{"p:password": "hunter2"}'
    assert environment["PULUMI_CONFIG_SECRET_KEYS"] == '["p:password"]'
    assert "hunter2" not in " ".join(program_command(request, "e:1", PYTHON))


def test_plugin_environments_are_complete() -> None:
    environment = plugin_environment(["A=b=c", "PATH=/bin"], PYTHON)
    assert environment == {"A": "b=c", "PATH": "/venv/bin:/bin", "VIRTUAL_ENV": "/venv"}


@pytest.mark.parametrize(
    ("manifest", "program"), [("runtime: python\n", ""), ("runtime: python\nmain: rules\n", "rules")]
)
def test_packs(tmp_path: Path, manifest: str, program: str) -> None:
    (tmp_path / "PulumiPolicy.yaml").write_text(manifest)
    assert pack_command(tmp_path, "e:1", PYTHON)[1:] == ["-u", "-m", "pulumi.policy", "e:1", str(tmp_path / program)]


def test_resource_plugins(tmp_path: Path) -> None:
    with pytest.raises(NotRunnableError, match=r"a plugin needs `__main__\.py`"):
        resource_plugin_command(tmp_path, [], PYTHON)
    (tmp_path / "pyproject.toml").write_text('[build-system]\nrequires = []\n[project]\nname = "my-parts"\n')
    assert resource_plugin_command(tmp_path, ["e:1"], PYTHON)[2:] == ["-m", "pulumi.run.plugin", "my-parts", "e:1"]
    (tmp_path / "__main__.py").touch()
    assert resource_plugin_command(tmp_path, ["e:1"], PYTHON)[2:] == [str(tmp_path), "e:1"]


def test_children_are_read_to_the_end_and_none_is_left(tmp_path: Path) -> None:
    children = Children()
    talker = children.start(["sh", "-c", "echo out; echo err >&2; exit 3"], cwd=tmp_path, env={"PATH": "/bin:/usr/bin"})
    assert sorted((chunk.stream, chunk.data) for chunk in talker.output()) == [
        ("stderr", b"err\n"),
        ("stdout", b"out\n"),
    ]
    assert talker.wait() == 3
    sleeper = children.start(["sleep", "600"], cwd=tmp_path, env={"PATH": "/bin:/usr/bin"})
    children.stop()
    assert list(sleeper.output()) == []
    assert sleeper.wait() == -15
