"""An API server with Serin's manifests, and the programs that people install with."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import yaml

from tests.cluster.api.apiserver import BINARIES, ApiServer
from tests.cluster.deployment import PROBE, all_refused, probes

ROOT: Final = Path(__file__).parents[3]


def program(name: str) -> str | None:
    """Find a program among the binaries that the cluster tests build, or on the PATH."""
    built = BINARIES / name
    return str(built) if built.exists() else shutil.which(name)


def documents(text: str) -> list[dict[str, Any]]:
    """Read manifests as kubectl does."""
    return [document for document in yaml.load_all(text, Loader=yaml.SafeLoader) if document]


def kustomize(folder: Path) -> list[dict[str, Any]]:
    """Render a kustomization."""
    command = [program("kubectl") or "kubectl", "kustomize", str(folder)]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True)
    return documents(rendered.stdout)


@dataclass(frozen=True)
class Kubectl:
    """kubectl, as an administrator of the server."""

    server: ApiServer

    def __call__(self, *arguments: str, text: str | bytes | None = None) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "KUBECONFIG": str(self.server.kubeconfig())}
        command = [program("kubectl") or "kubectl", *arguments]
        given = text.encode() if isinstance(text, str) else text
        result = subprocess.run(command, input=given, env=environment, capture_output=True, check=False)
        shown = (result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace"))
        return subprocess.CompletedProcess(command, result.returncode, *shown)

    def done(self, *arguments: str, text: str | None = None) -> str:
        """Run what must succeed, and return its output."""
        result = self(*arguments, text=text)
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def until_guarded(self) -> None:
        """Wait until the admission policies of deploy/ are in force."""
        eventually(lambda: all_refused(self(*PROBE, text=probes()).stderr), "the admission policies are in force")


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for what the server does by itself."""
    until = monotonic() + 30
    while not condition():
        assert monotonic() < until, f"{what}: not within 30 s"
        sleep(0.2)
