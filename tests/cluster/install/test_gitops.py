"""What GitOps tools make of a service whose weights Serin moves, and of its policy."""

import copy
import json
from typing import Any

import pytest

from analyzer.adapters.kube import Credentials, connect
from analyzer.app.status import write_status
from analyzer.core.rollout import Hold, HoldReason, Phase, RolloutState
from analyzer.policy.crd import crd
from analyzer.ports import VIRTUAL_SERVICE, Ref
from tests.cluster.install.installed import Kubectl
from tests.cluster.install.reading import KStatus, Readers
from tests.deploy.raw import one

Object = dict[str, Any]
GENERATION = 3

# --- a VirtualService -------------------------------------------------------------------------------------------------

IN_GIT: Object = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "from-git", "namespace": "shop"},
    "spec": {
        "hosts": ["shop"],
        "http": [
            {
                "name": "primary",
                "timeout": "3s",
                "route": [
                    {"destination": {"host": "shop", "subset": "v1"}, "weight": 100},
                    {"destination": {"host": "shop", "subset": "v2"}},
                ],
            },
            {"name": "old", "redirect": {"uri": "/new"}},
        ],
    },
}
LIVE = Ref(VIRTUAL_SERVICE, "shop", "from-git")


def edited() -> Object:
    """The same with another time-out, as a commit brings it."""
    made = copy.deepcopy(IN_GIT)
    made["spec"]["http"][0]["timeout"] = "1s"
    return made


def read(kubectl: Kubectl) -> Object:
    text = kubectl.done("-n", "shop", "get", "virtualservice", "from-git", "-o", "json", "--show-managed-fields")
    found: Object = json.loads(text)
    return found


def weights(virtual_service: Object) -> list[int]:
    return [destination.get("weight", 0) for destination in virtual_service["spec"]["http"][0]["route"]]


@pytest.fixture
async def stepped(kubectl: Kubectl) -> Kubectl:
    """A VirtualService that a GitOps tool applied, and whose weights Serin moved with its own adapter."""
    kubectl("-n", "shop", "delete", "virtualservice", "from-git", "--ignore-not-found")
    kubectl.done("apply", "-f", "-", "--field-manager=argocd-controller", text=json.dumps(IN_GIT))
    async with connect(Credentials(str(kubectl.server.kubeconfig()))) as cluster:
        await cluster.patch(
            LIVE,
            [
                {"op": "add", "path": "/metadata/annotations/serin.dev~1epoch", "value": "7"},
                {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 90},
                {"op": "add", "path": "/spec/http/0/route/1/weight", "value": 10},
            ],
        )
    return kubectl


async def test_who_writes_a_weight_owns_all_routes(stepped: Kubectl) -> None:
    """Istio's definition has no keys for its lists: to leave alone what Serin owns would be to leave alone all of `http`."""
    (owned,) = [
        entry["fieldsV1"] for entry in read(stepped)["metadata"]["managedFields"] if entry["manager"] == "serin"
    ]
    assert owned["f:spec"] == {"f:http": {}}


def ignored() -> list[str]:
    (rule,) = one("gitops/argocd/application.yaml", "Application")["spec"]["ignoreDifferences"]
    paths: list[str] = rule["jqPathExpressions"]
    return paths


def differs(readers: Readers, live: Object, target: Object) -> bool:
    """Tell whether Argo CD sees a difference in what Git has an opinion on."""
    left, right = readers.jq([live, target], *ignored())
    return bool(left["spec"] != right["spec"])


async def test_a_step_is_no_difference_to_argo_cd(stepped: Kubectl, readers: Readers) -> None:
    live = read(stepped)
    assert weights(live) == [90, 10]
    assert not differs(readers, live, IN_GIT)


async def test_a_commit_that_changes_a_route_is_a_difference_to_argo_cd(stepped: Kubectl, readers: Readers) -> None:
    assert differs(readers, read(stepped), edited())


async def test_a_person_can_bring_such_a_commit_in_without_moving_traffic(stepped: Kubectl, readers: Readers) -> None:
    """As the snippet says: by kubectl, with the weights that are in force; then nothing differs any more."""
    live = read(stepped)
    change = edited()
    for destination, weight in zip(change["spec"]["http"][0]["route"], weights(live), strict=True):
        destination["weight"] = weight
    stepped.done("apply", "-f", "-", "--field-manager=argocd-controller", text=json.dumps(change))
    assert weights(read(stepped)) == [90, 10]
    assert not differs(readers, read(stepped), edited())


