"""`make bench`: figures of the judge, the ledger and the loop, as a table and in bench.json.

Times are process CPU, the least of several runs: other work on the machine can only add to it. Counts and ratios do not depend
on the machine at all.
"""

import asyncio
import io
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from analyzer import __version__
from analyzer.core.judge import dump_state, initial_state, judge, judge_course, learn
from analyzer.core.judge.types import (
    ISTIO_EDGES_MS,
    Assessment,
    History,
    Interval,
    JudgeRequest,
    JudgeSettings,
    Step,
    VersionCounts,
)
from analyzer.replay.counts import CountsReader
from analyzer.replay.run import Replay
from tests.bench.crowd import Crowd, Turns, count_queries
from tests.core.judge.worlds import Behaviour, World

SIZES = (1, 100, 1000)
_OUT = Path("bench.json")


def _version(rng: np.random.Generator, requests: int) -> VersionCounts:
    latency = rng.multinomial(requests, np.ones(len(ISTIO_EDGES_MS) + 1) / (len(ISTIO_EDGES_MS) + 1))
    return VersionCounts(requests, int(rng.binomial(requests, 0.001)), latency.astype(np.int64), pods=3)


def bench_judge(rollouts: int) -> dict[str, float]:
    """Measure one update of many rollouts in one call."""
    rng = np.random.default_rng(1)
    assessments: list[Assessment] = []
    states = [initial_state()] * rollouts

    def update() -> None:
        nonlocal states, assessments
        requests = [
            JudgeRequest(
                state,
                JudgeSettings(),
                Step("0:10:Progressing", 25.0),
                (Interval(update.t, 15.0, 10.0, ISTIO_EDGES_MS, stable, canary),),  # type: ignore[attr-defined]
            )
            for state in states
        ]
        began = time.process_time()
        assessments = judge(requests)
        update.spent.append(time.process_time() - began)  # type: ignore[attr-defined]
        update.t += 15.0  # type: ignore[attr-defined]
        states = [assessment.state for assessment in assessments]

    update.t, update.spent = 15.0, []  # type: ignore[attr-defined]
    stable, canary = _version(rng, 2700), _version(rng, 300)
    for _ in range(12):
        update()
    best = min(update.spent[2:])  # type: ignore[attr-defined]
    return {
        "microseconds_per_rollout": round(1e6 * best / rollouts, 1),
        "state_bytes": len(dump_state(states[0])),
    }


def largest_state() -> int:
    """Measure the stored state of a long rollout with everything in it: a history with young pods, limits, 19 edges."""
    rng = np.random.default_rng(1)
    young = np.tile(15.0 * np.arange(240.0)[:, None], (1, 20))
    latency = rng.integers(1, 10**4, (240, 20, len(ISTIO_EDGES_MS) + 1))
    requests = latency.sum(axis=-1)
    past = History(15.0, requests, rng.binomial(requests, 0.001), ISTIO_EDGES_MS, latency, young)
    settings = JudgeSettings(limit_error_rate=0.5, limit_p99_ms=1e3)
    world = World(rate=3000.0, seconds=15.0, noise=0.5)
    wide = Behaviour(median_ms=200.0, sigma=3.0)  # so that every edge has evidence of its own
    step = Step("0:10:Progressing", 25.0)
    turns = [(step, world.interval(wide, stable=wide, pod_age_s=15.0 * number)) for number in range(300)]
    *_, last = judge_course(initial_state(learn(past, settings)), settings, turns)
    return len(dump_state(last.state))


def _noisy(rng: np.random.Generator, number: int) -> Interval:
    stable, canary = (_version(rng, int(rng.poisson(requests))) for requests in (2700, 300))
    return Interval(15.0 * number, 15.0, 10.0, ISTIO_EDGES_MS, stable, canary)


