"""What the pods' own proxies tell of a recorded rollout: how many pods there were, how old, and the history before.

The judge is stricter or milder by the number of pods, patient with young ones, and learns a service's noise from the
hour before; a replay without these answers a little otherwise than the daemon did.
"""

import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from analyzer.app.history.pods import PodCounts, read_pods
from analyzer.app.history.reading import FetchesTelemetry
from analyzer.core.judge.types import VersionCounts
from analyzer.ports import Workload
from analyzer.replay.lines import Header, HistoryLine, IntervalLine, Record
from analyzer.replay.recorded import Recording

HISTORY_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Both versions' pods; None where nothing reports them (ambient mode, or proxies that are not scraped)."""

    stable: PodCounts | None
    canary: PodCounts | None


async def read_surroundings(telemetry: FetchesTelemetry, recording: Recording) -> Surroundings:
    """Read both versions' pods; `telemetry` is of `reporter="destination"`.

    Raises
    ------
    MetricsUnavailable
        It did not answer.
    """

    async def read(workload: Workload, from_s: float) -> PodCounts | None:
        return await read_pods(telemetry, workload, from_s=from_s, to_s=recording.to_s)

    return Surroundings(
        stable=await read(recording.stable, recording.from_s - HISTORY_S),
        canary=await read(recording.canary, recording.from_s),
    )


async def surround(
    records: AsyncIterator[Record], surroundings: Surroundings, recording: Recording
) -> AsyncIterator[Record]:
    """Add to a recording what its surroundings tell; what the user gave stays as given."""
    stable, canary = surroundings.stable, surroundings.canary
    async for record in records:
        if isinstance(record, Header) and stable is not None and recording.route is None:
            # Of a route's own users nothing is known before: the pods count everybody.
            history = list(_history(record.rollout, stable, until_s=recording.from_s))
            yield record._replace(edges_ms=stable.edges_ms) if history else record
            for line in history:
                yield line
        elif isinstance(record, IntervalLine):
            yield _with_pods(record, stable, canary, recording=recording)
        else:
            yield record


def _history(rollout: str, counts: PodCounts, *, until_s: float) -> Iterator[HistoryLine]:
    last = min(int((until_s - counts.start_s) / counts.seconds), counts.n_intervals)
    pods = np.flatnonzero(counts.requests[: max(last, 0)].any(axis=0))
    for number in range(last if pods.size else 0):
        if counts.requests[number].any():
            yield HistoryLine(
                rollout,
                t=counts.start_s + (number + 1) * counts.seconds,
                seconds=counts.seconds,
                requests=counts.requests[number, pods],
                errors=counts.errors[number, pods],
                latency_counts=counts.latency_counts[number, pods],
                pod_age_s=counts.age_s[number, pods],
            )


def _with_pods(
    line: IntervalLine, stable: PodCounts | None, canary: PodCounts | None, *, recording: Recording
) -> IntervalLine:
    interval = line.interval
    return line._replace(
        interval=replace(
            interval,
            stable=_version(interval.stable, stable, interval.end_s, pods=recording.stable_pods),
            canary=_version(
                interval.canary, canary, interval.end_s, pods=recording.canary_pods, since_s=recording.canary_since_s
            ),
        )
    )


def _version(
    version: VersionCounts, counts: PodCounts | None, end_s: float, *, pods: int | None, since_s: float | None = None
) -> VersionCounts:
    if counts is None:
        return version
    ages = _ages_at(counts, end_s)
    return replace(
        version,
        pods=max(len(ages), 1) if pods is None else pods,
        youngest_pod_age_s=min(ages, default=math.inf) if since_s is None else version.youngest_pod_age_s,
    )


def _ages_at(counts: PodCounts, end_s: float) -> list[float]:
    """Find the ages of the pods that were there [s]; infinity where a pod's is not known."""
    number = round((end_s - counts.start_s) / counts.seconds) - 1
    if not 0 <= number < counts.n_intervals:
        return []
    ages = counts.age_s[number]
    there = (counts.requests[number] > 0) | ~np.isnan(ages)
    return [math.inf if math.isnan(age) else age for age in ages[there].tolist()]
