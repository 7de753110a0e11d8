"""The daemon's own way from the pods' counters in a real Prometheus to what its judge has learned."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.app.judging import Judging
from analyzer.app.metrics import Metrics
from analyzer.core.judge import load_state
from analyzer.core.judge.state import layout
from analyzer.ports import Workload
from tests.app.loop import POLICY, Loop
from tests.app.model import NAMESPACE
from tests.app.test_turns import quick_mesh
from tests.replay.past import EVERY_S, START_S, Past, Served
from tests.telemetry.real_prometheus import BINARY, RealPrometheus

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(BINARY is None or shutil.which("promtool") is None, reason="no prometheus, promtool in PATH"),
]

N = 240
STABLE, CANARY = Workload(NAMESPACE, "helloworld-v1"), Workload(NAMESPACE, "helloworld-v2")


def an_hour(*, pods: int) -> Past:
    """An hour until now: a gateway that splits 90 to 10, and the stable version's own proxies."""
    rng = np.random.default_rng(3)

    def served(rate: float) -> Served:
        return Served.make(rng, np.full(N, rate), errors=np.full(N, 0.002))

    past = Past()
    past.add_proxy("gw:15020", {STABLE: served(90.0), CANARY: served(10.0)}, reporter="source")
    for number in range(pods):
        past.add_proxy(
            f"10.0.0.{number}:15020",
            {STABLE: served(90.0 / pods)},
            reporter="destination",
            phase_s=-2.0 * number,
            pod=f"v1-{number}",
        )
    return past.shifted(int(time.time()) - START_S - N * EVERY_S)


@pytest.mark.parametrize(
    ("pods", "said", "learned"),
    [(4, "learned from 4 pods over ", True), (0, 'usual values: no per-pod telemetry (reporter="destination")', False)],
)
async def test_the_pods_counters_end_in_the_checkpoint(tmp_path: Path, pods: int, said: str, *, learned: bool) -> None:
    an_hour(pods=pods).backfill(tmp_path)
    with RealPrometheus(tmp_path, []).running() as prometheus:
        source = PrometheusTelemetry(prometheus.url)
        own = PrometheusTelemetry(prometheus.url, reporter="destination")
        loop = Loop(quick_mesh())
        life = loop.begin_life()
        life.judging = Judging(source, loop.mesh.clock, Metrics(), period_s=1.0, call_timeout_s=30.0, pods=own)
        for _ in range(4):
            await loop.cycle(scrape=False)
        await life.reconciler.checkpoint()
        await source.aclose()
        await own.aclose()
    assert loop.errors == []
    status = loop.mesh.read(POLICY)["status"]
    assert status["dispersion"].startswith(said)
    state = load_state(status["checkpoint"]["judge"])
    assert bool(np.frombuffer(state.record, layout(len(state.edges_ms)))["learned"][0]) is learned
