"""Names of images follow their content, and the base follows the host's release."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_sandbox.images.base import Base, choose_suite
from gpu_sandbox.images.build import RECIPES, content_key


@pytest.mark.parametrize(
    ("os_release", "suite"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"', "bookworm"),
        ("ID=debian\nVERSION_CODENAME=trixie", "trixie"),
        ("ID=debian\nVERSION_CODENAME=bullseye", "bookworm"),
        ("ID=ubuntu\nVERSION_CODENAME=jammy", "noble"),
        ('ID="fedora"\nVERSION_ID=41', "bookworm"),
    ],
)
def test_the_base_is_the_hosts_release_when_its_python_is_new_enough(os_release: str, suite: str) -> None:
    assert choose_suite(os_release) == suite


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src/__pycache__").mkdir(parents=True)
    (tmp_path / "src/a.py").write_text("a = 1\n")
    (tmp_path / "src/__pycache__/a.pyc").write_bytes(b"1")
    return tmp_path


BASE = Base("0123456789ab", Path("base.tar"))


def test_an_image_keeps_its_name_while_its_sources_stay(tree: Path) -> None:
    before = content_key(BASE, [tree / "src"], tree)
    (tree / "src/__pycache__/a.pyc").write_bytes(b"2")

    assert content_key(BASE, [tree / "src"], tree) == before


def test_an_image_gets_a_new_name_with_content_path_mode_or_base(tree: Path) -> None:
    def key(base: Base = BASE) -> str:
        return content_key(base, [tree / "src"], tree)

    names = [key(), key(Base("ffffffffffff", Path("base.tar")))]
    (tree / "src/a.py").write_text("a = 2\n")
    names.append(key())
    (tree / "src/a.py").chmod(0o755)
    names.append(key())
    (tree / "src/a.py").rename(tree / "src/b.py")
    names.append(key())

    assert len(set(names)) == 5


def test_every_source_of_every_image_exists() -> None:
    assert [source for recipe in RECIPES for source in recipe.sources if not source.exists()] == []
