"""The `sandbox` command: quick help, clear refusals, and other programs' arguments passed on untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpu_sandbox.settings import STATE_DIR_ENV, Settings, StatePaths, write_settings


def _sandbox(state_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {STATE_DIR_ENV: str(state_dir)}
    command = [sys.executable, "-m", "gpu_sandbox.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_help_answers_at_once(tmp_path: Path) -> None:
    seconds = []
    for _ in range(4):
        began = time.monotonic()
        result = _sandbox(tmp_path, "--help")
        seconds.append(time.monotonic() - began)
        assert "toolchain" in result.stdout
    assert min(seconds) < 0.3


def test_help_loads_no_part_that_does_work() -> None:
    heavy = {"lightkube", "grpc", "cryptography", "pulumi", "rich", "gpu_sandbox.lifecycle", "gpu_sandbox.standins"}
    code = f"import sys, gpu_sandbox.cli; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.fixture
def echoing(tmp_path: Path) -> Path:
    """A state directory whose kubectl prints its arguments."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    kubectl = binaries / "kubectl"
    kubectl.write_text('#!/bin/sh\necho "$KUBECONFIG"\nfor a in "$@"; do echo "<$a>"; done\n')
    kubectl.chmod(0o755)
    write_settings(StatePaths(tmp_path), Settings(sandbox_id="00000000", bin_dir=binaries))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["get", "pods", "-A"], ["get", "pods", "-A"]),
        (["--", "get", "pods"], ["get", "pods"]),
        (["exec", "pod", "--", "sh", "-c", "a b"], ["exec", "pod", "--", "sh", "-c", "a b"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_kubectl_gets_its_arguments_untouched(echoing: Path, given: list[str], passed: list[str]) -> None:
    result = _sandbox(echoing, "kubectl", *given)
    assert result.stdout.splitlines() == [str(echoing / "kubeconfig"), *(f"<{argument}>" for argument in passed)]


@pytest.mark.parametrize(
    "command", [["kubeconfig"], ["kubectl", "get", "pods"], ["status"], ["ctr", "version"], ["show"]]
)
def test_without_a_sandbox_commands_say_how_to_get_one(tmp_path: Path, command: list[str]) -> None:
    result = _sandbox(tmp_path / "none", *command)
    assert result.returncode == 3
    assert "start one with `sandbox up`" in result.stderr


def test_status_of_nothing_is_json_too(tmp_path: Path) -> None:
    result = _sandbox(tmp_path, "status", "--json")
    assert result.returncode == 3
    assert json.loads(result.stdout) == {"state": "down", "stateDir": str(tmp_path)}


def test_logs_of_an_unknown_component_name_the_known_ones(echoing: Path) -> None:
    logs = StatePaths(echoing).logs
    logs.mkdir()
    (logs / "etcd.log").write_text("one\ntwo\nthree\n")
    assert "there are: etcd" in _sandbox(echoing, "logs", "ectd").stderr
    assert _sandbox(echoing, "logs", "etcd", "-n", "2").stdout == "two\nthree\n"


def test_a_misspelt_board_names_the_nearest(tmp_path: Path) -> None:
    result = _sandbox(tmp_path / "none", "up", "--board", "a100-sxm4-40g")
    assert result.returncode == 1
    assert "a100-sxm4-40gb" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "none").exists()
