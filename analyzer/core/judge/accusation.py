"""One interval's bets on harm, for R rollouts at once: which tables take part, with what tolerance and dispersion.

Arrays are [R, C] or, once the channels that take part are picked, [K, L].
"""

from typing import TYPE_CHECKING

import numpy as np

from analyzer.core.judge import completions, dispersion, harm, limits, tolerance
from analyzer.core.judge.cells import Cells, pick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns, Parameters
    from analyzer.core.judge.evalues import FloatArray
    from analyzer.core.judge.prediction import Prediction
    from analyzer.core.judge.warmup import Tolerated


def weigh_harm(
    records: "NDArray[np.void]",
    columns: "Columns",
    parameters: "Parameters",
    *,
    edges_ms: "FloatArray",
    prediction: "Prediction",
    curve: tolerance.Curve,
    known: dispersion.Known,
    young: "Tolerated",
    comparable: "NDArray[np.bool_]",
) -> "FloatArray":
    """Give log e of one interval, tempered and capped, shape (R, C + 3, L); fix the edges' weights in place."""
    live = comparable & prediction.informative()
    _fix_weights(records, prediction, live)
    live[:, 1:] &= records["body"] != harm.SPARED
    noise = dispersion.pod_noise(columns.pods[:, 0], columns.pods[:, 1])
    tau = _tolerated(records, parameters, prediction=prediction, curve=curve, young=young, noise=noise)
    row, channel = np.nonzero(live)
    tables = pick(columns.tables, row, channel)
    share = prediction.share[row, channel]
    cells = Cells(
        row=row,
        latency=(channel > 0).astype(np.intp),
        tables=tables,
        share=share,
        tau_slow=tau.slow[row, channel],
        tau_fast=tau.fast[row, channel],
        delta=np.where(channel > 0, tolerance.TAIL_FLOOR, parameters.error_floor[row]),
    )
    part = dispersion.Known(known.clump[row, channel], known.noise[row, channel], known.base[row, 0])
    phi = dispersion.phi(part, noise[row] * dispersion.harm_variance(tables, share))
    increment = np.zeros(records["bets"].shape)
    increment[row, channel] = cells.log_e(harm.EFFECTS[cells.latency], harmful=True) / phi[:, None]
    _add_solo(increment, records, columns, parameters, edges_ms=edges_ms, known=known)
    np.minimum(increment, harm.cap(parameters.false_rollback)[:, None, None], out=increment)
    return increment


def bet_on_harm(
    records: "NDArray[np.void]", increment: "FloatArray", *, rate: "FloatArray", late: "NDArray[np.bool_]"
) -> None:
    """Play one interval of the harm process, in place.

    Parameters
    ----------
    records : ndarray, shape (R,)
        The rollouts' memories.
    increment : ndarray, shape (R, C + 3, L)
        log e of the interval, tempered and capped.
    rate : ndarray, shape (R, C + 3)
        Part of each purse's cash that joins.
    late : ndarray, shape (R,), bool
        Where latency begins with pods that nobody knows how they warm up: most of its bets join later.
    """
    if late.any():
        rows = np.flatnonzero(late)
        records["bets"][rows, 1 : -harm.SOLO] *= harm.START_SHARE_YOUNG / harm.START_SHARE
        records["cash"][rows, 1 : -harm.SOLO] += harm.START_SHARE - harm.START_SHARE_YOUNG
    records["bets"] = harm.bet(records["bets"], records["cash"], increment=increment, rate=rate)
    records["cash"] *= 1.0 - rate


