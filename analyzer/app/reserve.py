"""The reserve: while a rollout is in flight, the stable version's HPA is held at what taking everything back needs.

Opt-in (`capacity.mode: reserve`), for it is the one thing besides weights that Serin writes. What was there is annotated on the
object itself, with owner and expiry, so that any replica of Serin, or a person, can put it back; and it is put back only if
nobody else changed it meanwhile.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from analyzer.app.view import ClusterView
from analyzer.app.writer import Writer
from analyzer.core.capacity import Load, VersionCapacity, needed
from analyzer.core.rollout import CapacityView, RolloutState, Urgency
from analyzer.core.rollout.notices import tell_once, untell
from analyzer.errors import LeadershipLost, SerinError
from analyzer.policy.mesh import name_of
from analyzer.policy.scaling import autoscalers_of
from analyzer.ports import CANARY_POLICY, HORIZONTAL_POD_AUTOSCALER, Object, PatchOperation, Ref

log = structlog.get_logger("serin.reserve")

ANNOTATION: Final = "serin.dev/reserve"
LOST: Final = "ReserveLost"
"""Under this name people are told that somebody else takes a reserve back."""

LASTS_S: Final = 3600.0
"""A reserve that nobody renews is stale after this."""

LINGERS_S: Final = 120.0
"""So long a reserve outlives what it was held for: an HPA that has not seen the returned traffic yet would shrink the version
under it. Metrics are up to a minute old, and the HPA looks every 15 s."""

_POINTER: Final = "/metadata/annotations/serin.dev~1reserve"


@dataclass(frozen=True, slots=True)
class Reserve:
    """What is annotated.

    Attributes
    ----------
    policy
        `namespace/name` of the policy whose rollout holds it.
    original
        `minReplicas` as it was; None where it was not written.
    floor
        `minReplicas` as Serin wrote it.
    expires_s
        When it is stale [unix seconds].
    """

    policy: str
    original: int | None
    floor: int
    expires_s: float

    def dump(self) -> str:
        """Write it for the annotation; a person can read it."""
        expires = datetime.fromtimestamp(self.expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json.dumps(
            {"policy": self.policy, "originalMinReplicas": self.original, "minReplicas": self.floor, "expires": expires}
        )


def read_reserve(autoscaler: Object) -> Reserve | None:
    """Read the annotation; None where there is none, or where it is not ours to understand."""
    text = (autoscaler["metadata"].get("annotations") or {}).get(ANNOTATION)
    if text is None:
        return None
    try:
        found: Mapping[str, Any] = json.loads(text)
        return Reserve(
            policy=str(found["policy"]),
            original=None if found["originalMinReplicas"] is None else int(found["originalMinReplicas"]),
            floor=int(found["minReplicas"]),
            expires_s=datetime.fromisoformat(found["expires"]).timestamp(),
        )
    except (ValueError, KeyError, TypeError):
        return None


def floor_for(capacity: CapacityView | None) -> int | None:
    """Tell how many replicas the stable version needs to take everything back; None where nobody knows.

    `maxReplicas` bounds it. A version whose HPA knows no cost keeps what it has.
    """
    if capacity is None or capacity.stable.scaler is None:
        return None
    stable: VersionCapacity = capacity.stable
    # What stages before this one gave the canary comes back with the rest.
    load = Load(capacity.moving, elsewhere=capacity.stable_elsewhere + capacity.canary_elsewhere)
    need = needed(stable, load.at(100.0))
    return None if need is None else min(need, capacity.stable.scaler.max_replicas)


def hold_operations(autoscaler: Object, *, policy: str, floor: int, now_s: float) -> Sequence[PatchOperation]:
    """Build the patch that holds `minReplicas` at `floor`, or at more; empty where nothing is to be written.

    A reserve only grows while it is held; another policy's is not touched; what somebody else wrote since is theirs.
    """
    spec, held = autoscaler["spec"], read_reserve(autoscaler)
    present = spec.get("minReplicas")
    if held is not None and (held.policy != policy or present != held.floor):
        return ()
    original = held.original if held is not None else present
    wanted = max(floor, held.floor if held is not None else 0, present or 1)
    renewed = held is not None and held.expires_s - now_s > LASTS_S / 2
    if wanted == (present or 1) and (held is None or renewed):
        return ()
    reserve = Reserve(policy=policy, original=original, floor=wanted, expires_s=now_s + LASTS_S)
    annotated: list[PatchOperation] = []
    if not autoscaler["metadata"].get("annotations"):
        annotated.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    annotated.append({"op": "add", "path": _POINTER, "value": reserve.dump()})
    return [*_tests(autoscaler), {"op": "add", "path": "/spec/minReplicas", "value": wanted}, *annotated]


def release_operations(autoscaler: Object) -> Sequence[PatchOperation]:
    """Build the patch that puts `minReplicas` back as it was; where somebody changed it, only the annotation goes."""
    held = read_reserve(autoscaler)
    if held is None:
        return ()
    gone: PatchOperation = {"op": "remove", "path": _POINTER}
    if autoscaler["spec"].get("minReplicas") != held.floor:
        return [*_tests(autoscaler), gone]
    back: PatchOperation = {"op": "remove", "path": "/spec/minReplicas"}
    if held.original is not None:
        back = {"op": "replace", "path": "/spec/minReplicas", "value": held.original}
    return [*_tests(autoscaler), back, gone]


def linger_operations(autoscaler: Object, *, now_s: float) -> Sequence[PatchOperation]:
    """Build the patch that lets a reserve expire soon, or puts it back where it has expired; empty in between."""
    held = read_reserve(autoscaler)
    if held is None:
        return ()
    if now_s >= held.expires_s or autoscaler["spec"].get("minReplicas") != held.floor:
        return release_operations(autoscaler)
    if held.expires_s - now_s <= LINGERS_S:
        return ()
    last = replace(held, expires_s=now_s + LINGERS_S)
    return [*_tests(autoscaler), {"op": "add", "path": _POINTER, "value": last.dump()}]


def _tests(autoscaler: Object) -> list[PatchOperation]:
    """Write only on what was read: the same object, the same value, the same annotation.

    JSON Patch has no test for what is not there, and to add the map of annotations would replace one that came meanwhile: where
    there is none, the whole object has to be the same.
    """
    metadata, spec = autoscaler["metadata"], autoscaler["spec"]
    tests: list[PatchOperation] = [{"op": "test", "path": "/metadata/uid", "value": metadata["uid"]}]
    if not metadata.get("annotations") or "minReplicas" not in spec:
        version = metadata["resourceVersion"]
        tests.append({"op": "test", "path": "/metadata/resourceVersion", "value": version})
    if "minReplicas" in spec:
        tests.append({"op": "test", "path": "/spec/minReplicas", "value": spec["minReplicas"]})
    text = (metadata.get("annotations") or {}).get(ANNOTATION)
    if text is not None:
        tests.append({"op": "test", "path": _POINTER, "value": text})
    return tests


def autoscaler_ref(autoscaler: Object) -> Ref:
    """Name an HPA."""
    return Ref(HORIZONTAL_POD_AUTOSCALER, autoscaler["metadata"]["namespace"], autoscaler["metadata"]["name"])


# --- writing -------------------------------------------------------------------------------------------------------------


async def keep_reserves(
    cache: ClusterView,
    writer: Writer,
    policy: Ref,
    *,
    deployment: str | None,
    floor: int | None,
    now_s: float,
    linger: bool = False,
) -> Object | None:
    """Hold the HPA of `deployment` at `floor`, and give back every other reserve of this policy; where they linger, soon.

    Without a deployment all are given back. Without a floor a reserve that is held stays, and none is begun. Returns the HPA
    whose reserve somebody else took back.

    Raises
    ------
    SerinError
        As the port says; another turn tries again.
    """
    key = f"{policy.namespace}/{policy.name}"
    lost: Object | None = None
    autoscalers = cache.list(HORIZONTAL_POD_AUTOSCALER, policy.namespace)
    own = set() if deployment is None else set(map(name_of, autoscalers_of(deployment, autoscalers)))
    for autoscaler in autoscalers:
        held = read_reserve(autoscaler)
        mine = held is not None and held.policy == key
        if autoscaler["metadata"]["name"] in own:
            if mine and held is not None and autoscaler["spec"].get("minReplicas") != held.floor:
                lost = autoscaler
            wanted = held.floor if floor is None and held is not None else floor
            if wanted is not None:
                await _write(writer, autoscaler, hold_operations(autoscaler, policy=key, floor=wanted, now_s=now_s))
        elif mine and linger:
            await _write(writer, autoscaler, linger_operations(autoscaler, now_s=now_s))
        elif mine:
            await _write(writer, autoscaler, release_operations(autoscaler))
    return lost


def tell_lost(state: RolloutState, lost: Object | None) -> RolloutState:
    """Tell people once where somebody else takes a reserve back (GitOps does), and when it holds again."""
    if lost is None:
        return untell(state, LOST, f"The reserve of {state.stable} holds.", urgency=Urgency.NOTICE)
    held = read_reserve(lost)
    assert held is not None, "only what is held can be lost"
    name, present = lost["metadata"]["name"], lost["spec"].get("minReplicas") or 1
    return tell_once(
        state,
        LOST,
        Urgency.NOTICE,
        f"minReplicas of HorizontalPodAutoscaler {name} is {present} again, not the {held.floor} held in reserve.",
        title=f"The reserve of {state.stable} does not hold",
        done="Somebody else's value is left alone. The rollout goes on; a rollback may have to wait for pods.",
        to_do="If a GitOps tool wrote it, let it ignore spec.minReplicas of this object (Argo CD: `ignoreDifferences`), or use "
        "`capacity.mode: gate`. Who writes it:",
        command=f"kubectl -n {lost['metadata']['namespace']} get hpa {name} -o yaml --show-managed-fields",
    )


async def release_orphans(cache: ClusterView, writer: Writer, *, now_s: float) -> None:
    """Give back the reserves that nobody holds any more.

    Those of policies that are no more (deleted while nobody looked, or by a process that died), which linger, for the traffic
    may just have come back; and those that are stale: a policy that is broken does not renew its own. One that cannot be
    given back now keeps no other from it.
    """
    for autoscaler in cache.list(HORIZONTAL_POD_AUTOSCALER):
        held = read_reserve(autoscaler)
        if held is None:
            continue
        namespace, _, name = held.policy.partition("/")
        if cache.get(Ref(CANARY_POLICY, namespace, name)) is not None and now_s < held.expires_s:
            continue
        try:
            await _write(writer, autoscaler, linger_operations(autoscaler, now_s=now_s))
        except LeadershipLost:
            raise
        except (SerinError, TimeoutError) as error:
            said = str(error) or "time-out"
            log.warning("reserve not given back", autoscaler=str(autoscaler_ref(autoscaler)), error=said)


async def _write(writer: Writer, autoscaler: Object, operations: Sequence[PatchOperation]) -> None:
    if operations:
        ref = autoscaler_ref(autoscaler)
        if await writer.patch(ref, operations) is None:
            await writer.refresh(ref)
