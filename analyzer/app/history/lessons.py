"""What the stable versions' own pods teach the judge before a rollout, for many rollouts that begin together.

It makes the judge quicker and keeps its error rate where a service is noisier than usual; without it the judge takes usual
values. So nothing here may fail a rollout, or delay it for long.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import structlog

from analyzer.app.history.pods import PodCounts, read_all_pods
from analyzer.app.history.reading import WINDOW_S, FetchesTelemetry, fetch
from analyzer.core.judge import initial_state, learn
from analyzer.core.judge.types import History, JudgeSettings, JudgeState
from analyzer.core.rollout.wording import count, duration
from analyzer.errors import MetricsUnavailable
from analyzer.ports import Workload

log = structlog.get_logger("serin.history")

INTERVALS: Final = 240
"""So many are best (statistics.md §5) …"""
LONGEST_S: Final = 3600.0
"""… but what is longer ago is another time of the day."""
FEWEST: Final = 20
"""With fewer there is less to learn than the usual values already say."""
PATIENCE_S: Final = 30.0
"""A rollout waits no longer than this for its lesson."""
_PODS_TOGETHER: Final = 50
"""Read in one window of `WINDOW_S`: with 20 edges and a scrape every 15 s about 100,000 samples."""
_SHORTEST_S: Final = 60.0
_PROBE_S: Final = 150.0
"""Longer than two scrapes of whoever scrapes once a minute."""


class PodTelemetry(FetchesTelemetry, Protocol):
    """Where the pods' own proxies are read: `reporter="destination"`."""

    async def now_s(self) -> float:
        """Tell the time by the telemetry store's own clock [unix seconds]; raises as `fetch`."""
        ...


@dataclass(frozen=True, slots=True)
class Pupil:
    """A rollout that begins.

    Attributes
    ----------
    key
        Names its policy.
    stable
        The version whose past teaches.
    pods
        How many it has, to bound what is read at once.
    routes
        The routes that the rollout is judged on; None: the versions as a whole.
    settings
        Those of the rollout.
    """

    key: str
    stable: Workload
    pods: int
    routes: frozenset[str] | None
    settings: JudgeSettings


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a rollout begins with: the judge's state, and in words where it is from."""

    state: JudgeState
    said: str


def usual(why: str) -> Lesson:
    """Begin without a history."""
    return Lesson(initial_state(), f"usual values: {why}")


async def teach(
    telemetry: PodTelemetry, pupils: Sequence[Pupil], *, call_timeout_s: float, patience_s: float = PATIENCE_S
) -> list[Lesson]:
    """Read the past of all stable versions in a few bounded reads, and learn; one lesson per pupil, in their order.

    Parameters
    ----------
    telemetry
        Of the pods' own proxies.
    pupils
        Rollouts that begin.
    call_timeout_s
        For one read [s].
    patience_s
        For everything [s]; whose turn did not come by then begins with usual values.
    """
    lessons = {
        place: usual("per-pod telemetry does not tell a route's own users from others")
        for place, pupil in enumerate(pupils)
        if pupil.routes is not None
    }
    waiting = [(place, pupil) for place, pupil in enumerate(pupils) if place not in lessons]
    try:
        async with asyncio.timeout(patience_s):
            for together in _chunks(waiting):
                lessons |= await _teach_together(telemetry, together, call_timeout_s=call_timeout_s)
    except TimeoutError:
        log.warning("not all histories were read in time", rollouts=len(pupils), patience_s=patience_s)
    late = usual(f"its history was not read within {patience_s:g} s")
    taught = [lessons.get(place, late) for place in range(len(pupils))]
    for pupil, lesson in zip(pupils, taught, strict=True):
        log.info("what a rollout knows of its stable version", policy=pupil.key, dispersion=lesson.said)
    return taught


def _chunks(waiting: Sequence[tuple[int, Pupil]]) -> Iterator[list[tuple[int, Pupil]]]:
    """Put pupils together, up to so many pods; one with more has a chunk of its own."""
    chunk: list[tuple[int, Pupil]] = []
    for place, pupil in waiting:
        if chunk and sum(p.pods for _, p in chunk) + pupil.pods > _PODS_TOGETHER:
            yield chunk
            chunk = []
        chunk.append((place, pupil))
    if chunk:
        yield chunk


