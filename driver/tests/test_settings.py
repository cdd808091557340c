from __future__ import annotations

from pathlib import Path

import pytest

from gpu_dra_driver.main import EXIT_USAGE, main
from gpu_dra_driver.settings import SettingsError, load


def test_defaults_are_those_of_a_host_installation() -> None:
    settings = load([], {"NODE_NAME": "node-a"})
    assert settings.driver_root == Path("/")
    assert settings.driver_root_ctr == Path("/driver-root")
    assert settings.cdi_root == Path("/var/run/cdi")
    assert settings.health_port == 51516
    assert settings.metrics_address is None


def test_a_flag_wins_over_its_variable() -> None:
    assert load(["--node-name", "from-flag"], {"NODE_NAME": "from-env"}).node_name == "from-flag"


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("NODE_NAME", "", "must be set"),
        ("NODE_NAME", "Node_A", "is not a node name"),
        ("CDI_ROOT", "cdi", "must be an absolute path"),
        ("HEALTHCHECK_PORT", "seventy", "must be a port number"),
        ("HEALTHCHECK_PORT", "65536", "must be a port number"),
        ("HTTP_ENDPOINT", "8080", "must be HOST:PORT"),
        ("METRICS_PATH", "metrics", "must begin with '/'"),
        ("KUBECONFIG", "/no/such/file", "no such file"),
        ("MIG_CONFIG_FILE", "/no/such/file", "no such file"),
        ("POD_UID", "../../etc", "is not a pod UID"),
        ("LOG_LEVEL", "loud", "must be one of"),
        ("LOG_FORMAT", "xml", "must be one of"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(variable: str, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load([], {"NODE_NAME": "node-a", variable: text})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{variable}={text!r}")
    assert complaint in problem


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(["--log-format", "xml"], {"CDI_ROOT": "cdi", "HEALTHCHECK_PORT": "x"})
    assert [problem.split("=")[0] for problem in caught.value.problems] == [
        "NODE_NAME",
        "CDI_ROOT",
        "HEALTHCHECK_PORT",
        "--log-format",
    ]


def test_a_layout_file_without_a_layout_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("version: v1\n")
    with pytest.raises(SettingsError, match="MIG_CONFIG_FILE is set but MIG_CONFIG is not"):
        load([], {"NODE_NAME": "node-a", "MIG_CONFIG_FILE": str(file)})


@pytest.mark.parametrize(
    ("text", "address"), [(":8080", ("", 8080)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:9", ("::1", 9))]
)
def test_metrics_addresses(text: str, address: tuple[str, int]) -> None:
    assert load([], {"NODE_NAME": "node-a", "HTTP_ENDPOINT": text}).metrics_address == address


def test_wrong_settings_end_the_command_with_the_usage_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NODE_NAME", raising=False)
    assert main(["--log-level", "loud"]) == EXIT_USAGE
    told = capsys.readouterr().err
    assert "NODE_NAME" in told
    assert "--log-level" in told
