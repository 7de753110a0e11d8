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
    example = next(block for block in blocks("console") if "serin lint policies" in block)
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


def test_the_first_policy_is_written_linted_planned_and_committed_in_an_empty_folder(tmp_path: Path) -> None:
    """Its own commands, up to the cluster; `kubectl get` is the example's manifests."""
    section = README[README.index("## Your first policy") :]
    block = re.findall(r"```console\n(.*?)```", section, re.DOTALL)[0]
    commands = [line.removeprefix("$ ").partition("   ")[0] for line in block.splitlines()]
    before = commands[: next(at for at, command in enumerate(commands) if command.startswith("kubectl apply"))]
    assert [command.split()[0] for command in before] == ["git", "kubectl", "serin", "serin", "serin", "git"]
    manifests = [p for p in (ROOT / "policies/examples/helloworld").glob("*.yaml") if p.name != "policy.yaml"]
    (tmp_path / "mesh.yaml").write_text("\n---\n".join(path.read_text() for path in sorted(manifests)))
    script = "\n".join(command for command in before if not command.startswith("kubectl"))
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path), "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example",
    }  # fmt: skip
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    log = subprocess.run(["git", "show", "--stat", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "policy.yaml" in log.stdout
