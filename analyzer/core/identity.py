"""The name of an alert: the same for the same alert, in every process and after every restart."""

import hashlib
import json


def alert_id(*, dedup_key: str, reason: str, resolved: bool, at_s: float) -> str:
    """Name one alert.

    Parameters
    ----------
    dedup_key, reason, resolved
        As in the alert.
    at_s
        When it happened [unix seconds]. Taken to the millisecond, so that a trip through JSON does not change the name.

    Returns
    -------
    str
        32 hexadecimal digits. Two alerts with the same name are the same alert: a receiver that sees it twice (a lost
        answer, a restart) may drop the second.
    """
    parts = json.dumps([dedup_key, reason, resolved, round(at_s * 1000)])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
