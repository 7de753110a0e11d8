"""What both versions suffer alike is no harm of the canary's."""

import numpy as np
import pytest

from analyzer.core.judge import initial_state, judge
from analyzer.core.judge.types import Interval, JudgeRequest, JudgeSettings, Step, Verdict, VersionCounts

EDGES_MS = (10.0, 100.0)


def both_fail(share: float, *, requests: int) -> tuple[VersionCounts, VersionCounts]:
    latency = np.array([requests // 2, requests - requests // 2, 0], dtype=np.int64)
    version = VersionCounts(requests, round(share * requests), latency)
    return version, version


@pytest.mark.parametrize("share", [0.3, 0.5, 0.64, 0.7, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("requests", [20, 1000])
def test_an_outage_of_both_versions_is_no_evidence_against_the_canary(share: float, requests: int) -> None:
    stable, canary = both_fail(share, requests=requests)
    state, verdicts, log_e = initial_state(), set(), []
    for number in range(1, 41):
        interval = Interval(15.0 * number, 15.0, 50.0, EDGES_MS, stable, canary)
        (said,) = judge([JudgeRequest(state, JudgeSettings(), Step("s", 100.0), (interval,))])
        state = said.state
        verdicts.add(said.verdict)
        log_e.append(said.evidence.log_e)
    assert Verdict.HARM not in verdicts
    assert max(log_e) < 1.0
