import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from analyzer.app.logs import configure, log_turn


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_without_a_terminal_each_line_is_one_json_object(out: io.StringIO) -> None:
    configure(stream=out)
    structlog.get_logger("serin").info("weights moved", policy="shop/helloworld", weight=25)
    structlog.get_logger("serin").warning("held", held="Blind")

    moved, held = lines(out)
    assert moved | {"timestamp": ""} == {
        "event": "weights moved",
        "level": "info",
        "logger": "serin",
        "policy": "shop/helloworld",
        "weight": 25,
        "timestamp": "",
    }
    assert datetime.fromisoformat(moved["timestamp"]).tzinfo == UTC
    assert held["level"] == "warning"


def test_lines_of_other_libraries_look_the_same(out: io.StringIO) -> None:
    configure(stream=out)
    logging.getLogger("urllib3.connectionpool").warning("retry %d of %s", 2, "GET /", extra={"pool": 7})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("numpy is old", UserWarning, stacklevel=1)

    retry, warned = lines(out)
    assert (retry["event"], retry["level"], retry["logger"]) == (
        "retry 2 of GET /",
        "warning",
        "urllib3.connectionpool",
    )
    assert retry["pool"] == 7
    assert warned["logger"] == "py.warnings"


def test_fields_bound_to_the_context_are_on_every_line(out: io.StringIO) -> None:
    configure(stream=out)
    with structlog.contextvars.bound_contextvars(policy="shop/helloworld"):
        structlog.get_logger().info("ours")
        logging.getLogger("theirs").warning("theirs")
    assert [line["policy"] for line in lines(out)] == ["shop/helloworld"] * 2


def test_a_terminal_gets_readable_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    configure(stream=terminal)
    structlog.get_logger().info("weights moved", weight=25)
    assert "\x1b[" in terminal.getvalue()
    assert "weights moved" in terminal.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    configure(stream=terminal)
    try:
        _fail("late")
    except ValueError:
        structlog.get_logger().exception("turn failed", weight=25)
    assert "\x1b" not in terminal.getvalue()
    assert "weight=25" in terminal.getvalue()
    assert "ValueError: late" in terminal.getvalue()


def test_json_can_be_asked_for_on_a_terminal() -> None:
    terminal = Terminal()
    configure(json=True, stream=terminal)
    structlog.get_logger().info("hello")
    assert lines(terminal)[0]["event"] == "hello"


def test_a_level_hides_what_is_below_it(out: io.StringIO) -> None:
    configure(level="warning", stream=out)
    structlog.get_logger().info("ours")
    logging.getLogger("theirs").info("theirs")
    structlog.get_logger().warning("shown")
    assert [line["event"] for line in lines(out)] == ["shown"]


def test_an_unknown_level_names_the_levels() -> None:
    with pytest.raises(ValueError, match="'LOUD' is none: take DEBUG, INFO, WARNING or ERROR"):
        configure(level="LOUD")


def test_response_bodies_and_access_lines_stay_out_even_at_debug(out: io.StringIO) -> None:
    configure(level="DEBUG", stream=out)
    logging.getLogger("kubernetes_asyncio.client.rest").debug("response body: %s", "a Secret")
    logging.getLogger("aiohttp.access").info("GET /healthz")
    logging.getLogger("asyncio").debug("Using selector")
    assert out.getvalue() == ""


def test_an_exception_is_an_object_without_the_values_of_local_variables(out: io.StringIO) -> None:
    configure(stream=out)
    try:
        _fail("token expired")
    except ValueError:
        structlog.get_logger().exception("turn failed")

    (trace,) = lines(out)[0]["exception"]
    assert (trace["exc_type"], trace["exc_value"]) == ("ValueError", "token expired")
    assert trace["frames"][-1]["name"] == "_fail"
    assert "locals" not in trace["frames"][-1]


def test_an_exception_group_shows_its_members(out: io.StringIO) -> None:
    configure(stream=out)
    try:
        _fail_together("one", "two")
    except ExceptionGroup:
        structlog.get_logger().exception("stopped")
    assert "one" in out.getvalue()
    assert "two" in out.getvalue()


@pytest.mark.parametrize("key", ["token", "Authorization", "db_password", "apiKey", "set-cookie", "client_secret"])
def test_values_of_keys_that_name_secrets_are_masked(out: io.StringIO, key: str) -> None:
    configure(stream=out)
    structlog.get_logger().info("sent", **{key: "hunter2"}, request={"headers": [{key: "hunter2"}]})
    logging.getLogger("theirs").warning("sent", extra={key: "hunter2"})
    assert "hunter2" not in out.getvalue()
    assert lines(out)[0][key] == "***"


def test_secrets_within_texts_and_exceptions_are_masked(out: io.StringIO) -> None:
    configure(stream=out)
    structlog.get_logger().info("GET https://user:hunter2@receiver.example/hook")
    try:
        _fail("refused: Authorization: Bearer eyJhbGciOi.J9.abc")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "hunter2" not in out.getvalue()
    assert "eyJhbGciOi" not in out.getvalue()
    assert "https://***@receiver.example/hook" in out.getvalue()


def test_names_that_only_sound_like_secrets_are_shown(out: io.StringIO) -> None:
    configure(stream=out)
    structlog.get_logger().info("read", token_file="oncall-key", tokens=3)
    assert lines(out)[0]["token_file"] == "oncall-key"
    assert lines(out)[0]["tokens"] == 3


def test_numbers_that_json_does_not_know_are_written_as_text(out: io.StringIO) -> None:
    configure(stream=out)
    structlog.get_logger().info("judged", p99_ms=float("nan"), nested={"log_e": [float("-inf")]}, task=asyncio.Lock)
    line = lines(out)[0]
    assert (line["p99_ms"], line["nested"]) == ("nan", {"log_e": ["-inf"]})


def test_the_line_of_a_turn_shows_only_what_is_known(out: io.StringIO) -> None:
    configure(stream=out)
    log_turn(
        structlog.get_logger("serin"),
        policy="shop/helloworld",
        phase="Progressing",
        verdict="HARM",
        decision="RollBack",
        reason="Errors",
        weight=10,
        step="primary/10",
        log_e=5.123456,
        log_threshold=4.605170185988092,
        stable_rate=0.00102345,
        canary_rate=float("nan"),
        intervals=7,
        duration_ms=12.3456,
        patched=True,
    )
    line = lines(out)[0]
    del line["timestamp"]
    assert line == {
        "event": "turn",
        "level": "info",
        "logger": "serin",
        "policy": "shop/helloworld",
        "phase": "Progressing",
        "verdict": "HARM",
        "weight": 10,
        "step": "primary/10",
        "decision": "RollBack",
        "reason": "Errors",
        "log_e": 5.123,
        "log_threshold": 4.605,
        "stable_rate": 0.001023,
        "intervals": 7,
        "duration_ms": 12.35,
        "patched": True,
    }


def _fail(message: str) -> None:
    raise ValueError(message)


def _fail_together(*messages: str) -> None:
    raise ExceptionGroup("tasks", [ValueError(message) for message in messages])
