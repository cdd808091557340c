"""The provider's configuration: which cluster, and what is refused."""

from pathlib import Path

import pytest
import yaml

from gpu_sandbox.standins.kubernetes.connection import KubeconfigError, cluster_identity, connect, load_config
from gpu_sandbox.standins.kubernetes.settings import ProviderSettings, read_settings, refusals
from gpu_sandbox.standins.kubernetes.values import UNKNOWN, Object, Secret

KUBECONFIG = yaml.safe_dump(
    {
        "current-context": "one",
        "clusters": [
            {"name": "a", "cluster": {"server": "https://a.example"}},
            {"name": "b", "cluster": {"server": "https://b.example"}},
        ],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "a", "user": "u"}},
            {"name": "two", "context": {"cluster": "b", "user": "u", "namespace": "team"}},
            {"name": "open", "context": {"cluster": "b"}},
        ],
    }
)


@pytest.mark.parametrize(
    ("settings", "server", "namespace"),
    [
        (ProviderSettings(KUBECONFIG), "https://a.example", "default"),
        (ProviderSettings(KUBECONFIG, context="two"), "https://b.example", "team"),
        (ProviderSettings(KUBECONFIG, context="two", namespace="other"), "https://b.example", "other"),
        (ProviderSettings(KUBECONFIG, cluster="b"), "https://b.example", "default"),
        (ProviderSettings(KUBECONFIG, context="open"), "https://b.example", "default"),
    ],
)
def test_choice_of_cluster(settings: ProviderSettings, server: str, namespace: str) -> None:
    connection = connect(settings)
    connection.http.close()
    assert (connection.server, connection.namespace) == (server, namespace)


def test_a_path_and_the_environment_work_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    assert cluster_identity(ProviderSettings(str(path))) == "https://a.example"
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert cluster_identity(ProviderSettings()) == "https://a.example"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ProviderSettings(KUBECONFIG, context="three"), "contexts in it: one, two, open"),
        (ProviderSettings("/no/such/file"), "cannot read the kubeconfig /no/such/file"),
        (ProviderSettings("a: [\n"), "is no YAML"),
        (ProviderSettings("a: b\n"), "it names no clusters"),
    ],
)
def test_unusable_kubeconfigs(settings: ProviderSettings, said: str) -> None:
    with pytest.raises(KubeconfigError, match=said):
        load_config(settings)


@pytest.mark.parametrize("key", ["kubeconfig", "context", "namespace"])
def test_settings_wait_until_the_cluster_is_known(key: str) -> None:
    assert read_settings({key: UNKNOWN}) is None


@pytest.mark.parametrize("value", ["true", True, Secret("true")])
def test_flags_come_as_text_or_not(value: object) -> None:
    settings = read_settings({"upsertExistingObjects": value, "enablePatchForce": "false"})
    assert settings is not None
    assert settings.upsert_existing_objects
    assert not settings.enable_patch_force


def test_flags_from_the_environment_yield_to_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE", "true")
    assert read_settings({}) == ProviderSettings(enable_config_map_mutable=True)
    assert read_settings({"enableConfigMapMutable": "false"}) == ProviderSettings()


@pytest.mark.parametrize(
    ("inputs", "refused"),
    [
        ({}, []),
        ({"enableServerSideApply": "true"}, []),
        ({"renderYamlToDirectory": UNKNOWN}, ["renderYamlToDirectory"]),
        (
            {"renderYamlToDirectory": "out", "enableServerSideApply": "false"},
            ["renderYamlToDirectory", "enableServerSideApply"],
        ),
    ],
)
def test_refusals(inputs: Object, refused: list[str]) -> None:
    assert list(refusals(inputs)) == refused
