"""How GitOps tools read objects, by their own packages: a small Go program (readers/)."""

import json
import subprocess
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from tests.cluster.api.apiserver import BINARIES

Object = dict[str, Any]


class KStatus(StrEnum):
    """What a tool that waits makes of an object."""

    IN_PROGRESS = "InProgress"  # it waits on
    CURRENT = "Current"  # it is done
    FAILED = "Failed"  # it gives up
    TERMINATING = "Terminating"


class Readers:
    """The program."""

    def kstatus(self, objects: Sequence[Object]) -> list[KStatus]:
        """Read objects as Flux does without expressions, and all others who wait by kstatus."""
        return [KStatus(status) for status in self._ask(objects, "kstatus")]

    def cel(self, objects: Sequence[Object], *expressions: str) -> list[list[bool]]:
        """Answer expressions of `healthCheckExprs` for each object."""
        answers: list[list[bool]] = self._ask(objects, "cel", *expressions)
        return answers

    def jq(self, objects: Sequence[Object], *paths: str) -> list[Object]:
        """Delete what `jqPathExpressions` lead to, as Argo CD does before it compares."""
        answers: list[Object] = self._ask(objects, "jq", *paths)
        return answers

    def _ask(self, objects: Sequence[Object], *arguments: str) -> Any:
        text = json.dumps(list(objects))
        done = subprocess.run(
            [BINARIES / "readers", *arguments], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
