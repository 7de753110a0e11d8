"""Lines of the counts format, ready-made, so that a test shows only what it is about."""

import io
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from analyzer.replay.counts import CountsReader
from analyzer.replay.lines import Record
from analyzer.replay.result import Result
from analyzer.replay.run import Replay
from tests.core.judge.worlds import Behaviour, World

EDGES = [10, 25, 50, 100]
Line = dict[str, Any]


def header(rollout: str = "r1", *, edges: list[Any] | None = None, **policy: Any) -> Line:
    return {"rollout": rollout, "edges_ms": EDGES if edges is None else edges, "policy": policy}


def version(requests: int = 100, errors: int = 0, **fields: Any) -> Line:
    return {"pods": 2, "requests": requests, "errors": errors, "latency_counts": [requests, 0, 0, 0, 0], **fields}


def interval(rollout: str = "r1", *, t: Any = 15.0, **fields: Any) -> Line:
    return {
        "rollout": rollout,
        "t": t,
        "seconds": 15.0,
        "weight": 10,
        "next_weight": 25,
        "stable": version(900),
        "canary": version(100, pod_age_s=15.0),
        **fields,
    }


def history(rollout: str = "r1", *, t: float = -15.0, pods: int = 2, **fields: Any) -> Line:
    rows: Line = {"requests": [400] * pods, "errors": [1] * pods, "latency_counts": [[400, 0, 0, 0, 0]] * pods}
    return {"rollout": rollout, "t": t, "seconds": 15.0, "history": {**rows, **fields}}


def text(lines: Iterable[Line | str]) -> bytes:
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode()


def read(*lines: Line | str) -> tuple[list[Record], list[str]]:
    reader = CountsReader("f.jsonl")
    records = list(reader.read(io.BytesIO(text(lines))))
    return records, [str(bad) for bad in reader.bad]


def replay(lines: Iterable[Line], *, max_waiting: int = 1000) -> list[Result]:
    reader = CountsReader("f.jsonl")
    results = Replay(max_waiting=max_waiting).play(reader.read(io.BytesIO(text(lines))))
    assert reader.bad == []
    return results


def world_lines(
    rollout: str, *, seed: int, count: int, canary: Behaviour | None = None, steps: dict[int, tuple[int, int | None]]
) -> list[Line]:
    """A rollout of a simulated service; `steps` tells weight and next weight from an interval on."""
    world = World(seed=seed, rate=500.0, seconds=15.0, time_s=0.0, pods=(8, 2))
    lines: list[Line] = [{"rollout": rollout, "edges_ms": list(world.edges_ms)}]
    weight: tuple[int, int | None] = (10, 25)
    for number in range(count):
        weight = steps.get(number, weight)
        world.weight = weight[0]
        seen = world.interval(canary)
        sides = {
            name: {
                "pods": side.pods,
                "requests": side.requests,
                "errors": side.errors,
                "latency_counts": side.latency_counts.tolist(),
            }
            for name, side in (("stable", seen.stable), ("canary", seen.canary))
        }
        lines.append(
            {"rollout": rollout, "t": seen.end_s, "seconds": 15.0, "weight": weight[0], "next_weight": weight[1]}
            | sides
        )
    return lines


def shuffled(groups: list[list[Line]], *, seed: int) -> list[Line]:
    """Lines of several rollouts, interleaved at random; each rollout's own order stays."""
    rng = np.random.default_rng(seed)
    order = rng.permutation([number for number, group in enumerate(groups) for _ in group])
    queues = [iter(group) for group in groups]
    return [next(queues[number]) for number in order]
