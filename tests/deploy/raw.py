"""The manifests as they are in the files."""

from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"


def read(path: Path) -> list[dict[str, Any]]:
    """Read all documents of a file."""
    return [document for document in yaml.load_all(path.read_text(), Loader=yaml.SafeLoader) if document]


def one(path: str, kind: str) -> dict[str, Any]:
    """Read the only object of a kind in a file below deploy/."""
    (found,) = [obj for obj in read(DEPLOY / path) if obj["kind"] == kind]
    return found
