"""Serin's own metrics.

Base units and ratios, one-hot states instead of numbered ones, and no label that a user's traffic can grow: policies go
when they are forgotten, and every other label comes from an enumeration, an error's `reason` or the operator's file.
"""

import asyncio
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from analyzer import __version__
from analyzer.core.judge.types import Verdict
from analyzer.core.rollout.model import HoldReason
from analyzer.core.rollout.phases import Phase

_POLICY: Final = ("namespace", "policy")
_TURN_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_DISTINCT_LABELS: Final = 100
_OTHER: Final = "Other"


@dataclass(frozen=True, slots=True)
class PolicyReading:
    """What is shown of one policy after a turn; None where there is nothing to show.

    Attributes
    ----------
    weight
        The canary's weight [per cent].
    log_e, log_threshold
        Evidence of harm and what makes it HARM [natural logarithm].
    log_proof, log_proof_threshold
        The weakest claim of non-inferiority in this step, and what makes it PROVEN [natural logarithm].
    stable_error_rate, canary_error_rate
        Since the evidence began [ratio].
    judged_at_s
        End of the newest judged interval [unix seconds].
    """

    phase: Phase
    verdict: Verdict
    weight: float | None = None
    held: HoldReason | None = None
    log_e: float | None = None
    log_threshold: float | None = None
    log_proof: float | None = None
    log_proof_threshold: float | None = None
    stable_error_rate: float | None = None
    canary_error_rate: float | None = None
    judged_at_s: float | None = None


