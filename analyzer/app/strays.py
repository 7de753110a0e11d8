"""Which proxies do not split requests by the weight: asked only where the shares are in doubt, for the person on call."""

import math
from dataclasses import replace
from typing import Final

import structlog

from analyzer.app.answers import JudgeOrder
from analyzer.app.ledger import Demand, Statement, VersionSource, build_intervals
from analyzer.app.ledger.lines import reporter_of
from analyzer.app.ledger.routing import Labels, on_route
from analyzer.app.splits import Split
from analyzer.core.rollout.wording import count
from analyzer.ports import SeriesBatch, TelemetryWindow, Workload

log = structlog.get_logger("serin.judging")

_NAMED: Final = 3
_FAR_SD: Final = 5.0
_STABLE, _CANARY = "stable", "canary"


def name_strays(order: JudgeOrder, window: TelemetryWindow, statement: Statement) -> str:
    """Name the proxies whose split of the newest intervals is far from the weight; empty where none is."""
    try:
        return _describe(order, window, statement)
    except Exception:
        log.exception("proxies not named: a bug of Serin", policy=order.key)
        return ""  # it is only for people: the verdict must not suffer from it


def _describe(order: JudgeOrder, window: TelemetryWindow, statement: Statement) -> str:
    weight = order.demand.weight / 100.0
    if not 0.0 < weight < 1.0 or not statement.intervals:
        return ""
    found = []
    for reporter, split in _splits(order, window, statement).items():
        requests = split.stable + split.canary
        far = abs(split.canary - requests * weight) / math.sqrt(max(requests * weight * (1.0 - weight), 1.0))
        if far > _FAR_SD:
            found.append((far, f"{reporter} ({100 * split.canary / requests:.3g} % of {count(requests)})"))
    worst = [text for _, text in sorted(found, reverse=True)]
    more = f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
    return ", ".join(worst[:_NAMED]) + more


def _splits(order: JudgeOrder, window: TelemetryWindow, statement: Statement) -> dict[str, Split]:
    """Count both versions' requests per proxy: each is a rollout of its own for the ledger."""
    requests = _by_reporter(window.requests, order.demand)
    names = sorted({labels["destination_workload"] for labels in requests.labels})
    demands = [
        replace(
            order.demand,
            key=name,
            stable=VersionSource(Workload(_STABLE, name)),
            canary=VersionSource(Workload(_CANARY, name)),
            services=frozenset(),
            since_s=statement.intervals[0].end_s - statement.intervals[0].seconds,
            interval_s=statement.interval_s,
        )
        for name in names
    ]
    own = replace(window, requests=requests, durations=_none_of(window.durations))
    return {
        name: Split(sum(i.stable.requests for i in s.intervals), sum(i.canary.requests for i in s.intervals))
        for name, s in zip(names, build_intervals(own, demands), strict=True)
    }


def _by_reporter(batch: SeriesBatch, demand: Demand) -> SeriesBatch:
    return replace(batch, labels=[_renamed(labels, demand) for labels in batch.labels])


def _renamed(labels: Labels, demand: Demand) -> Labels:
    workload = (labels.get("destination_workload_namespace"), labels.get("destination_workload"))
    role = {demand.stable.workload: _STABLE, demand.canary.workload: _CANARY}.get(Workload(*map(str, workload)))
    if role is None or not on_route(labels, demand.routes):
        role = ""  # nobody's
    name = " ".join(part for part in reporter_of(labels) if part)
    return {**labels, "destination_workload_namespace": role, "destination_workload": name}


def _none_of(batch: SeriesBatch) -> SeriesBatch:
    return SeriesBatch(labels=[], offsets=batch.offsets[:1], times=batch.times[:0], values=batch.values[:0])
