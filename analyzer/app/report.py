"""Delivers what happened: Events into the cluster, alerts into the outbox. A slow receiver delays nothing here."""

import asyncio
from dataclasses import replace

import structlog

from analyzer.app.alerts import alert_of, event_of
from analyzer.app.outbox import Outbox
from analyzer.app.status import evidence_summary, timestamp
from analyzer.core.rollout import Notice, RolloutState
from analyzer.errors import ConflictError, SerinError
from analyzer.ports import EVENT, Alert, Cluster, Object

log = structlog.get_logger(__name__)

_EVENT_TRIES = 3


class Reporter:
    """Hands a policy's notices on, and takes those that arrived off its state."""

    def __init__(self, cluster: Cluster, outbox: Outbox, *, call_timeout_s: float, instance: str = "serin") -> None:
        self._cluster = cluster
        self._outbox = outbox
        self._call_timeout_s = call_timeout_s
        self._instance = instance
        self._event_tries: dict[Notice, int] = {}

    async def publish(
        self, obj: Object, state: RolloutState, *, receivers: tuple[str, ...], at_s: float
    ) -> RolloutState:
        """Offer all notices, and return the state without those that are delivered or given up."""
        remaining = [
            notice
            for notice in state.notices
            if not await self._is_done(obj, notice, state=state, receivers=receivers, at_s=at_s)
        ]
        self._event_tries = {notice: tries for notice, tries in self._event_tries.items() if notice in remaining}
        return replace(state, notices=tuple(remaining))

    def offer(self, obj: Object, state: RolloutState, *, receivers: tuple[str, ...]) -> None:
        """Offer all notices to people without writing Events: their policy is gone."""
        for notice in state.notices:
            alert = _alert(obj, notice, state=state, receivers=receivers)
            if alert is not None:
                self._outbox.offer(alert)

    async def _is_done(
        self, obj: Object, notice: Notice, *, state: RolloutState, receivers: tuple[str, ...], at_s: float
    ) -> bool:
        alert = _alert(obj, notice, state=state, receivers=receivers)
        if alert is not None:
            self._outbox.offer(alert)
        logged = await self._write_event(obj, notice, at_s=at_s)
        return logged and (alert is None or self._outbox.is_settled(alert))

    async def _write_event(self, obj: Object, notice: Notice, *, at_s: float) -> bool:
        """Write the Event of a notice; True when it is there, or was tried often enough: Events are a courtesy."""
        tries = self._event_tries.get(notice, 0)
        if tries >= _EVENT_TRIES:
            return True
        event = event_of(notice, obj, at=timestamp(notice.at_s or at_s), instance=self._instance)
        try:
            async with asyncio.timeout(self._call_timeout_s):
                await self._cluster.create(EVENT, event)
        except ConflictError:
            pass  # written before, perhaps by the replica that died here
        except (SerinError, TimeoutError) as error:
            log.warning("event not written", policy=obj["metadata"]["name"], reason=notice.reason, error=str(error))
            self._event_tries[notice] = tries + 1
            return False
        self._event_tries[notice] = _EVENT_TRIES
        return True


def _alert(obj: Object, notice: Notice, *, state: RolloutState, receivers: tuple[str, ...]) -> Alert | None:
    metadata = obj["metadata"]
    details = {"phase": state.phase.value, "weights": list(state.weights), "evidence": evidence_summary(state.evidence)}
    return alert_of(
        notice, namespace=metadata["namespace"], name=metadata["name"], receivers=receivers, details=details
    )
