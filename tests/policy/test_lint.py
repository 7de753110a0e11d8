import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.policy.findings import Code, Finding, Severity, format_findings, has_errors
from analyzer.policy.lint import STDIN, lint_files
from analyzer.policy.load import load_objects

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "policies" / "examples"
POLICY = (
    "apiVersion: serin.dev/v1alpha1\nkind: CanaryPolicy\nmetadata: {name: NAME}\nspec: {target: {virtualService: VS}}\n"
)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def policy(name: str = "shop", virtual_service: str = "shop") -> str:
    return POLICY.replace("NAME", name).replace("VS", virtual_service)


def brief(findings: list[Finding]) -> list[tuple[str, int, Code]]:
    return [(Path(f.file).name, f.line, f.code) for f in findings]


# --- the examples -----------------------------------------------------------------------------------------------------


def test_the_example_is_clean() -> None:
    assert lint_files([EXAMPLES / "helloworld"]) == []


def test_the_focused_example_has_only_the_warnings_that_its_comment_explains() -> None:
    findings = lint_files([EXAMPLES / "helloworld-focused"])
    assert not has_errors(findings)
    assert [f.code for f in findings] == [Code.REGEX_COOKIE_SPACE, Code.REGEX_DOT]


def test_all_examples_together_do_not_meet_each_other() -> None:
    assert not has_errors(lint_files([EXAMPLES]))


def test_the_expression_that_the_comment_recommends_has_no_trap(tmp_path: Path) -> None:
    text = (EXAMPLES / "helloworld-focused" / "virtual-service.yaml").read_text()
    recommended = re.search(r"`([^`]*some-company-name\\[^`]*)`", text)
    assert recommended is not None
    for cookie in ("email=a@some-company-name.com", "a=b; email=a@some-company-name.com; c=d"):
        assert re.fullmatch(recommended[1], cookie)
    assert not re.fullmatch(recommended[1], "a=b; email=a@some-company-nameXcom")
    text = re.sub(r"regex: .*", lambda _: f"regex: {recommended[1]}", text)
    others = [EXAMPLES / "helloworld-focused" / name for name in ("policy.yaml", "destination-rule.yaml")]
    assert lint_files([written(tmp_path, "vs.yaml", text), *others]) == []


def test_examples_are_objects_of_one_namespace_each() -> None:
    for folder in EXAMPLES.glob("helloworld*"):
        objects = load_objects(sorted(folder.glob("*.yaml")))
        assert {obj["metadata"]["namespace"] for obj in objects} == {folder.name}


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (finding,) = lint_files([tmp_path / "none.yaml"])
    assert (finding.code, finding.message) == (Code.UNREADABLE, "there is no such file")


def test_an_empty_file(tmp_path: Path) -> None:
    (finding,) = lint_files([written(tmp_path, "a.yaml", "")])
    assert (finding.line, finding.column, finding.code, finding.message) == (1, 1, Code.EMPTY, "the file is empty")


def test_a_file_that_is_no_text_is_found_at_its_first_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    (finding,) = lint_files([path])
    assert (finding.line, finding.column, finding.code) == (2, 4, Code.UNREADABLE)


def test_json_that_is_broken() -> None:
    (finding,) = lint_files([ROOT / "policies" / "fixtures" / "broken-json.json"])
    assert (finding.line, finding.column, finding.code) == (3, 1, Code.SYNTAX)


def test_a_folder_is_read_to_its_depth_and_only_manifests_in_it(tmp_path: Path) -> None:
    written(tmp_path, "deep/er/a.yml", policy() + "extra: 1\n")
    written(tmp_path, "values.yaml", "replicas: 3\n")
    written(tmp_path, "empty.yaml", "")
    written(tmp_path, "README.md", "{{{")
    assert brief(lint_files([tmp_path])) == [("a.yml", 5, Code.UNKNOWN_FIELD)]


def test_a_folder_without_manifests(tmp_path: Path) -> None:
    (finding,) = lint_files([tmp_path])
    assert finding.code is Code.EMPTY


def test_a_file_that_is_named_must_hold_objects(tmp_path: Path) -> None:
    path = written(tmp_path, "values.yaml", "replicas: 3\n")
    assert brief(lint_files([path])) == [("values.yaml", 1, Code.WRONG_KIND)]


def test_standard_input_is_a_file_too() -> None:
    for paths in ([], [Path("-")]):
        (finding,) = lint_files(paths, stdin=policy() + "extra: 1\n")
        assert (finding.file, finding.line, finding.code) == (STDIN, 5, Code.UNKNOWN_FIELD)
    (finding,) = lint_files([Path("-")], stdin="")
    assert finding.code is Code.EMPTY


# --- across files -----------------------------------------------------------------------------------------------------


def test_two_policies_on_one_virtual_service_in_two_files(tmp_path: Path) -> None:
    one, two = written(tmp_path, "1.yaml", policy("one")), written(tmp_path, "2.yaml", policy("two"))
    (finding,) = lint_files([one, two])
    assert brief([finding]) == [("2.yaml", 4, Code.TARGET_TAKEN)]
    assert f"{one}:1" in finding.message


