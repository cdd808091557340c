"""A Pulumi home: official binaries win, stand-ins fill in, and nothing is made twice."""

import importlib.metadata
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpu_sandbox.cli import app as sandbox
from gpu_sandbox.settings import STATE_DIR_ENV
from gpu_sandbox.standins.install import environment, prepare, pulumi_binary
from gpu_sandbox.toolchain.official import official_pulumi

LANGUAGE = f"language-python-v{importlib.metadata.version('pulumi')}/pulumi-language-python"
KUBERNETES = f"resource-kubernetes-v{importlib.metadata.version('pulumi-kubernetes')}/pulumi-resource-kubernetes"


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _machine_without_pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GPU_SANDBOX_BIN", str(tmp_path / "built"))


def official(tmp_path: Path, version: str = "v3.250.0") -> None:
    executable(tmp_path / "bin" / "pulumi", f"#!/bin/sh\necho {version}\n")


def test_stand_ins_where_nothing_is_installed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    environ = environment(state)
    home = Path(environ["PULUMI_HOME"])
    assert (home / "plugins" / LANGUAGE).read_text().endswith('-m gpu_sandbox.standins.language_python "$@"\n')
    assert "gpu_sandbox.standins.kubernetes --plugin-version" in (home / "plugins" / KUBERNETES).read_text()
    assert environ["PULUMI_BACKEND_URL"] == f"file://{home / 'backend'}"
    assert (home / "backend").is_dir()
    assert environ["KUBECONFIG"] == str(state / "kubeconfig")
    assert environ["PATH"] == f"{tmp_path / 'built'}:{tmp_path / 'bin'}"
    assert pulumi_binary(official_pulumi()) == tmp_path / "built" / "pulumi"


def test_the_passphrase_is_made_once_and_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "another stack's")
    first = environment(tmp_path / "state")
    passphrase = Path(first["PULUMI_CONFIG_PASSPHRASE_FILE"])
    text = passphrase.read_text()
    assert len(text) >= 32
    assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
    assert "PULUMI_CONFIG_PASSPHRASE" not in first, "it would win over the file"
    assert environment(tmp_path / "state") == first
    assert passphrase.read_text() == text
    assert environment(tmp_path / "other")["PULUMI_CONFIG_PASSPHRASE_FILE"] != str(passphrase)


def test_what_gets_installed_later_replaces_the_stand_in(tmp_path: Path) -> None:
    state = tmp_path / "state"
    plugins = prepare(state, None).plugins
    assert (plugins / LANGUAGE).exists()

    official(tmp_path)
    executable(tmp_path / "bin" / "pulumi-language-python")
    installed = executable(tmp_path / "home" / ".pulumi" / "plugins" / KUBERNETES)
    environ = environment(state)
    assert not (plugins / LANGUAGE).exists()
    assert (plugins / KUBERNETES).resolve() == installed
    assert environ["PATH"].startswith(str(tmp_path / "bin")), "the toolchain's pulumi must not hide the official one"

    executable(tmp_path / "bin" / "pulumi-resource-kubernetes")
    environment(state)
    assert not (plugins / KUBERNETES).exists(), "the one on PATH is found without help"

    (tmp_path / "bin" / "pulumi-resource-kubernetes").unlink()
    installed.unlink()
    environment(state)
    assert "standins" in (plugins / KUBERNETES).read_text()


def test_pulumi_without_a_sandbox_says_so_and_leaves_no_files(tmp_path: Path) -> None:
    state = tmp_path / "state"
    answer = CliRunner().invoke(sandbox, ["pulumi", "--", "version"], env={STATE_DIR_ENV: str(state)})
    assert answer.exit_code == 3
    assert "start one with `sandbox up`" in answer.output
    assert not state.exists()
