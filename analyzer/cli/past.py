"""Options of the commands that look at Prometheus' past."""

from datetime import datetime
from pathlib import Path

from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.errors import PolicyError
from analyzer.policy.load import load_objects
from analyzer.policy.model import CanaryPolicy
from analyzer.policy.parse import is_foreign, parse_policy
from analyzer.policy.quantities import parse_duration
from analyzer.ports import Workload


def open_prometheus(url: str, *, reporter: str, known: tuple[str, ...]) -> PrometheusTelemetry:
    """Check the options, and make the adapter; nothing is asked yet.

    Raises
    ------
    PolicyError
        An option is wrong.
    """
    if reporter not in known:
        raise PolicyError(f"--reporter {reporter}: take {' or '.join(known)}")
    try:
        return PrometheusTelemetry(url.rstrip("/"), reporter=reporter, deadline_s=60.0, timeout_s=(5.0, 30.0))
    except ValueError as error:
        raise PolicyError(f"--prometheus: {error}") from None


def read_policy_file(path: Path) -> CanaryPolicy:
    """Read the one policy of a file, whatever else is in it.

    Raises
    ------
    PolicyError
        There is none, or more than one, or it is wrong.
    """
    objects = load_objects([path])
    found = [obj for obj in objects if obj.get("kind") == "CanaryPolicy" or is_foreign(obj)]
    if len(found) != 1:
        raise PolicyError(f"--policy {path}: {len(found)} policies in it; name a file with exactly one")
    try:
        return parse_policy(found[0])
    except PolicyError as error:
        raise PolicyError(f"--policy {path}: {error}") from None


def parse_workload(text: str, option: str) -> Workload:
    """Read `NAMESPACE/NAME`.

    Raises
    ------
    PolicyError
        It is none.
    """
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise PolicyError(f"{option} {text}: write NAMESPACE/NAME of a Deployment, shop/cart-v1, say")
    return Workload(namespace, name)


def parse_time(text: str, option: str, *, now_s: float) -> float:
    """Read a time [unix seconds].

    Raises
    ------
    PolicyError
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
        raise PolicyError(f"{option} {text}: this is no time; {mend}") from None


def _instant(text: str) -> float:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)  # whose noon?
    return instant.timestamp()
