"""A daemon of one policy, turned by hand: killed and started again wherever a test wants."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from analyzer.app.daemon import WATCHED
from analyzer.app.decisions import Decisions
from analyzer.app.history.lessons import PodTelemetry
from analyzer.app.judging import JudgeAnswer, Judging
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox
from analyzer.app.reconcile import Reconciler, TurnResult
from analyzer.app.writer import Services
from analyzer.core.rollout import Phase, RolloutState
from analyzer.errors import SerinError
from analyzer.policy.delegation import leads_to
from analyzer.ports import (
    VIRTUAL_SERVICE,
    Alert,
    Cluster,
    Kind,
    Object,
    Ref,
    Telemetry,
    TelemetryQuery,
    TelemetryWindow,
)
from tests.app.model import POLICY, ROUTE, ModelMesh
from tests.fakes import Decide, FakeTelemetry, FaultyCluster, Killed, RecordingSink

KINDS = WATCHED


class ListedView:
    """The cluster as it was when it was last listed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._objects: dict[Ref, Object] = {}

    async def refresh(self) -> None:
        listings = [(kind, await self._cluster.list(kind)) for kind in KINDS]
        self._objects = {
            Ref(kind, obj["metadata"]["namespace"], obj["metadata"]["name"]): obj
            for kind, listing in listings
            for obj in listing.items
        }

    def get(self, ref: Ref) -> Object | None:
        return self._objects.get(ref)

    def leading_to(self, name: str) -> list[Object]:
        return [obj for obj in self.list(VIRTUAL_SERVICE) if name in leads_to(obj)]

    def list(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        return [o for ref, o in self._objects.items() if ref.kind == kind and namespace in {None, ref.namespace}]

    def put(self, obj: Object) -> bool:
        kind = next(kind for kind in KINDS if kind.kind == obj["kind"])
        self._objects[Ref(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])] = obj
        return True


@dataclass
class Incarnation:
    """One life of the process: all that a kill takes with it."""

    cluster: FaultyCluster
    view: ListedView
    reconciler: Reconciler
    judging: Judging
    outbox: Outbox
    answer: JudgeAnswer | None = None
    result: TurnResult | None = None


class CountedTelemetry:
    """Telemetry whose calls count as port calls, and fail as those of the cluster do."""

    def __init__(self, inner: Telemetry, cluster: FaultyCluster) -> None:
        self._inner = inner
        self._cluster = cluster

    async def now_s(self) -> float:
        return await self._inner.now_s()

    async def fetch(self, query: TelemetryQuery) -> TelemetryWindow:
        number = self._cluster._begin("fetch")
        await self._cluster._fault(number, "fetch", "before")
        answer = await self._inner.fetch(query)
        await self._cluster._fault(number, "fetch", "after")
        return answer


@dataclass
class Loop:
    """Turns the policy against a model mesh, and notes what became of the weights."""

    mesh: ModelMesh
    decide: Decide = lambda _number, _method, _phase: None
    checkpoint_s: float = 30.0
    weights: list[int] = field(default_factory=list)
    kills: int = 0
    errors: list[str] = field(default_factory=list)
    calls: int = 0
    methods: list[str] = field(default_factory=list)
    sink: RecordingSink = field(default_factory=RecordingSink)
    alerts: list[Alert] = field(default_factory=list)
    life: Incarnation | None = None
    pods: PodTelemetry | None = None
    decisions: Callable[[], Decisions] = Decisions

    def begin_life(self) -> Incarnation:
        cluster = FaultyCluster(self.mesh.cluster, self._decide)
        view = ListedView(cluster)
        metrics = Metrics()
        outbox = Outbox(
            {"log": self.sink}, default=("log",), clock=self.mesh.clock, metrics=metrics, rng=random.Random(1)
        )
        services = Services(
            cluster=cluster,
            cache=view,
            clock=self.mesh.clock,
            outbox=outbox,
            metrics=metrics,
            checkpoint_s=self.checkpoint_s,
            decisions=self.decisions(),
        )
        telemetry = CountedTelemetry(FakeTelemetry(self.mesh.clock, self.mesh.window), cluster)
        self.life = Incarnation(
            cluster=cluster,
            view=view,
            reconciler=Reconciler(services, POLICY),
            judging=Judging(telemetry, self.mesh.clock, metrics, period_s=1.0, call_timeout_s=5.0, pods=self.pods),
            outbox=outbox,
        )
        return self.life

    def _decide(self, _number: int, method: str, phase: str) -> BaseException | None:
        if phase == "before":
            self.calls += 1
            self.methods.append(method)
        return self.decide(self.calls, method, phase)  # type: ignore[arg-type]

    async def cycle(self, *, scrape: bool = True) -> None:
        """Let one scrape interval pass, and let the loop do what it does in that time."""
        if scrape:
            self.mesh.scrape()
        try:
            await self._turns()
        except Killed:
            self.kills += 1
            self.life = None
        except SerinError as error:
            self.errors.append(error.reason)
        self._note_weights()

    async def _turns(self) -> None:
        life = self.life or self.begin_life()
        if life.result is not None and life.result.order is not None:
            await life.judging.learn([life.result.order])
            (life.answer,) = await life.judging.answer([life.result.order])
        for _ in range(2):  # with what was learnt, and once more with what that led to
            await life.view.refresh()
            life.result = await life.reconciler.turn(life.answer)
            life.answer = None
            self._note_weights()

    def _note_weights(self) -> None:
        weight = self.mesh.weights()["v2"]
        if not self.weights or self.weights[-1] != weight:
            self.weights.append(weight)

    @property
    def state(self) -> RolloutState:
        """What is remembered now."""
        life = self.life or self.begin_life()
        return life.reconciler.state

    @property
    def phase(self) -> str:
        """The phase that `.status` shows."""
        return str((self.mesh.read(POLICY).get("status") or {}).get("phase", Phase.IDLE))

    async def until(self, done: Callable[[], bool], *, cycles: int = 120) -> None:
        """Cycle until `done`.

        Raises
        ------
        AssertionError
            It takes too long; says where things stand.
        """
        for _ in range(cycles):
            if done():
                return
            await self.cycle()
        status = self.mesh.read(POLICY).get("status") or {}
        raise AssertionError(f"not done after {cycles} cycles: {status.get('phase')}: {status.get('message')}")


__all__ = ["POLICY", "ROUTE", "Incarnation", "Loop"]
