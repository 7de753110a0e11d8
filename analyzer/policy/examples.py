"""The examples that come with Serin, as objects."""

from pathlib import Path
from typing import Any

from analyzer.errors import PolicyError
from analyzer.policy.load import load_objects

_IN_A_CHECKOUT = Path(__file__).parents[2] / "policies" / "examples"
_IN_A_WHEEL = Path(__file__).parents[1] / "examples"


def example_objects(name: str) -> list[dict[str, Any]]:
    """Read all objects of an example: `helloworld` or `helloworld-focused`.

    Raises
    ------
    PolicyError
        There is no such example.
    """
    for folder in (_IN_A_CHECKOUT / name, _IN_A_WHEEL / name):
        if folder.is_dir():
            return load_objects(sorted(folder.glob("*.yaml")))
    raise PolicyError(f"no example {name!r}: take helloworld or helloworld-focused")
