"""Logging: one JSON object per line in a cluster, readable lines on a terminal, and no secrets in either.

Lines of other libraries (stdlib logging, warnings) are rendered the same way as ours.
"""

import json as json_codec
import logging
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

_MASK: Final = "***"
_SECRET_KEY: Final = re.compile(r"(?i)(token|passw(or)?d|secret|authorization|cookie|api[-_]?key|credentials?)$")
_SECRET_TEXT: Final = re.compile(r"(?i)(?P<bearer>bearer\s+)[\w.~+/=-]{8,}|(?P<scheme>://)[^/@\s]+(?=@)")
_DEPTH: Final = 12  # exceptions nest: group, member, frames, frame
_CHATTY: Final = {
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
    "urllib3": logging.WARNING,
    # At DEBUG it logs whole response bodies, Secrets included.
    "kubernetes_asyncio.client.rest": logging.INFO,
}


def configure(*, json: bool | None = None, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set up logging for this process; a second call replaces the first.

    Parameters
    ----------
    json
        One JSON object per line (True), readable lines (False), or what fits the stream: JSON unless it is a terminal.
    level
        The least level that is written: DEBUG, INFO, WARNING, ERROR.
    stream
        Where to; standard error if left out.

    Raises
    ------
    ValueError
        There is no such level.
    """
    target = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"log level {level!r} is none: take DEBUG, INFO, WARNING or ERROR")
    as_json = not target.isatty() if json is None else json
    shared = _shared_processors(as_json=as_json)
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(target, as_json=as_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name, least in _CHATTY.items():
        logging.getLogger(name).setLevel(max(least, threshold))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Loggers made at import time must follow a later call of this function.
        cache_logger_on_first_use=False,
    )


def log_turn(
    logger: "FilteringBoundLogger",
    *,
    policy: str,
    phase: str,
    verdict: str,
    decision: str,
    reason: str,
    weight: float | None = None,
    step: str | None = None,
    held: str | None = None,
    log_e: float | None = None,
    log_threshold: float | None = None,
    stable_rate: float | None = None,
    canary_rate: float | None = None,
    intervals: int | None = None,
    duration_ms: float | None = None,
    **more: object,
) -> None:
    """Write the one line that tells a turn of the loop.

    Floats are cut to four significant digits; what is None or NaN is left out, so that a line shows only what is known.
    """
    fields: dict[str, object] = {
        "policy": policy,
        "phase": phase,
        "verdict": verdict,
        "weight": weight,
        "step": step,
        "held": held,
        "decision": decision,
        "reason": reason,
        "log_e": log_e,
        "log_threshold": log_threshold,
        "stable_rate": stable_rate,
        "canary_rate": canary_rate,
        "intervals": intervals,
        "duration_ms": duration_ms,
        **more,
    }
    logger.info("turn", **{key: _tidy(value) for key, value in fields.items() if not _unknown(value)})


def _unknown(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _tidy(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _shared_processors(*, as_json: bool) -> list["Processor"]:
    stamp = structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%SZ", utc=True)
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        stamp,
        structlog.processors.StackInfoRenderer(),
    ]


def _rendering(stream: TextIO, *, as_json: bool) -> list["Processor"]:
    # Masking comes after exceptions are rendered, so that their messages are masked too.
    if as_json:
        # Values of local variables would put tokens into the log.
        trace = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=20))
        return [trace, _mask_secrets, structlog.processors.JSONRenderer(serializer=_to_json)]
    colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return [
        structlog.processors.format_exc_info,
        _mask_secrets,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
    ]


def _mask_secrets(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    return {key: _masked(key, value, _DEPTH) for key, value in event.items()}


def _masked(key: str, value: object, depth: int) -> object:
    if value is not None and _SECRET_KEY.search(key):
        return _MASK
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_mask_match, value)
    if depth == 0:
        return value
    if isinstance(value, Mapping):
        return {inner: _masked(str(inner), item, depth - 1) for inner, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_masked("", item, depth - 1) for item in value]
    return value


def _mask_match(match: re.Match[str]) -> str:
    return f"{match['bearer'] or match['scheme']}{_MASK}"


def _to_json(event: Mapping[str, Any], **_options: object) -> str:
    # What every line has comes first, for eyes that look at raw JSON.
    first = {key: event[key] for key in ("timestamp", "level", "event", "policy") if key in event}
    return json_codec.dumps(_finite({**first, **event}), default=str, ensure_ascii=False, allow_nan=False)


def _finite(value: object) -> object:
    """Write what JSON has no number for as text: a line that is no JSON would be lost."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