async def test_who_applies_on_the_server_takes_all_weights_back(stepped: Kubectl) -> None:
    """Flux does, at each interval, whatever Git says; so it is told to make the VirtualService and then to leave it alone."""
    flux = ("apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-f", "-")
    stepped.done(*flux, text=json.dumps(IN_GIT))
    assert weights(read(stepped)) == [100, 0]
    (patch,) = one("gitops/flux/kustomization.yaml", "Kustomization")["spec"]["patches"]
    assert patch["target"]["kind"] == "VirtualService"
    assert "kustomize.toolkit.fluxcd.io/ssa: IfNotPresent" in patch["patch"]


# --- a policy: who waits by kstatus -----------------------------------------------------------------------------------


def policy(state: RolloutState | None, **metadata: Any) -> Object:
    """A policy with the status that Serin writes for a state; None: as the server makes it, before Serin saw it."""
    written = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
    if state is not None:
        written = write_status(state, turn=1, generation=GENERATION, now_s=0.0, previous={})
    return {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "CanaryPolicy",
        "metadata": {"name": "shop", "generation": GENERATION, **metadata},
        "spec": {"target": {"virtualService": "shop"}},
        "status": written,
    }


def in_phase(phase: Phase, reason: str = "", hold: HoldReason | None = None) -> RolloutState:
    return RolloutState(
        phase=phase, reason=reason, message="this is why", hold=Hold(hold, "it is so") if hold is not None else None
    )


HELD = [(phase, hold) for phase in Phase for hold in (None, *HoldReason)]


def test_who_waits_for_a_policy_does_not_wait_for_its_rollouts(readers: Readers) -> None:
    """A bad release is no failure of the policy: it would keep Flux from applying the one that mends it."""
    found = readers.kstatus([policy(in_phase(phase, hold=hold)) for phase, hold in HELD])
    assert dict(zip(HELD, found, strict=True)) == {
        (phase, hold): KStatus.FAILED if phase is Phase.INVALID else KStatus.CURRENT for phase, hold in HELD
    }


def test_who_waits_for_a_policy_waits_until_it_was_seen(readers: Readers) -> None:
    """`observedGeneration` says so by itself, before Serin saw the change and could write a condition `Reconciling`."""
    assert readers.kstatus([policy(None)]) == [KStatus.IN_PROGRESS]
    changed = [policy(in_phase(phase), generation=GENERATION + 1) for phase in Phase]
    assert set(readers.kstatus(changed)) == {KStatus.IN_PROGRESS}
    deleted = [policy(in_phase(phase), deletionTimestamp="2026-01-01T00:00:00Z") for phase in Phase]
    assert set(readers.kstatus(deleted)) == {KStatus.TERMINATING}


def test_who_waits_gives_up_on_what_only_a_person_can_mend(readers: Readers) -> None:
    expected = {
        "VirtualServiceMissing": KStatus.IN_PROGRESS,
        "DeploymentMissing": KStatus.IN_PROGRESS,
        "PolicyInvalid": KStatus.FAILED,
        "TargetTaken": KStatus.FAILED,
        "VersionsAmbiguous": KStatus.FAILED,
    }
    found = readers.kstatus([policy(in_phase(Phase.INVALID, reason)) for reason in expected])
    assert dict(zip(expected, found, strict=True)) == expected


def test_flux_waits_for_a_rollout_by_the_shipped_expressions(readers: Readers) -> None:
    """The order is Flux's: in progress, failed, current. Of each phase exactly one is true."""
    (check,) = one("gitops/flux/kustomization.yaml", "Kustomization")["spec"]["healthCheckExprs"]
    phases = list(Phase)
    objects = [policy(in_phase(phase)) for phase in phases]
    answers = readers.cel(objects, check["inProgress"], check["failed"], check["current"])
    statuses = (KStatus.IN_PROGRESS, KStatus.FAILED, KStatus.CURRENT)
    assert {phase: dict(zip(statuses, answer, strict=True)) for phase, answer in zip(phases, answers, strict=True)} == {
        phase: {status: status is EXPECTED.get(phase, KStatus.IN_PROGRESS) for status in statuses} for phase in phases
    }


EXPECTED = {
    Phase.IDLE: KStatus.CURRENT,
    Phase.PROMOTED: KStatus.CURRENT,
    Phase.ROLLED_BACK: KStatus.FAILED,
    Phase.INVALID: KStatus.FAILED,
}
