"""sandbox.json keeps what the user chose, and says what to do when it cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_sandbox.settings import Extent, Settings, SettingsError, StatePaths, read_settings, write_settings

_SETTINGS = st.builds(
    Settings,
    sandbox_id=st.text("0123456789abcdef", min_size=8, max_size=8),
    bin_dir=st.just(Path("/opt/bin")),
    api_port=st.integers(1, 65535),
    board=st.sampled_from(["a100-sxm4-40gb", "h100-sxm5-80gb"]),
    product_name=st.text(max_size=20),
    gpus=st.integers(1, 16),
    mig_enabled=st.booleans(),
    extent=st.sampled_from(Extent),
    dns=st.booleans(),
)


@given(_SETTINGS)
def test_what_is_written_is_read(settings: Settings) -> None:
    assert Settings.from_json(settings.to_json()) == settings


def test_a_file_of_a_newer_version_is_read(tmp_path: Path) -> None:
    settings = Settings(sandbox_id="00000000", bin_dir=Path("/b"))
    newer = settings.to_json().replace("{", '{"surprise": 1,', 1)
    assert Settings.from_json(newer) == settings


def test_no_file_is_no_sandbox(tmp_path: Path) -> None:
    assert read_settings(StatePaths(tmp_path)) is None
    assert read_settings(StatePaths(tmp_path / "missing")) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "7", '{"sandbox_id": "x"}', '{"sandbox_id":"x","bin_dir":"/b","extent":"half"}']
)
def test_an_unusable_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    paths = StatePaths(tmp_path)
    paths.settings.write_text(text)
    with pytest.raises(SettingsError, match=r"sandbox\.json: .*run `sandbox down`"):
        read_settings(paths)


def test_writing_replaces_in_one_step(tmp_path: Path) -> None:
    paths = StatePaths(tmp_path)
    write_settings(paths, Settings(sandbox_id="00000000", bin_dir=Path("/b")))
    write_settings(paths, Settings(sandbox_id="00000000", bin_dir=Path("/b"), gpus=4))
    assert read_settings(paths) == Settings(sandbox_id="00000000", bin_dir=Path("/b"), gpus=4)
    assert list(tmp_path.iterdir()) == [paths.settings]
