"""Nothing simulated goes to a cluster that is not the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gpu_sandbox import pki
from gpu_sandbox.identity import Identity, NotTheSandboxError, require_sandbox
from gpu_sandbox.settings import Settings, StatePaths, write_settings

_SERVER = "https://127.0.0.1:6443"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> StatePaths:
    return _make(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> StatePaths:
    return _make(tmp_path_factory.mktemp("two"))


def _make(root: Path) -> StatePaths:
    paths = StatePaths(root)
    pki.ensure(paths.pki)
    write_settings(paths, Settings(sandbox_id="0a0b0c0d", bin_dir=Path("/bin")))
    return paths


def test_its_own_kubeconfig_is_accepted(sandbox: StatePaths) -> None:
    text = pki.kubeconfig(sandbox.pki, "admin", _SERVER)
    assert require_sandbox(text, sandbox.root) == Identity("0a0b0c0d", sandbox.root, _SERVER)


def test_the_state_directory_comes_from_the_environment(sandbox: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_SANDBOX_STATE_DIR", str(sandbox.root))
    assert require_sandbox(pki.kubeconfig(sandbox.pki, "admin", _SERVER)).sandbox_id == "0a0b0c0d"


def test_an_authority_given_as_a_file_counts_too(sandbox: StatePaths) -> None:
    document = yaml.safe_load(pki.kubeconfig(sandbox.pki, "admin", _SERVER))
    cluster = document["clusters"][0]["cluster"]
    del cluster["certificate-authority-data"]
    cluster["certificate-authority"] = str(sandbox.pki / "ca.crt")
    assert require_sandbox(yaml.safe_dump(document), sandbox.root)


@pytest.mark.parametrize(
    "server",
    [
        "https://ABCDEF.gr7.eu-west-1.eks.amazonaws.com",
        "https://10.0.0.1:6443",
        "https://[::ffff:10.0.0.1]:6443",
        "https://127.0.0.1.evil.example:6443",
        "",
    ],
)
def test_a_server_elsewhere_is_refused_even_with_the_right_authority(sandbox: StatePaths, server: str) -> None:
    with pytest.raises(NotTheSandboxError, match="not on this machine's loopback") as refusal:
        require_sandbox(pki.kubeconfig(sandbox.pki, "admin", server), sandbox.root)
    assert f"export KUBECONFIG={sandbox.kubeconfig}" in str(refusal.value)


def test_another_cluster_on_loopback_is_refused(sandbox: StatePaths, other: StatePaths) -> None:
    with pytest.raises(NotTheSandboxError, match="does not trust the sandbox's certificate authority"):
        require_sandbox(pki.kubeconfig(other.pki, "admin", _SERVER), sandbox.root)


def test_everything_wrong_is_said_at_once(sandbox: StatePaths, other: StatePaths) -> None:
    with pytest.raises(NotTheSandboxError, match=r"loopback.*does not trust"):
        require_sandbox(pki.kubeconfig(other.pki, "admin", "https://example.com"), sandbox.root)


def test_another_port_is_another_cluster(sandbox: StatePaths) -> None:
    with pytest.raises(NotTheSandboxError, match="not on the sandbox's port 6443"):
        require_sandbox(pki.kubeconfig(sandbox.pki, "admin", "https://127.0.0.1:16443"), sandbox.root)


@pytest.mark.parametrize("text", ["", "[]", "{", "current-context: nowhere\ncontexts: []", "a: 1"])
def test_what_is_not_a_kubeconfig_is_refused(sandbox: StatePaths, text: str) -> None:
    with pytest.raises(NotTheSandboxError, match="not a kubeconfig"):
        require_sandbox(text, sandbox.root)


def test_without_a_sandbox_everything_is_refused(sandbox: StatePaths, tmp_path: Path) -> None:
    with pytest.raises(NotTheSandboxError, match="start one with `sandbox up`"):
        require_sandbox(pki.kubeconfig(sandbox.pki, "admin", _SERVER), tmp_path)


def test_a_broken_sandbox_json_is_named(sandbox: StatePaths, tmp_path: Path) -> None:
    StatePaths(tmp_path).settings.write_text("{")
    with pytest.raises(NotTheSandboxError, match=r"sandbox\.json.*sandbox down"):
        require_sandbox(pki.kubeconfig(sandbox.pki, "admin", _SERVER), tmp_path)
