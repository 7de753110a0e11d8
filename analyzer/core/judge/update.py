"""One interval for R rollouts at once: bet, then learn.

Arrays are [R, C] or, once the channels that take part are picked, [K, L].
"""

from typing import TYPE_CHECKING

import numpy as np

from analyzer.core.judge import dispersion, harm, noninferiority, tolerance
from analyzer.core.judge.cells import Cells, pick
from analyzer.core.judge.evalues import Tables
from analyzer.core.judge.prediction import Prediction, learn, predict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns, Parameters
    from analyzer.core.judge.evalues import FloatArray


def play(records: "NDArray[np.void]", columns: "Columns", parameters: "Parameters", edges_ms: "FloatArray") -> None:
    """Judge one interval of each rollout, in place.

    Parameters
    ----------
    records : ndarray, shape (R,)
        The rollouts' memories, in `state.layout`.
    columns, parameters
        The interval and the settings, row by row.
    edges_ms : ndarray, shape (R, E)
        The rollouts' histogram edges [ms].
    """
    prediction = predict(records)
    slopes = tolerance.log_slopes(edges_ms, prediction.share[:, 1:])
    comparable = columns.present & (columns.n > 0).all(axis=1)
    _bet_on_harm(records, columns, parameters, prediction=prediction, slopes=slopes, comparable=comparable)
    if not np.isnan(parameters.next_weight).all():
        _bet_on_proof(records, columns, parameters, prediction=prediction, slopes=slopes, comparable=comparable)
    learn(records, columns)
    _count(records, columns)


# --- harm -------------------------------------------------------------------------------------------------------------


def _bet_on_harm(
    records: "NDArray[np.void]",
    columns: "Columns",
    parameters: "Parameters",
    *,
    prediction: Prediction,
    slopes: "FloatArray",
    comparable: "NDArray[np.bool_]",
) -> None:
    live = comparable & prediction.informative()
    _fix_weights(records, prediction, live)
    row, channel = np.nonzero(live)
    tau = _tolerated(columns, parameters, prediction=prediction, slopes=slopes)
    cells = Cells(
        row=row,
        latency=(channel > 0).astype(np.intp),
        tables=pick(columns.tables, row, channel),
        share=prediction.share[row, channel],
        tau_slow=tau.slow[row, channel],
        tau_fast=tau.fast[row, channel],
        delta=np.where(channel > 0, tolerance.TAIL_FLOOR, parameters.error_floor[row]),
    )
    noise = dispersion.pod_noise(columns.pods[:, 0], columns.pods[:, 1])[row]
    b = np.array([dispersion.NOISE_ERRORS, dispersion.NOISE_LATENCY])[cells.latency]
    phi = dispersion.phi_harm(cells.tables, q1=cells.share, noise=noise, b=b)
    cap = -np.log(parameters.false_rollback)[row]
    increment = np.minimum(cells.log_e(harm.EFFECTS[cells.latency], harmful=True) / phi[:, None], cap[:, None])
    log_a, log_cash = harm.bet(
        records["log_a"][row, channel],
        records["log_cash"][row, channel],
        increment=increment,
        rate=harm.start_rate(columns.seconds)[row],
    )
    records["log_a"][row, channel] = log_a
    records["log_cash"][row, channel] = log_cash
    records["log_channel"][row, channel] = harm.channel_evidence(log_a, log_cash)
    records["log_e"][:] = total_evidence(records)
    records["max_log_e"][:] = np.maximum(records["max_log_e"], records["log_e"])


def _fix_weights(records: "NDArray[np.void]", prediction: Prediction, live: "NDArray[np.bool_]") -> None:
    """Set the edges' weights when latency takes part for the first time; they stay for the rollout."""
    rows = np.flatnonzero((records["weights_set"] == 0) & live[:, 1:].any(axis=1))
    body = harm.is_body(prediction.share[rows, 1:], prediction.slow[rows, 1:], prediction.fast[rows, 1:])
    records["body"][rows] = body
    records["weights_set"][rows] = 1


def _tolerated(
    columns: "Columns", parameters: "Parameters", *, prediction: Prediction, slopes: "FloatArray"
) -> tolerance.Ratios:
    noise = dispersion.pod_noise(columns.pods[:, 0], columns.pods[:, 1])
    slower = tolerance.warm_tolerance(parameters.latency_tolerance, age_s=columns.age_s, warm_up_s=parameters.warm_up_s)
    between_pods = dispersion.pod_tolerance(dispersion.POD_SPREAD_LATENCY, noise)
    shift = slopes * np.log1p(slower)[:, None] + between_pods[:, None]
    edges = tolerance.ratios(prediction.share[:, 1:], shift, largest=tolerance.LARGEST_HARM_RATIO)
    errors = (1.0 + parameters.error_tolerance) * np.exp(dispersion.pod_tolerance(dispersion.POD_SPREAD_ERRORS, noise))
    return tolerance.Ratios(
        slow=np.concatenate([errors[:, None], edges.slow], axis=1),
        fast=np.concatenate([np.ones_like(errors)[:, None], edges.fast], axis=1),
    )


