"""The layers hold, and the tool that holds them would notice."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(root)},
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "analyzer", tmp_path / "analyzer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/judge/harm.py", "import asyncio", "The core is pure"),
        ("core/rollout/decide.py", "import time", "The core is pure"),
        ("core/rollout/weights.py", "import structlog", "The core is pure"),
        ("core/judge/rates.py", "import socket", "The core is pure"),
        ("core/rollout/model.py", "import datetime", "The core is pure"),
        ("core/judge/evalues.py", "import analyzer.core.rollout.model", "The judge knows nothing of rollouts"),
        ("app/reconcile.py", "import analyzer.adapters.memory", "The loop knows ports, not adapters"),
        ("ports.py", "import analyzer.app.status", "Dependencies point down only"),
    ],
)
def test_a_forbidden_import_is_noticed(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / "analyzer" / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint_imports(copy)
    assert result.returncode == 1
    broken = [text for text in result.stdout.splitlines() if "BROKEN" in text]
    assert contract in result.stdout
    assert broken
