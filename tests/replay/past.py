"""A service's past as Prometheus keeps it: counters of many proxies, from a seed; in memory, or as a real Prometheus."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.ports import SeriesBatch, TelemetryQuery, TelemetryWindow, Workload
from tests.app.ledger_scenes import Row, Samples, batch, cut

EDGES = ("5", "10", "25", "50", "100", "250", "+Inf")
V1, V2 = Workload("shop", "cart-v1"), Workload("shop", "cart-v2")
START_S = 1_700_000_000.0
EVERY_S = 15.0
Counts = NDArray[np.int64]


@dataclass
class Past:
    """Rows of series; `fetch` answers as the port does."""

    rows: list[Row] = field(default_factory=list)
    queries: list[TelemetryQuery] = field(default_factory=list)

    async def now_s(self) -> float:
        return START_S + 1e6

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        self.queries.append(query)
        parts: dict[str, list[Row]] = {"istio_requests_total": [], "istio_request_duration_milliseconds_bucket": []}
        reporters: list[Row] = []
        for full in self.rows:
            if (row := cut(full, query)) is not None:
                name = row[0]["__name__"]
                parts[name].append(row) if name in parts else reporters.append(row)
        kept: list[SeriesBatch] = [batch(rows) for rows in (*parts.values(), reporters)]
        return TelemetryWindow(query, *kept)

    def add_proxy(
        self,
        at: str,
        counts: Mapping[Workload, "Served"],
        *,
        reporter: str,
        phase_s: float = 0.0,
        born: int = 0,
        **labels: str,
    ) -> None:
        """One proxy that counts from interval `born` on; its counters begin at zero."""
        own = {"job": "mesh", "instance": at, **labels}
        n = max(len(served.requests) for served in counts.values())
        times = START_S + phase_s + EVERY_S * np.arange(born, n + 1)
        ages = (times - times[0] + 1.0).tolist()
        self.rows.append(({"__name__": "up", **own}, _pairs(times, np.ones(len(times)))))
        self.rows.append(({"__name__": "envoy_server_uptime", **own}, _pairs(times, np.floor(ages))))
        for workload, served in counts.items():
            base = {
                **own,
                "reporter": reporter,
                "destination_workload": workload.name,
                "destination_workload_namespace": workload.namespace,
                "response_flags": "-",
            }
            for code, values in (("200", served.requests - served.errors), ("503", served.errors)):
                series = {"__name__": "istio_requests_total", **base, "response_code": code}
                self.rows.append((series, _pairs(times, _running(values[born:]))))
            for edge, values in zip(EDGES, served.latency.cumsum(axis=1).T, strict=True):
                series = {
                    "__name__": "istio_request_duration_milliseconds_bucket",
                    **base,
                    "response_code": "200",
                    "le": edge,
                }
                self.rows.append((series, _pairs(times, _running(values[born:]))))

    def shifted(self, by_s: float) -> "Past":
        """The same at another time."""
        return Past([(labels, [(t + by_s, value) for t, value in samples]) for labels, samples in self.rows])

    def backfill(self, folder: Path) -> None:
        """Write the rows as blocks that a Prometheus reads."""
        rows = sorted(self.rows, key=lambda row: row[0]["__name__"])
        text = folder / "past.txt"
        with text.open("w") as stream:
            for labels, samples in rows:
                inner = ",".join(f'{name}="{value}"' for name, value in labels.items() if name != "__name__")
                stream.writelines(f"{labels['__name__']}{{{inner}}} {value:.17g} {t:.3f}\n" for t, value in samples)
            stream.write("# EOF\n")
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")]
        subprocess.run(command, check=True, capture_output=True)


@dataclass
class Served:
    """What was served per interval: shape (n,), (n,) and (n, buckets)."""

    requests: Counts
    errors: Counts
    latency: Counts

    @classmethod
    def make(
        cls,
        rng: np.random.Generator,
        rate: NDArray[np.float64],
        *,
        errors: NDArray[np.float64],
        median_ms: float = 20.0,
    ) -> "Served":
        requests = rng.poisson(rate * EVERY_S)
        below = 1.0 / (1.0 + (np.array([5, 10, 25, 50, 100, 250]) / median_ms) ** -3.0)
        share = np.diff(np.concatenate([[0.0], below, [1.0]]))
        return cls(requests, rng.binomial(requests, errors), rng.multinomial(requests, share))


def _running(values: Counts) -> "NDArray[np.float64]":
    return np.concatenate([[0], np.cumsum(values)]).astype(np.float64)


def _pairs(times: NDArray[Any], values: NDArray[Any]) -> Samples:
    return list(zip(times.tolist(), values.tolist(), strict=True))


def rollout_past(*, seed: int = 1, weights: Mapping[int, float], n: int = 60, canary_errors: float = 0.001) -> Past:
    """Two gateways before a canary whose weight changes at these intervals [per cent]."""
    rng = np.random.default_rng(seed)
    weight = np.zeros(n)
    for begin, value in sorted(weights.items()):
        weight[begin:] = value
    past = Past()
    for number in range(2):
        share = weight / 100.0
        past.add_proxy(
            f"gw-{number}:15020",
            {
                V1: Served.make(rng, 250.0 * (1 - share), errors=np.full(n, 0.001)),
                V2: Served.make(rng, 250.0 * share, errors=np.full(n, canary_errors)),
            },
            reporter="source",
            phase_s=3.7 * number,
        )
    return past


def pods_past(*, seed: int = 1, pods: int = 6, n: int = 240, noise: float = 0.0, rate: float = 300.0) -> Past:
    """One version's pods, as their own proxies count; `noise` is the spread of a pod's log error rate, with memory."""
    rng = np.random.default_rng(seed)
    past = Past()
    for number in range(pods):
        wander = np.zeros(n)
        for t in range(1, n):
            wander[t] = 0.9 * wander[t - 1] + np.sqrt(1 - 0.81) * rng.standard_normal()
        errors = np.minimum(0.002 * np.exp(noise * wander), 1.0)
        served = Served.make(rng, np.full(n, rate / pods), errors=errors)
        past.add_proxy(
            f"10.0.0.{number}:15020",
            {V1: served},
            reporter="destination",
            phase_s=2.1 * number,
            pod=f"cart-v1-{number}",
        )
    return past