class Metrics:
    """All series of one daemon, in a registry of its own."""

    def __init__(self) -> None:
        # A `_created` sample beside every counter would double their number, and nothing reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self.registry: Final = CollectorRegistry()
        self._seen: dict[str, set[str]] = {}
        self._declare_policy_series()
        self._declare_loop_series()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        build = self._gauge("build_info", "The running version; always 1.", ("version", "python_version"))
        build.labels(__version__, platform.python_version()).set(1)

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(f"serin_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"serin_{name}", text, labels, registry=self.registry)

    def _declare_policy_series(self) -> None:
        gauge = self._gauge
        self._phase = gauge("phase", "1 for the phase that the rollout is in, 0 for the others.", (*_POLICY, "phase"))
        self._verdict = gauge("verdict", "1 for the judge's verdict, 0 for the others.", (*_POLICY, "verdict"))
        self._held = gauge("held", "1 while the weights are held for this reason.", (*_POLICY, "reason"))
        self._weight = gauge("weight_ratio", "Share of the route's traffic that the canary is given.", _POLICY)
        self._harm = gauge(
            "harm_evidence_nats", "Natural logarithm of the evidence that the canary is worse than tolerated.", _POLICY
        )
        self._harm_threshold = gauge(
            "harm_evidence_threshold_nats", "serin_harm_evidence_nats at or above this is HARM.", _POLICY
        )
        self._proof = gauge(
            "proof_evidence_nats", "Natural logarithm of the evidence for the least proven claim of this step.", _POLICY
        )
        self._proof_threshold = gauge(
            "proof_evidence_threshold_nats", "serin_proof_evidence_nats at or above this is PROVEN.", _POLICY
        )
        self._errors = gauge(
            "error_ratio", "Share of requests that failed since the evidence began.", (*_POLICY, "role")
        )
        self._judged = gauge("last_judged_timestamp_seconds", "End of the newest interval that was judged.", _POLICY)
        self._policy_series: tuple[Gauge, ...] = (
            self._phase, self._verdict, self._held, self._weight, self._harm, self._harm_threshold,
            self._proof, self._proof_threshold, self._errors, self._judged,
        )  # fmt: skip

    def _declare_loop_series(self) -> None:
        counter = self._counter
        self._decisions = counter("decisions_total", "Decisions taken.", ("decision", "reason"))
        self._turns = Histogram(
            "serin_turn_duration_seconds",
            "Duration of one turn of one policy's loop.",
            buckets=_TURN_BUCKETS_S,
            registry=self.registry,
        )
        self._turn_failures = counter("turn_failures_total", "Turns that ended with an error.", ("reason",))
        self._queries = counter("telemetry_queries_total", "Queries sent to the telemetry store.")
        self._telemetry_failures = counter("telemetry_failures_total", "Telemetry reads that failed.", ("reason",))
        self._writes = counter("writes_total", "Writes to the cluster.", ("result",))
        self._alerts = counter(
            "alerts_total", "Attempts to hand over an alert, and alerts given up.", ("receiver", "result")
        )
        self._leader = self._gauge("leader", "1 while this replica leads and writes, 0 while it stands by.")
        self._pending = self._gauge("outbox_pending", "Alerts that some receiver has not taken yet.")
        self._late = self._gauge("pages_late", "Pages that no receiver has taken in time, nor since.")
        self._receivers = self._gauge("receivers", "Receivers of alerts that are configured.")
        self._receivers_valid = self._gauge("receivers_valid", "0 while the receivers file cannot be used, else 1.")
        self._gauge("tasks", "Tasks of the event loop.").set_function(_count_tasks)

    # --- policies ---

    def observe_policy(self, namespace: str, name: str, reading: PolicyReading) -> None:
        """Show a policy as it is after a turn. What `reading` leaves out is not shown, rather than shown as it was."""
        policy = (namespace, name)
        for gauge, states, now in (
            (self._phase, Phase, reading.phase),
            (self._verdict, Verdict, reading.verdict),
            (self._held, HoldReason, reading.held),
        ):
            for state in states:
                gauge.labels(*policy, state.value).set(float(state is now))
        values: Mapping[Gauge, float | None] = {
            self._weight: None if reading.weight is None else reading.weight / 100,
            self._harm: reading.log_e,
            self._harm_threshold: reading.log_threshold,
            self._proof: reading.log_proof,
            self._proof_threshold: reading.log_proof_threshold,
            self._judged: reading.judged_at_s,
        }
        for gauge, value in values.items():
            _show(gauge, policy, value)
        _show(self._errors, (*policy, "stable"), reading.stable_error_rate)
        _show(self._errors, (*policy, "canary"), reading.canary_error_rate)

    def forget_policy(self, namespace: str, name: str) -> None:
        """Remove every series of a policy that is gone."""
        for gauge in self._policy_series:
            gauge.remove_by_labels({"namespace": namespace, "policy": name})

    # --- the loop ---

    def count_decision(self, decision: str, reason: str) -> None:
        """Count a decision of the loop."""
        self._decisions.labels(self._bounded("decision", decision), self._bounded("reason", reason)).inc()

    def observe_turn(self, seconds: float) -> None:
        """Take the duration of one turn."""
        self._turns.observe(seconds)

    def count_turn_failure(self, reason: str) -> None:
        """Count a turn that ended with an error of this `reason`."""
        self._turn_failures.labels(self._bounded("reason", reason)).inc()

    def count_queries(self, queries: int = 1) -> None:
        """Count queries sent to the telemetry store."""
        self._queries.inc(queries)

    def count_telemetry_failure(self, reason: str) -> None:
        """Count a telemetry read that failed."""
        self._telemetry_failures.labels(self._bounded("reason", reason)).inc()

    def count_write(self, result: str) -> None:
        """Count a write to the cluster by its outcome: `ok`, or the error's reason."""
        self._writes.labels(self._bounded("result", result)).inc()

    def set_leader(self, leads: bool) -> None:  # noqa: FBT001  one value, as of any gauge
        """Show whether this replica leads."""
        self._leader.set(float(leads))

    # --- alerts ---

    def declare_receiver(self, receiver: str, results: Iterable[str]) -> None:
        """Show a receiver's counters at zero, so that the first failure is an increase and not a birth."""
        for result in results:
            self._alerts.labels(receiver, result).inc(0)

    def count_alert(self, receiver: str, result: str) -> None:
        """Count an attempt to hand an alert to a receiver by its outcome."""
        self._alerts.labels(receiver, result).inc()

    def set_outbox(self, *, pending: int, late: int) -> None:
        """Show how many alerts are not settled, and how many of them are pages that nobody took in time."""
        self._pending.set(pending)
        self._late.set(late)

    def set_receivers(self, *, loaded: bool, count: int) -> None:
        """Show whether the receivers file can be used, and how many receivers there are."""
        self._receivers_valid.set(loaded)
        self._receivers.set(count)

    # --- out ---

    def render(self, accept: str) -> tuple[bytes, str]:
        """Write all series in the format that an `Accept` header asks for; the text and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _bounded(self, label: str, value: str) -> str:
        """Fold values beyond the first hundred of a label into one: a bug elsewhere must not flood Prometheus."""
        seen = self._seen.setdefault(label, set())
        if value not in seen:
            if len(seen) >= _DISTINCT_LABELS:
                return _OTHER
            seen.add(value)
        return value


def _count_tasks() -> float:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked from outside of the loop
        return 0.0


def _show(gauge: Gauge, labels: tuple[str, ...], value: float | None) -> None:
    # A NaN would be drawn as a gap and break sums; a series that is not there says the same without that.
    if value is None or value != value:  # noqa: PLR0124  the definition of NaN
        gauge.remove(*labels)
    else:
        gauge.labels(*labels).set(value)
