"""What an interrupted `pulumi` left in the backend is recognised from its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu_sandbox.stack.recovery import Leftovers, checkpoint_path, find_leftovers, mend_checkpoint
from gpu_sandbox.stack.run import with_salt


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def lock(backend: Path, content: Any) -> Path:
    return write(backend / ".pulumi/locks/organization/shop/dev/1.json", content)


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_backend_that_never_saw_the_stack_has_no_leftovers(tmp_path: Path) -> None:
    assert find_leftovers(tmp_path, "shop", "dev") == Leftovers((), None, ())


def test_a_lock_of_a_living_process_is_held(tmp_path: Path) -> None:
    lock(tmp_path, {"pid": os.getpid()})

    assert find_leftovers(tmp_path, "shop", "dev") == Leftovers((), os.getpid(), ())


@pytest.mark.parametrize("content", [{"pid": "ended"}, {}, "not json", []])
def test_a_lock_without_a_living_process_is_stale(tmp_path: Path, content: Any) -> None:
    if content == {"pid": "ended"}:
        content = {"pid": ended_process()}
    path = lock(tmp_path, content)

    assert find_leftovers(tmp_path, "shop", "dev") == Leftovers((path,), None, ())


def test_a_lock_of_a_process_that_ended_but_was_not_collected_is_stale(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    path = lock(tmp_path, {"pid": process.pid})

    try:
        assert find_leftovers(tmp_path, "shop", "dev").stale_locks == (path,)
    finally:
        process.wait()


def test_another_stacks_lock_is_not_ours(tmp_path: Path) -> None:
    write(tmp_path / ".pulumi/locks/organization/shop/prod/1.json", {"pid": ended_process()})

    assert find_leftovers(tmp_path, "shop", "dev").stale_locks == ()


def test_operations_under_way_are_named(tmp_path: Path) -> None:
    latest = {"resources": [], "pending_operations": [{"resource": {"urn": "urn:x"}, "type": "creating"}]}
    write(tmp_path / ".pulumi/stacks/shop/dev.json", {"version": 3, "checkpoint": {"latest": latest}})

    assert find_leftovers(tmp_path, "shop", "dev").pending == ("urn:x",)


@pytest.mark.parametrize("checkpoint", [{"checkpoint": {}}, {"checkpoint": {"latest": None}}, "torn {"])
def test_an_empty_or_torn_checkpoint_has_nothing_pending(tmp_path: Path, checkpoint: Any) -> None:
    write(tmp_path / ".pulumi/stacks/shop/dev.json", checkpoint)

    assert find_leftovers(tmp_path, "shop", "dev").pending == ()


WHOLE = {"version": 3, "checkpoint": {"latest": {"resources": []}}}


@pytest.mark.parametrize(
    ("torn", "copy", "mended", "after"),
    [
        (None, None, False, None),
        (WHOLE, None, False, WHOLE),
        (WHOLE, {"version": 2}, False, WHOLE),
        ("", WHOLE, True, WHOLE),
        ('{"version": 3, "check', WHOLE, True, WHOLE),
        (None, WHOLE, True, WHOLE),
        ("", None, True, None),
        ("", "", True, None),
    ],
)
def test_a_torn_checkpoint_gives_way_to_the_copy_before_it(
    tmp_path: Path, torn: Any, copy: Any, mended: bool, after: Any
) -> None:
    path = checkpoint_path(tmp_path, "shop", "dev")
    for target, content in ((path, torn), (path.with_name("dev.json.bak"), copy)):
        if content is not None:
            write(target, content)

    assert mend_checkpoint(tmp_path, "shop", "dev") == mended

    assert (json.loads(path.read_text()) if path.exists() else None) == after
    assert path.with_name("dev.json.torn").exists() == (mended and torn is not None)


def test_torn_attributes_go_and_whole_ones_stay(tmp_path: Path) -> None:
    whole = write(tmp_path / ".pulumi/stacks/shop/dev.json.attrs", {"md5": ""})
    torn = write(tmp_path / ".pulumi/locks/organization/shop/dev/1.json.attrs", "")

    mend_checkpoint(tmp_path, "shop", "dev")

    assert whole.exists()
    assert not torn.exists()


@pytest.mark.parametrize(
    ("config", "salted", "expected"),
    [
        ("config: {}\n", "encryptionsalt: v1:a:b\n", "encryptionsalt: v1:a:b\nconfig: {}\n"),
        ("encryptionsalt: v1:own\nconfig: {}\n", "encryptionsalt: v1:a:b\n", "encryptionsalt: v1:own\nconfig: {}\n"),
        ("config: {}\n", "", "config: {}\n"),
    ],
)
def test_the_config_gets_the_sandboxs_salt_unless_it_has_one(config: str, salted: str, expected: str) -> None:
    assert with_salt(config, salted) == expected
