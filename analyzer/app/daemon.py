"""The daemon: one event loop, one task per policy, one batch of telemetry for all.

While another replica leads, it stands by: the cluster is followed, no policy is run, nothing is written, nobody is told.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from analyzer.app.cache import ClusterCache
from analyzer.app.judging import Judging
from analyzer.app.leftovers import find_leftovers
from analyzer.app.reconcile import Reconciler
from analyzer.app.reserve import release_orphans
from analyzer.app.runner import Runner
from analyzer.app.writer import Services, Writer
from analyzer.core.rollout import RolloutState
from analyzer.errors import LeadershipLost, SerinError
from analyzer.ports import (
    CANARY_DEFAULTS,
    CANARY_POLICY,
    DEPLOYMENT,
    DESTINATION_RULE,
    HORIZONTAL_POD_AUTOSCALER,
    POD,
    SERVICE,
    VIRTUAL_SERVICE,
    Kind,
    Object,
    Ref,
)

log = structlog.get_logger("serin")

WATCHED = (
    CANARY_POLICY, CANARY_DEFAULTS, VIRTUAL_SERVICE, DESTINATION_RULE, SERVICE, DEPLOYMENT, POD, HORIZONTAL_POD_AUTOSCALER,
)  # fmt: skip
"""What decisions depend on. Pods wake nobody: what matters of them is in their Deployment's status. Nor do autoscalers, whose
status changes all the time."""

_WAKE_NOBODY = frozenset({POD, HORIZONTAL_POD_AUTOSCALER})

_FOR_SOME = frozenset({VIRTUAL_SERVICE, DEPLOYMENT})
_FOR_ALL = frozenset({CANARY_DEFAULTS, DESTINATION_RULE, SERVICE})

OPTIONAL = frozenset({CANARY_DEFAULTS})
"""Kinds whose definition may be missing: a Serin that is newer than what is installed must still roll back."""

DRAIN_S = 5.0
"""Time for alerts to go out after SIGTERM. Those that do not are in `.status` and are sent by the next leader."""

_SILENT_S = 60.0
_ORPHANS_S = 30.0
_NOBODY = Ref(CANARY_POLICY, "", "")


class Changes:
    """What the cache reports, kept until somebody asks."""

    def __init__(self) -> None:
        self._refs: set[Ref] = set()
        self._there = asyncio.Event()

    def note(self, kind: Kind, obj: Object) -> None:
        """Take a change from the cache."""
        metadata = obj["metadata"]
        if kind not in _WAKE_NOBODY:
            self._refs.add(Ref(kind, metadata.get("namespace", ""), metadata["name"]))
            self._there.set()

    def wake(self) -> None:
        """Let `take` return."""
        self._there.set()

    async def take(self) -> set[Ref]:
        """Wait for changes, and return all there are."""
        await self._there.wait()
        self._there.clear()
        refs, self._refs = self._refs, set()
        return refs


class Daemon:
    """Runs all policies of a cluster.

    Parameters
    ----------
    services
        What turns work with; their view of the cluster is `cache`.
    cache
        The cluster as it is known; it reports to `changes`.
    judging
        Answers the orders of all policies together.
    changes
        What happened in the cluster and was not yet looked at.
    companions
        What else runs as long as the daemon does.
    """

    def __init__(
        self,
        services: Services,
        *,
        cache: ClusterCache,
        judging: Judging,
        changes: Changes,
        companions: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    ) -> None:
        self.cache = cache
        self._services = services
        self._judging = judging
        self._changes = changes
        self._companions = tuple(companions)
        self._runners: dict[Ref, Runner] = {}
        self._identities: dict[Ref, tuple[object, ...]] = {}
        self._leaving: set[Runner] = set()  # their policy is deleted; they may still be taking a canary back
        self._stopping = False
        self._standing_changed = False

    @property
    def leads(self) -> bool:
        """Whether this process runs the policies, and does not stand by."""
        return self._services.leadership.leads

    def state_of(self, ref: Ref) -> RolloutState | None:
        """Return what is remembered of a policy; None where it is not run."""
        runner = self._runners.get(ref)
        return runner.state if runner else None

    def silent_policies(self) -> list[str]:
        """Name the policies whose task has not turned for much longer than it may: a bug, to be mended by a restart."""
        limit_s = 2 * self._services.idle_s + _SILENT_S
        return [f"{ref.namespace}/{ref.name}" for ref, runner in self._runners.items() if runner.silent_s > limit_s]

    def stop(self) -> None:
        """Finish: turns under way end, evidence is kept, then `run` returns."""
        self._stopping = True
        self._changes.wake()

    async def run(self) -> None:
        """Run until `stop`, or until something fails that no policy's task may swallow."""
        async with asyncio.TaskGroup() as background:
            tasks = [
                background.create_task(self.cache.run(), name="cache"),
                background.create_task(self._judging.run(), name="judging"),
                background.create_task(self._services.outbox.run(), name="outbox"),
                background.create_task(self._release_orphans(), name="reserves"),
                *(background.create_task(companion()) for companion in self._companions),
            ]
            try:
                await self._until_synced()
                lease = background.create_task(self._services.leadership.run(self._note_standing), name="lease")
                tasks.append(lease)
                while not self._stopping:
                    await self._stand_by()
                    await self._lead()
                await self._services.outbox.drain(DRAIN_S)
                lease.cancel()
                await asyncio.wait([lease])
                await self._services.leadership.release()
            finally:
                for task in tasks:
                    task.cancel()

    def _note_standing(self) -> None:
        self._standing_changed = True
        self._changes.wake()

    async def _stand_by(self) -> None:
        """Wait until this process leads, or is to stop."""
        if not self._stopping and not self.leads:
            log.info("serin stands by")
        while not self._stopping and not self.leads:
            await self._changes.take()

    async def _lead(self) -> None:
        """Run all policies until told to stop, or until the lease is lost."""
        if self._stopping:
            return
        try:
            async with asyncio.TaskGroup() as policies:
                await self._supervise(policies)
        except* LeadershipLost:
            log.warning("serin stands down", policies=len(self._runners))
            self._services.outbox.stand_down()
            for runner in (*self._runners.values(), *self._leaving):
                runner.forget()
            self._runners.clear()
            self._identities.clear()
            self._leaving.clear()

    async def _supervise(self, policies: asyncio.TaskGroup) -> None:
        """Start and end the tasks of policies as these come and go, and wake those that a change concerns."""
        term = self._services.leadership.term
        await self._refresh()
        self._reconsider(policies, {Ref(CANARY_POLICY, *_name(obj)) for obj in self.cache.list(CANARY_POLICY)})
        log.info("serin runs", policies=len(self._runners), dry_run=self._services.dry_run)
        self._warn_of_leftovers()
        while not self._stopping:
            refs = await self._changes.take()
            if not self.leads or self._services.leadership.term != term:
                raise LeadershipLost("another replica leads")
            self._reconsider(policies, {ref for ref in refs if ref.kind == CANARY_POLICY})
            for runner in self._concerned(refs):
                runner.wake()
        log.info("serin stops", policies=len(self._runners))
        for runner in (*self._runners.values(), *self._leaving):
            runner.stop()

    async def _release_orphans(self) -> None:
        """Give back, from time to time, what policies held of autoscalers and hold no more."""
        await self.cache.synced.wait()
        while True:
            if self.leads and not self._services.dry_run:
                try:
                    await release_orphans(
                        self.cache, Writer(self._services, _NOBODY), now_s=self._services.clock.now_s()
                    )
                except LeadershipLost:
                    log.info("reserves are the next leader's")
            await asyncio.sleep(_ORPHANS_S)

    async def _refresh(self) -> None:
        """Read the policies as the leader before left them. The watch may be a moment behind, and people be told twice."""
        try:
            await self.cache.reread(CANARY_POLICY)
        except (SerinError, TimeoutError) as error:
            # Nothing depends on it: a write on top of an old status is refused, and read again.
            log.warning("policies not read again", error=str(error) or "time-out")

    def _warn_of_leftovers(self) -> None:
        for left in find_leftovers(self.cache):
            log.warning(
                "a VirtualService that Serin wrote to splits its traffic and has no policy; was it deleted while no Serin ran?",
                virtual_service=left.virtual_service,
                weights=left.splits,
                command=left.command or None,
            )

    async def _until_synced(self) -> None:
        """Wait for the first complete view of the cluster; a stop must not have to wait for it."""
        while not self._stopping and not self.cache.synced.is_set():
            try:
                async with asyncio.timeout(0.5):
                    await self.cache.synced.wait()
            except TimeoutError:
                continue

    def _reconsider(self, policies: asyncio.TaskGroup, refs: set[Ref]) -> None:
        for ref in refs:
            obj = self.cache.get(ref)
            identity = _identity(obj)
            known = self._identities.get(ref)
            if identity == known:
                continue  # only its status changed: that was us
            if known is not None and (identity is None or identity[0] != known[0]):
                self._end(ref)
            if identity is None:
                self._identities.pop(ref, None)
                continue
            self._identities[ref] = identity
            if ref not in self._runners:
                self._begin(policies, ref)
            self._runners[ref].wake()
        self._wake_rivals(refs)

    def _begin(self, policies: asyncio.TaskGroup, ref: Ref) -> None:
        reconciler = Reconciler(self._services, ref)
        runner = Runner(reconciler, judging=self._judging, metrics=self._services.metrics, clock=self._services.clock)
        self._runners[ref] = runner
        task = policies.create_task(runner.run(), name=f"policy {reconciler.key}")

        def forget(ended: "asyncio.Task[None]") -> None:
            if not ended.cancelled():  # one that is cut short as the lease is lost leaves its traces to whoever cut it
                self._leaving.discard(runner)

        task.add_done_callback(forget)

    def _end(self, ref: Ref) -> None:
        runner = self._runners.pop(ref)
        runner.delete()
        self._leaving.add(runner)

    def _wake_rivals(self, refs: set[Ref]) -> None:
        """Wake the others of a namespace in which a policy went: it may have freed their VirtualService."""
        namespaces = {ref.namespace for ref in refs if self.cache.get(ref) is None}
        for ref, runner in self._runners.items():
            if ref.namespace in namespaces:
                runner.wake()

    def _concerned(self, refs: set[Ref]) -> list[Runner]:
        if self._standing_changed:  # writes are possible again: whatever is due, is due now
            self._standing_changed = False
            return list(self._runners.values())
        if any(ref.kind == CANARY_DEFAULTS and ref.namespace == self._services.home for ref in refs):
            return list(self._runners.values())
        some = {ref for ref in refs if ref.kind in _FOR_SOME}
        namespaces = {ref.namespace for ref in refs if ref.kind in _FOR_ALL}
        return [
            runner
            for policy, runner in self._runners.items()
            if policy.namespace in namespaces or any(runner.concerns(ref) for ref in some)
        ]


def _identity(policy: Object | None) -> tuple[object, ...] | None:
    """Tell what of a policy a person can have changed: all but its status. The first part is another for a policy made anew."""
    if policy is None:
        return None
    metadata = policy["metadata"]
    annotations = tuple(sorted((metadata.get("annotations") or {}).items()))
    return metadata.get("uid"), metadata.get("generation"), annotations, metadata.get("deletionTimestamp")


def _name(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]
