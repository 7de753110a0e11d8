"""What people on call read, word by word: one file for each situation, with every alert of it in order."""

import re
from pathlib import Path

import pytest

from analyzer.adapters.alert_text import render_text
from tests.golden.conftest import PAGES
from tests.golden.scenes import SCENES

BETWEEN = f"\n\n{'-' * 72}\n\n"


def file_name(scene: str) -> str:
    return f"{re.sub('[^a-z]+', '-', scene.lower()).strip('-')}.txt"


@pytest.mark.parametrize("scene", SCENES)
async def test_people_read_exactly_this(scene: str, request: pytest.FixtureRequest) -> None:
    alerts = await SCENES[scene]()
    text = BETWEEN.join(map(render_text, alerts)) + "\n"
    page = PAGES / file_name(scene)
    if request.config.getoption("--update-golden"):
        page.write_text(text, encoding="utf-8")
    assert text == page.read_text(encoding="utf-8"), f"if this is better: pytest tests/golden --update-golden; {page}"


def test_every_file_belongs_to_a_scene() -> None:
    assert {page.name for page in PAGES.iterdir()} == {file_name(scene) for scene in SCENES}


def test_every_reason_has_its_part_in_the_runbook() -> None:
    """The link of each alert leads there; reasons of broken targets are told of under the policy's."""
    runbook = (Path(__file__).parents[2] / "deploy" / "runbook.md").read_text(encoding="utf-8")
    told = {
        line.rpartition(" · ")[2] for page in PAGES.iterdir() for line in page.read_text().splitlines() if " · " in line
    }
    assert len(told) > 8
    assert not [reason for reason in told if f"## {reason}\n" not in runbook and f"`{reason}`" not in runbook]
