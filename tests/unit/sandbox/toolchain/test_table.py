"""The toolchain table: what it must say, and what changes a cache key."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from gpu_sandbox.toolchain.table import TableError, default_folder, load_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "toolchain"
    shutil.copytree(default_folder(), copy)
    return copy


def test_the_table_pins_every_program_the_sandbox_runs() -> None:
    versions = {tool.name: tool.version for tool in load_table().tools}

    assert {name: versions[name] for name in ("kube-apiserver", "kubelet", "kubectl")} == dict.fromkeys(
        ("kube-apiserver", "kubelet", "kubectl"), "1.36.3"
    )
    assert versions["pulumi"] == "3.250.0"
    assert {"etcd", "containerd", "containerd-shim-runc-v2", "ctr", "helm", "coredns", "kube-proxy"} <= versions.keys()


def test_a_version_in_the_table_is_the_one_its_module_requires() -> None:
    table = load_table()

    for tool in table.tools:
        module = (table.folder / tool.module / "go.mod").read_text()
        assert re.search(rf" v{re.escape(tool.version)}( // indirect)?\n", module), (
            f"{tool.name} {tool.version} is not what {tool.module}/go.mod requires"
        )


def test_a_changed_checksum_file_changes_only_the_keys_of_its_module(folder: Path) -> None:
    before = load_table(folder)
    keys, lock_key = {tool.name: before.key(tool) for tool in before.tools}, before.lock_key()
    (folder / "etcd/go.sum").write_text((folder / "etcd/go.sum").read_text() + "\n")

    after = load_table(folder)
    changed = {tool.name for tool in after.tools if after.key(tool) != keys[tool.name]}

    assert changed == {"etcd"}
    assert after.lock_key() != lock_key


def test_changed_flags_change_the_keys_of_the_tools_they_build(folder: Path) -> None:
    before = {tool.name: load_table(folder).key(tool) for tool in load_table(folder).tools}
    path = folder / "toolchain.toml"
    path.write_text(path.read_text().replace('"no_btrfs", ', ""))

    after = load_table(folder)

    assert {tool.name for tool in after.tools if after.key(tool) != before[tool.name]} == {
        "containerd",
        "containerd-shim-runc-v2",
        "ctr",
    }


def test_all_problems_of_a_table_are_told_at_once(folder: Path) -> None:
    path = folder / "toolchain.toml"
    path.write_text(
        path.read_text()
        + '\n[[tool]]\nname = "x"\n\n[[tool]]\nname = "y"\nversion = "1"\nmodule = "none"\npackage = "p"\n'
    )

    with pytest.raises(TableError) as caught:
        load_table(folder)

    text = str(caught.value)
    assert "x): no version, module, package" in text
    assert "none/go.mod is missing" in text
    assert "none/go.sum is missing" in text


def test_outside_a_checkout_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="from a checkout"):
        load_table(tmp_path)
