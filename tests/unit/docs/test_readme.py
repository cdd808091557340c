"""What the README shows is true: its program runs, its commands and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.components.recording import run

REPOSITORY = Path(__file__).resolve().parents[3]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*/README.md")])


def test_the_program_of_the_readme_makes_the_driver_the_menu_and_two_templates() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    program = run(lambda: exec(source.replace("…", "0" * 64), {}))

    assert len(program.of_kind("DaemonSet")) == 1
    assert {each.inputs["metadata"]["name"] for each in program.of_kind("ResourceClaimTemplate")} == {"large", "small"}
    assert "mig-3g.20gb" in {each.inputs["metadata"]["name"] for each in program.of_kind("DeviceClass")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_make_target_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z0-9-]+)", page.read_text())}

    assert named <= targets
    assert {"up", "test", "down"} <= named | targets
