"""What Argo CD makes of a policy, by the shipped health.lua in its own Lua; the rest is in tests/cluster/install."""

from collections.abc import Mapping
from typing import Any

import pytest
from lupa.lua51 import LuaRuntime  # Argo CD runs gopher-lua, which is Lua 5.1

from analyzer.app.status import write_status
from analyzer.core.rollout import Hold, HoldReason, Phase, RolloutState
from analyzer.policy.crd import crd
from analyzer.ports import CANARY_POLICY, VIRTUAL_SERVICE
from tests.deploy.raw import DEPLOY, one

HEALTH = (DEPLOY / "gitops/argocd/health.lua").read_text()
GENERATION = 3


def policy(state: RolloutState | None, *, suspend: bool = False, **metadata: Any) -> dict[str, Any]:
    """A policy with the status that Serin writes for a state; None: as the server makes it, before Serin saw it."""
    written = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
    if state is not None:
        written = write_status(state, turn=1, generation=GENERATION, now_s=0.0, previous={})
    spec = {"target": {"virtualService": "shop"}} | ({"suspend": True} if suspend else {})
    return {"metadata": {"name": "shop", "generation": GENERATION, **metadata}, "spec": spec, "status": written}


def in_phase(phase: Phase, reason: str = "", message: str = "", hold: HoldReason | None = None) -> RolloutState:
    return RolloutState(
        phase=phase, reason=reason, message=message, hold=Hold(hold, "it is so") if hold is not None else None
    )


def argo(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Run health.lua as Argo CD does: `obj` is a global, and nothing of the system is there."""
    lua = LuaRuntime(register_eval=False, register_builtins=False)
    lua.execute("os, io, package, require, dofile, loadfile, debug = nil")
    lua.globals().obj = lua.table_from(obj, recursive=True)
    health = lua.execute(HEALTH)
    return health["status"], health["message"]


# --- Argo CD ----------------------------------------------------------------------------------------------------------

EXPECTED = {
    Phase.IDLE: "Healthy",
    Phase.PENDING: "Progressing",
    Phase.PROGRESSING: "Progressing",
    Phase.BAKING: "Progressing",
    Phase.ROLLING_BACK: "Progressing",
    Phase.PROMOTED: "Healthy",
    Phase.ROLLED_BACK: "Degraded",
    Phase.INVALID: "Degraded",
}


@pytest.mark.parametrize("phase", Phase)
def test_argo_cd_shows(phase: Phase) -> None:
    assert argo(policy(in_phase(phase, message="as it is"))) == (EXPECTED[phase], "as it is")
    assert argo(policy(in_phase(phase))) == (EXPECTED[phase], phase.value)


@pytest.mark.parametrize("reason", HoldReason)
@pytest.mark.parametrize("phase", Phase)
def test_argo_cd_shows_what_holds(phase: Phase, reason: HoldReason) -> None:
    status, message = argo(policy(in_phase(phase, message="as it is", hold=reason)))
    if phase in {Phase.INVALID, Phase.ROLLED_BACK}:
        assert (status, message) == ("Degraded", "as it is")
    else:
        assert message == f"Held ({reason.value}): it is so"
        assert status == ("Degraded" if phase is Phase.ROLLING_BACK else "Suspended")


@pytest.mark.parametrize("phase", Phase)
def test_argo_cd_shows_a_suspended_policy(phase: Phase) -> None:
    status, _ = argo(policy(in_phase(phase), suspend=True))
    # A rollback is made although the policy is suspended, and a person is needed all the same.
    excepted = {Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.INVALID}
    assert status == (EXPECTED[phase] if phase in excepted else "Suspended")


@pytest.mark.parametrize(
    "obj",
    [
        {"metadata": {"name": "shop"}, "spec": {}},
        {"metadata": {"name": "shop"}, "spec": {}, "status": {}},
        {"metadata": {"name": "shop"}},
        {},
        policy(None),
        {**policy(None), "status": {"phase": "Promoted"}},
    ],
)
def test_argo_cd_waits_for_a_status(obj: dict[str, Any]) -> None:
    assert argo(obj) == ("Progressing", "Waiting for Serin")


@pytest.mark.parametrize("phase", Phase)
def test_argo_cd_waits_where_the_status_is_of_an_older_policy(phase: Phase) -> None:
    assert argo(policy(in_phase(phase), generation=GENERATION + 1)) == ("Progressing", "Waiting for Serin")


@pytest.mark.parametrize("phase", Phase)
def test_argo_cd_shows_a_deletion(phase: Phase) -> None:
    deleted = policy(in_phase(phase, hold=HoldReason.DRIFT), deletionTimestamp="2026-01-01T00:00:00Z")
    assert argo(deleted) == ("Progressing", "Being deleted")


def test_argo_cd_is_told_of_the_right_objects_and_heeds_it_when_it_syncs() -> None:
    spec = one("gitops/argocd/application.yaml", "Application")["spec"]
    (ignored,) = spec["ignoreDifferences"]
    assert (ignored["group"], ignored["kind"]) == (VIRTUAL_SERVICE.group, VIRTUAL_SERVICE.kind)
    assert set(spec["syncPolicy"]["syncOptions"]) == {"RespectIgnoreDifferences=true", "ApplyOutOfSyncOnly=true"}


def test_flux_is_told_of_the_right_kind() -> None:
    spec = one("gitops/flux/kustomization.yaml", "Kustomization")["spec"]
    (check,) = spec["healthCheckExprs"]
    assert (check["apiVersion"], check["kind"]) == (CANARY_POLICY.api_version, CANARY_POLICY.kind)
    assert spec["wait"] is True


# --- conditions ---------------------------------------------------------------------------------------------------------


def test_conditions_are_those_of_this_generation_and_keep_their_times() -> None:
    before = write_status(in_phase(Phase.PROGRESSING), turn=1, generation=1, now_s=100.0, previous={})
    after = write_status(in_phase(Phase.INVALID, "PolicyInvalid"), turn=2, generation=2, now_s=200.0, previous=before)
    old, new = ({one["type"]: one for one in status["conditions"]} for status in (before, after))
    assert {one["observedGeneration"] for one in new.values()} == {2}
    moved = {kind for kind in new if new[kind]["lastTransitionTime"] != old[kind]["lastTransitionTime"]}
    assert moved == {"Ready", "Stalled"}
    assert all(one["reason"] and one["reason"].isalnum() for one in new.values())
