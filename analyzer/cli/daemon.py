"""`serin run`: options checked, the daemon run until it is told to stop."""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from analyzer.adapters.clock import SystemClock
from analyzer.adapters.memory import KINDS, MemoryCluster
from analyzer.app import logs
from analyzer.assembly import Assembly, Settings, assemble
from analyzer.cli.options import UsageError
from analyzer.errors import PolicyError, SerinError
from analyzer.policy.load import load_objects
from analyzer.policy.quantities import parse_duration
from analyzer.ports import DEPLOYMENT, Cluster, Object, Ref
from analyzer.web.server import serve

log = structlog.get_logger("serin")

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LEASE_NAMESPACE = "serin-system"
_LEASE_MIN_S = 3.0
_EXIT_USAGE = 2
_EXIT_FAILED = 1


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options as the user wrote them."""

    prometheus: str
    bearer_token_file: Path | None
    kubeconfig: str | None
    context: str | None
    namespaces: tuple[str, ...]
    manifests: tuple[Path, ...]
    instance: str | None
    listen: str
    period: str
    checkpoint: str
    reporter: str
    webhooks: tuple[str, ...]
    dry_run: bool
    log_format: str
    log_level: str
    receivers: Path | None = None
    leader_elect: bool = True
    lease_name: str = "serin"
    lease_namespace: str | None = None
    lease_duration: str = "15s"
    decision_log: str | None = None
    decision_log_size: str = "64Mi"


def run_daemon(options: RunOptions) -> int:
    """Run until SIGTERM or SIGINT, and return the exit code."""
    try:
        if options.log_format not in {"auto", "json", "text"}:
            raise UsageError(f"--log-format {options.log_format}: take auto, json or text")
        logs.configure(json={"auto": None, "json": True, "text": False}[options.log_format], level=options.log_level)
        settings, (host, port) = settings_of(options), parse_address(options.listen)
    except (SerinError, ValueError) as error:
        print(f"serin run: {error}")
        return _EXIT_USAGE
    try:
        asyncio.run(_run(options, settings, host=host, port=port))
    except PolicyError as error:
        print(f"serin run: {error}")
        return _EXIT_USAGE
    except SerinError as error:
        print(f"serin run: {error}")
        return _EXIT_FAILED
    return 0


def settings_of(options: RunOptions) -> Settings:
    """Check the options.

    Raises
    ------
    UsageError
        With the option, and how to write it.
    """
    parts = urlsplit(options.prometheus)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"--prometheus {options.prometheus}: write a URL, http://prometheus.istio-system:9090, say")
    if options.reporter not in {"source", "waypoint"}:
        raise UsageError(f"--reporter {options.reporter}: take source (sidecars, gateways) or waypoint (ambient)")
    webhooks: dict[str, str] = {}
    for text in options.webhooks:
        name, equals, url = text.partition("=")
        if not equals or not name or name in webhooks or urlsplit(url).scheme not in {"http", "https"}:
            raise UsageError("--webhook: write NAME=URL, oncall=https://alerts.example/hook, say; each name once")
        webhooks[name] = url
    for namespace in options.namespaces:
        if not _NAMESPACE.fullmatch(namespace):
            raise UsageError(f"--namespace {namespace}: that is no name of a namespace; repeat the option for several")
    if options.lease_namespace is not None and not _NAMESPACE.fullmatch(options.lease_namespace):
        raise UsageError(f"--lease-namespace {options.lease_namespace}: that is no name of a namespace")
    return Settings(
        prometheus_url=options.prometheus.rstrip("/"),
        reporter=options.reporter,
        bearer_token_file=options.bearer_token_file,
        period_s=_duration("--period", options.period),
        checkpoint_s=_duration("--checkpoint", options.checkpoint),
        webhooks=webhooks,
        receivers_file=options.receivers,
        dry_run=options.dry_run,
        instance=options.instance or socket.gethostname(),
        namespaces=tuple(sorted(set(options.namespaces))),
        leader_elect=options.leader_elect and not options.manifests,
        lease_name=options.lease_name,
        lease_namespace=options.lease_namespace or _own_namespace(options),
        lease_duration_s=_lease_duration(options.lease_duration),
        decision_log=options.decision_log,
        decision_log_bytes=_size("--decision-log-size", options.decision_log_size),
    )


def _own_namespace(options: RunOptions) -> str:
    """Give the pod's namespace; elsewhere the one of the manifests in `deploy/`, so that both compete for one Lease."""
    if kubeconfig_of(options) is None and _OWN_NAMESPACE.exists():
        return _OWN_NAMESPACE.read_text().strip()
    return _LEASE_NAMESPACE


