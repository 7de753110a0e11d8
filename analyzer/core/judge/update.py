"""One interval for R rollouts at once: bet, then learn.

What an interval says depends only on what was known before (running means, warm-up, chosen edges), never on the
evidence so far. So the two are apart: `weigh` gives what an interval says and learns from it, `take_in` adds it to the
evidence. `course` uses that to weigh many intervals of one rollout at once.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from analyzer.core.judge import completions, dispersion, oneedge, tolerance, warmup
from analyzer.core.judge.accusation import bet_on_harm, late_starts, log_e, start_rates, weigh_harm
from analyzer.core.judge.prediction import lesson, predict
from analyzer.core.judge.proof import Claims, bet_on_proof, weigh_proof

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Columns, Parameters
    from analyzer.core.judge.evalues import FloatArray


class Weighed(NamedTuple):
    """What one interval of R rollouts says: log e, tempered.

    Attributes
    ----------
    harm : ndarray, shape (R, C + 3, L)
        Of harm, per channel and effect.
    proof
        Of non-inferiority.
    ratio : ndarray, shape (R, Q)
        That the sample ratio is wrong.
    rate : ndarray, shape (R, C + 3)
        Part of each purse's cash that joins.
    late : ndarray, shape (R,), bool
        Where latency begins with young pods; see `bet_on_harm`.
    """

    harm: "FloatArray"
    proof: Claims
    ratio: "FloatArray"
    rate: "FloatArray"
    late: "NDArray[np.bool_]"

    def rows(self, start: int, end: int) -> "Weighed":
        """Give that of some rows."""
        part = slice(start, end)
        return Weighed(self.harm[part], self.proof.rows(part), self.ratio[part], self.rate[part], self.late[part])


EVIDENCE: Final = ("bets", "cash", "ni_bets", "ni_kept", "ni_cash", "log_ratio")
"""Fields that `take_in` writes; `max_log_e` follows from them."""
_TOGETHER: Final = 100
"""Rollouts whose bets are played at once; see `cells`."""


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
    weighed = weigh(records, columns, parameters, edges_ms)
    for start in range(0, len(records), _TOGETHER):
        end = start + _TOGETHER
        take_in(records[start:end], weighed.rows(start, end))
    records["max_log_e"] = np.maximum(records["max_log_e"], log_e(records, parameters))


def take_in(records: "NDArray[np.void]", weighed: Weighed) -> None:
    """Add what an interval said to the evidence, in place; all but its maximum, which takes longer than the rest."""
    bet_on_harm(records, weighed.harm, rate=weighed.rate, late=weighed.late)
    bet_on_proof(records, weighed.proof)
    records["log_ratio"] = completions.follow_ratio(records["log_ratio"], weighed.ratio)


def weigh(records: "NDArray[np.void]", columns: "Columns", parameters: "Parameters", edges_ms: "FloatArray") -> Weighed:
    """Say what an interval of each rollout amounts to, and learn from it, in place; the evidence stays as it is.

    Everything that a bet depends on (expected rates, tolerances, dispersion, envelope) is fixed by the intervals before.
    The evidence itself is neither read nor changed.
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
            records,
            columns,
            wanted=first,
            prediction=prediction,
            curve=curve,
            comparable=comparable,
            known=known,
        )
        warmup.observe(records, columns, parameters, edge)
    took_part = records["weights_set"] > 0
    accused = weigh_harm(
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
    proof = weigh_proof(
        records, columns, parameters, prediction=prediction, curve=curve, known=known, comparable=comparable
    )
    n1, n2 = columns.n[:, 0, 0], columns.n[:, 1, 0]
    by_weights = (parameters.sticky_users == 0)[:, None]
    ratio = np.where(by_weights, completions.sample_ratio(n1, n2, columns.set_weight), 0.0)
    late = late_starts(records, young, before=took_part)
    rates = start_rates(records, columns, young)
    for name, more in additions(records, columns).items():
        records[name] += more
    records["mean_n"], records["mean_x"] = lesson(columns).move(records["mean_n"], records["mean_x"])
    return Weighed(accused, proof, ratio, rates, late)


def additions(records: "NDArray[np.void]", columns: "Columns") -> "dict[str, NDArray[np.number]]":
    """Give what an interval adds to the totals in the records, by field.

    Both versions' counts are of the same time: while the canary waits, for days perhaps, the stable version's are not taken.
    """
    watched = (columns.set_weight > 0) | (columns.requests[:, 1] > 0)
    both = watched[:, None]
    in_step = watched & ((columns.weight > 0) | (columns.set_weight <= 0))
    return {
        "running": dispersion.surprise(records, columns.x[:, 0, 0], columns.n[:, 0, 0]),
        "wander": dispersion.wandering(
            records,
            columns.x[:, 0, 1:],
            columns.n[:, 0, 1:],
            pods1=columns.pods[:, 0],
            comparable=columns.present[:, 1:] & (columns.n[:, 0, 1:] > 0),
        ),
        "requests": columns.requests * both,
        "errors": columns.errors * both,
        "histogram": columns.histogram * both[:, :, None],
        "seconds": columns.seconds * watched,
        "intervals": watched.astype(np.int64),
        "compared": np.where((columns.requests > 0).all(axis=1), 1, 0),
        "step_seconds": columns.seconds * in_step,
        "step_intervals": in_step.astype(np.int64),
        "step_requests": columns.requests * both,
        "step_unattributed": columns.unattributed,
    }
