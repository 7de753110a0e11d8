"""Who may ask Serin for what, tried on a real API server with the request's own text."""

import json
from collections.abc import Iterator

import pytest

from analyzer.core.rollout import DriftAnswer, Request, Verb
from analyzer.policy.requests import render_request
from tests.cluster.install.installed import Kubectl

POLICY = """
apiVersion: serin.dev/v1alpha1
kind: CanaryPolicy
metadata: {name: asked, namespace: shop}
spec: {target: {virtualService: shop}}
"""
OPERATOR, RELEASER, EDITOR, STRANGER = "alice@example.com", "bob@example.com", "editor", "mallory"
ODD = 'EXAMPLE\\o"hara'


@pytest.fixture(scope="module")
def asked(kubectl: Kubectl) -> Iterator[Kubectl]:
    kubectl.done("apply", "-f", "-", text=POLICY)
    for user, role in ((OPERATOR, "serin-operator"), (ODD, "serin-operator"), (RELEASER, "serin-releaser")):
        name = f"{role}-{len(user)}"
        kubectl.done("-n", "shop", "create", "rolebinding", name, f"--clusterrole={role}", f"--user={user}")
    kubectl.done(
        "create", "clusterrole", "editor", "--verb=get,patch,update,create", "--resource=canarypolicies.serin.dev"
    )
    kubectl.done("-n", "shop", "create", "rolebinding", "editor", "--clusterrole=editor", f"--user={EDITOR}")
    kubectl.done("create", "clusterrole", "patcher", "--verb=get,patch", "--resource=canarypolicies.serin.dev")
    kubectl.done("-n", "shop", "create", "rolebinding", "patcher", "--clusterrole=patcher", f"--user={STRANGER}")
    yield kubectl
    kubectl.done("-n", "shop", "delete", "canarypolicy", "asked")


def request(verb: Verb, by: str, *, why: str = "", weights: DriftAnswer | None = None, force: bool = False) -> str:
    return render_request(
        Request(
            id="00c0ffee",
            verb=verb,
            by=by,
            why=why,
            at="2026-11-28T13:00:00Z",
            rollout="v2@3f6c",
            weights=weights,
            force=force,
        )
    )


def write(kubectl: Kubectl, text: str, *, user: str) -> str:
    """Write an annotation, and return the server's objection."""
    patch = json.dumps({"metadata": {"annotations": {"serin.dev/request": text}}})
    answer = kubectl(
        "-n", "shop", "patch", "canarypolicy", "asked", f"--as={user}", "--type=merge", "--dry-run=server",
        f"--patch={patch}",
    )  # fmt: skip
    assert (answer.returncode == 0) == (not answer.stderr), answer.stderr
    return answer.stderr


@pytest.mark.parametrize("verb", Verb)
def test_an_operator_may_ask_for_everything(verb: Verb, asked: Kubectl) -> None:
    assert write(asked, request(verb, OPERATOR, why='"quoted" \\ and ünlike, {braces}'), user=OPERATOR) == ""


@pytest.mark.parametrize("verb", Verb)
def test_a_releaser_may_ask_for_what_the_role_has(verb: Verb, asked: Kubectl) -> None:
    objection = write(asked, request(verb, RELEASER), user=RELEASER)
    if verb in {Verb.PROMOTE, Verb.ABORT}:
        assert f"{RELEASER} may not {verb.value} shop/asked: RBAC does not give the verb {verb.value}" in objection
    else:
        assert objection == ""


@pytest.mark.parametrize("user", [OPERATOR, RELEASER])
def test_who_may_ask_reads_the_defaults_and_changes_none(user: str, asked: Kubectl) -> None:
    for verb, answer in (("get", "yes"), ("list", "yes"), ("watch", "yes"), ("patch", "no"), ("delete", "no")):
        may = asked("-n", "shop", "auth", "can-i", verb, "canarydefaults.serin.dev", f"--as={user}").stdout
        assert may.strip() == answer, verb


def test_every_form_of_a_request_is_taken(asked: Kubectl) -> None:
    assert write(asked, request(Verb.PROMOTE, OPERATOR, force=True), user=OPERATOR) == ""
    for weights in DriftAnswer:
        assert write(asked, request(Verb.RESUME, OPERATOR, weights=weights), user=OPERATOR) == ""
    assert write(asked, request(Verb.PAUSE, ODD), user=ODD) == ""


def test_nobody_asks_in_the_name_of_another(asked: Kubectl) -> None:
    assert f"has to be by {OPERATOR}" in write(asked, request(Verb.PAUSE, RELEASER), user=OPERATOR)
    smuggled = request(Verb.PAUSE, RELEASER, why=f'x","by":"{OPERATOR}","why":"')
    assert f"has to be by {OPERATOR}" in write(asked, smuggled, user=OPERATOR)


def test_who_may_change_the_policy_may_not_for_that_ask(asked: Kubectl) -> None:
    assert f"{EDITOR} may not abort shop/asked" in write(asked, request(Verb.ABORT, EDITOR), user=EDITOR)
    assert f"{STRANGER} may not pause shop/asked" in write(asked, request(Verb.PAUSE, STRANGER), user=STRANGER)


@pytest.mark.parametrize(
    "text",
    [
        "pause",
        "{}",
        request(Verb.PAUSE, OPERATOR).replace(",", ", "),
        request(Verb.PAUSE, OPERATOR).replace('"by"', '"\\u0062y"'),
        request(Verb.PAUSE, OPERATOR).replace("}", ',"verb":"abort"}'),
        request(Verb.PAUSE, OPERATOR).replace('"why":""', '"why":"","by":"bob@example.com"'),
        request(Verb.PAUSE, OPERATOR, why="x" * 5000),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text: str, asked: Kubectl) -> None:
    assert "is not written as `serin pause|resume|retry|promote|abort` writes it" in write(asked, text, user=OPERATOR)


def test_what_stands_there_is_no_new_request_and_may_be_taken_away(asked: Kubectl) -> None:
    asked.done("-n", "shop", "annotate", "canarypolicy", "asked", f"serin.dev/request={request(Verb.PAUSE, 'admin')}",
               "--as=admin", "--as-group=system:masters")  # fmt: skip
    change = json.dumps({"spec": {"suspend": True}})
    asked.done("-n", "shop", "patch", "canarypolicy", "asked", f"--as={EDITOR}", "--type=merge", f"--patch={change}")
    asked.done("-n", "shop", "annotate", "canarypolicy", "asked", "serin.dev/request-", f"--as={OPERATOR}")


def test_who_may_ask_changes_nothing_of_the_policy(asked: Kubectl) -> None:
    for change in ({"spec": {"approval": [50]}}, {"metadata": {"labels": {"a": "b"}}}):
        answer = asked(
            "-n", "shop", "patch", "canarypolicy", "asked", f"--as={OPERATOR}", "--type=merge", "--dry-run=server",
            f"--patch={json.dumps(change)}",
        )  # fmt: skip
        assert "may ask something of shop/asked, but not change it" in answer.stderr


def test_a_policy_is_not_made_with_a_request_of_another(asked: Kubectl) -> None:
    made = POLICY.replace("name: asked", "name: made").replace(
        "namespace: shop",
        f"namespace: shop, annotations: {json.dumps({'serin.dev/request': request(Verb.PAUSE, OPERATOR)})}",
    )
    answer = asked("create", f"--as={EDITOR}", "--dry-run=server", "-f", "-", text=made)
    assert f"has to be by {EDITOR}" in answer.stderr
