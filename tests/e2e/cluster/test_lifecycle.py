"""From up to down: what is left, what is refused, and what happens when someone pulls the plug in between."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_sandbox import cgroups, lifecycle, supervisor_control
from gpu_sandbox.components import required_programs
from gpu_sandbox.errors import SandboxError
from gpu_sandbox.lifecycle import Options
from gpu_sandbox.node import KUBELET_DEFAULT_ROOT
from gpu_sandbox.preflight import PreflightError
from gpu_sandbox.settings import BIN_DIR_ENV, STATE_DIR_ENV, Extent, Settings, StatePaths, binaries, read_settings
from tests.e2e.cluster import host
from tests.e2e.conftest import BUSYBOX_IMAGE
from tests.sandboxes import RunningSandbox, free_port, require, running, state_dir

_QUICK = Options(extent=Extent.API)


@pytest.fixture
def own() -> Iterator[StatePaths]:
    """The paths of a sandbox that the test brings up itself; taken down in any case."""
    require(Extent.CLUSTER)
    paths = StatePaths(state_dir("l"))
    yield paths
    lifecycle.down(paths, print)


def _up(paths: StatePaths, options: Options = _QUICK) -> lifecycle.Running:
    settings = read_settings(paths)
    port = settings.api_port if settings else free_port()
    return lifecycle.up(paths, Options(**(options.chosen() | {"api_port": port})), print)  # type: ignore[arg-type]


def _supervisor(paths: StatePaths) -> int:
    return supervisor_control.supervisor_pid(paths.control_socket)


def test_the_host_stays_as_it_was_during_and_after(own: StatePaths, busybox_archive: Path) -> None:
    before = host.footprint()
    with running("l", Options(api_port=free_port())) as sandbox:
        sandbox.import_image(busybox_archive)
        sandbox.kubectl("run", "here", f"--image={BUSYBOX_IMAGE}", "--restart=Never", "--", "sleep", "600")
        sandbox.kubectl("wait", "--for=condition=Ready", "pod/here", "--timeout=30s")
        assert host.footprint() == before
        sandbox_id = sandbox.settings.sandbox_id
        assert host.control_groups(sandbox_id)
        assert host.processes_that_name(str(own.root))
    assert host.footprint() == before
    assert host.control_groups(sandbox_id) == []
    assert host.processes_that_name(str(own.root)) == []
    assert not own.root.exists()
    if not cgroups.sandbox_ids():
        assert not KUBELET_DEFAULT_ROOT.exists()


def test_up_again_changes_nothing(own: StatePaths) -> None:
    first = _up(own)
    pid = _supervisor(own)
    second = _up(own)
    assert (first.was_running, second.was_running) == (False, True)
    assert _supervisor(own) == pid


def test_up_with_other_settings_is_refused_while_it_runs(own: StatePaths) -> None:
    _up(own)
    with pytest.raises(SandboxError, match="gpus is 8, not 4; run `sandbox down` first"):
        lifecycle.up(own, Options(gpus=4), print)


def test_a_port_that_another_sandbox_holds_is_refused_by_name(own: StatePaths) -> None:
    _up(own)
    settings = read_settings(own)
    assert settings is not None
    second = StatePaths(state_dir("m"))
    with pytest.raises(PreflightError, match=f"the sandbox in {own.root} holds it"):
        lifecycle.up(second, Options(api_port=settings.api_port, extent=Extent.API), print)
    assert not second.root.exists()


def test_two_commands_at_once_are_refused(own: StatePaths) -> None:
    _up(own)
    with own.lock.open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("`sandbox images load`, process 1")
        lock.truncate()
        lock.flush()
        with pytest.raises(SandboxError, match=r"another command works on the sandbox.*process 1; wait for it"):
            _up(own)
        with pytest.raises(SandboxError, match="another command works"):
            lifecycle.down(own, print)


def test_the_supervisors_death_ends_everything_and_up_recovers(own: StatePaths) -> None:
    up = _up(own)
    sandbox = RunningSandbox(own, up.settings)
    sandbox.kubectl("create", "configmap", "kept", "-n", "kube-system")
    os.kill(_supervisor(own), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while cgroups.processes(up.settings.sandbox_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sandbox.sandbox("status", check=False).returncode == 3
    again = _up(own)
    assert not again.was_running
    assert "configmap/kept" in sandbox.kubectl("get", "configmap", "kept", "-n", "kube-system", "-o", "name").stdout


def test_down_works_without_a_supervisor_and_twice(own: StatePaths) -> None:
    up = _up(own)
    os.kill(_supervisor(own), signal.SIGKILL)
    assert lifecycle.down(own, print) is True
    assert lifecycle.down(own, print) is False
    assert host.control_groups(up.settings.sandbox_id) == []


def test_down_finds_a_running_sandbox_whose_settings_are_broken(own: StatePaths) -> None:
    up = _up(own)
    own.settings.write_text("{")
    assert lifecycle.down(own, print) is True
    assert cgroups.processes(up.settings.sandbox_id) == frozenset()
    assert host.control_groups(up.settings.sandbox_id) == []
    assert not own.root.exists()


def test_down_leaves_a_directory_alone_that_is_no_sandbox(own: StatePaths) -> None:
    own.root.mkdir()
    (own.root / "thesis.txt").touch()
    try:
        with pytest.raises(SandboxError, match="left alone"):
            lifecycle.down(own, print)
        assert (own.root / "thesis.txt").exists()
    finally:
        (own.root / "thesis.txt").unlink()
        own.lock.unlink(missing_ok=True)
        own.root.rmdir()


def test_data_can_be_kept(own: StatePaths) -> None:
    sandbox = RunningSandbox(own, _up(own).settings)
    sandbox.kubectl("create", "configmap", "kept", "-n", "kube-system")
    lifecycle.down(own, print, keep_data=True)
    assert host.control_groups(sandbox.settings.sandbox_id) == []
    assert _up(own).settings.sandbox_id == sandbox.settings.sandbox_id
    sandbox.kubectl("get", "configmap", "kept", "-n", "kube-system")


@pytest.mark.parametrize(
    ("number", "seconds"),
    [(signal.SIGINT, 0.8), (signal.SIGKILL, 0.4), (signal.SIGKILL, 0.7), (signal.SIGKILL, 1.0), (signal.SIGKILL, 2.0)],
)
def test_an_interrupted_up_is_finished_by_the_next_one(own: StatePaths, number: signal.Signals, seconds: float) -> None:
    port = free_port()
    command = [sys.executable, "-m", "gpu_sandbox.cli", "up", f"--state-dir={own.root}", f"--api-port={port}"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.communicate(timeout=seconds)
    first.send_signal(number)
    first.communicate(timeout=10)
    up = lifecycle.up(own, Options(api_port=port), print)
    assert RunningSandbox(own, up.settings).kubectl("get", "--raw", "/readyz").stdout == "ok"


def test_a_component_that_never_works_is_named_with_its_last_words(
    own: StatePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = binaries()
    for name in required_programs(Settings(sandbox_id="", bin_dir=real)):
        (tmp_path / name).symlink_to(real / name)
    (tmp_path / "etcd").unlink()
    (tmp_path / "etcd").write_text("#!/bin/sh\necho the disk is made of cheese >&2\nexit 3\n")
    (tmp_path / "etcd").chmod(0o755)
    monkeypatch.setenv(BIN_DIR_ENV, str(tmp_path))
    with pytest.raises(SandboxError) as failure:
        _up(own)
    text = str(failure.value)
    assert "etcd failed: exit status 3, 5 times in a row" in text
    assert str(own.log("etcd")) in text
    assert "the disk is made of cheese" in text
    monkeypatch.setenv(BIN_DIR_ENV, str(real))
    lifecycle.down(own, print)
    assert _up(own).was_running is False


def test_a_killed_component_comes_back(own: StatePaths) -> None:
    sandbox = RunningSandbox(own, _up(own).settings)

    def etcd() -> dict[str, object]:
        report = json.loads(sandbox.sandbox("status", "--json", check=False).stdout)
        return next(component for component in report["components"] if component["name"] == "etcd")

    pid = etcd()["pid"]
    assert isinstance(pid, int)
    assert b"etcd" in Path("/proc", str(pid), "cmdline").read_bytes()  # a process id of the host
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (now := etcd())["state"] != "ready" or now["pid"] == pid:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    assert now["restarts"] == 1
    sandbox.kubectl("get", "namespaces")


def test_the_state_directory_can_come_from_the_environment(own: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_DIR_ENV, str(own.root))
    _up(own)
    result = subprocess.run(
        [sys.executable, "-m", "gpu_sandbox.cli", "kubeconfig"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == str(own.kubeconfig)
