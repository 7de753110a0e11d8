"""What was said already: the person on call is told once.

Two alerts of one dedup key say the same if their reason is the same and nothing was resolved, or raised again, in
between.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, TypeVar

from analyzer.core.identity import alert_id
from analyzer.ports import Alert

_K = TypeVar("_K")
_V = TypeVar("_V")

_REMEMBERED: Final = 10_000
_IDS_PER_PARCEL: Final = 100
_SWEEP: Final = 0.1


@dataclass(slots=True, eq=False)
class Parcel:
    """An alert on its way, shared by the lanes of all its receivers."""

    alert: Alert
    offered_at_s: float  # by the monotonic clock
    outstanding: set[str]  # receivers that have it still to come
    ended: set[str] = field(default_factory=set)  # receivers that took it, refused it, or were given up on
    taken: bool = False  # by one of them at least
    late: bool = False  # a page that was not taken in time
    told: dict[str, Alert] = field(default_factory=dict)  # what a receiver is told instead of `alert`
    ids: set[str] = field(default_factory=set)  # its own, and those of the alerts folded into it

    def alert_for(self, receiver: str) -> Alert:
        """Give the alert as this receiver is to have it."""
        return self.told.get(receiver, self.alert)


@dataclass(slots=True)
class _Said:
    """What was said about one dedup key since it was last raised, or resolved."""

    resolved: bool
    parcels: dict[str, Parcel] = field(default_factory=dict)  # by reason
    settled_at_s: dict[str, float] = field(default_factory=dict)  # by reason, on the monotonic clock

    def stands(self, since_s: float) -> bool:
        """Whether it may still stand for another alert: it is on its way, or was settled after `since_s`."""
        return bool(self.parcels) or max(self.settled_at_s.values(), default=since_s) > since_s


class Folding:
    """Recognises alerts that were offered before, and those that say the same as one before.

    Parameters
    ----------
    window_s
        How long a settled alert stands for others that say the same [s].
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._said: OrderedDict[str, _Said] = OrderedDict()
        self._pending: dict[str, Parcel] = {}  # by id
        self._settled: OrderedDict[str, float] = OrderedDict()  # ids, and since when

    def is_settled(self, alert: Alert) -> bool:
        """Whether this very alert, or the one it was folded into, is done with."""
        return _id(alert) in self._settled

    def fold(self, alert: Alert, *, now_s: float) -> bool:
        """Let an earlier alert stand for this one, if there is one; False if this one has news."""
        name = _id(alert)
        if name in self._settled or name in self._pending:
            return True
        said = self._said.get(alert.dedup_key)
        if said is None or said.resolved != alert.resolved:
            return False
        parcel = said.parcels.get(alert.reason)
        if parcel is not None:
            if len(parcel.ids) < _IDS_PER_PARCEL:
                parcel.ids.add(name)
                self._pending[name] = parcel
            return True
        settled_at_s = said.settled_at_s.get(alert.reason)
        if settled_at_s is None or now_s - settled_at_s >= self._window_s:
            return False
        remember(self._settled, name, now_s)
        return True

    def begin(self, parcel: Parcel) -> None:
        """Note an alert that is now on its way."""
        alert = parcel.alert
        said = self._said.get(alert.dedup_key)
        if said is None or said.resolved != alert.resolved:
            said = _Said(alert.resolved)
        said.parcels[alert.reason] = parcel
        remember(self._said, alert.dedup_key, said)
        parcel.ids.add(_id(alert))
        self._pending[_id(alert)] = parcel

    def end(self, parcel: Parcel, *, now_s: float) -> None:
        """Note that nothing more will be done for an alert."""
        alert = parcel.alert
        for name in parcel.ids:
            self._pending.pop(name, None)
            remember(self._settled, name, now_s)
        said = self._said.get(alert.dedup_key)
        if said is not None and said.parcels.get(alert.reason) is parcel:
            del said.parcels[alert.reason]
            said.settled_at_s[alert.reason] = now_s

    @property
    def sweep_s(self) -> float:
        """How often to `sweep` [s]."""
        return self._window_s * _SWEEP

    def sweep(self, *, now_s: float) -> None:
        """Forget what was settled before the window: it stands for nothing any more."""
        since_s = now_s - self._window_s
        self._said = OrderedDict((key, said) for key, said in self._said.items() if said.stands(since_s))
        self._settled = OrderedDict((name, at_s) for name, at_s in self._settled.items() if at_s > since_s)


def remember(memory: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    """Keep the newest, forget the oldest: nothing here may grow with the daemon's age."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _id(alert: Alert) -> str:
    return alert_id(dedup_key=alert.dedup_key, reason=alert.reason, resolved=alert.resolved, at_s=alert.at_s)
