"""The CustomResourceDefinition on a real API server: it refuses what `serin lint` refuses, and takes what it takes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analyzer.app.status import write_status
from analyzer.core.rollout import Phase, RolloutState
from analyzer.policy.findings import Finding, Severity, has_errors
from analyzer.policy.lint import lint_files
from tests.cluster.install.installed import ROOT, Kubectl, eventually
from tests.cluster.install.reading import KStatus, Readers
from tests.deploy.test_crd import full_status

KUBECTL_READS_OTHERWISE = {
    "ambiguous-word": "lint warns: to kubectl `on` is a boolean, and the server then refuses it as a version's name",
    "duplicate-key": "kubectl keeps the last of two keys, before the server sees them",
    "not-a-boolean": "to kubectl `on` is true",
    "python-tag": "kubectl drops tags",
    "unknown-metadata": "lint warns only: other tools put fields there; the strict server refuses",
}
"""Files on which lint and server differ, and why. All are about YAML, none about what a policy may say."""

SAME_WORDS = {
    "deployments-of-other-versions", "dwell-reversed", "percent-too-large", "same-version-twice", "stable-is-no-version",
    "stages-without-route", "weights-without-100", "schedule-of-nothing",
}  # fmt: skip


def policies() -> list[Any]:
    """Each policy of fixtures and examples by itself, without the objects around it."""
    found = []
    for path in sorted([*ROOT.glob("policies/fixtures/*.yaml"), *ROOT.glob("policies/examples/*/policy.yaml")]):
        parts = [part for part in re.split(r"(?m)^---\n", path.read_text()) if "kind: CanaryPolic" in part]
        name = path.parent.name if path.name == "policy.yaml" else path.stem
        for number, part in enumerate(parts):
            found.append(pytest.param(name, part, id=f"{name}-{number}" if number else name))
    return found


def lint(part: str, folder: Path) -> list[Finding]:
    path = folder / "policy.yaml"
    path.write_text(part)
    return lint_files([path])


@pytest.mark.parametrize(("name", "part"), policies())
def test_the_server_refuses_what_lint_refuses(name: str, part: str, kubectl: Kubectl, tmp_path: Path) -> None:
    findings = lint(part, tmp_path)
    answer = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=part)
    agreed = has_errors(findings) == (answer.returncode != 0)
    assert agreed != (name in KUBECTL_READS_OTHERWISE), answer.stderr or f"accepted, and lint says {findings}"
    if name in SAME_WORDS:
        words = [finding.message for finding in findings if finding.severity is Severity.ERROR]
        missing = [message for message in words if message not in answer.stderr]
        assert missing == []


SPECS: dict[str, bool] = {
    "{target: {virtualService: a.b}}": True,
    "{target: {virtualService: A}}": False,
    "{target: {virtualService: a, versions: [v1, v2], deployments: {v1: a, v2: b}}}": True,
    "{target: {virtualService: a, deployments: {v1: a, v2: a}}}": False,
    "{target: {virtualService: a, deployments: {v1: a}}}": False,
    "{target: {virtualService: a, deployments: {'v 1': a, v2: b}}}": False,
    "{target: {virtualService: a, deployments: {v1: a, v2: b}, stable: v1}}": True,
    "{target: {virtualService: a, deployments: {v1: a, v2: b}, stable: v3}}": False,
    "{target: {virtualService: a, stable: v3}}": True,
    "{target: {virtualService: a}, judge: {dwell: {min: 6m}}}": False,
    "{target: {virtualService: a}, judge: {dwell: {max: 20s}}}": False,
    "{target: {virtualService: a}, judge: {dwell: {min: 0s, max: 1h30m}}}": True,
    "{target: {virtualService: a}, judge: {dwell: {max: 0s, min: 0s}}}": False,
    "{target: {virtualService: a}, judge: {bake: 1.5h}}": True,
    "{target: {virtualService: a}, judge: {bake: 500µs}}": True,
    "{target: {virtualService: a}, judge: {bake: 1 h}}": False,
    "{target: {virtualService: a}, judge: {bake: '10'}}": False,
    "{target: {virtualService: a}, judge: {harmBudget: 0%}}": False,
    "{target: {virtualService: a}, judge: {harmBudget: 0.001%}}": True,
    "{target: {virtualService: a}, judge: {errors: {tolerance: 100%, floor: 0%}}}": True,
    "{target: {virtualService: a}, judge: {errors: {tolerance: 100.1%}}}": False,
    "{target: {virtualService: a}, judge: {falseRollback: 20%}}": True,
    "{target: {virtualService: a}, judge: {falseRollback: '20 %'}}": False,
    "{target: {virtualService: a}, deadlines: {blind: 0s}}": False,
    "{target: {virtualService: a}, capacity: {mode: 'off', headroom: 20%}}": True,
    "{target: {virtualService: a}, approval: []}": True,
    "{target: {virtualService: a}, approval: [50, 100]}": True,
    "{target: {virtualService: a}, approval: [30]}": False,
    "{target: {virtualService: a}, approval: [50, 50]}": False,
    "{target: {virtualService: a}, approval: [true]}": False,
    "{target: {virtualService: a}, approval: [b], stages: [{route: b}]}": True,
    "{target: {virtualService: a}, approval: [c, 50], stages: [{route: b}]}": False,
    "{target: {virtualService: a}, approval: [7], stages: [{weights: auto}]}": True,
    "{target: {virtualService: a}, approval: [8], stages: [{weights: auto}]}": False,
    "{target: {virtualService: a}, approval: [10], stages: [{weights: [20, 100]}]}": False,
    "{target: {virtualService: a}, schedule: {}}": False,
    "{target: {virtualService: a}, schedule: {forward: []}}": False,
    "{target: {virtualService: a}, schedule: {forward: ['Mon-Fri 09:00-17:00', 'Fri,Sun 22:00-06:00']}}": True,
    "{target: {virtualService: a}, schedule: {forward: ['Mon 09:00-24:00']}}": True,
    "{target: {virtualService: a}, schedule: {forward: ['Mon 24:00-09:00']}}": False,
    "{target: {virtualService: a}, schedule: {forward: ['Mon 09:00-09:00']}}": False,
    "{target: {virtualService: a}, schedule: {forward: ['Mon-Fri 9:00-17:00']}}": False,
    "{target: {virtualService: a}, schedule: {freeze: ['2026-12-24/2027-01-02', '2026-05-01']}}": True,
    "{target: {virtualService: a}, schedule: {freeze: ['2027-01-02/2026-12-24']}}": False,
    "{target: {virtualService: a}, schedule: {freeze: ['2026-02-30']}}": False,
    "{target: {virtualService: a}, schedule: {timezone: 'Europe/Zurich', freeze: ['2026-02-28']}}": True,
    "{target: {virtualService: a}, schedule: {timezone: 'Europe Zurich', freeze: ['2026-02-28']}}": False,
    "{target: {virtualService: a}, alerts: [a, b]}": True,
    "{target: {virtualService: a}, alerts: [a, a]}": False,
    "{target: {virtualService: a}, alerts: [A]}": False,
    "{target: {virtualService: a}, stages: [{route: 'x y', weights: [1, 100]}, {route: z}]}": True,
    "{target: {virtualService: a}, stages: [{route: 'x\"y'}]}": False,
    "{target: {virtualService: a}, stages: [{weights: 100}]}": False,
    "{target: {virtualService: a}, stages: [{weights: true}]}": False,
    "{target: {virtualService: a}, stages: [{weights: {a: 1}}]}": False,
    "{target: {virtualService: a}, stages: [{weights: automatic}]}": False,
    "{target: {virtualService: a}, stages: [{weights: [1, 1, 100]}]}": False,
    "{target: {virtualService: a}, stages: [{weights: [9, 10, 100]}]}": True,
}


@pytest.mark.parametrize("spec", SPECS)
def test_lint_and_server_agree_on(spec: str, kubectl: Kubectl, tmp_path: Path) -> None:
    head = "apiVersion: serin.dev/v1alpha1\nkind: CanaryPolicy\nmetadata: {name: shop, namespace: shop}\nspec: "
    findings = lint(head + spec + "\n", tmp_path)
    answer = kubectl("apply", "--dry-run=server", "-f", "-", text=head + spec)
    assert (not has_errors(findings), answer.returncode == 0) == (SPECS[spec], SPECS[spec]), (findings, answer.stderr)


LARGEST = {
    "target": {"virtualService": "a" * 253, "versions": ["v" * 253, "w" * 253], "stable": "v" * 253},
    "stages": [{"route": f"{number:02}" + "r" * 251, "weights": [*range(1, 101)]} for number in range(16)],
    "alerts": [f"{number:02}" + "a" * 251 for number in range(16)],
}


def test_the_largest_policy_is_within_the_budget_of_the_rules(kubectl: Kubectl, tmp_path: Path) -> None:
    obj = {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "CanaryPolicy",
        "metadata": {"name": "largest", "namespace": "shop"},
        "spec": LARGEST,
    }
    assert not has_errors(lint(json.dumps(obj), tmp_path))
    kubectl.done("apply", "--dry-run=server", "-f", "-", text=json.dumps(obj))


# --- what people see --------------------------------------------------------------------------------------------------


@pytest.fixture
def example(kubectl: Kubectl) -> Iterator[Kubectl]:
    """The example, with a status in which everything is written."""
    kubectl.done("apply", "-f", str(ROOT / "policies/examples/helloworld/policy.yaml"))
    patch = json.dumps({"status": full_status()})
    kubectl.done(
        "-n", "helloworld", "patch", "cpol", "helloworld", "--subresource=status", "--type=merge", f"--patch={patch}"
    )
    yield kubectl
    kubectl.done("-n", "helloworld", "delete", "cpol", "helloworld")


def test_the_server_keeps_every_part_of_the_status(example: Kubectl) -> None:
    answer = json.loads(example.done("-n", "helloworld", "get", "cpol", "helloworld", "-o", "json"))
    written = json.loads(json.dumps(full_status()))
    # A merge patch takes null for "remove".
    assert answer["status"] == without_nulls(written)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def test_the_server_writes_no_defaults(kubectl: Kubectl) -> None:
    text = "apiVersion: serin.dev/v1alpha1\nkind: CanaryPolicy\nmetadata: {name: a, namespace: shop}\n"
    text += "spec: {target: {virtualService: a}, judge: {}}"
    answer = json.loads(kubectl.done("create", "--dry-run=server", "-o", "json", "-f", "-", text=text))
    assert answer["spec"] == {"target": {"virtualService": "a"}, "judge": {}}


def test_a_policy_that_nobody_looked_at_is_not_done_for_who_waits(kubectl: Kubectl, readers: Readers) -> None:
    """By kstatus, as Flux reads it; the default is in no way of what Serin writes."""
    head = "apiVersion: serin.dev/v1alpha1\nkind: CanaryPolicy\nmetadata: {name: unseen, namespace: shop}\n"
    kubectl.done("apply", "-f", "-", text=f"{head}spec: {{target: {{virtualService: unseen}}}}")

    def read() -> Any:
        return json.loads(kubectl.done("-n", "shop", "get", "cpol", "unseen", "-o", "json"))

    try:
        assert read()["status"] == {"observedGeneration": -1}
        assert readers.kstatus([read()]) == [KStatus.IN_PROGRESS]
        state = RolloutState(phase=Phase.PROGRESSING, reason="Adopted")
        status = write_status(state, turn=1, generation=1, now_s=0.0, previous=read()["status"])
        kubectl.done("replace", "--subresource=status", "-f", "-", text=json.dumps({**read(), "status": status}))
        assert readers.kstatus([read()]) == [KStatus.CURRENT]
    finally:
        kubectl.done("-n", "shop", "delete", "cpol", "unseen")


def test_a_status_of_nulls_is_taken(kubectl: Kubectl) -> None:
    """Parts that there is nothing to say about are written as null, by `replace_status`."""
    kubectl.done("apply", "-f", str(ROOT / "policies/examples/helloworld-focused/policy.yaml"))
    obj = json.loads(kubectl.done("-n", "helloworld-focused", "get", "cpol", "helloworld", "-o", "json"))
    obj["status"] = {**dict.fromkeys(full_status()), "conditions": [], "phase": "Idle"}
    kubectl.done("replace", "--subresource=status", "-f", "-", text=json.dumps(obj))


def test_get_shows_a_rollout_in_a_line(example: Kubectl) -> None:
    lines = example.done("get", "cpol", "-n", "helloworld").splitlines()
    assert lines[0].split() == ["NAME", "TARGET", "PHASE", "WEIGHT", "VERDICT", "STEP", "SINCE"]
    name, target, phase, weight, verdict, step, since = lines[1].split()
    assert (name, target, phase, weight, verdict, step) == (
        "helloworld", "helloworld", "Progressing", "12", "INCONCLUSIVE", "2:12.5",
    )  # fmt: skip
    assert re.fullmatch(r"\d+y(\d+d)?|\d+d", since)
    wide = example.done("get", "canarypolicies", "-n", "helloworld", "-o", "wide").splitlines()
    assert wide[0].split()[7:] == ["REASON", "SAMPLES", "SUSPENDED", "PAUSED"]
    assert wide[1].split()[7:] == ["NoNewRevision", "100", "alice"]


def test_the_policy_is_in_its_category(example: Kubectl) -> None:
    assert "canarypolicy.serin.dev/helloworld" in example.done("get", "serin", "-n", "helloworld", "-o", "name")


EXPLAINED = """\
FIELD: dwell <Object>
DESCRIPTION:
    How long a step lasts.
FIELDS:
  max	<string>
    At most without a verdict; then `onInconclusive` says what happens. Default:
    5m.
  min	<string>
    At least, however good the evidence. Default: 30s.
"""


def test_explain_reads_well(kubectl: Kubectl) -> None:
    seen = ""

    def published() -> bool:
        nonlocal seen
        answer = kubectl("explain", "cpol.spec.judge.dwell")
        seen = answer.stdout
        return answer.returncode == 0

    eventually(published, "the server publishes the definition")
    shown = [line.rstrip() for line in seen.splitlines() if line.strip()]
    assert "\n".join(shown[3:]) + "\n" == EXPLAINED
