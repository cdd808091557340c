"""Finding programs: the official Pulumi, Debian packages, the built ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_sandbox.toolchain import NotBuiltError, bin_dir
from gpu_sandbox.toolchain.cache import links_path
from gpu_sandbox.toolchain.debian import Package, PackagesMissingError, ensure_packages
from gpu_sandbox.toolchain.official import official_pulumi, parse_version
from gpu_sandbox.toolchain.table import load_table


def program(folder: Path, name: str, prints: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "version"),
    [("v3.250.0\n", (3, 250, 0)), ("3.251.1-dev.0", (3, 251, 1)), ("no version", None)],
)
def test_pulumi_version_texts(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("version", "with_host", "used"),
    [
        ("v3.250.0", True, True),
        ("v4.0.1-beta", True, True),
        ("v3.249.9", True, False),
        ("v3.250.0", False, False),
        ("garbage", True, False),
    ],
)
def test_an_official_pulumi_counts_when_new_enough_and_with_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, *, with_host: bool, used: bool
) -> None:
    program(tmp_path, "pulumi", version)
    if with_host:
        program(tmp_path, "pulumi-language-python", "")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert (official_pulumi() is not None) == used


def test_missing_packages_are_named_with_reason_and_command_when_apt_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gpu_sandbox.toolchain.debian.PACKAGES", (Package("frobnicator", "turns things", ("/nonexistent",)),)
    )
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PackagesMissingError) as caught:
        ensure_packages(lambda _: None)

    assert "frobnicator" in str(caught.value)
    assert "turns things" in str(caught.value)
    assert "apt-get install frobnicator" in str(caught.value)


def test_an_unbuilt_toolchain_says_which_command_builds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_SANDBOX_CACHE", str(tmp_path))
    monkeypatch.delenv("GPU_SANDBOX_BIN", raising=False)

    with pytest.raises(NotBuiltError, match="sandbox toolchain build"):
        bin_dir()


def test_a_half_linked_toolchain_is_not_taken_for_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_SANDBOX_CACHE", str(tmp_path))
    monkeypatch.delenv("GPU_SANDBOX_BIN", raising=False)
    links_path(load_table()).mkdir(parents=True)

    with pytest.raises(NotBuiltError):
        bin_dir()
