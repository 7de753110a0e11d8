"""From records to assessments: the verdict at once; why, when somebody asks.

Verdicts are needed in every turn, figures for people only where somebody looks. So an assessment of the judge makes its
evidence when it is first read, for all rollouts of the call together.
"""

from dataclasses import fields
from functools import cached_property
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analyzer.core.judge import completions, limits, noninferiority
from analyzer.core.judge.accusation import by_channel, log_e, weights
from analyzer.core.judge.proof import by_claim
from analyzer.core.judge.rates import clopper_pearson, quantiles
from analyzer.core.judge.types import Assessment, Channel, Evidence, JudgeState, Rates, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Parameters
    from analyzer.core.judge.evalues import FloatArray

SUSPICION: Final = np.log(10.0)
"""With this much evidence of harm nothing counts as proven harmless."""
_CULPRITS: Final = (Channel.ERRORS, Channel.LATENCY, Channel.COMPLETIONS, Channel.LIMITS)
_ROUNDING: Final = 1.01
"""Without data a channel's evidence is 1, but for rounding."""
_VERDICTS: Final = (Verdict.HARM, Verdict.NO_DATA, Verdict.PROVEN, Verdict.INCONCLUSIVE)


class Told(Assessment):
    """An assessment whose evidence is made when it is read."""

    __slots__ = ("_page", "_row")
    _page: "Page"
    _row: int

    def __init__(self, state: JudgeState, verdict: Verdict, page: "Page", row: int) -> None:
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "verdict", verdict)
        object.__setattr__(self, "_page", page)
        object.__setattr__(self, "_row", row)

    @property
    def evidence(self) -> Evidence:
        """Why the verdict is what it is."""
        return self._page.evidence[self._row]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a plain assessment."""
        return Assessment, (self.state, self.verdict, self.evidence)


def assess(
    records: "NDArray[np.void]", parameters: "Parameters", *, states: "Sequence[JudgeState]", edges_ms: "FloatArray"
) -> list[Assessment]:
    """Say what the records amount to.

    Parameters
    ----------
    records : ndarray, shape (R,)
        The rollouts' memories; they must not change any more.
    parameters, states
        Their settings; the states to keep, row by row.
    edges_ms : ndarray, shape (R, E)
        Their histogram edges [ms].
    """
    page = Page(records, parameters, edges_ms)
    return [
        Told(state, _VERDICTS[number], page, row)
        for row, (state, number) in enumerate(zip(states, page.verdicts().tolist(), strict=True))
    ]


class Page:
    """The records of one call."""

    def __init__(self, records: "NDArray[np.void]", parameters: "Parameters", edges_ms: "FloatArray") -> None:
        self._records = records
        self._parameters = parameters
        self._edges_ms = edges_ms
        self._log_e = log_e(records, parameters)
        self._proof = by_claim(records)
        self._thresholds = -np.log([parameters.false_rollback, parameters.false_proof])

    def verdicts(self) -> "NDArray[np.int64]":
        """Give the number of each verdict."""
        records = self._records
        harmful = records["max_log_e"] >= self._thresholds[0]
        proven = (self._proven_weight() >= self._parameters.next_weight) & (self._log_e < SUSPICION)
        number: NDArray[np.int64] = np.where(proven, 2, 3)
        return np.where(harmful, 0, np.where(records["compared"] > 0, number, 1))

    def _proven_weight(self) -> "FloatArray":
        """Give the largest weight that is proven together with all smaller ones of the ladder, shape (R,); 0: none."""
        claims = (self._proof >= self._thresholds[1][:, None, None]).all(axis=2)
        proven = np.logical_and.accumulate(claims, axis=1)
        weight: FloatArray = np.where(proven, self._parameters.rungs, 0.0).max(axis=1)
        return weight

    def _proof_of_next(self) -> "FloatArray":
        """Give the evidence of what the next weight needs, shape (R, 5)."""
        parameters = self._parameters
        rung = (parameters.rungs >= parameters.next_weight[:, None]).argmax(axis=1)
        proof: FloatArray = self._proof[np.arange(len(rung)), rung]
        return proof

    @cached_property
    def evidence(self) -> list[Evidence]:
        """Why, row by row."""
        records, parameters = self._records, self._parameters
        by = by_channel(records)
        logs = np.log(by)
        margins = self._margins()
        stable, canary = _rates(records, self._edges_ms)
        columns: dict[str, Sequence[object]] = {
            "log_e": self._log_e.tolist(),
            "log_threshold": self._thresholds[0].tolist(),
            "p_value": np.exp(-np.maximum(records["max_log_e"], 0.0)).tolist(),
            "culprit": self._culprits(by),
            "channels": _channels(logs, parameters.limits_set),
            "proof": [
                dict(zip(noninferiority.CLAIMS, values, strict=True)) if text else {}
                for text, values in zip(margins, self._proof_of_next().tolist(), strict=True)
            ],
            "log_proof_threshold": self._thresholds[1].tolist(),
            "margins": margins,
            "stable": stable,
            "canary": canary,
            "seconds": records["seconds"].tolist(),
            "intervals": records["intervals"].tolist(),
            "step_seconds": records["step_seconds"].tolist(),
            "step_intervals": records["step_intervals"].tolist(),
            "step_canary_requests": records["step_requests"][:, 1].tolist(),
            "step_stable_requests": records["step_requests"][:, 0].tolist(),
            "unattributed_errors": records["step_unattributed"].tolist(),
            "sample_ratio_log_e": completions.ratio_evidence(records["log_ratio"]).tolist(),
            "limits": _limits(logs, parameters.limits_set),
            "proven_weight": np.nan_to_num(self._proven_weight()).tolist(),
        }
        in_order = [columns[field.name] for field in fields(Evidence)]
        return list(starmap(Evidence, zip(*in_order, strict=True)))

    def _culprits(self, by: "FloatArray") -> list[Channel | None]:
        """Give the channel with the largest weighted evidence; limits, and lost requests, need no comparison."""
        worst = (by * weights(self._records, self._parameters)).argmax(axis=1)
        speaks = np.take_along_axis(by, worst[:, None], axis=1)[:, 0] > _ROUNDING
        known = ((self._records["compared"] > 0) | speaks).tolist()
        channels = np.minimum(worst, len(_CULPRITS) - 1).tolist()
        return [_CULPRITS[i] if there else None for i, there in zip(channels, known, strict=True)]

    def _margins(self) -> list[str]:
        parameters = self._parameters
        margins = noninferiority.margins(parameters.harm_budget, parameters.next_weight)
        told: dict[tuple[float, ...], str] = {}
        texts = []
        for wanted, *key in zip(
            (~np.isnan(parameters.next_weight)).tolist(),
            margins.delta.tolist(),
            margins.slower.tolist(),
            parameters.error_tolerance.tolist(),
            strict=True,
        ):
            if wanted and tuple(key) not in told:
                told[tuple(key)] = noninferiority.describe(key[0], key[1], error_tolerance=key[2])
            texts.append(told[tuple(key)] if wanted else "")
        return texts


def _channels(logs: "FloatArray", limits_set: "NDArray[np.bool_]") -> list[dict[Channel, float]]:
    """Name the channels that there are; limits together, by the larger."""
    worst = np.where(limits_set, logs[:, 3:], -np.inf).max(axis=1).tolist()
    return [
        dict(zip(_CULPRITS, values[:3] if limit == -np.inf else [*values[:3], limit], strict=False))
        for values, limit in zip(logs.tolist(), worst, strict=True)
    ]


def _limits(logs: "FloatArray", limits_set: "NDArray[np.bool_]") -> list[dict[str, float]]:
    return [
        {name: value for name, value, there in zip(limits.NAMES, values, known, strict=True) if there}
        for values, known in zip(logs[:, 3:].tolist(), limits_set.tolist(), strict=True)
    ]


def _rates(records: "NDArray[np.void]", edges_ms: "FloatArray") -> tuple[list[Rates], list[Rates]]:
    requests, errors = records["requests"], records["errors"]
    low, high = clopper_pearson(errors, requests)
    rate = np.where(requests > 0, errors / np.maximum(requests, 1), np.nan)
    p50, p99 = quantiles(edges_ms, records["histogram"], (0.5, 0.99))
    columns = [a.ravel().tolist() for a in (requests, errors, rate, low, high, p50, p99)]
    both = list(starmap(Rates, zip(*columns, strict=True)))
    return both[0::2], both[1::2]
