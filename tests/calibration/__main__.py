"""`python -m tests.calibration`: measures the judge by simulation and writes one table of it all.

--rollouts N   per cell (400: a rate of 0 is then known to be below 0.75 %)
--only NAME    what has this in its section's or its row's name
--workers N    processes
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.calibration import tables
from tests.calibration.jobs import Job, all_jobs
from tests.calibration.measures import Size

_SECTIONS: dict[str, tuple[str, Callable[[Sequence[Any]], str]]] = {
    "harmless": ("Rollbacks of harmless releases", tables.harmless_table),
    "detection": ("Regressions, with history", tables.detection_table),
    "proof": ("Proof of releases exactly at the margin, harm ignored", tables.proof_table),
    "hang": ("Releases that hang a fifth of their requests", tables.hang_table),
}
_NOTES = {
    "harmless": "± is the standard error, ≤ the upper 95 % bound. Bold: above 1 % with history, above 3 % without. Promoted "
    "and unproven: with history.",
    "detection": "Users hurt: requests that failed, hung, or must have become slower because of the canary. "
    "Fixed: 5 minutes each at 1, 5, 10, 25 and 50 %. Wanted: at 300 and 3,000 requests/s the medians "
    "published in statistics.md §11. Bold: slower.",
    "proof": "Bold: above 5 %.",
    "hang": "Bold: any.",
}


def _selected(jobs: Iterator[Job], only: str) -> list[Job]:
    """Keep what `--only` names; regressions share their jobs, which choose among themselves."""
    return [job for job in jobs if not only or only in job.section or only in job.name or job.section == "detection"]


def _run(jobs: Sequence[Job], workers: int) -> dict[str, list[Any]]:
    results: dict[str, list[Any]] = {section: [] for section in _SECTIONS}
    began = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures: list[tuple[Job, Future[Any]]] = [(job, pool.submit(job.run)) for job in jobs]
        for number, (job, future) in enumerate(futures, start=1):
            found = future.result()
            results[job.section] += found if isinstance(found, list) else [found]
            took = time.monotonic() - began
            sys.stderr.write(f"{number}/{len(jobs)} {took:.0f} s: {job.name}\n")
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.calibration", description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=Path("calibration.md"), help="the table's file")
    parser.add_argument("--rollouts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> None:
    """Measure, write, print."""
    arguments = _arguments()
    size = Size(arguments.rollouts, arguments.seed)
    results = _run(_selected(all_jobs(size, arguments.only), arguments.only), arguments.workers)
    parts = [f"# Calibration\n\n{size.rollouts} rollouts per cell (half as many of bad releases), seed {size.seed}.\n"]
    for section, (title, write) in _SECTIONS.items():
        if results[section]:
            parts.append(f"## {title}\n\n{_NOTES[section]}\n\n{write(results[section])}")
    text = "\n".join(parts)
    arguments.output.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
