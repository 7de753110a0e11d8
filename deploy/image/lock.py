# ruff: noqa: INP001 - a script beside what it writes, in no package
"""Write the parts of requirements.lock that the image is built from: `runtime.lock` and `build.lock`.

A part has what its packages need, by the metadata of what is installed, on any Python and system that the lock file speaks of.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def parts() -> dict[str, str]:
    """Return the text of each part by its file's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        "runtime.lock": project["project"]["dependencies"],
        "build.lock": [*project["build-system"]["requires"], *project["dependency-groups"]["build"]],
    }
    entries = _entries()
    return {
        file: "".join(text for name in sorted(_closure(roots) & entries.keys()) for text in entries[name])
        for file, roots in wanted.items()
    }


def _entries() -> dict[str, list[str]]:
    """Return the entries of the lock file by package; several where versions depend on the Python."""
    found: dict[str, list[str]] = {}
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text()):
        if match := re.match(r"([A-Za-z0-9._-]+)==", entry):
            found.setdefault(canonicalize_name(match[1]), []).append(entry)
    return found


def _closure(roots: list[str]) -> set[str]:
    found = set[str]()
    todo = [Requirement(root) for root in roots]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name not in found:
            found.add(name)
            todo += [need for need in map(Requirement, _needs(name)) if "extra" not in str(need.marker or "")]
    return found


def _needs(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # of another system or Python: it needs nothing that is not in the lock file already
        return []


if __name__ == "__main__":
    for file, text in parts().items():
        Path(__file__).with_name(file).write_text(text)
