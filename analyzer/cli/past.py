"""Options of the commands that look at Prometheus' past."""

from datetime import datetime

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.cli.options import UsageError
from analyzer.policy.quantities import parse_duration
from analyzer.ports import Workload


def open_prometheus(url: str, *, reporter: str, known: tuple[str, ...]) -> PrometheusTelemetry:
    """Check the options, and make the adapter; nothing is asked yet.

    Raises
    ------
    UsageError
        An option is wrong.
    """
    if reporter not in known:
        raise UsageError(f"--reporter {reporter}: take {' or '.join(known)}")
    try:
        return PrometheusTelemetry(url.rstrip("/"), reporter=reporter, deadline_s=60.0, timeout_s=(5.0, 30.0))
    except ValueError as error:
        raise UsageError(f"--prometheus: {error}") from None


def parse_workload(text: str, option: str) -> Workload:
    """Read `NAMESPACE/NAME`.

    Raises
    ------
    UsageError
        It is none.
    """
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise UsageError(f"{option} {text}: write NAMESPACE/NAME of a Deployment, shop/cart-v1, say")
    return Workload(namespace, name)


def parse_time(text: str, option: str, *, now_s: float) -> float:
    """Read a time [unix seconds].

    Raises
    ------
    UsageError
        It is none.
    """
    try:
        return now_s - parse_duration(text)
    except ValueError:
        pass  # no duration: one of the other two
    try:
        return float(text) if text.replace(".", "", 1).isdecimal() else _instant(text)
    except ValueError:
        mend = "write 2026-11-23T14:00:00Z, unix seconds, or how long ago it was: 2h"
        raise UsageError(f"{option} {text}: this is no time; {mend}") from None


def _instant(text: str) -> float:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)  # whose noon?
    return instant.timestamp()