def bench_replay(intervals: int) -> dict[str, float]:
    """Measure `serin replay --counts` on one rollout alone, reading its lines included."""
    rng = np.random.default_rng(1)
    lines = [json.dumps({"rollout": "r", "edges_ms": ISTIO_EDGES_MS})]
    for number in range(intervals):
        one = _noisy(rng, number + 1)
        sides = {
            role: {"pods": 3, "requests": side.requests, "errors": side.errors}
            | {"latency_counts": side.latency_counts.tolist()}
            for role, side in (("stable", one.stable), ("canary", one.canary))
        }
        lines.append(
            json.dumps({"rollout": "r", "t": one.end_s, "seconds": 15.0, "weight": 10, "next_weight": 25} | sides)
        )
    raw = "\n".join(lines).encode()
    spent = []
    for _ in range(3):
        began = time.process_time()
        Replay().play(CountsReader("bench").read(io.BytesIO(raw)))
        spent.append(time.process_time() - began)
    return {"microseconds_per_interval": round(1e6 * min(spent) / intervals, 1)}


async def bench_turns(rollouts: int) -> dict[str, float]:
    """Measure whole turns (telemetry parsed already, ledger, judge, decision, writes) with in-memory ports."""
    turns = Turns(Crowd(rollouts))
    await turns.begin()
    for _ in range(3):
        await turns.all()
    spent = [await turns.all() for _ in range(4)]
    best = min(spent, key=lambda parts: parts["judging_s"] + parts["turns_s"])
    return {
        "milliseconds_per_rollout": round(1e3 * (best["judging_s"] + best["turns_s"]) / rollouts, 3),
        "of_which_ledger_and_judge": round(1e3 * best["judging_s"] / rollouts, 3),
        "cluster_calls_per_rollout": round(sum(parts["calls"] for parts in spent) / len(spent) / rollouts, 2),
    }


def rss_mib() -> float:
    """Return this process' resident memory now [MiB]."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def measure() -> dict[str, Any]:
    """Measure everything."""
    report: dict[str, Any] = {
        "serin": __version__,
        "python": platform.python_version(),
        "memory_mib": {"at_start": round(rss_mib(), 1)},
        "judge": {str(n): bench_judge(n) for n in SIZES},
        "largest_state_bytes": largest_state(),
        "replay": bench_replay(4000),
        "telemetry_queries_per_turn": {str(n): await count_queries(n) for n in SIZES},
        "turns": {},
    }
    for n in SIZES:
        report["turns"][str(n)] = await bench_turns(n)
        report["memory_mib"][f"after_{n}_rollouts"] = round(rss_mib(), 1)
    report["memory_mib"]["most"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    return report


def table(report: dict[str, Any]) -> str:
    """Write the report for people."""
    rows = [("", *(f"{n} rollouts" for n in SIZES))]

    def add(title: str, values: Callable[[str], object]) -> None:
        rows.append((title, *(f"{values(str(n)):,}" for n in SIZES)))

    add("judge: µs CPU per update and rollout", lambda n: report["judge"][n]["microseconds_per_rollout"])
    add("judge: bytes of stored state", lambda n: report["judge"][n]["state_bytes"])
    add("turn: ms CPU per rollout", lambda n: report["turns"][n]["milliseconds_per_rollout"])
    add("  of which ledger and judge", lambda n: report["turns"][n]["of_which_ledger_and_judge"])
    add("turn: calls to the cluster per rollout", lambda n: report["turns"][n]["cluster_calls_per_rollout"])
    add("turn: Prometheus queries, all together", lambda n: report["telemetry_queries_per_turn"][n])
    add("memory of this process, MiB", lambda n: report["memory_mib"][f"after_{n}_rollouts"])
    rows.append(("judge: bytes of the largest stored state", f"{report['largest_state_bytes']:,}", "", ""))
    rows.append(
        ("replay of one rollout: µs CPU per interval", f"{report['replay']['microseconds_per_interval']:,}", "", "")
    )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        row[0].ljust(widths[0])
        + "".join(cell.rjust(width + 2) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def main() -> None:
    """Measure, print, and write bench.json."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    report = asyncio.run(measure())
    print(table(report))  # noqa: T201
    _OUT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"the same as JSON: {_OUT}")  # noqa: T201


if __name__ == "__main__":
    main()
