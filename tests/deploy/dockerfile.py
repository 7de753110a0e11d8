"""A Dockerfile, read as far as ours goes, so that its steps can be tried without an engine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stage:
    """One `FROM` with what follows it."""

    image: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def read_dockerfile(path: Path) -> list[Stage]:
    """Return the stages, with arguments in their base images replaced by their defaults."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = substitute(rest, arguments).partition(" AS ")
            stages.append(Stage(image, name))
        elif word == "ARG" and not stages:
            key, _, value = rest.partition("=")
            arguments[key] = value
        else:
            stages[-1].steps.append((word, rest.strip()))
    return stages


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Replace `${NAME}`."""
    return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text)


def ignored(path: str, patterns: list[str]) -> bool:
    """Tell whether a file is kept out of the build by a .dockerignore of folders and files, the last match deciding."""
    out = False
    for pattern in (line for line in patterns if line and not line.startswith("#")):
        wanted = pattern.removeprefix("!")
        hit = wanted in {"*", path} or path.startswith(f"{wanted}/")
        if wanted.startswith("**/"):
            hit = wanted[3:] in path.split("/")
        if hit:
            out = not pattern.startswith("!")
    return out
