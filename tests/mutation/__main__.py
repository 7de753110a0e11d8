"""`make mutate`: change the judge in small ways, and see whether its own tests notice.

mutmut makes the mutants and runs, for each, the tests that reach the changed function, until one fails. Only a seeded
sample of the mutants is tried, so that it ends in minutes; the slow tests (whole simulated rollouts) are left out, so a
mutant that only they would kill counts as a survivor. Survivors are written to a file, with their changes.
"""

import argparse
import fnmatch
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_PLACE: Final = _ROOT / ".mutate"
_PACKAGE: Final = "analyzer/core/judge"
_TESTS: Final = "tests/core/judge"
_SLOW: Final = ("test_calibration.py", "test_shared_trouble.py")
_KILLED: Final = frozenset({1, 3, 36, 24, 152, 255, -11, -9, -24})
"""Exit codes of mutmut's children: a test failed, or it took too long, or crashed."""
_CONFIG: Final = f"""
[project]
name = "mutants"
version = "0"
[tool.pytest.ini_options]
pythonpath = ["."]
addopts = ["--import-mode=importlib", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
[tool.mutmut]
source_paths = ["{_PACKAGE}/"]
pytest_add_cli_args_test_selection = ["{_TESTS}/"]
also_copy = ["analyzer", "tests"]
mutate_only_covered_lines = true
timeout_multiplier = 4.0
"""
_CONFTEST: Final = """
from hypothesis import settings

# The same examples for every mutant, and few of them.
settings.register_profile("mutate", derandomize=True, database=None, max_examples=25, deadline=None)
settings.load_profile("mutate")
"""


def main() -> int:
    """Run, print a table, and write the survivors."""
    options = _options()
    _prepare()
    _mutmut("run", "nothing*", quiet=True)  # makes the mutants, and notes which test reaches which function
    chosen = _choose(_codes(), options)
    _say(f"{len(chosen)} mutants of {len(_codes())}, seed {options.seed}")
    try:
        _mutmut("run", "--max-children", "1", *chosen, quiet=True)
    finally:  # an interrupted run tells what it tried
        _say(f"{_report(chosen, options.out)}\nsurvivors: {options.out.name}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("modules", nargs="*", default=["*"], help="modules of the judge (default: all): cells harm …")
    parser.add_argument("--sample", type=int, default=15, help="mutants per module; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=_ROOT / "mutation.md")
    return parser.parse_args()


def _prepare() -> None:
    shutil.rmtree(_PLACE, ignore_errors=True)
    for part in ("analyzer", _TESTS):
        shutil.copytree(_ROOT / part, _PLACE / part, ignore=shutil.ignore_patterns("__pycache__", *_SLOW))
    (_PLACE / "pyproject.toml").write_text(_CONFIG, encoding="utf-8")
    (_PLACE / "tests" / "conftest.py").write_text(_CONFTEST, encoding="utf-8")


def _mutmut(*arguments: str, quiet: bool = False) -> str:
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    log = _PLACE / "mutmut.log"
    done = subprocess.run(command, cwd=_PLACE, env=environment, capture_output=True, text=True, check=False)
    if quiet:
        log.write_text(done.stdout[-100_000:] + done.stderr[-20_000:], encoding="utf-8")
    return done.stdout


def _codes() -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for meta in sorted((_PLACE / "mutants" / _PACKAGE).glob("*.meta")):
        found |= json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    if not found:
        raise SystemExit(f"mutmut made no mutants; see {_PLACE / 'mutmut.log'}")
    return found


def _module(name: str) -> str:
    return name.removeprefix("analyzer.core.judge.").split(".")[0]


def _choose(codes: dict[str, int | None], options: argparse.Namespace) -> list[str]:
    rng = random.Random(options.seed)
    chosen: list[str] = []
    for module in sorted({_module(name) for name in codes}):
        if any(fnmatch.fnmatch(module, wanted) for wanted in options.modules):
            mutants = sorted(name for name in codes if _module(name) == module)
            chosen += rng.sample(mutants, min(options.sample or len(mutants), len(mutants)))
    rng.shuffle(chosen)
    return chosen


def _report(chosen: list[str], out: Path) -> str:
    codes = {name: code for name, code in _codes().items() if name in set(chosen) and code is not None}
    tried, killed = (
        Counter(_module(name) for name, code in codes.items() if not only or code in _KILLED) for only in (False, True)
    )
    rows = [f"{module:<16}{killed[module]:>5} of {tried[module]:>4}" for module in sorted(tried)]
    total, dead = sum(tried.values()), sum(killed.values())
    table = "\n".join([*rows, f"{'all':<16}{dead:>5} of {total:>4}  ({dead / max(total, 1):.1%})"])
    survivors = sorted(name for name, code in codes.items() if code not in _KILLED)
    changes = "\n".join(_change(name) for name in survivors)
    out.write_text(f"# Mutants of the judge\n\n```\n{table}\n```\n\n## Survivors\n\n{changes}", encoding="utf-8")
    return table


def _change(name: str) -> str:
    lines = _mutmut("show", name).splitlines()
    return f"### {name}\n\n```diff\n" + "\n".join(line for line in lines if line[:1] in "+-@") + "\n```\n"


if __name__ == "__main__":
    sys.exit(main())