def _lease_duration(text: str) -> float:
    duration_s = _duration("--lease-duration", text)
    if duration_s < _LEASE_MIN_S or duration_s != round(duration_s):
        raise UsageError(f"--lease-duration {text}: take whole seconds, {_LEASE_MIN_S:g} or more, 15s, say")
    return duration_s


def _duration(option: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from None


def _size(option: str, text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,8})(Ki|Mi|Gi)", text)
    if match is None:
        raise UsageError(f"{option} {text}: write a whole number with its unit, 64Mi, say (or Ki, Gi)")
    return int(match[1]) << {"Ki": 10, "Mi": 20, "Gi": 30}[match[2]]


def kubeconfig_of(options: RunOptions) -> str | None:
    """Tell which kubeconfig to use; None: the pod's service account."""
    if options.kubeconfig or options.context is None:
        return options.kubeconfig
    return str(Path.home() / ".kube" / "config")


def parse_address(text: str) -> tuple[str, int]:
    """Read `host:port`.

    Raises
    ------
    UsageError
        It is none.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--listen {text}: write HOST:PORT, 0.0.0.0:8080, say")
    return host.strip("[]"), int(port)


def seeded_cluster(paths: Sequence[Path]) -> MemoryCluster:
    """Make an in-memory cluster with all objects of some files and folders.

    Raises
    ------
    PolicyError
        A file cannot be read, or the cluster refuses an object.
    """
    cluster = MemoryCluster(SystemClock())
    files = [file for path in paths for file in (sorted(path.glob("**/*.yaml")) if path.is_dir() else [path])]
    if not files:
        raise UsageError(f"--manifests {' '.join(map(str, paths))}: no YAML file there")
    served = {kind.kind for kind in KINDS}
    for obj in load_objects(files):
        if obj["kind"] in served:
            try:
                _add(cluster, obj)
            except SerinError as error:
                raise PolicyError(f"{obj['kind']} {obj.get('metadata', {}).get('name')}: {error}") from error
    return cluster


def _add(cluster: MemoryCluster, obj: Object) -> None:
    """Add an object, with its status if it has one. Nobody runs pods here: a Deployment without a status is taken for ready."""
    there = cluster.apply({key: value for key, value in obj.items() if key != "status"})
    status = obj.get("status")
    if status is None and obj["kind"] == DEPLOYMENT.kind:
        replicas = there["spec"].get("replicas", 1)
        status = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), replicas)
        status["observedGeneration"] = there["metadata"]["generation"]
    if status is not None:
        kind = next(kind for kind in KINDS if kind.kind == obj["kind"])
        cluster.set_status(Ref(kind, there["metadata"]["namespace"], there["metadata"]["name"]), status)


@asynccontextmanager
async def _connected(options: RunOptions) -> AsyncIterator[Cluster]:
    """Give the cluster to run on. Nothing is asked of it yet: a daemon that starts before its API server waits for it."""
    if options.manifests:
        yield seeded_cluster(options.manifests)
        return
    from analyzer.adapters.kube import Credentials, CredentialsInvalid, connect

    try:
        async with connect(Credentials(kubeconfig_of(options), options.context)) as cluster:
            yield cluster
    except CredentialsInvalid as error:
        raise UsageError(str(error)) from error


async def _run(options: RunOptions, settings: Settings, *, host: str, port: int) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(_connected(options))
        serin = await stack.enter_async_context(assemble(cluster, settings))
        address = await stack.enter_async_context(
            serve(serin.metrics, live=lambda: _live(serin), ready=lambda: _ready(serin), host=host, port=port)
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serin.daemon.stop)
        log.info("listening", url=address.url)
        await serin.daemon.run()


def _live(serin: Assembly) -> tuple[bool, dict[str, object]]:
    """Tell whether the loop turns: a process that answers this with False is to be restarted."""
    silent = serin.daemon.silent_policies()
    return not silent, {"silent": silent}


def _ready(serin: Assembly) -> tuple[bool, dict[str, object]]:
    """Tell whether the cluster is known. Telemetry is no condition: without it Serin still rolls back; nor is leading."""
    synced = serin.cache.synced.is_set()
    return synced, {
        "synced": synced,
        "leads": serin.daemon.leads,
        "cluster_heard_s_ago": round(serin.cache.stale_s(), 1) if synced else None,
    }
