"""What the README shows is what there is."""

import re
import subprocess
import sys
from pathlib import Path

from analyzer.cli.people.document import rollout_document
from analyzer.core.rollout.phases import mermaid
from analyzer.policy.load import load_documents
from analyzer.policy.parse import parse_policy

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_diagram_of_a_rollouts_life_is_the_table_in_the_code() -> None:
    assert mermaid() in [block.rstrip() for block in blocks("mermaid")]


def test_the_policy_it_explains_is_valid_and_has_the_defaults_it_claims() -> None:
    (text,) = blocks("yaml")
    loaded = load_documents(text, file="README.md")
    assert not loaded.findings
    shown = parse_policy(loaded.documents[0].value)
    bare = {"virtualService": "helloworld"}
    default = parse_policy(
        {
            "apiVersion": "serin.dev/v1alpha1",
            "kind": "CanaryPolicy",
            "metadata": {"name": "x"},
            "spec": {"target": bare},
        }
    )
    same = {"target", "stages"}
    assert shown.spec.model_dump(exclude=same) == default.spec.model_dump(exclude=same)
    assert shown.spec.stages[0].weights == default.spec.stages[0].weights


def test_the_lint_output_it_shows_is_what_lint_prints() -> None:
    example = next(block for block in blocks("console") if "serin lint" in block)
    command, _, expected = example.partition("\n")
    file = command.split()[-1]
    result = subprocess.run(
        [sys.executable, "-m", "analyzer", "lint", file], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout == expected


def test_the_explanation_it_shows_is_what_explain_says() -> None:
    golden = (ROOT / "tests" / "cli" / "golden" / "explain-progressing.txt").read_text(encoding="utf-8")
    (shown,) = blocks("text")
    assert golden.startswith(shown.rstrip("\n"))


def test_it_names_every_field_that_machines_get() -> None:
    obj = {"metadata": {"name": "a", "namespace": "b"}, "spec": {}}
    section = README[README.index("## At the terminal") :]
    for field in rollout_document(obj):
        assert f"`{field}`" in section


def test_it_names_every_package_of_the_layout() -> None:
    packages = {path.parent.name for path in (ROOT / "analyzer").glob("*/__init__.py")} - {"core"}
    for package in packages:
        assert f"analyzer/{package}" in README