def late_starts(records: "NDArray[np.void]", young: "Tolerated", *, before: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    """Tell where latency takes part for the first time, with young pods of an unknown warm-up, shape (R,).

    `before` says where it took part already.
    """
    late = np.zeros(len(records), dtype=np.bool_)
    rows = young.rows[records["warm_known"][young.rows] == 0]
    late[rows] = (records["weights_set"][rows] > 0) & ~before[rows]
    return late


def start_rates(records: "NDArray[np.void]", columns: "Columns", young: "Tolerated") -> "FloatArray":
    """Part of each purse's cash that joins, shape (R, C); latency's comes in while the pods grow up."""
    rate = np.repeat(harm.start_rate(columns.seconds)[:, None], records["cash"].shape[1], axis=1)
    rows = young.rows[records["warm_known"][young.rows] == 0]
    rate[rows, 1 : -harm.SOLO] = harm.start_rate(columns.seconds[rows], harm.START_RATE_YOUNG)[:, None]
    return rate


def log_e(records: "NDArray[np.void]", parameters: "Parameters") -> "FloatArray":
    """Log E of each rollout, shape (R,)."""
    return harm.total(by_channel(records), weights(records, parameters))


def weights(records: "NDArray[np.void]", parameters: "Parameters") -> "FloatArray":
    """Weights of the channels, shape (R, 5)."""
    tested = (records["warm_known"] == 0) & (parameters.warm_up_s > 0)
    return harm.channel_weights(parameters.limits_set, warm_up_tested=tested)


def by_channel(records: "NDArray[np.void]") -> "FloatArray":
    """E of errors, latency, completions and the limits, shape (R, 5)."""
    return harm.channels(harm.purses(records["bets"], records["cash"]), records["body"])


def _fix_weights(records: "NDArray[np.void]", prediction: "Prediction", live: "NDArray[np.bool_]") -> None:
    """Choose the edges and their weights when latency takes part for the first time; they stay for the rollout."""
    rows = np.flatnonzero((records["weights_set"] == 0) & live[:, 1:].any(axis=1))
    if rows.size:
        body = harm.is_body(prediction.share[rows, 1:], prediction.slow[rows, 1:], prediction.fast[rows, 1:])
        spare = harm.spare(prediction.share[rows, 1:], live[rows, 1:])
        records["body"][rows] = np.where(spare, harm.SPARED, np.where(body, harm.BODY, harm.REST))
        records["weights_set"][rows] = 1


def _tolerated(
    records: "NDArray[np.void]",
    parameters: "Parameters",
    *,
    prediction: "Prediction",
    curve: tolerance.Curve,
    young: "Tolerated",
    noise: "FloatArray",
) -> tolerance.Ratios:
    between_pods = dispersion.pod_tolerance(records["spread"], noise[:, None])
    log_odds = curve.log_odds + between_pods[:, 1:]
    shifted = tolerance.share_of(log_odds + curve.shift(np.log1p(parameters.latency_tolerance)))
    if young.rows.size:
        excused = tolerance.share_of(log_odds[young.rows] + young.shift)
        part = young.share[:, None]
        shifted[young.rows] = part * excused + (1.0 - part) * shifted[young.rows]
    edges = tolerance.ratios(prediction.share[:, 1:], shifted, largest=tolerance.LARGEST_HARM_RATIO)
    errors = ((1.0 + parameters.error_tolerance) * np.exp(between_pods[:, 0]))[:, None]
    return tolerance.Ratios(
        slow=np.concatenate([errors, edges.slow], axis=1),
        fast=np.concatenate([np.ones_like(errors), edges.fast], axis=1),
    )


def _add_solo(
    increment: "FloatArray",
    records: "NDArray[np.void]",
    columns: "Columns",
    parameters: "Parameters",
    *,
    edges_ms: "FloatArray",
    known: dispersion.Known,
) -> None:
    """Put the evidence of completions and limits into their rows."""
    seen = columns.present[:, 0]
    n1, n2 = columns.n[:, 0, 0], columns.n[:, 1, 0]
    lost = completions.harm(n1, n2, columns.weight, load=records["load"].astype(np.float64))
    by_weights = seen & (parameters.sticky_users == 0)
    increment[:, harm.COMPLETIONS] = np.where(by_weights[:, None], lost, 0.0)
    if not parameters.limits_set.any():
        return
    channel, p99_share = limits.p99_rows(edges_ms, parameters.limit_p99_ms)
    rows = np.arange(len(n2))
    for place, column, limit in (
        (harm.LIMIT_ERRORS, np.zeros_like(channel), parameters.limit_error_rate),
        (harm.LIMIT_P99, channel, p99_share),
    ):
        there = columns.present[rows, column]
        n, x = columns.n[rows, 1, column], columns.x[rows, 1, column]
        # Nothing cancels here: what all of the canary's pods have in common counts too.
        noise = dispersion.pod_noise(np.full(len(n), np.inf), columns.pods[:, 1])
        part = dispersion.Known(known.clump[rows, column], known.noise[rows, column], known.base[:, 0])
        phi = dispersion.phi(part, noise * np.maximum(np.nan_to_num(limit), x / np.maximum(n, 1.0)) * n)
        log_e = limits.evidence(x, n, limit=limit, phi=phi)
        increment[:, place] = np.where(there[:, None], log_e, 0.0)