async def _teach_together(
    telemetry: PodTelemetry, pupils: Sequence[tuple[int, Pupil]], *, call_timeout_s: float
) -> dict[int, Lesson]:
    try:
        counts = await _read(telemetry, [pupil for _, pupil in pupils], call_timeout_s=call_timeout_s)
    except (MetricsUnavailable, TimeoutError) as error:
        why = str(error) or f"no answer within {call_timeout_s:g} s"
        return {place: usual(f"its history could not be read ({why})") for place, _ in pupils}
    except Exception as error:
        # A bug that one service's past brings to light must not end the daemon.
        log.exception("reading histories failed: a bug of Serin", policies=[pupil.key for _, pupil in pupils])
        return {place: _bug(error) for place, _ in pupils}
    taught = {}
    for place, pupil in pupils:
        taught[place] = _lesson(counts.get(pupil.stable), pupil)
        await asyncio.sleep(0)  # others have their turn
    return taught


async def _read(
    telemetry: PodTelemetry, pupils: Sequence[Pupil], *, call_timeout_s: float
) -> Mapping[Workload, PodCounts]:
    pods = max(sum(pupil.pods for pupil in pupils), 1)
    async with asyncio.timeout(call_timeout_s):
        now_s = await telemetry.now_s()
    stable = frozenset(pupil.stable for pupil in pupils)
    reporting = await _reporting(telemetry, stable, now_s=now_s, timeout_s=call_timeout_s)
    if not reporting:
        return {}
    return await read_all_pods(
        telemetry,
        reporting,
        from_s=now_s - LONGEST_S,
        to_s=now_s,
        timeout_s=call_timeout_s,
        window_s=float(np.clip(WINDOW_S * _PODS_TOGETHER / pods, _SHORTEST_S, WINDOW_S)),
        most=INTERVALS,
    )


async def _reporting(
    telemetry: PodTelemetry, workloads: frozenset[Workload], *, now_s: float, timeout_s: float
) -> frozenset[Workload]:
    """Find those whose pods report at all: in many a mesh none do, and an hour of nothing need not be read."""
    window = await fetch(telemetry, workloads, since_s=now_s - _PROBE_S, end_s=now_s, timeout_s=timeout_s)
    there = {
        (labels.get("destination_workload_namespace"), labels.get("destination_workload"))
        for labels in window.requests.labels
    }
    return frozenset(workload for workload in workloads if workload in there)


def _lesson(counts: PodCounts | None, pupil: Pupil) -> Lesson:
    if counts is None:
        return usual(f'no per-pod telemetry (reporter="destination") of {pupil.stable.namespace}/{pupil.stable.name}')
    counts = counts.newest(INTERVALS)
    used = int(counts.requests.any(axis=1).sum())
    if used < FEWEST:
        return usual(f"only {used} intervals of per-pod telemetry")
    try:
        state = initial_state(learn(history_of_pods(counts), pupil.settings))
    except Exception as error:
        # Nor must it reach its rollout, or the others'.
        log.exception("learning failed: a bug of Serin", policy=pupil.key)
        return _bug(error)
    pods = int(counts.requests.any(axis=0).sum())
    return Lesson(state, f"learned from {_pods(pods)} over {duration(used * counts.seconds)}")


def _bug(error: Exception) -> Lesson:
    return usual(f"learning failed on its history ({type(error).__name__}); this is a bug of Serin")


def _pods(pods: int) -> str:
    return "1 pod" if pods == 1 else f"{count(pods)} pods"


def history_of_pods(counts: PodCounts) -> History:
    """Give a past to the judge."""
    return History(
        seconds=counts.seconds,
        requests=counts.requests.astype(np.int64),
        errors=counts.errors.astype(np.int64),
        edges_ms=counts.edges_ms,
        latency_counts=counts.latency_counts.astype(np.int64),
        pod_age_s=None if np.isnan(counts.age_s).all() else counts.age_s,
    )
