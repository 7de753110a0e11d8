"""Hours of history in a real Prometheus, replayed and calibrated through the command line."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from analyzer.app.history.pods import read_pods
from analyzer.cli.calibrate import calibrate_workload
from analyzer.cli.replay import replay_prometheus
from analyzer.replay.overrides import policy_of
from analyzer.replay.recorded import Recording, read_recording
from analyzer.replay.result import Result
from analyzer.replay.run import Replay
from tests.replay.past import EVERY_S, START_S, V1, V2, Past, pods_past, rollout_past
from tests.telemetry.real_prometheus import BINARY, RealPrometheus

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(BINARY is None or shutil.which("promtool") is None, reason="no prometheus, promtool in PATH"),
]

N = 60
POLICY = """
apiVersion: serin.dev/v1alpha1
kind: CanaryPolicy
metadata: {name: cart, namespace: shop}
spec: {target: {virtualService: cart, deployments: {v1: cart-v1, v2: cart-v2}, stable: v1}}
"""


@pytest.fixture
def ago_s() -> float:
    """Prometheus keeps two weeks: the past began six hours ago."""
    return float(int(time.time()) - 6 * 3600) - START_S


@contextmanager
def served(past: Past, folder: Path) -> Iterator[str]:
    past.backfill(folder)
    with RealPrometheus(folder, []).running() as prometheus:
        yield prometheus.url


async def judged(past: Past, recording: Recording) -> Result:
    [result] = Replay().play([record async for record in read_recording(past, recording)])
    return result


@pytest.mark.parametrize(("errors", "code"), [(0.001, 3), (0.05, 1)])  # 50 % is asked for, and not proven in time
def test_a_stored_past_is_judged_as_its_counts_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ago_s: float, errors: float, code: int
) -> None:
    past = rollout_past(weights={0: 10.0, 55: 25.0}, n=N, canary_errors=errors).shifted(ago_s)
    (tmp_path / "policy.yaml").write_text(POLICY)
    from_s, to_s = START_S + ago_s, START_S + ago_s + N * EVERY_S + 10
    expected = asyncio.run(
        judged(past, Recording(stable=V1, canary=V2, policy=policy_of({}), from_s=from_s, to_s=to_s))
    )
    with served(past, tmp_path) as url:
        policy = tmp_path / "policy.yaml"
        found = replay_prometheus(url, policy=policy, from_time=str(from_s), to_time=str(to_s), output="json")
    said = capsys.readouterr()
    assert (said.out, found) == (f"{expected.as_json()}\n", code)
    assert "the weight is not recorded" in said.err


def test_a_workload_is_calibrated_on_its_stored_past(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ago_s: float
) -> None:
    n = 240
    past = pods_past(n=n).shifted(ago_s)
    from_s, to_s = START_S + ago_s, START_S + ago_s + n * EVERY_S
    expected = asyncio.run(read_pods(past, V1, from_s=from_s, to_s=to_s))
    assert expected is not None
    with served(past, tmp_path) as url:
        code = calibrate_workload(
            url, workload="shop/cart-v1", hours=1.0, to_time=str(to_s), rollouts=50, output="json"
        )
        missing = calibrate_workload(url, workload="shop/other", hours=1.0, to_time=str(to_s))
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert (report["pods"], report["requests"]) == (6, int(expected.requests.sum()))
    assert report["rollouts"] == 50
    assert code == (0 if report["kept"] else 1)
    assert missing == 3
    assert "no proxy of shop/other reported a request in these 1 h" in said.err
