"""One interval for R rollouts at once: bet, then learn."""

from typing import TYPE_CHECKING

import numpy as np

from analyzer.core.judge import completions, dispersion, oneedge, tolerance, warmup
from analyzer.core.judge.accusation import bet_on_harm
from analyzer.core.judge.prediction import learn, predict
from analyzer.core.judge.proof import bet_on_proof

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns, Parameters
    from analyzer.core.judge.evalues import FloatArray


def play(records: "NDArray[np.void]", columns: "Columns", parameters: "Parameters", edges_ms: "FloatArray") -> None:
    """Judge one interval of each rollout, in place.

    Everything that a bet depends on (expected rates, tolerances, dispersion, envelope) is fixed by the intervals before.

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
    curve = tolerance.curve(edges_ms, prediction.share[:, 1:])
    comparable = columns.present & (columns.n > 0).all(axis=1)
    known = dispersion.known(records)
    warmup.arm(records, columns)
    first = warmup.first_pods(records, columns, parameters)
    young = warmup.tolerated(records, columns, parameters, curve)
    if first.any():
        edge = oneedge.choose(
            columns,
            wanted=first,
            prediction=prediction,
            curve=curve,
            comparable=comparable,
            known=known,
        )
        warmup.observe(records, columns, parameters, edge)
    bet_on_harm(
        records,
        columns,
        parameters,
        edges_ms=edges_ms,
        prediction=prediction,
        curve=curve,
        known=known,
        young=young,
        comparable=comparable,
    )
    if not np.isnan(parameters.rungs).all():
        bet_on_proof(
            records, columns, parameters, prediction=prediction, curve=curve, known=known, comparable=comparable
        )
    n1, n2 = columns.n[:, 0, 0], columns.n[:, 1, 0]
    records["log_ratio"] = completions.follow_ratio(
        records["log_ratio"], completions.sample_ratio(n1, n2, columns.set_weight)
    )
    dispersion.watch(records, columns.x[:, 0, 0], n1)
    learn(records, columns)
    _count(records, columns)


def _count(records: "NDArray[np.void]", columns: "Columns") -> None:
    records["requests"] += columns.requests
    records["errors"] += columns.errors
    records["histogram"] += columns.histogram
    watched = (columns.set_weight > 0) | (columns.requests[:, 1] > 0)
    records["seconds"] += columns.seconds * watched
    records["intervals"] += watched
    records["compared"] += (columns.requests > 0).all(axis=1)
    in_step = watched & ((columns.weight > 0) | (columns.set_weight <= 0))
    records["step_seconds"] += columns.seconds * in_step
    records["step_intervals"] += in_step
    records["step_requests"] += columns.requests
    records["step_unattributed"] += columns.unattributed
