"""The supervisor over real processes, without namespaces: order, restarts, giving up, stopping."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_sandbox import supervisor_control as control
from gpu_sandbox.settings import StatePaths
from gpu_sandbox.supervisor_plan import MAX_FAILURES, ComponentStatus, Overall, State

Start = Callable[..., StatePaths]

# A Python child that listens on a socket, so that it has something to be ready with.
_LISTEN = "exec {python} -c \"import socket,time; s=socket.socket(socket.AF_UNIX); s.bind('{path}'); s.listen(); time.sleep(60)\""


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a supervisor over a plan; stops it in the end."""
    running = []
    with tempfile.TemporaryDirectory(prefix="gst-sup-") as directory:
        paths = StatePaths(Path(directory))
        for made in (paths.run, paths.logs, paths.pki):
            made.mkdir()

        def begin(*plan: dict[str, object]) -> StatePaths:
            command = [sys.executable, "-m", "tests.unit.sandbox.cluster.supervise", directory, json.dumps(plan)]
            root = Path(__file__).parents[4]
            log = (paths.logs / "supervisor.log").open("w")
            with log:
                running.append(subprocess.Popen(command, cwd=root, stdout=log, stderr=log))
            _until(lambda: _answers(paths), paths)
            return paths

        yield begin
        for process in running:
            process.terminate()
            # One that was told to stop may be past its signal handlers already.
            assert process.wait(timeout=10) in {0, -signal.SIGTERM}, (paths.logs / "supervisor.log").read_text()


def _until(condition: Callable[[], bool], paths: StatePaths) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, (paths.logs / "supervisor.log").read_text()
        time.sleep(0.02)


def _state(paths: StatePaths, name: str) -> ComponentStatus:
    return control.status(paths.control_socket).component(name)


def _listener(path: Path) -> dict[str, object]:
    script = _LISTEN.format(python=sys.executable, path=path)
    return {"name": "listener", "script": f"rm -f {path}; {script}", "ready": str(path)}


def test_a_component_starts_when_what_it_needs_is_ready(start: Start, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    paths = start(
        {"name": "third", "script": f"echo third >> {trace}", "after": ["second"], "ready": "exit"},
        {"name": "second", "script": f"sleep 0.2; echo second >> {trace}", "after": ["first"], "ready": "exit"},
        {"name": "first", "script": f"sleep 0.2; echo first >> {trace}", "ready": "exit"},
    )
    _until(lambda: control.status(paths.control_socket).overall is Overall.READY, paths)
    assert trace.read_text().split() == ["first", "second", "third"]


def test_a_killed_component_is_started_again(start: Start, tmp_path: Path) -> None:
    paths = start(_listener(tmp_path / "s"))
    _until(lambda: _state(paths, "listener").state is State.READY, paths)
    before = _state(paths, "listener")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    _until(lambda: _state(paths, "listener").restarts == 1, paths)
    _until(lambda: _state(paths, "listener").state is State.READY, paths)
    assert _state(paths, "listener").pid != before.pid


def test_one_that_always_fails_is_given_up_with_the_reason(start: Start) -> None:
    paths = start({"name": "broken", "script": "echo my last words; exit 7", "ready": "/nowhere"})
    _until(lambda: _state(paths, "broken").state is State.FAILED, paths)
    assert _state(paths, "broken").detail == f"exit status 7, {MAX_FAILURES} times in a row"
    assert control.status(paths.control_socket).overall is Overall.DEGRADED
    assert paths.log("broken").read_text().count("my last words") == MAX_FAILURES


def test_a_program_that_is_missing_is_reported(start: Start) -> None:
    paths = start({"name": "absent", "script": "exec /no/such/program", "ready": "exit"})
    _until(lambda: _state(paths, "absent").state is State.FAILED, paths)
    assert "exit status 127" in _state(paths, "absent").detail


def test_restart_gives_a_failed_one_another_chance(start: Start, tmp_path: Path) -> None:
    cure = tmp_path / "cure"
    paths = start({"name": "ill", "script": f"test -e {cure}", "ready": "exit"})
    _until(lambda: _state(paths, "ill").state is State.FAILED, paths)
    cure.touch()
    control.request(paths.control_socket, {"command": "restart", "name": "ill"})
    _until(lambda: _state(paths, "ill").state is State.DONE, paths)


def test_restart_of_an_unknown_component_names_the_known_ones(start: Start) -> None:
    paths = start({"name": "only", "script": "true", "ready": "exit"})
    with pytest.raises(control.Refused, match=r"no component 'onyl'; there are: node, only"):
        control.request(paths.control_socket, {"command": "restart", "name": "onyl"})


@pytest.mark.parametrize("message", [{}, {"command": "dance"}, {"command": "restart"}])
def test_nonsense_on_the_control_socket_is_refused(start: Start, message: dict[str, str]) -> None:
    paths = start({"name": "only", "script": "true", "ready": "exit"})
    with pytest.raises(control.Refused, match="unknown request"):
        control.request(paths.control_socket, message)
    assert control.status(paths.control_socket).components


def test_stop_ends_everything_even_what_ignores_sigterm(start: Start, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    stubborn = f"trap '' TERM; echo $$ > {pid_file}; while true; do sleep 0.1; done"
    paths = start({"name": "stubborn", "script": stubborn, "ready": "/nowhere"})
    _until(pid_file.exists, paths)
    pid = int(pid_file.read_text())
    control.request(paths.control_socket, {"command": "stop"})
    _until(lambda: not Path("/proc", str(pid)).exists(), paths)
    _until(lambda: not _answers(paths), paths)


def _answers(paths: StatePaths) -> bool:
    try:
        control.status(paths.control_socket)
    except control.NotRunning:
        return False
    return True


def test_the_caller_learns_the_supervisors_process_id_from_the_kernel(start: Start) -> None:
    paths = start({"name": "only", "script": "true", "ready": "exit"})
    command_line = Path("/proc", str(control.supervisor_pid(paths.control_socket)), "cmdline").read_text()
    assert "tests.unit.sandbox.cluster.supervise" in command_line


def test_nobody_listening_is_told_apart_from_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(control.NotRunning, match="nothing listens"):
        control.status(tmp_path / "control.sock")
