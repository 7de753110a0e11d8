"""Delivers what happened: Events into the cluster, alerts into the outbox. A slow receiver delays nothing here."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from analyzer.app.alerts import alert_of, applied_by, event_of
from analyzer.app.leadership import Leadership
from analyzer.app.outbox import Outbox
from analyzer.app.status import evidence_summary, timestamp
from analyzer.core.rollout import Notice, Phase, RolloutState
from analyzer.errors import ConflictError, LeadershipLost, SerinError
from analyzer.ports import EVENT, Alert, Cluster, Object

log = structlog.get_logger(__name__)

_EVENT_TRIES = 3
_EVENT_TIMEOUT_S = 3.0


class Reporter:
    """Hands a policy's notices on, and takes those that arrived off its state."""

    def __init__(
        self,
        cluster: Cluster,
        outbox: Outbox,
        *,
        leadership: Leadership,
        instance: str = "serin",
        events: bool = True,
        effective: Callable[[Object], Object] = lambda policy: policy,
    ) -> None:
        self._cluster = cluster
        self._outbox = outbox
        self._leadership = leadership
        self._instance = instance
        self._effective = effective  # the policy over its defaults: they too name receivers
        self._events = events  # a dry run writes none: it may have no permission to
        self._event_tries: dict[Notice, int] = {}

    async def publish(self, obj: Object, state: RolloutState, *, at_s: float) -> RolloutState:
        """Offer all notices, and return the state without those that are delivered or given up.

        Raises
        ------
        LeadershipLost
            Another replica leads, or may by now: it has the notices from `.status`.
        """
        self.offer(obj, state)
        await self._write_events(obj, state.notices, at_s=at_s)
        remaining = tuple(n for n in state.notices if not self._is_done(obj, n, state=state))
        self._event_tries = {notice: self._event_tries[notice] for notice in remaining if notice in self._event_tries}
        return replace(state, notices=remaining)

    def offer(self, obj: Object, state: RolloutState) -> None:
        """Offer all notices to people, without writing Events."""
        for notice in state.notices:
            alert = _alert(self._effective(obj), notice, state=state)
            if alert is not None:
                self._outbox.offer(alert)

    def _is_done(self, obj: Object, notice: Notice, *, state: RolloutState) -> bool:
        alert = _alert(self._effective(obj), notice, state=state)
        settled = alert is None or self._outbox.is_settled(alert)
        return settled and self._event_tries.get(notice, 0) >= _EVENT_TRIES

    async def _write_events(self, obj: Object, notices: tuple[Notice, ...], *, at_s: float) -> None:
        """Write the Events that are still missing. They are a courtesy: the first that fails ends the attempt for this turn."""
        for notice in notices:
            tries = self._event_tries.get(notice, 0) if self._events else _EVENT_TRIES
            self._event_tries[notice] = tries
            if tries >= _EVENT_TRIES:
                continue
            event = event_of(notice, obj, at=timestamp(notice.at_s or at_s), instance=self._instance)
            try:
                async with asyncio.timeout(self._leadership.check(_EVENT_TIMEOUT_S)):
                    await self._cluster.create(EVENT, event)
            except ConflictError:
                pass  # written before, perhaps by the replica that died here
            except LeadershipLost:
                raise
            except (SerinError, TimeoutError) as error:
                log.warning("event not written", policy=obj["metadata"]["name"], reason=notice.reason, error=str(error))
                self._event_tries[notice] = tries + 1
                return
            self._event_tries[notice] = _EVENT_TRIES


def _alert(obj: Object, notice: Notice, *, state: RolloutState) -> Alert | None:
    details = {
        "phase": state.phase.value,
        "cause": state.reason,
        "weights": list(state.weights),
        "evidence": evidence_summary(state.evidence),
        "appliedBy": applied_by(obj["metadata"]),
    }
    ended = state.phase is Phase.ROLLED_BACK
    return alert_of(notice, obj, standing=state.told, ended=ended, details=details)
