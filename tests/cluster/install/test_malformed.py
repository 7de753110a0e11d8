"""The malformed policies on a real API server: none is accepted by it and refused by lint, or the other way round."""

import pytest

from analyzer.policy.findings import has_errors
from analyzer.policy.lint import lint_files
from tests.cluster.install.installed import ROOT, Kubectl
from tests.policy.malformed import SEED, Malformed, malformed

_TWICE = "kubectl keeps the last of two keys, before the server sees them"
_YAML_1_1 = "kubectl speaks YAML 1.1, and sends the server another word than the one that is written"
_COMMENT = "kubectl reads over it, for it is in a comment; the policy itself would be right"

LINT_ONLY: dict[str, str] = {
    "Latin-1": _COMMENT,
    "half a character": _COMMENT,
    "larger than any object": _COMMENT,
    "a tag of one's own": "kubectl drops tags",
    "spec twice": _TWICE,
    "target twice": _TWICE,
    "a field twice": _TWICE,
    "a field twice, the same": _TWICE,
    "a field twice in flow": _TWICE,
    "a version twice in deployments": _TWICE,
    "kind twice": _TWICE,
    "status is a word": "the server drops a status that is applied, whatever it is",
    "a weight that is a power": _YAML_1_1,
    "yes for true": _YAML_1_1,
    "an octal weight": _YAML_1_1,
    "a weight with an underscore": _YAML_1_1,
    "a hexadecimal weight": _YAML_1_1,
}
"""What only lint refuses, and why: each is about a text, and about none of them does the server learn."""


@pytest.mark.parametrize("case", malformed(), ids=lambda case: case.name)
def test_lint_and_server_refuse_the_same(case: Malformed, kubectl: Kubectl) -> None:
    assert has_errors(lint_files([], stdin=case.text))
    answer = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=case.text)
    refused = answer.returncode != 0
    assert refused == (case.name not in LINT_ONLY), f"{answer.stdout}{answer.stderr} (seed {SEED})"


def test_the_list_of_exceptions_is_not_longer_than_need_be() -> None:
    assert set(LINT_ONLY) <= {case.name for case in malformed()}


def test_the_server_takes_the_defaults_of_the_examples(kubectl: Kubectl) -> None:
    for name in ("cluster", "namespace"):
        kubectl.done(
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            str(ROOT / f"policies/examples/defaults/{name}.yaml"),
        )


def test_the_server_takes_a_field_without_a_value_for_none(kubectl: Kubectl) -> None:
    """As lint does, with a warning."""
    text = "apiVersion: serin.dev/v1alpha1\nkind: CanaryPolicy\nmetadata: {name: cart, namespace: shop}\n"
    text += "spec: {target: {virtualService: cart, stable: }, judge: , stages: [{route: , weights: auto}]}\n"
    findings = lint_files([], stdin=text)
    assert not has_errors(findings)
    assert len(findings) == 3
    kubectl.done("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text)
