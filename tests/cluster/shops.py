"""Services with a canary and users, each in a namespace of its own: `policies/examples/helloworld` with a quick policy."""

import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from analyzer.ports import Object
from analyzer.sandbox.people import Second, Tally, Users
from analyzer.sandbox.scope import Job, beside
from tests.cluster.account import Row
from tests.cluster.audit import AuditLog
from tests.cluster.bed.client import Bed, until
from tests.cluster.bed.manifests import build_example, build_namespace, declare
from tests.cluster.eyes import Eyes
from tests.cluster.serin import Receiver

Variables = Mapping[str, Any]
Judge = Mapping[str, Any]

STAGES: Final = (10, 25, 50, 100)
DWELL: Final = {"min": "10s", "max": "5m"}
"""The patience is the example's own: latency is not held against young pods, and each step that is made without a verdict
brings more of them."""
BAKE: Final = "10s"
STRICT: Final[Judge] = {}
"""The example's own tolerances: 10 % and 0.01 % of errors, 5 % of latency."""
LENIENT: Final[Judge] = {"harmBudget": "2%"}
"""So that a few hundred requests prove a harmless release: the example's 0.1 % takes hundreds of thousands."""

ROOMY: Final[Variables] = {"CONCURRENCY": 64, "QUEUE_LIMIT": 1000}
"""Pods that refuse nothing: where the machine of the tests stalls, users wait, and nobody's errors are the machine's."""

SCALE_DOWN: Final = 60.0
"""The example's HPAs shrink after 900 s; here after 15."""


@dataclass(slots=True)
class Shop:
    """One service.

    Attributes
    ----------
    stages
        The canary's weights, step by step [per cent].
    seconds
        What its users reported, second by second.
    """

    name: str
    namespace: str
    bed: Bed
    eyes: Eyes
    audit: AuditLog
    receiver: Receiver
    stages: Sequence[int] = STAGES
    users: Users = field(default_factory=Users)
    seconds: list[Second] = field(default_factory=list)
    deployed: dict[str, Object] = field(default_factory=dict)

    # --- what people do -----------------------------------------------------------------------------------------------

    async def release(self, version: str, **variables: Any) -> None:
        """Deploy a new revision of a version, as its owner's pipeline does."""
        deployment = self.deployed[version]
        declare(deployment, variables)
        await self.bed.apply([deployment])

    async def kubectl(self, *arguments: str) -> str:
        """Run kubectl in its namespace."""
        return await self.bed.kubectl(*arguments, "--namespace", self.namespace)

    # --- what users felt ----------------------------------------------------------------------------------------------

    def felt(self, since_s: float = 0.0) -> Tally:
        """Sum up what became of the users' requests since a moment."""
        return Tally().add(second.tally for second in self.seconds if second.at_s >= since_s)

    def failed(self, since_s: float = 0.0) -> int:
        """Count the users' requests that failed."""
        return self.felt(since_s).failed().total()

    def first_failure_s(self, version: str, since_s: float = 0.0) -> float:
        """Tell in which second a version failed a request first [unix seconds]; at the begin of that second."""
        return next(
            second.at_s - 1.0
            for second in self.seconds
            if second.at_s >= since_s and second.tally.failed().get(version, 0)
        )

    async def served(self, requests: int) -> None:
        """Wait until the users had so many answers from now on."""
        begun = self.felt().answered

        async def enough() -> bool:
            return self.felt().answered - begun >= requests

        await until(enough, what=lambda: f"{requests} answers in {self.name}; {self.felt()}", patience_s=120)

    # --- what people were told ----------------------------------------------------------------------------------------

    def alerts(self, since_s: float = 0.0) -> list[Object]:
        """Give the alerts of its policy, of what happened since a moment, each id once."""
        mine = [alert for alert in self.receiver.alerts if alert["policy"].startswith(f"{self.namespace}/")]
        each = {alert["id"]: alert for alert in mine}.values()
        return [alert for alert in each if datetime.fromisoformat(alert["at"]).timestamp() >= since_s]

    def told(self, since_s: float = 0.0) -> str:
        """Write the alerts by reason: `RolledBack (page), Drift resolved`."""
        said = Counter(
            f"{alert['reason']} {'resolved' if alert['resolved'] else alert['severity']}"
            for alert in self.alerts(since_s)
        )
        return ", ".join(what if n == 1 else f"{what} ×{n}" for what, n in said.items())

    def pages(self) -> list[Object]:
        """Give the alerts that wake somebody."""
        return [alert for alert in self.alerts() if alert["severity"] == "page" and not alert["resolved"]]

    def check_told_once(self) -> None:
        """Fail if a thing was told twice, or if a page does not say what to do."""
        told = Counter((alert["dedup_key"], alert["reason"], alert["resolved"]) for alert in self.alerts())
        assert not [what for what, n in told.items() if n > 1], self.told()
        assert not [alert for alert in self.pages() if not alert["to_do"]], self.pages()

    # --- what Serin did -----------------------------------------------------------------------------------------------

    def check_course(self, *steps: int, version: str = "v2", since_s: float = 0.0) -> None:
        """Fail unless a version's weights went through some steps, in order and each once [per cent].

        The gate may split a step where pods are not ready yet: then something between two steps is right, towards the second.
        """
        index = ("v1", "v2").index(version)
        seen = [weights[index] for at_s, weights in self.eyes.weights[self.namespace] if at_s >= since_s]
        ahead = list(steps)
        before = last = seen[0]
        for weight in seen:
            if ahead and weight == ahead[0]:
                before = ahead.pop(0)
            else:
                assert ahead, f"{seen}: nothing was to come after {steps}"
                assert min(before, ahead[0]) < weight < max(before, ahead[0]), f"{seen}: not the steps {steps}"
                assert abs(weight - ahead[0]) < abs(last - ahead[0]), f"{seen}: back on the way through {steps}"
            last = weight
        assert not ahead, f"{seen}: {ahead} is missing"

    def writes(self, since_s: float = 0.0) -> int:
        """Count Serin's writes in its namespace."""
        return sum(one.writes and one.at_s >= since_s for one in self.audit.asked([self.namespace]))

    def row(
        self,
        *,
        fault: str,
        right: str,
        since_s: float,
        right_s: float,
        known_s: float | None = None,
        service: str = "",
        version: str = "v2",
    ) -> Row:
        """Account for a fault from its begin on until now, for nothing of what was before it.

        Parameters
        ----------
        right
            What all being right means.
        since_s, right_s
            When the fault began, and since when all was right again [unix seconds].
        known_s
            The first moment at which it could be known; from the begin on, by default [unix seconds].
        service, version
            What it is called in the table, its name by default; and the canary.
        """
        seconds = right_s - (since_s if known_s is None else known_s)
        assert seconds >= 0, f"{fault}, {self.name}: it was right {-seconds:.1f} s before what it is counted from"
        felt = self.felt(since_s)
        return Row(
            fault=fault,
            service=service or self.name,
            right=right,
            seconds=seconds,
            failed=felt.failed().total(),
            canary=felt.served(version),
            alerts=self.told(since_s),
            writes=self.writes(since_s),
        )

    @property
    def status(self) -> Object:
        """The policy's status, as it is now."""
        return self.eyes.status(self.namespace)

    def history(self) -> list[str]:
        """Give the reasons in the policy's history."""
        return [entry["reason"] for entry in self.status.get("history", [])]


