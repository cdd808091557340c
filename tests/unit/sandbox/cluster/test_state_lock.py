"""One command at a time on one sandbox, and no lock outlives its holder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_sandbox import state_lock
from gpu_sandbox.errors import SandboxError
from gpu_sandbox.settings import StatePaths

_HOLD = """
import sys, time
from pathlib import Path
from gpu_sandbox.settings import StatePaths
from gpu_sandbox.state_lock import locked
with locked(StatePaths(Path(sys.argv[1])), "sandbox up"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_told_about_the_first_and_gets_it_when_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = StatePaths(tmp_path / "state")
    first = subprocess.Popen([sys.executable, "-c", _HOLD, str(paths.root)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    monkeypatch.setattr(state_lock, "_PATIENCE", 0.1)
    with pytest.raises(SandboxError, match=rf"`sandbox up`, process {first.pid}; wait for it"):
        state_lock.locked(paths, "sandbox down").__enter__()
    first.kill()
    first.communicate()
    with state_lock.locked(paths, "sandbox down"):
        assert f"process {os.getpid()}" in paths.lock.read_text()


def test_a_directory_made_for_the_lock_alone_goes_with_it(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "state")
    with state_lock.locked(paths, "sandbox up"):
        paths.run.mkdir()
    assert not paths.root.exists()


def test_a_directory_that_was_used_or_there_before_stays(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path / "state")
    with state_lock.locked(paths, "sandbox up"):
        paths.settings.touch()
    assert paths.settings.exists()
    there = StatePaths(tmp_path)
    with state_lock.locked(there, "sandbox up"):
        pass
    assert there.root.exists()


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(SandboxError, match="is not a directory"):
        state_lock.locked(StatePaths(tmp_path / "state"), "sandbox up").__enter__()
