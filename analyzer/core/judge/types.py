"""What goes into the judge and what comes out of it.

In: intervals of counts for both versions at the same instants. Out: evidence and a verdict. The judge's state is the
checkpoint: judging some intervals, storing the state, restoring it and going on is the same as never having stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ISTIO_EDGES_MS: Final = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6,
)  # fmt: skip
"""Istio's default histogram edges of `istio_request_duration_milliseconds` [ms]."""


class Verdict(StrEnum):
    """What the evidence so far amounts to."""

    HARM = "HARM"  # the canary is worse than the tolerance allows; error rate controlled over the whole rollout
    PROVEN = "PROVEN"  # no worse than the margin of the next weight; error rate controlled per step
    INCONCLUSIVE = "INCONCLUSIVE"  # there are data, and they prove neither
    NO_DATA = "NO_DATA"  # nothing to judge by yet


class Channel(StrEnum):
    """What is compared."""

    ERRORS = "errors"
    LATENCY = "latency"
    COMPLETIONS = "completions"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class VersionCounts:
    """What one version answered in one interval.

    Attributes
    ----------
    requests
        Completed requests [count], ≥ 0.
    errors
        Those of them that failed [count], 0 ≤ errors ≤ requests.
    latency_counts : ndarray, shape (n_edges + 1,), int64
        Requests per histogram bucket [count], non-cumulative; the last is above the highest edge. Its sum is the
        histogram's own count and need not equal `requests` (Envoy flushes histograms later than counters).
    pods
        Ready pods [count].
    youngest_pod_age_s
        Age of the youngest pod at the interval's end [s]; infinity where it is not known to be young.
    """

    requests: int
    errors: int
    latency_counts: "NDArray[np.int64]"
    pods: int = 1
    youngest_pod_age_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Interval:
    """Both versions in the time between two scrapes.

    Attributes
    ----------
    end_s
        End of the interval by the samples' own timestamps [unix seconds].
    seconds
        Its length [s], > 0.
    weight
        Share of the traffic that the route's weights gave the canary [per cent].
    edges_ms
        The histogram's finite edges, ascending [ms]; the same for both versions.
    stable, canary
        The counts.
    unattributed_errors
        Errors that belong to one of the two versions, nobody knows which [count] (Istio leaves the workload unknown
        when no upstream was picked).
    in_effect
        False: the proxies still split by an earlier weight. What the versions answered counts; how many requests each got
        tells nothing of the canary.
    """

    end_s: float
    seconds: float
    weight: float
    edges_ms: tuple[float, ...]
    stable: VersionCounts
    canary: VersionCounts
    unattributed_errors: int = 0
    in_effect: bool = True


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How strict the judge is. The defaults are those of `spec.judge`.

    Attributes
    ----------
    false_rollback
        Chance that a harmless release is rolled back, over the whole rollout (α) [ratio].
    false_proof
        Chance per step that a release worse than the margin is called proven (α_NI) [ratio].
    error_tolerance, error_floor
        Errors are harm beyond `(1 + error_tolerance) · p_stable + error_floor` [ratio].
    latency_tolerance
        Latency is harm when everything is slower by more than this [ratio].
    warm_up_s
        Time constant of the extra latency tolerance for young canary pods [s]; 0 turns it off.
    harm_budget
        Share of all requests that an undetected bad step may hurt [ratio].
    limit_error_rate
        Absolute limit of the canary's error rate, whatever the stable version's is [ratio]; None: no limit.
    limit_p99_ms
        The same of its 99th percentile of latency [ms]; None: no limit.
    sticky_users
        The same user always gets the same version, so the share of the requests follows users, not the weights: too few
        completed requests are no harm then, and proof allows for users who ask more than others.
    """

    false_rollback: float = 0.01
    false_proof: float = 0.05
    error_tolerance: float = 0.10
    error_floor: float = 1e-4
    latency_tolerance: float = 0.05
    warm_up_s: float = 60.0
    harm_budget: float = 1e-3
    limit_error_rate: float | None = None
    limit_p99_ms: float | None = None
    sticky_users: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """The stable version alone, pod by pod, before the rollout.

    Attributes
    ----------
    seconds
        Length of one interval [s], > 0.
    requests, errors : ndarray, shape (n_intervals, n_pods), int64
        Completed requests and errors [count]. A pod that was not there has zeros.
    edges_ms
        The histogram's finite edges, ascending [ms].
    latency_counts : ndarray, shape (n_intervals, n_pods, n_edges + 1), int64
        Requests per histogram bucket [count], non-cumulative.
    pod_age_s : ndarray, shape (n_intervals, n_pods), float64, or None
        Age of each pod at each interval's end [s], where known (NaN or infinity: not known to be young); warm-up is
        learned from it.
    """

    seconds: float
    requests: "NDArray[np.int64]"
    errors: "NDArray[np.int64]"
    edges_ms: tuple[float, ...]
    latency_counts: "NDArray[np.int64]"
    pod_age_s: "NDArray[np.float64] | None" = None


@dataclass(frozen=True, slots=True)
class Learned:
    """What a history taught. Opaque: made by `learn`, used by `initial_state`.

    Attributes
    ----------
    edges_ms
        Histogram edges that it holds for [ms].
    record
        The numbers, in the layout of `state.py`.
    """

    edges_ms: tuple[float, ...] = ()
    record: bytes = b""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be proven now.

    Attributes
    ----------
    key
        Names the step (its stage and weight). A new key starts non-inferiority anew; evidence of harm is never reset. Where
        only what follows an `@` is new (the weight for now, while pods do not allow the step's own), the proof goes on, and
        what is counted since the weight was set begins anew.
    next_weight
        The weight that proof would allow [per cent]; it sets the margins. None: nothing is to be proven.
    ladder
        Weights of the whole ramp, ascending [per cent], where one level of error covers it: the margins of all of them are
        proven at once, and what is proven is carried from step to step. `next_weight` is one of them. Empty: the step is by
        itself.
    """

    key: str
    next_weight: float | None
    ladder: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rates:
    """One version's rates since the rollout's evidence began, for people.

    Attributes
    ----------
    requests, errors
        Totals [count].
    error_rate, error_rate_low, error_rate_high
        Point estimate and 95 % Clopper-Pearson interval [ratio]; NaN without requests.
    p50_ms, p99_ms
        Quantiles interpolated within their bucket [ms]; NaN without requests.
    """

    requests: int
    errors: int
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why the verdict is what it is.

    Attributes
    ----------
    log_e
        Natural logarithm of the evidence of harm now.
    log_threshold
        HARM at or above this: ln(1 / false_rollback).
    p_value
        Anytime-valid p-value: 1 / the largest evidence so far, at most 1.
    culprit
        The channel with the most evidence of harm; None before any data.
    channels
        Per channel, the logarithm of its own evidence of harm.
    proof
        Per claim (`errors`, `latency p50` …), the logarithm of the evidence of non-inferiority in this step.
    log_proof_threshold
        PROVEN when every claim is at or above this: ln(1 / false_proof).
    margins
        In words, what is being proven in this step, for people; empty when nothing is.
    stable, canary
        Rates since the evidence began.
    seconds, intervals
        Judged time and intervals since the evidence began; those before the canary had weight or requests do not count.
    step_seconds, step_intervals
        The same since this step's weight was set, with it in effect.
    step_canary_requests, step_stable_requests
        Requests since then [count].
    unattributed_errors
        Errors since then that nobody can attribute [count].
    sample_ratio_log_e
        Logarithm of the evidence that the canary's share of the requests is not that of this step's weight, in either
        direction, at present: it falls again when the weight is in effect. It speaks of the quality of the data, never for
        a rollback.
    limits
        Per absolute limit of the settings (`error rate`, `p99`), the logarithm of the evidence that it is exceeded.
    proven_weight
        The largest weight of the ladder that is proven now, or `next_weight` [per cent]; 0: none.
    """

    log_e: float
    log_threshold: float
    p_value: float
    culprit: Channel | None
    channels: Mapping[Channel, float]
    proof: Mapping[str, float]
    log_proof_threshold: float
    margins: str
    stable: Rates
    canary: Rates
    seconds: float
    intervals: int
    step_seconds: float
    step_intervals: int
    step_canary_requests: int
    step_stable_requests: int
    unattributed_errors: int
    sample_ratio_log_e: float = 0.0
    limits: Mapping[str, float] = field(default_factory=dict)
    proven_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Assessment:
    """The judge's answer for one rollout: the state to keep, and what it means."""

    state: "JudgeState"
    verdict: Verdict
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """One rollout's turn before the judge."""

    state: "JudgeState"
    settings: JudgeSettings
    step: Step
    intervals: tuple[Interval, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class JudgeState:
    """What the judge remembers of one rollout: the checkpoint. Opaque to everyone else; immutable, so it may be shared.

    Attributes
    ----------
    edges_ms
        The histogram edges that latency evidence is kept for [ms]; empty until the first interval with a histogram.
    step_key
        `Step.key` of the step that non-inferiority is being proven in.
    ladder
        `Step.ladder` of that step.
    record
        The numbers, in the layout of `state.py`; empty before the first interval.
    """

    edges_ms: tuple[float, ...] = ()
    step_key: str = ""
    record: bytes = b""
    ladder: tuple[float, ...] = ()
