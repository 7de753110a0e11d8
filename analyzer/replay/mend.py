"""Which setting would mend false rollbacks: each tried on the same pseudo-rollouts, from the mildest change on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from analyzer.core.judge.types import Channel, JudgeSettings
from analyzer.core.rollout.wording import duration, percent
from analyzer.policy.quantities import format_percent

if TYPE_CHECKING:
    from analyzer.replay.calibrate import Calibration, Tally

_ERROR_TOLERANCES: Final = (0.15, 0.2, 0.3, 0.5, 1.0)
_LATENCY_TOLERANCES: Final = (0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
_STRICTER: Final = (2.0, 5.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True)
class Mend:
    """A setting, as in `spec.judge`, and what it would do.

    Attributes
    ----------
    setting, now, wanted
        Its name, what it is, and the mildest value tried that keeps the promise; `wanted` is None where none does.
    rate
        Share of pseudo-rollouts rolled back with `wanted`, or with the last value tried [ratio].
    """

    setting: str
    now: str
    wanted: str | None
    rate: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a calibration found.

    Attributes
    ----------
    promised
        The policy's chance of a false rollback [ratio].
    found
        What happened.
    mends
        What would help, if the promise was broken.
    """

    promised: float
    found: "Tally"
    mends: tuple[Mend, ...]

    @property
    def kept(self) -> bool:
        """Whether the policy kept its promise."""
        return self.found.rate <= self.promised


def calibrate(calibration: "Calibration") -> Report:
    """Try the policy, and where it breaks its promise the settings that could help."""
    promised = calibration.policy.spec.judge.false_rollback
    found = calibration.try_settings(calibration.settings)
    report = Report(promised, found, ())
    return report if report.kept else replace(report, mends=tuple(_mends(calibration, found, promised)))


def _mends(calibration: "Calibration", found: "Tally", promised: float) -> Iterator[Mend]:
    settings = calibration.settings
    ladders: list[tuple[str, str, list[float]]] = []
    if Channel.ERRORS in found.by_channel:
        wider = [t for t in _ERROR_TOLERANCES if t > settings.error_tolerance]
        ladders.append(("errors.tolerance", "error_tolerance", wider))
    if Channel.LATENCY in found.by_channel:
        wider = [t for t in _LATENCY_TOLERANCES if t > settings.latency_tolerance]
        ladders.append(("latency.tolerance", "latency_tolerance", wider))
    stricter = [settings.false_rollback / factor for factor in _STRICTER]
    ladders.append(("falseRollback", "false_rollback", stricter))
    for name, attribute, values in ladders:
        if values:
            yield _climb(calibration, name, attribute, values=values, promised=promised)


def _climb(calibration: "Calibration", name: str, attribute: str, *, values: list[float], promised: float) -> Mend:
    settings = calibration.settings
    now = format_percent(getattr(settings, attribute))
    rate = 1.0
    for value in values:
        rate = calibration.try_settings(_changed(settings, attribute, value)).rate
        if rate <= promised:
            return Mend(name, now, format_percent(round(value, 9)), rate)
    return Mend(name, now, None, rate)


def _changed(settings: JudgeSettings, attribute: str, value: float) -> JudgeSettings:
    changes: dict[str, Any] = {attribute: value}
    return replace(settings, **changes)


# --- for people and machines ------------------------------------------------------------------------------------------


def report_dict(calibration: "Calibration", report: Report) -> dict[str, Any]:
    """Give a report's fields."""
    counts, found = calibration.counts, report.found
    low, high = found.interval
    return {
        "seconds": counts.n_intervals * counts.seconds,
        "interval_s": counts.seconds,
        "pods": len(counts.pods),
        "requests": int(counts.requests.sum(dtype="int64")),
        "against": "own past" if _is_past(calibration) else "other pods",
        "rollouts": found.rollouts,
        "false_rollback": {
            "promised": report.promised,
            "found": round(found.rate, 6),
            "low": round(low, 6),
            "high": round(high, 6),
        },
        "kept": report.kept,
        "by_channel": {channel.value: found.by_channel.get(channel, 0) for channel in Channel},
        "promoted": found.promoted,
        "promoted_after_s": found.promoted_after_s,
        "mends": [
            {"setting": m.setting, "now": m.now, "wanted": m.wanted, "found": round(m.rate, 6)} for m in report.mends
        ],
    }


def report_text(calibration: "Calibration", report: Report) -> str:
    """Write a report for people."""
    return "".join(f"{line}\n" for line in (*_found(calibration, report), *_advice(report)))


def _is_past(calibration: "Calibration") -> bool:
    return any(draw.is_past for draw in calibration.draws)


def _found(calibration: "Calibration", report: Report) -> Iterator[str]:
    counts, found = calibration.counts, report.found
    low, high = found.interval
    yield (
        f"{duration(counts.n_intervals * counts.seconds)} of {len(counts.pods)} pods,"
        f" {counts.n_intervals:,} intervals of {counts.seconds:g} s,"
        f" {int(counts.requests.sum(dtype='int64')):,} requests"
    )
    against = "its only pod, an interval earlier" if _is_past(calibration) else "other pods of the same version"
    yield f"{found.rollouts} pseudo-rollouts: pods of the stable version play the canary, against {against}"
    yield (
        f"rolled back: {found.rolled_back}, {percent(found.rate)} ({100 * low:.3g} to {100 * high:.3g} %);"
        f" the policy promises at most {percent(report.promised)}"
    )
    for channel, number in sorted(found.by_channel.items()):
        yield f"  for {channel.value}: {number}"
    after = f", half of them within {duration(found.promoted_after_s)}" if found.promoted_after_s is not None else ""
    yield f"promoted: {found.promoted}{after}; the others were not done when their pods, or the record, ended"
    yield "(Rollouts that overlap see the same pods: the interval is narrower than it should be.)"


def _advice(report: Report) -> Iterator[str]:
    if report.kept:
        yield "The policy keeps its promise on this service."
        return
    yield "The policy breaks its promise on this service. In spec.judge, one of:"
    for mend in report.mends:
        if mend.wanted is None:
            yield f"  {mend.setting}: nothing that was tried is enough (at best {percent(mend.rate)})"
        else:
            yield f"  {mend.setting}: {mend.wanted} instead of {mend.now} (then {percent(mend.rate)})"
