"""`pytest tests/golden --update-golden` writes the files anew: read the difference before committing it."""

from pathlib import Path

import pytest

PAGES = Path(__file__).with_name("pages")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew, instead of comparing")
