"""From records to assessments: the verdict, and why."""

from dataclasses import fields
from itertools import starmap
from typing import TYPE_CHECKING, Final

import numpy as np

from analyzer.core.judge import harm, noninferiority
from analyzer.core.judge.rates import clopper_pearson, quantiles
from analyzer.core.judge.types import Assessment, Channel, Evidence, JudgeState, Rates, Verdict
from analyzer.core.judge.update import latency_evidence, proof_by_claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from analyzer.core.judge.batch import Parameters
    from analyzer.core.judge.evalues import FloatArray

_SUSPICION: Final = np.log(10.0)
"""With this much evidence of harm nothing counts as proven harmless."""


def assess(
    records: "NDArray[np.void]", parameters: "Parameters", *, states: "Sequence[JudgeState]", edges_ms: "FloatArray"
) -> list[Assessment]:
    """Say what the records amount to.

    Parameters
    ----------
    records : ndarray, shape (R,)
        The rollouts' memories.
    parameters, states
        Their settings; the states to keep, row by row.
    edges_ms : ndarray, shape (R, E)
        Their histogram edges [ms].
    """
    thresholds = -np.log([parameters.false_rollback, parameters.false_proof])
    proof = proof_by_claim(records)
    verdicts = _verdicts(records, parameters, proof=proof, thresholds=thresholds)
    evidence = _evidence(records, parameters, proof=proof, thresholds=thresholds, edges_ms=edges_ms)
    return list(starmap(Assessment, zip(states, verdicts, evidence, strict=True)))


def _verdicts(
    records: "NDArray[np.void]", parameters: "Parameters", *, proof: "FloatArray", thresholds: "FloatArray"
) -> list[Verdict]:
    compared = records["compared"] > 0
    harmful = records["max_log_e"] >= thresholds[0]
    proven = (
        ~np.isnan(parameters.next_weight)
        & (proof >= thresholds[1][:, None]).all(axis=1)
        & (records["log_e"] < _SUSPICION)
    )
    order = (Verdict.HARM, Verdict.NO_DATA, Verdict.PROVEN, Verdict.INCONCLUSIVE)
    number = np.select([harmful, ~compared, proven], [0, 1, 2], 3)
    return [order[i] for i in number.tolist()]


def _evidence(
    records: "NDArray[np.void]",
    parameters: "Parameters",
    *,
    proof: "FloatArray",
    thresholds: "FloatArray",
    edges_ms: "FloatArray",
) -> list[Evidence]:
    errors, latency = records["log_channel"][:, 0], latency_evidence(records)
    # The weights of both are equal now; they are written out for the day they are not.
    blame_errors = np.log(harm.WEIGHT_ERRORS) + errors >= np.log(harm.WEIGHT_LATENCY) + latency
    culprit = np.where(records["compared"] > 0, np.where(blame_errors, 1, 2), 0)
    margins = _margins(parameters)
    claims = zip(margins, *proof.T.tolist(), strict=True)
    stable, canary = _rates(records, edges_ms)
    columns: dict[str, Iterable[object]] = {
        "log_e": records["log_e"].tolist(),
        "log_threshold": thresholds[0].tolist(),
        "p_value": np.exp(-np.maximum(records["max_log_e"], 0.0)).tolist(),
        "culprit": [(None, Channel.ERRORS, Channel.LATENCY)[i] for i in culprit.tolist()],
        "channels": [
            {Channel.ERRORS: e, Channel.LATENCY: slow}
            for e, slow in zip(errors.tolist(), latency.tolist(), strict=True)
        ],
        "proof": [dict(zip(noninferiority.CLAIMS, values, strict=True)) if text else {} for text, *values in claims],
        "log_proof_threshold": thresholds[1].tolist(),
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
        "sample_ratio_log_e": [0.0] * len(records),
        "limits": [{} for _ in margins],
    }
    in_order = [columns[field.name] for field in fields(Evidence)]
    return list(starmap(Evidence, zip(*in_order, strict=True)))


def _margins(parameters: "Parameters") -> list[str]:
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


def _rates(records: "NDArray[np.void]", edges_ms: "FloatArray") -> tuple[list[Rates], list[Rates]]:
    requests, errors = records["requests"], records["errors"]
    low, high = clopper_pearson(errors, requests)
    rate = np.where(requests > 0, errors / np.maximum(requests, 1), np.nan)
    p50, p99 = quantiles(edges_ms, records["histogram"], (0.5, 0.99))
    columns = [a.ravel().tolist() for a in (requests, errors, rate, low, high, p50, p99)]
    both = list(starmap(Rates, zip(*columns, strict=True)))
    return both[0::2], both[1::2]
