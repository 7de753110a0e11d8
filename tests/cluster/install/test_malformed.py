"""The malformed policies on a real API server: none is accepted by it and refused by lint, or the other way round."""

import pytest

from analyzer.policy.findings import has_errors
from analyzer.policy.lint import lint_files
from tests.cluster.install.installed import Kubectl
from tests.policy.malformed import SEED, Malformed, malformed

LINT_ONLY: dict[str, str] = {}
"""What only lint refuses, and why."""


@pytest.mark.parametrize("case", malformed(), ids=lambda case: case.name)
def test_lint_and_server_refuse_the_same(case: Malformed, kubectl: Kubectl) -> None:
    assert has_errors(lint_files([], stdin=case.text))
    answer = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=case.text)
    refused = answer.returncode != 0
    assert refused == (case.name not in LINT_ONLY), f"{answer.stdout}{answer.stderr} (seed {SEED})"
