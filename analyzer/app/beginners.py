"""Rollouts that begin: each learns how its stable version usually varies before its first interval is judged."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from analyzer.app.answers import Deliver, JudgeOrder
from analyzer.app.history.lessons import Lesson, PodTelemetry, Pupil, teach

Waiting = dict[str, tuple[JudgeOrder, Deliver]]


class Beginners:
    """Keeps the orders of rollouts that begin until their lesson is over, and the lessons until they are used.

    Parameters
    ----------
    telemetry
        Where the pods' own proxies are read; None: nowhere, and nobody waits.
    call_timeout_s
        What one read may take [s].
    """

    def __init__(self, telemetry: PodTelemetry | None, *, call_timeout_s: float) -> None:
        self._telemetry = telemetry
        self._call_timeout_s = call_timeout_s
        self._waiting: Waiting = {}
        self._begun = asyncio.Event()
        self._lessons: dict[str, tuple[str, Lesson]] = {}  # by policy: the rollout's name, and what it begins with

    def renew(self, order: JudgeOrder, deliver: Deliver) -> bool:
        """Take an order in the place of one that waits for its lesson; False where none does."""
        if order.key not in self._waiting:
            return False
        self._waiting[order.key] = (order, deliver)
        return True

    def withdraw(self, key: str) -> None:
        """Forget a policy."""
        self._waiting.pop(key, None)
        self._lessons.pop(key, None)

    def set_aside(self, orders: Waiting) -> Waiting:
        """Keep the orders of rollouts that begin, and return the others, which do not wait for that."""
        begun = {key: pair for key, pair in orders.items() if self._must_learn(pair[0])}
        if begun:
            self._waiting |= begun
            self._begun.set()
        return {key: pair for key, pair in orders.items() if key not in begun}

    async def run(self, submit: Callable[[JudgeOrder, Deliver], None]) -> None:
        """Teach until cancelled; `submit` takes an order back when its lesson is over."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            orders = [order for order, _ in self._waiting.values()]
            await self.learn(orders)
            # One that came meanwhile, or is of another rollout by now, is set aside again.
            waiting, self._waiting = self._waiting, {}
            for order in orders:
                if order.key not in waiting:  # withdrawn meanwhile
                    self._lessons.pop(order.key, None)
            for order, deliver in waiting.values():
                submit(order, deliver)

    async def learn(self, orders: Sequence[JudgeOrder]) -> None:
        """Learn for those of these rollouts that begin: in bounded time, and without ever failing."""
        orders = [order for order in orders if self._must_learn(order)]
        if self._telemetry is None or not orders:
            return
        lessons = await teach(self._telemetry, [_pupil(order) for order in orders], call_timeout_s=self._call_timeout_s)
        for order, lesson in zip(orders, lessons, strict=True):
            self._lessons[order.key] = (order.rollout, lesson)

    def taught(self, order: JudgeOrder) -> JudgeOrder:
        """Put what was learned into the order of a rollout that begins; once its state is kept, that is not needed."""
        if not order.begins:
            self._lessons.pop(order.key, None)
            return order
        rollout, lesson = self._lessons.get(order.key, ("", None))
        if lesson is None or rollout != order.rollout:
            return order
        return replace(order, state=lesson.state, dispersion=lesson.said)

    def _must_learn(self, order: JudgeOrder) -> bool:
        known = self._lessons.get(order.key)
        return self._telemetry is not None and order.begins and (known is None or known[0] != order.rollout)


def _pupil(order: JudgeOrder) -> Pupil:
    demand = order.demand
    return Pupil(
        key=order.key,
        stable=demand.stable.workload,
        pods=demand.stable_pods,
        routes=demand.routes,
        settings=order.settings,
    )
