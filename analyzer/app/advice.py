"""The exact command for a person: what the core, which knows no names, leaves open in a notice."""

import shlex
from dataclasses import replace

from analyzer.app.observe import Observed
from analyzer.app.patch import kubectl_command, weight_patch
from analyzer.app.target import ObservedTarget
from analyzer.core.rollout import HoldReason, Notice, RolloutState, Weights
from analyzer.core.rollout.room import NEVER
from analyzer.core.rollout.sampling import LASTS
from analyzer.core.rollout.waiting import LASTS as WAITS
from analyzer.core.rollout.weights import same
from analyzer.errors import AdmissionUnavailable, SerinError, TerminalError
from analyzer.ports import Object

_LOOK_AT_LOGS = frozenset({"Harm", "StableChanged"})
_LOOK_AT_PODS = frozenset({"CanaryUnavailable", "CanaryNotReady"})
_JUDGE_AGAIN = frozenset({"Inconclusive", "AbortedByPerson"})
_TAKE_OUT = frozenset({HoldReason.BLIND.value, "RollingBack", "Harm"})
_PROXIES = frozenset({HoldReason.SAMPLE_RATIO.value, LASTS})


def with_commands(state: RolloutState, obj: Object, observed: Observed | None) -> RolloutState:
    """Give new notices the command that their text ends with.

    Parameters
    ----------
    state
        With notices; those that have a time are not new.
    obj
        The policy.
    observed
        What it points to; None where that cannot be made out.
    """
    return replace(state, notices=tuple(_filled(notice, state, obj, observed) for notice in state.notices))


def _filled(notice: Notice, state: RolloutState, obj: Object, observed: Observed | None) -> Notice:
    if notice.at_s or notice.command or notice.resolved:
        return notice
    command = _command(notice, state, obj, observed)
    to_do = notice.to_do.replace("`serin retry`", f"`{_retry(obj)}`")
    if not command and to_do.endswith(":"):
        to_do = f"{to_do[:-1]}."  # it announces a command
    return replace(notice, to_do=to_do, command=command)


def refused(error: SerinError, observed: Observed, canary: str) -> str:
    """Say what a person can do about weights that cannot be written."""
    if isinstance(error, AdmissionUnavailable):
        return (
            "Bring istiod back: while it is away nobody can change a VirtualService, and proxies would not hear of it. "
            "Serin then rolls back by itself within seconds. Restart it "
            "(`kubectl -n istio-system rollout restart deployment istiod`); if Serin does not follow, take "
            f"{canary} out of the traffic by hand:"
        )
    if isinstance(error, TerminalError):
        namespace = observed.policy.metadata.namespace
        return (
            "The API server works and does not let Serin do it: look for a role or an admission policy that changed "
            f"(`kubectl -n {namespace} auth can-i patch virtualservices --as=system:serviceaccount:serin-system:serin`). "
            f"You may have the rights that Serin lacks; take {canary} out of the traffic by hand:"
        )
    return (
        "Serin does not reach the API server, or it does not answer; you may reach it from elsewhere. Take "
        f"{canary} out of the traffic by hand:"
    )


def _command(notice: Notice, state: RolloutState, obj: Object, observed: Observed | None) -> str:
    namespace = obj["metadata"]["namespace"]
    if notice.reason in _PROXIES:
        return "istioctl proxy-status"
    if notice.reason == NEVER:
        return f"kubectl -n {namespace} get hpa"
    if notice.reason == WAITS:
        return f"kubectl -n {namespace} describe hpa && kubectl -n {namespace} get pods"
    if observed is None:
        target = ((obj.get("spec") or {}).get("target") or {}).get("virtualService")
        return _look_at_target(namespace, target, obj["metadata"]["name"]) if notice.to_do else ""
    if notice.reason in _TAKE_OUT:
        return _weights(observed, state, (0.0,) * len(observed.target.stages))
    if notice.reason == HoldReason.DRIFT:
        return _weights(observed, state, state.weights)
    if notice.reason != "RolledBack":
        return ""
    if state.reason in _JUDGE_AGAIN:
        return _retry(obj)
    return _about_pods(state, observed.target, namespace)


def _retry(obj: Object) -> str:
    return f"serin retry {obj['metadata']['name']} -n {obj['metadata']['namespace']}"


def _look_at_target(namespace: str, virtual_service: object, policy: str) -> str:
    also = f" virtualservice/{virtual_service}" if isinstance(virtual_service, str) else ""
    return f"kubectl -n {namespace} get canarypolicy/{policy}{also} -o yaml"


def _weights(observed: Observed, state: RolloutState, wanted: Weights) -> str:
    """Write the weight patch for a person."""
    target = observed.target
    live = target.view.shares.get(state.canary)
    if live is None or len(wanted) != len(target.stages) or same(live, wanted):
        return ""
    operations = weight_patch(
        target.virtual_service, target.stages, stable=state.stable, canary=state.canary, wanted=wanted
    )
    return kubectl_command(observed.policy.metadata.namespace, observed.virtual_service.name, operations)


def _about_pods(state: RolloutState, target: ObservedTarget, namespace: str) -> str:
    # A stable version that changed has all traffic now: that is what there is to look at.
    version = state.stable if state.reason == "StableChanged" else state.canary
    workload = target.workloads.get(version)
    if workload is None:
        return f"kubectl -n {namespace} get deployments"
    if state.reason in _LOOK_AT_LOGS:
        return f"kubectl -n {namespace} logs deployment/{workload.deployment} --all-pods --prefix --since=1h"
    if state.reason in _LOOK_AT_PODS:
        labels = ",".join(f"{key}={value}" for key, value in workload.labels.items())
        return f"kubectl -n {namespace} describe pods -l {shlex.quote(labels)}"
    return ""