def test_the_same_name_in_two_namespaces_is_no_conflict(tmp_path: Path) -> None:
    other = policy().replace("{name: shop}", "{name: shop, namespace: staging}")
    assert lint_files([written(tmp_path, "1.yaml", policy()), written(tmp_path, "2.yaml", other)]) == []


def test_a_policy_whose_virtual_service_is_not_given_is_checked_by_itself(tmp_path: Path) -> None:
    text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\n---\n" + policy()
    assert lint_files([written(tmp_path, "a.yaml", text)]) == []


def test_an_overlay_meets_the_objects_of_its_own_folder(tmp_path: Path) -> None:
    def service(subsets: str) -> str:
        routes = ", ".join(f"{{destination: {{host: shop, subset: {s}}}, weight: 50}}" for s in subsets)
        kind = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shop}\n"
        return f"---\n{kind}spec: {{http: [{{route: [{routes}]}}]}}\n"

    written(tmp_path, "a/vs.yaml", service("a"))
    written(tmp_path, "b/vs.yaml", service("xy"))
    written(tmp_path, "b/policy.yaml", policy())
    (finding,) = lint_files([tmp_path])
    assert finding.code is Code.STABLE_UNKNOWN  # of b's; a's has one version only


def test_another_tools_policy_beside_ours_is_only_a_warning(tmp_path: Path) -> None:
    text = policy() + "---\napiVersion: flagger.app/v1beta1\nkind: Canary\nmetadata: {name: x}\n"
    (finding,) = lint_files([written(tmp_path, "a.yaml", text)])
    assert (finding.code, finding.severity) == (Code.WRONG_KIND, Severity.WARNING)


# --- the report -------------------------------------------------------------------------------------------------------


def test_findings_are_written_one_a_line_with_the_mend_below(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", policy() + "extra: 1\n")
    assert format_findings(lint_files([path])) == (
        f"{path}:5:1 SRN101 there is no field `extra`\n    mend: there are: apiVersion, kind, metadata, spec, status\n"
    )


def test_findings_come_in_the_order_of_the_text() -> None:
    findings = lint_files([ROOT / "policies" / "fixtures"])
    assert findings == sorted(findings)


def test_lint_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, analyzer.policy.lint, analyzer.policy.schema\n"
        "heavy = {'numpy', 'scipy', 'aiohttp', 'kubernetes_asyncio', 'prometheus_api_client', 'requests', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- whatever is in a file --------------------------------------------------------------------------------------------

WORDS = ["a", "kind", "CanaryPolicy", "010", "é", "\0", "\t", "\ud800", "\ufeff"]
MARKS = [": ", "\n", "  ", "- ", "&a ", "*a", "<<: ", "!!int ", "!x ", "? ", "---", "...", *"[]{},'\"\\|>#%~@`"]
fragments = st.lists(st.sampled_from(WORDS + MARKS), max_size=30).map("".join)


@given(fragments | st.text(max_size=60), st.sampled_from(["a.yaml", "a.json"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_makes_lint_raise(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    findings = lint_files([path])
    assert format_findings(findings)  # garbage is never silently fine


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 200)
    | st.sampled_from(["", "v1", "v2", "shop", "auto", "10s", "1%", "on"])
)
garbage = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "x", "route"]), inner),
    max_leaves=6,
)


@st.composite
def mangled(draw: st.DrawFn, value: object) -> object:
    """Replace some part of a good object with garbage."""
    if draw(st.integers(0, 12)) == 0:
        return draw(garbage)
    if isinstance(value, dict):
        return {key: draw(mangled(item)) for key, item in value.items() if draw(st.integers(0, 15))}
    if isinstance(value, list):
        return [draw(mangled(item)) for item in value]
    return value


GOOD: list[dict[str, Any]] = load_objects(sorted((EXAMPLES / "helloworld-focused").glob("*.yaml")))


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_mangled_object_makes_lint_raise(data: st.DataObject) -> None:
    objects = [data.draw(mangled(obj)) for obj in GOOD]
    format_findings(lint_files([], stdin=yaml.safe_dump_all(objects)))


def test_the_good_objects_are_good() -> None:
    assert not has_errors(lint_files([], stdin=yaml.safe_dump_all(GOOD)))


@pytest.mark.parametrize("name", ["Canary", "Rollout", "Service", "CanaryPolicies"])
def test_any_other_kind_alone_is_an_error_that_names_it(name: str) -> None:
    findings = lint_files([], stdin=f"apiVersion: x/v1\nkind: {name}\nmetadata: {{name: a}}\n")
    assert has_errors(findings)
    assert name in findings[0].message


def test_a_rule_that_is_not_among_the_files_is_not_missed() -> None:
    objects = [obj for obj in GOOD if obj["kind"] != "DestinationRule"]
    rule = next(obj for obj in GOOD if obj["kind"] == "DestinationRule")
    other = {**rule, "metadata": {**rule["metadata"], "name": "cart"}, "spec": {**rule["spec"], "host": "cart"}}
    for given_objects in (objects, [*objects, other]):
        codes = {finding.code for finding in lint_files([], stdin=yaml.safe_dump_all(given_objects))}
        assert Code.SUBSET_MISSING not in codes