class Shops:
    """Opens them, and closes all at the end."""

    def __init__(self, bed: Bed, *, eyes: Eyes, audit: AuditLog, receiver: Receiver, stack: AsyncExitStack) -> None:
        self.opened: list[Shop] = []
        self._bed = bed
        self._eyes = eyes
        self._audit = audit
        self._receiver = receiver
        self._stack = stack

    def __getitem__(self, name: str) -> Shop:
        return next(shop for shop in self.opened if shop.name == name)

    def audit_from_now(self) -> AuditLog:
        """Give the audit log from its present end on."""
        return AuditLog(self._bed.places.audit_log)

    async def open(
        self,
        name: str,
        *,
        rate: float,
        v1: Variables | None = None,
        v2: Variables | None = None,
        judge: Judge = STRICT,
        capacity: Mapping[str, Any] | None = None,
        stages: Sequence[int] = STAGES,
        focus: Sequence[int] = (),
    ) -> Shop:
        """Deploy one, wait for its pods, and send it users.

        Parameters
        ----------
        rate
            Of the users' requests [1/s].
        v1, v2
            How the versions behave.
        judge
            What is different from the example's policy, beside its pace.
        capacity
            The policy's `capacity`, where it is not to be the default's.
        stages
            The canary's weights, step by step; it is adopted at 10 [per cent].
        focus
            Its weights among insiders before, who are half of the users then; it is adopted at 50 of theirs, 0 of the others'.
            The example is that of the focused canary [per cent].
        """
        example, insiders = ("helloworld-focused", 0.5) if focus else ("helloworld", 0.0)
        namespace = f"{name}-{secrets.token_hex(2)}"
        behaviour = {"v1": {**ROOMY, **(v1 or {})}, "v2": {**ROOMY, **(v2 or {})}}
        objects = build_example(example, namespace=namespace, behaviour=behaviour, acceleration=SCALE_DOWN, policy=True)
        shop = Shop(name, namespace, self._bed, self._eyes, self._audit, self._receiver, stages)
        for obj in objects:
            match obj["kind"]:
                case "Deployment":
                    shop.deployed[obj["metadata"]["labels"]["version"]] = obj
                case "CanaryPolicy":
                    quicken(obj, judge=judge, stages=stages, focus=focus)
                    obj["spec"] |= {} if capacity is None else {"capacity": dict(capacity)}
        await self._bed.apply([build_namespace(namespace)])
        self._stack.push_async_callback(self._bed.kubectl, "delete", "namespace", namespace, "--wait=false")
        self.opened.append(shop)
        await self._bed.apply([obj for obj in objects if obj["kind"] != "CanaryPolicy"])
        await self._bed.settled(namespace)
        await self._bed.routed(namespace)
        if rate:
            shop.users = await self._stack.enter_async_context(self._bed.load(namespace, rate=rate, insiders=insiders))
            await self._stack.enter_async_context(beside([_recorder(shop)]))
        await self._bed.apply([obj for obj in objects if obj["kind"] == "CanaryPolicy"])
        return shop


def quicken(policy: Object, *, judge: Judge, stages: Sequence[int], focus: Sequence[int] = ()) -> None:
    """Make the example's policy quick: steps of ten seconds, and a bake of ten."""
    wanted = policy["spec"]
    routes = {"insiders": focus, "primary": stages}
    wanted["stages"] = [{"route": route, "weights": list(weights)} for route, weights in routes.items() if weights]
    wanted["judge"] |= {"dwell": DWELL, "bake": BAKE, **judge}


def _recorder(shop: Shop) -> Job:
    async def record() -> None:
        async for second in shop.users.follow():
            shop.seconds.append(second)

    return record


def now_s() -> float:
    """Tell the time as the users' reports and the audit log do [unix seconds]."""
    return time.time()
