"""One interval's evidence of non-inferiority, for R rollouts at once."""

from typing import TYPE_CHECKING

import numpy as np

from analyzer.core.judge import completions, dispersion, harm, noninferiority, tolerance
from analyzer.core.judge.cells import Cells, pick
from analyzer.core.judge.evalues import Tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns, Parameters
    from analyzer.core.judge.evalues import FloatArray
    from analyzer.core.judge.prediction import Prediction


def weigh_proof(
    records: "NDArray[np.void]",
    columns: "Columns",
    parameters: "Parameters",
    *,
    prediction: "Prediction",
    curve: tolerance.Curve,
    known: dispersion.Known,
    comparable: "NDArray[np.bool_]",
) -> "FloatArray":
    """Give log e of one interval per claim and guess, tempered, shape (R, 5, G); choose the step's edges in place."""
    increment = np.zeros(records["log_ni"].shape)
    wanted = ~np.isnan(parameters.next_weight)
    if not wanted.any():
        return increment
    comparable = comparable.copy()
    comparable[:, 0] |= columns.present[:, 0] & (columns.n[:, 0, 0] > 0) & (columns.unattributed > 0)
    usable = comparable & prediction.known
    margins = noninferiority.margins(parameters.harm_budget, parameters.next_weight)
    _choose_edges(records, prediction, usable & wanted[:, None])
    # Claim by claim, the channel it is about: errors, then the three edges.
    channel = np.concatenate([np.zeros_like(records["ni_edges"][:, :1]), records["ni_edges"] + 1], axis=1)
    chosen = np.concatenate([np.ones((len(records), 1), np.bool_), records["ni_edges"] >= 0], axis=1)
    rows = np.arange(len(records))[:, None]
    row, claim = np.nonzero(chosen & usable[rows, channel] & wanted[:, None])
    column = channel[row, claim]
    latency = column > 0
    share = prediction.share[row, column]
    shifted = _shifted(curve, margins, row=row, column=column, share=share)
    ratio = tolerance.ratios(share, shifted, largest=tolerance.LARGEST_PROOF_RATIO)
    tables = _blame_canary(pick(columns.tables, row, column), np.where(latency, 0, columns.unattributed[row]))
    cells = Cells(
        row=row,
        latency=latency.astype(np.intp),
        tables=tables,
        share=share,
        tau_slow=np.where(latency, ratio.slow, 1.0 + parameters.error_tolerance[row]),
        tau_fast=ratio.fast,
        delta=margins.delta[row] * np.where(latency, noninferiority.TAIL_ALLOWANCE, 1.0),
    )
    noise = dispersion.pod_noise(columns.pods[:, 0], columns.pods[:, 1])[row]
    part = dispersion.Known(known.clump[row, column], known.noise[row, column], known.base[row, 0])
    phi = dispersion.phi(part, noise * dispersion.proof_variance(tables, share))
    log_e = cells.log_e(noninferiority.GUESSES[cells.latency], harmful=False)
    increment[row, claim] = log_e / phi[:, None]
    completed = completions.proof(
        columns.n[:, 0, 0],
        columns.n[:, 1, 0],
        columns.weight,
        sticky=parameters.sticky_users,
        load=records["load"].astype(np.float64),
    )
    seen = wanted & columns.present[:, 0]
    increment[:, noninferiority.COMPLETIONS] = np.where(seen, completed, 0.0)[:, None]
    return increment


def by_claim(records: "NDArray[np.void]") -> "FloatArray":
    """Logarithm of the evidence of non-inferiority, shape (R, 5)."""
    return harm.log_mean(records["log_ni"])


def _choose_edges(records: "NDArray[np.void]", prediction: "Prediction", usable: "NDArray[np.bool_]") -> None:
    rows = np.flatnonzero((records["ni_edges"][:, 0] < 0) & usable[:, 1:].any(axis=1))
    if rows.size:
        records["ni_edges"][rows] = noninferiority.choose_edges(prediction.share[rows, 1:], usable[rows, 1:])


def _shifted(
    curve: tolerance.Curve,
    margins: noninferiority.Margins,
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
    shifted = tolerance.share_of(picked.log_odds + picked.shift(np.log1p(margins.slower[row])))[:, 0]
    return np.where(column > 0, shifted, share)


def _blame_canary(tables: Tables, unattributed: "NDArray[np.int64]") -> Tables:
    """Count errors that nobody can attribute as the canary's, the worst case for proof."""
    return Tables(x1=tables.x1, n1=tables.n1, x2=tables.x2 + unattributed, n2=tables.n2 + unattributed)
