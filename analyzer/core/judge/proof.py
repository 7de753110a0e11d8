"""One interval's evidence of non-inferiority, for R rollouts at once."""

from typing import TYPE_CHECKING

import numpy as np

from analyzer.core.judge import completions, dispersion, noninferiority, tolerance
from analyzer.core.judge.cells import Cells, pick
from analyzer.core.judge.evalues import Tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns, Parameters
    from analyzer.core.judge.evalues import FloatArray
    from analyzer.core.judge.prediction import Prediction


def bet_on_proof(
    records: "NDArray[np.void]",
    columns: "Columns",
    parameters: "Parameters",
    *,
    prediction: "Prediction",
    curve: tolerance.Curve,
    known: dispersion.Known,
    comparable: "NDArray[np.bool_]",
) -> None:
    """Play one interval of each claim, in place."""
    wanted = ~np.isnan(parameters.rungs[:, 0])
    joins = np.where(wanted, noninferiority.join(records["ni_cash"].astype(np.float64), columns.seconds), 0.0)
    records["ni_cash"] -= joins
    bets = records["ni_bets"] + joins[:, None, None, None] * noninferiority.PRIOR
    most = noninferiority.ceiling(parameters.false_proof)
    usable = _usable(columns, prediction=prediction, comparable=comparable) & wanted[:, None]
    _choose_edges(records, prediction, usable)
    # Claim by claim, the channel it is about: errors, then the three edges.
    channel = np.concatenate([np.zeros_like(records["ni_edges"][:, :1]), records["ni_edges"] + 1], axis=1)
    chosen = np.concatenate([np.ones((len(records), 1), np.bool_), records["ni_edges"] >= 0], axis=1)
    part = chosen & usable[np.arange(len(records))[:, None], channel]
    row, rung, claim = np.nonzero(np.repeat(part[:, None], bets.shape[1], axis=1))
    cells, phi = _cells(
        columns,
        parameters,
        prediction=prediction,
        curve=curve,
        known=known,
        where=(row, rung, channel[row, claim]),
    )
    log_e = cells.log_e(noninferiority.GUESSES[cells.latency], harmful=False) / phi[:, None]
    bets[row, rung, claim] = noninferiority.win(bets[row, rung, claim], log_e, most[row, None])
    records["ni_bets"] = bets
    completed = completions.proof(columns.n[:, 0, 0], columns.n[:, 1, 0], columns.weight)
    seen = wanted & columns.present[:, 0]
    records["ni_kept"] = noninferiority.win(records["ni_kept"], np.where(seen, completed, 0.0), most)


def by_claim(records: "NDArray[np.void]") -> "FloatArray":
    """Logarithm of the evidence of non-inferiority, shape (R, K, 5)."""
    bets = records["ni_bets"].astype(np.float64) @ np.ones(noninferiority.N_GUESSES)
    kept = np.broadcast_to(records["ni_kept"].astype(np.float64)[:, None, None], (*bets.shape[:2], 1))
    log_e: FloatArray = np.log(np.concatenate([bets + records["ni_cash"][:, None, None], kept], axis=2))
    return log_e


def _usable(columns: "Columns", *, prediction: "Prediction", comparable: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    """Mark the channels that say something, shape (R, C); errors of nobody do without any request to the canary."""
    usable = comparable.copy()
    usable[:, 0] |= columns.present[:, 0] & (columns.n[:, 0, 0] > 0) & (columns.unattributed > 0)
    return usable & prediction.known


def _cells(
    columns: "Columns",
    parameters: "Parameters",
    *,
    prediction: "Prediction",
    curve: tolerance.Curve,
    known: dispersion.Known,
    where: "tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]",
) -> "tuple[Cells, FloatArray]":
    """Set up the tables of these rows, rungs and channels, with their dispersion."""
    row, rung, column = where
    margins = noninferiority.margins(parameters.harm_budget[:, None], parameters.rungs)
    delta, slower = margins.delta[row, rung], margins.slower[row, rung]
    latency = column > 0
    share = prediction.share[row, column]
    shifted = _shifted(curve, slower, row=row, column=column, share=share)
    ratio = tolerance.ratios(share, shifted, largest=tolerance.LARGEST_PROOF_RATIO)
    tables = _blame_canary(pick(columns.tables, row, column), np.where(latency, 0, columns.unattributed[row]))
    cells = Cells(
        row=row,
        latency=latency.astype(np.intp),
        tables=tables,
        share=share,
        tau_slow=np.where(latency, ratio.slow, 1.0 + parameters.error_tolerance[row]),
        tau_fast=ratio.fast,
        delta=delta * np.where(latency, noninferiority.TAIL_ALLOWANCE, 1.0),
    )
    noise = dispersion.pod_noise(columns.pods[:, 0], columns.pods[:, 1])[row]
    part = dispersion.Known(known.clump[row, column], known.noise[row, column], known.base[row, 0])
    return cells, dispersion.phi(part, noise * dispersion.proof_variance(tables, share))


def _choose_edges(records: "NDArray[np.void]", prediction: "Prediction", usable: "NDArray[np.bool_]") -> None:
    rows = np.flatnonzero((records["ni_edges"][:, 0] < 0) & usable[:, 1:].any(axis=1))
    if rows.size:
        records["ni_edges"][rows] = noninferiority.choose_edges(prediction.share[rows, 1:], usable[rows, 1:])


def _shifted(
    curve: tolerance.Curve,
    slower: "FloatArray",
    *,
    row: "NDArray[np.intp]",
    column: "NDArray[np.intp]",
    share: "FloatArray",
) -> "FloatArray":
    """Shares above the edges at the latency margin; the expected ones for errors."""
    if not curve.log_odds.shape[1]:
        return share
    edge = np.maximum(column - 1, 0)
    picked = tolerance.Curve(*(a[row, edge][:, None] for a in (curve.log_odds, curve.below, curve.local, curve.width)))
    shifted = tolerance.share_of(picked.log_odds + picked.shift(np.log1p(slower)))[:, 0]
    return np.where(column > 0, shifted, share)


def _blame_canary(tables: Tables, unattributed: "NDArray[np.int64]") -> Tables:
    """Count errors that nobody can attribute as the canary's, the worst case for proof."""
    return Tables(x1=tables.x1, n1=tables.n1, x2=tables.x2 + unattributed, n2=tables.n2 + unattributed)
