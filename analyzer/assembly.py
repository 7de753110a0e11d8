"""A daemon, put together from its parts: the one place that knows both the loop and the adapters."""

import random
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from analyzer.adapters.allocator import give_back_forever
from analyzer.adapters.clock import SystemClock
from analyzer.adapters.decision_file import DecisionFile, DecisionStream
from analyzer.adapters.prometheus import PrometheusTelemetry
from analyzer.app.cache import ClusterCache
from analyzer.app.daemon import OPTIONAL, WATCHED, Changes, Daemon
from analyzer.app.decisions import Decisions
from analyzer.app.fence import highest_epoch
from analyzer.app.judging import Judging
from analyzer.app.leadership import Leadership, LeaseLeadership, Unopposed
from analyzer.app.metrics import Metrics
from analyzer.app.outbox import Outbox
from analyzer.app.writer import Services
from analyzer.ports import LEASE, VIRTUAL_SERVICE, Clock, Cluster, DecisionSink, Ref
from analyzer.receivers import Reloading

KEPT_DECISION_LOGS = 3
"""Full files of decisions that are kept beside the one that is written."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator decides.

    Attributes
    ----------
    prometheus_url
        Without `/api/v1`.
    reporter
        Whose metrics are read: `source` (sidecars and gateways) or `waypoint`.
    bearer_token_file
        For Prometheus; read at each request.
    period_s
        Time between two reads of telemetry [s].
    checkpoint_s
        How often evidence is written to `.status` [s].
    call_timeout_s
        What one call of a port may take [s].
    settle_s
        Age from which a scrape is taken to be stored [s]: about the longest that a scrape takes.
    webhooks
        Receivers of alerts: name and URL. The log is one too, and gets all that names no receiver.
    receivers_file
        More of them, read anew when it changes.
    dry_run
        Decide and report, write nothing.
    instance
        Names this process in Events and in the Lease.
    namespaces
        The only ones to look at; none: all.
    leader_elect
        Write only while holding a Lease, so that several replicas can run; a dry run writes nothing and needs none.
    lease_name, lease_namespace
        Of the Lease, the same for all replicas. `CanaryDefaults` in its namespace count for the whole cluster.
    lease_duration_s
        A dead leader is replaced after this; whole seconds [s].
    decision_log, decision_log_bytes
        Where decisions are logged, `-` for standard output, None for nowhere; and how long the file gets before another is
        begun [byte].
    """

    prometheus_url: str
    reporter: str = "source"
    bearer_token_file: Path | None = None
    period_s: float = 5.0
    checkpoint_s: float = 30.0
    call_timeout_s: float = 10.0
    settle_s: float = 1.0
    webhooks: Mapping[str, str] = field(default_factory=dict)
    receivers_file: Path | None = None
    dry_run: bool = False
    instance: str = "serin"
    namespaces: tuple[str, ...] = ()
    leader_elect: bool = False
    lease_name: str = "serin"
    lease_namespace: str = "serin-system"
    lease_duration_s: float = 15.0
    decision_log: str | None = None
    decision_log_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Assembly:
    """A daemon with the parts that others look at."""

    daemon: Daemon
    metrics: Metrics
    cache: ClusterCache
    telemetry: PrometheusTelemetry


@asynccontextmanager
async def assemble(cluster: Cluster, settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Assembly]:
    """Put a daemon together; what it holds open is closed on the way out."""
    clock = clock or SystemClock()
    metrics = Metrics()
    changes = Changes()
    async with AsyncExitStack() as stack:
        receivers = Reloading(settings.receivers_file, webhooks=settings.webhooks, metrics=metrics)
        telemetry = PrometheusTelemetry(
            settings.prometheus_url,
            reporter=settings.reporter,
            deadline_s=settings.call_timeout_s,
            bearer_token_file=settings.bearer_token_file,
            on_query=metrics.count_queries,
        )
        stack.push_async_callback(telemetry.aclose)
        # Apart from the other, so that a history that cannot be read blinds nobody.
        pods = PrometheusTelemetry(
            settings.prometheus_url,
            reporter="destination",
            deadline_s=settings.call_timeout_s,
            bearer_token_file=settings.bearer_token_file,
            on_query=metrics.count_queries,
        )
        stack.push_async_callback(pods.aclose)
        cache = ClusterCache(
            cluster,
            WATCHED,
            clock=clock,
            namespaces=settings.namespaces,
            optional=OPTIONAL,
            call_timeout_s=settings.call_timeout_s,
            on_change=changes.note,
        )
        outbox = Outbox(
            dict(receivers.sinks()),
            default=receivers.default,
            clock=clock,
            metrics=metrics,
            rng=random.Random(),  # noqa: S311 - spreads retries, keeps no secret
        )
        services = Services(
            cluster=cluster,
            cache=cache,
            clock=clock,
            outbox=outbox,
            metrics=metrics,
            leadership=_leadership(cluster, settings, clock=clock, metrics=metrics, cache=cache),
            instance=settings.instance,
            call_timeout_s=settings.call_timeout_s,
            checkpoint_s=settings.checkpoint_s,
            dry_run=settings.dry_run,
            decisions=Decisions(_decision_sink(settings)),
            home=settings.lease_namespace,
        )
        executor = ThreadPoolExecutor(1, thread_name_prefix="judging")
        stack.callback(executor.shutdown, wait=False, cancel_futures=True)
        judging = Judging(
            telemetry,
            clock,
            metrics,
            period_s=settings.period_s,
            call_timeout_s=settings.call_timeout_s,
            settle_s=settings.settle_s,
            pods=pods,
            executor=executor,
        )
        companions = [lambda: receivers.run(outbox), give_back_forever]
        daemon = Daemon(services, cache=cache, judging=judging, changes=changes, companions=companions)
        yield Assembly(daemon=daemon, metrics=metrics, cache=cache, telemetry=telemetry)


def _decision_sink(settings: Settings) -> DecisionSink | None:
    if settings.decision_log is None:
        return None
    if settings.decision_log == "-":
        return DecisionStream()
    return DecisionFile(Path(settings.decision_log), most_bytes=settings.decision_log_bytes, kept=KEPT_DECISION_LOGS)


def _leadership(
    cluster: Cluster, settings: Settings, *, clock: Clock, metrics: Metrics, cache: ClusterCache
) -> Leadership:
    if not settings.leader_elect or settings.dry_run:
        metrics.set_leader(True)
        return Unopposed()
    return LeaseLeadership(
        cluster,
        clock,
        metrics,
        ref=Ref(LEASE, settings.lease_namespace, settings.lease_name),
        name=settings.instance,
        duration_s=settings.lease_duration_s,
        floor=lambda: highest_epoch(cache.list(VIRTUAL_SERVICE)),
    )