def latency_evidence(records: "NDArray[np.void]") -> "FloatArray":
    """Log E of latency as one channel, shape (R,); 0 without edges."""
    edges = records["log_channel"][:, 1:]
    return harm.log_mean(edges, np.log(harm.edge_weights(records["body"]))) if edges.size else np.zeros(len(records))


def total_evidence(records: "NDArray[np.void]") -> "FloatArray":
    """Log E of the rollout, shape (R,): the weighted sum over channels."""
    latency = latency_evidence(records)
    together = np.stack([records["log_channel"][:, 0], latency, np.zeros_like(latency)], axis=-1)
    return harm.log_mean(together, np.log([harm.WEIGHT_ERRORS, harm.WEIGHT_LATENCY, harm.WEIGHT_IDLE]))


# --- proof ------------------------------------------------------------------------------------------------------------


def _bet_on_proof(
    records: "NDArray[np.void]",
    columns: "Columns",
    parameters: "Parameters",
    *,
    prediction: Prediction,
    slopes: "FloatArray",
    comparable: "NDArray[np.bool_]",
) -> None:
    wanted = ~np.isnan(parameters.next_weight)
    comparable = comparable.copy()
    comparable[:, 0] |= columns.present[:, 0] & (columns.n[:, 0, 0] > 0) & (columns.unattributed > 0)
    margins = noninferiority.margins(parameters.harm_budget, parameters.next_weight)
    _choose_edges(records, prediction, comparable & wanted[:, None])
    # Claim by claim, the channel it is about: errors, then the three edges.
    channel = np.concatenate([np.zeros_like(records["ni_edges"][:, :1]), records["ni_edges"] + 1], axis=1)
    chosen = np.concatenate([np.ones((len(records), 1), np.bool_), records["ni_edges"] >= 0], axis=1)
    rows = np.arange(len(records))[:, None]
    live = chosen & (comparable & prediction.known)[rows, channel] & wanted[:, None]
    row, claim = np.nonzero(live)
    column = channel[row, claim]
    latency = column > 0
    share = prediction.share[row, column]
    shift = np.where(latency, slopes[row, column - 1], 0.0) * np.log1p(margins.slower[row]) if slopes.size else 0.0
    ratio = tolerance.ratios(share, np.where(latency, shift, 0.0), largest=tolerance.LARGEST_PROOF_RATIO)
    cells = Cells(
        row=row,
        latency=latency.astype(np.intp),
        tables=_blame_canary(pick(columns.tables, row, column), np.where(latency, 0, columns.unattributed[row])),
        share=share,
        tau_slow=np.where(latency, ratio.slow, 1.0 + parameters.error_tolerance[row]),
        tau_fast=ratio.fast,
        delta=margins.delta[row] * np.where(latency, noninferiority.TAIL_ALLOWANCE, 1.0),
    )
    noise = dispersion.pod_noise(columns.pods[:, 0], columns.pods[:, 1])[row]
    b = np.array([dispersion.NOISE_ERRORS, dispersion.NOISE_LATENCY])[cells.latency]
    phi = dispersion.phi_proof(cells.tables, q1=share, noise=noise, b=b)
    log_e = cells.log_e(noninferiority.GUESSES[cells.latency], harmful=False)
    records["log_ni"][row, claim] += log_e / phi[:, None]
    _bet_on_completions(records, columns, wanted)


def _choose_edges(records: "NDArray[np.void]", prediction: Prediction, comparable: "NDArray[np.bool_]") -> None:
    rows = np.flatnonzero((records["ni_edges"][:, 0] < 0) & (comparable & prediction.known)[:, 1:].any(axis=1))
    if rows.size:
        known = (comparable & prediction.known)[rows, 1:]
        records["ni_edges"][rows] = noninferiority.choose_edges(prediction.share[rows, 1:], known)


def _blame_canary(tables: Tables, unattributed: "NDArray[np.int64]") -> Tables:
    """Count errors that nobody can attribute as the canary's, the worst case for proof."""
    return Tables(x1=tables.x1, n1=tables.n1, x2=tables.x2 + unattributed, n2=tables.n2 + unattributed)


def _bet_on_completions(records: "NDArray[np.void]", columns: "Columns", wanted: "NDArray[np.bool_]") -> None:
    """Feed the completions claim from the step's second interval on: in the first the old weights may still work."""
    n = columns.n[:, :, 0]
    rows = np.flatnonzero(wanted & (n.sum(axis=1) > 0) & (records["step_intervals"] > 0))
    log_e = noninferiority.completions(n[rows, 0], n[rows, 1], columns.weight[rows])
    records["log_ni"][rows, noninferiority.COMPLETIONS] += log_e[:, None]


def proof_by_claim(records: "NDArray[np.void]") -> "FloatArray":
    """Logarithm of the evidence of non-inferiority, shape (R, 5)."""
    return harm.log_mean(records["log_ni"])


def _count(records: "NDArray[np.void]", columns: "Columns") -> None:
    records["requests"] += columns.requests
    records["errors"] += columns.errors
    records["histogram"] += columns.histogram
    records["seconds"] += columns.seconds
    records["intervals"] += 1
    records["compared"] += (columns.requests > 0).all(axis=1)
    records["step_seconds"] += columns.seconds
    records["step_intervals"] += 1
    records["step_requests"] += columns.requests
    records["step_unattributed"] += columns.unattributed
