"""The CRDs of Serin's kinds, as users install them and the cluster tests do."""

from pathlib import Path
from typing import Final

from analyzer.policy.load import load_objects
from analyzer.ports import Object

_FOLDER: Final = Path(__file__).parents[2] / "deploy" / "crd"


def build_crds() -> list[Object]:
    """Give the definitions of `CanaryPolicy` and `CanaryDefaults`."""
    return load_objects(sorted(_FOLDER.glob("*.serin.dev.yaml")))
