"""The port `Telemetry` over a Prometheus."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from analyzer.adapters.prometheus import failures
from analyzer.adapters.prometheus.breaker import FAILURES, PAUSE_S, Breaker
from analyzer.adapters.prometheus.client import Client
from analyzer.adapters.prometheus.parse import (
    DURATIONS,
    REQUESTS,
    build_reporters_query,
    build_traffic_query,
    is_of,
    parse_matrix,
)
from analyzer.ports import TelemetryWindow

if TYPE_CHECKING:
    from analyzer.ports import SeriesBatch, TelemetryQuery

_THREADS: Final = 4
_CLOCK_S: Final = 60.0  # Prometheus' clock is compared with ours so often
_NOTHING: Final[list[Any]] = []

T = TypeVar("T")
Keep = Callable[[Mapping[str, str]], bool]


class PrometheusTelemetry:
    """Reads Istio's metrics: three HTTP requests a turn, however many workloads.

    Queries block threads of their own: one that hangs holds neither the event loop nor DNS, which has the default threads. A
    thread is free again after `deadline_s` at the latest, even if its caller gave up before.

    Parameters
    ----------
    url
        Where the API is, without `/api/v1`.
    reporter
        Whose metrics count: `source` (sidecars and gateways), `waypoint` or `destination`. Exactly one: requests are reported
        by each of them.
    timeout_s
        To connect, and between two bytes of an answer [s].
    deadline_s
        For a whole answer [s].
    max_bytes
        No answer may be larger [byte].
    bearer_token_file
        Read anew for each request, since tokens rotate.
    ca_file
        Certificates to trust; the system's otherwise.
    failure_limit, pause_s
        After so many failures in a row nothing is asked for so long [count, s].
    on_query
        Called at each HTTP request, for whoever counts them.

    Attributes
    ----------
    queries
        HTTP requests made so far [count].
    """

    def __init__(
        self,
        url: str,
        *,
        reporter: str = "source",
        timeout_s: tuple[float, float] = (1.0, 5.0),
        deadline_s: float = 10.0,
        max_bytes: int = 256 * 2**20,
        bearer_token_file: Path | None = None,
        ca_file: Path | None = None,
        failure_limit: int = FAILURES,
        pause_s: float = PAUSE_S,
        monotonic_s: Callable[[], float] = time.monotonic,
        on_query: Callable[[], None] = lambda: None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a Prometheus: write it like http://prometheus.monitoring:9090")
        self.queries = 0
        self._client = Client(
            url,
            timeout_s=timeout_s,
            deadline_s=deadline_s,
            max_bytes=max_bytes,
            bearer_token_file=bearer_token_file,
            ca_file=ca_file,
        )
        self._reporter = reporter
        self._queue_s = deadline_s
        self._monotonic_s = monotonic_s
        self._on_query = on_query
        self._breaker = Breaker(
            f"Prometheus at {self._client.where}", monotonic_s, failures=failure_limit, pause_s=pause_s
        )
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="prometheus")
        self._slots = asyncio.Semaphore(_THREADS)
        self._offset_s = 0.0
        self._compared_at_s: float | None = None

    async def now_s(self) -> float:
        """Tell the time by Prometheus' clock; asked once a minute, and kept by the monotonic clock between.

        Raises
        ------
        MetricsUnavailable
            It did not answer.
        """
        if self._compared_at_s is None or self._monotonic_s() - self._compared_at_s > _CLOCK_S:
            with self._breaker.guard():
                before_s = self._monotonic_s()
                told_s = await self._in_thread(self._ask_time)
                after_s = self._monotonic_s()
            self._offset_s = told_s - (before_s + after_s) / 2
            self._compared_at_s = after_s
        return self._monotonic_s() + self._offset_s

    async def fetch(self, query: "TelemetryQuery") -> TelemetryWindow:
        """Read raw samples of all workloads.

        Raises
        ------
        MetricsUnavailable
            No answer, an answer that is not what was asked for, or one with warnings (possibly partial).
        """
        with self._breaker.guard():
            requests = await self._read_traffic(REQUESTS, query, unknown=True)
            durations = await self._read_traffic(DURATIONS, query, unknown=False)
            reporters = await self._read_reporters(query, requests, durations)
        return TelemetryWindow(query, requests, durations, reporters)

    async def aclose(self) -> None:
        """Close connections. A query that still hangs ends by itself."""
        self._client.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    # --- queries ------------------------------------------------------------------------------------------------------

    async def _read_traffic(self, metric: str, query: "TelemetryQuery", *, unknown: bool) -> "SeriesBatch":
        keep = is_of(query.workloads, unknown=unknown)
        if not query.workloads:
            return parse_matrix(_NOTHING, keep, after_s=0.0)
        text = build_traffic_query(metric, query, reporter=self._reporter, unknown=unknown)
        return await self._in_thread(partial(self._ask_matrix, text, query, keep))

    async def _read_reporters(
        self, query: "TelemetryQuery", requests: "SeriesBatch", durations: "SeriesBatch"
    ) -> "SeriesBatch":
        pairs = {_reporter(labels) for batch in (requests, durations) for labels in batch.labels}

        def keep(labels: Mapping[str, str]) -> bool:
            return _reporter(labels) in pairs

        if not pairs:
            return parse_matrix(_NOTHING, keep, after_s=0.0)
        return await self._in_thread(partial(self._ask_matrix, build_reporters_query(query, pairs), query, keep))

    def _ask_matrix(self, text: str, query: "TelemetryQuery", keep: Keep) -> "SeriesBatch":
        result = self._client.query(text, expected="matrix", at_s=query.end_s)
        try:
            return parse_matrix(result, keep, after_s=query.end_s - query.window_s)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise failures.explain_shape(error, self._client.where) from error

    def _ask_time(self) -> float:
        result = self._client.query("time()", expected="scalar", at_s=None)
        try:
            return float(result[1])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise failures.explain_shape(error, self._client.where) from error

    # --- threads ------------------------------------------------------------------------------------------------------

    async def _in_thread(self, ask: Callable[[], T]) -> T:
        """Run a query on a thread of ours. Its slot is free when the thread is, not when the caller gives up."""
        try:
            async with asyncio.timeout(self._queue_s):
                await self._slots.acquire()
        except TimeoutError:
            raise failures.explain_busy(_THREADS, self._client.where) from None
        loop = asyncio.get_running_loop()
        self.queries += 1
        self._on_query()
        future = self._executor.submit(ask)

        def release(_: "Future[T]") -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._slots.release)

        future.add_done_callback(release)
        return await asyncio.wrap_future(future)


def _reporter(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels.get("job", ""), labels.get("instance", "")
