"""Alerts as log lines: the receiver that needs no configuration and no network."""

from typing import TYPE_CHECKING, Final

import structlog

from analyzer.adapters.alert_text import iso_utc
from analyzer.ports import Alert, Severity

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_LEVELS: Final = {Severity.PAGE: "error", Severity.NOTICE: "warning", Severity.INFO: "info"}


class LogSink:
    """Write each alert as one structured line, at the level of its severity (a resolved one at info)."""

    def __init__(self, logger: "FilteringBoundLogger | None" = None) -> None:
        self._logger: FilteringBoundLogger = logger or structlog.get_logger("serin.alert")

    async def send(self, alert: Alert) -> None:
        """Log the alert; this never fails."""
        level = "info" if alert.resolved else _LEVELS[alert.severity]
        getattr(self._logger, level)(
            alert.title,
            policy=alert.policy,
            reason=alert.reason,
            severity=alert.severity.value,
            resolved=alert.resolved,
            what=alert.what,
            evidence=alert.evidence,
            done=alert.done,
            to_do=alert.to_do,
            command=alert.command,
            dedup_key=alert.dedup_key,
            at=iso_utc(alert.at_s),
        )
