"""What a policy has where it is silent."""

import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from analyzer.policy.defaults import HOME, decides, inherited, layers_for, with_defaults, with_inherited
from analyzer.policy.findings import Code, Finding
from analyzer.policy.lint import lint_files
from analyzer.policy.load import load_objects
from analyzer.policy.model import Behaviour, CanaryDefaults, CanaryPolicy, Spec
from analyzer.policy.parse import parse_policy, read_defaults

ROOT = Path(__file__).parents[2]
HEAD = "apiVersion: serin.dev/v1alpha1\n"
POLICY = HEAD + "kind: CanaryPolicy\nmetadata: {name: cart, namespace: shop}\nspec:\n  target: {virtualService: cart}\n"

values = st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2)
inner = st.fixed_dictionaries({}, optional={"x": values, "y": values})
trees = st.fixed_dictionaries(
    {}, optional={"x": values, "a": inner, "b": st.fixed_dictionaries({}, optional={"a": inner, "y": values})}
)
"""As in the schema: at one place there is a mapping in each of them, or in none."""


def policy(spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "cart", "namespace": "shop"}, "spec": spec}


def defaults(spec: dict[str, Any], namespace: str = "shop") -> dict[str, Any]:
    return {"metadata": {"name": "default", "namespace": namespace}, "spec": spec}


def at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


def paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [inner for name, item in value.items() for inner in paths(item, (*path, name)) if inner]


# --- merging ----------------------------------------------------------------------------------------------------------


@given(trees, trees, trees)
def test_every_value_is_from_the_first_that_has_a_say(own: Any, near: Any, far: Any) -> None:
    layers = [defaults(near), defaults(far, HOME)]
    effective = with_defaults(policy(own), layers)["spec"]
    for path in paths(effective):
        first = next(spec for spec in (own, near, far) if decides(spec, path))
        assert at(first, path) == at(effective, path), path
    for spec in (own, near, far):  # nothing is lost but by what goes before it
        for path in paths(spec):
            assert decides(effective, path)


@given(trees, trees)
def test_what_a_policy_says_itself_stays(own: Any, near: Any) -> None:
    effective = with_defaults(policy(own), [defaults(near)])["spec"]
    assert all(at(effective, path) == at(own, path) for path in paths(own) if path)


@given(trees, trees, trees)
def test_what_is_inherited_is_all_that_is_told(own: Any, near: Any, far: Any) -> None:
    layers = [defaults(near), defaults(far, HOME)]
    effective = with_defaults(policy(own), layers)["spec"]
    told = inherited(policy(own), layers)
    by_path = {".".join(path): path for path in paths(effective) if path}
    assert set(told) == {name for name, path in by_path.items() if not decides(own, path)}
    for name, text in told.items():
        home = re.fullmatch(r"(.*) \((shop|serin-system)\)", text, re.DOTALL)
        assert home is not None
        assert home[2] == ("shop" if decides(near, by_path[name]) else HOME)


@given(trees, trees, trees)
def test_from_what_is_told_follows_what_was_in_effect(own: Any, near: Any, far: Any) -> None:
    layers = [defaults(near), defaults(far, HOME)]
    effective = with_defaults(policy(own), layers)["spec"]
    rebuilt = with_inherited(policy(own), inherited(policy(own), layers))["spec"]
    assert [(path, at(rebuilt, path)) for path in sorted(paths(rebuilt))] == [
        (path, at(effective, path)) for path in sorted(paths(effective))
    ]


def test_the_examples_are_told_and_understood() -> None:
    found = [
        obj for path in sorted((ROOT / "policies/examples/defaults").glob("*.yaml")) for obj in load_objects([path])
    ]
    obj = {
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "CanaryPolicy",
        **policy({"target": {"virtualService": "cart"}, "judge": {"limits": {"p99": "1s"}}}),
    }
    for layers in (found, layers_for("shop", found), layers_for("other", found)):
        told = inherited(obj, layers)
        assert told
        assert parse_policy(with_inherited(obj, told)) == parse_policy(with_defaults(obj, layers))


def test_without_defaults_a_policy_is_itself() -> None:
    obj = policy({"target": {"virtualService": "cart"}})
    assert with_defaults(obj, []) == obj


def test_only_two_namespaces_count_and_their_order_is_fixed() -> None:
    there = [defaults({}, name) for name in ("other", HOME, "shop")]
    assert [layer["metadata"]["namespace"] for layer in layers_for("shop", there)] == ["shop", HOME]
    assert [layer["metadata"]["namespace"] for layer in layers_for(HOME, there)] == [HOME]
    assert [layer["metadata"]["namespace"] for layer in layers_for("shop", there, home="other")] == ["shop", "other"]


def test_lists_are_replaced_and_mappings_merged() -> None:
    own = {"target": {"virtualService": "cart"}, "alerts": ["cart"], "judge": {"dwell": {"max": "9m"}}}
    near = {"alerts": ["shop", "all"], "judge": {"dwell": {"min": "2m", "max": "8m"}, "bake": "1h"}}
    far = {"judge": {"bake": "2h"}, "mode": "observe"}
    layers = [defaults(near), defaults(far, HOME)]
    assert with_defaults(policy(own), layers)["spec"] == {
        "target": {"virtualService": "cart"},
        "alerts": ["cart"],
        "judge": {"dwell": {"min": "2m", "max": "9m"}, "bake": "1h"},
        "mode": "observe",
    }
    assert inherited(policy(own), layers) == {
        "judge.bake": "1h (shop)", "judge.dwell.min": "2m (shop)", "mode": "observe (serin-system)",
    }  # fmt: skip


# --- the kind ---------------------------------------------------------------------------------------------------------


def test_defaults_have_all_that_a_policy_has_but_its_target() -> None:
    assert set(Spec.model_fields) - set(Behaviour.model_fields) == {"target"}


def test_the_examples_are_right_and_do_something() -> None:
    folder = ROOT / "policies" / "examples" / "defaults"
    found = [obj for path in sorted(folder.glob("*.yaml")) for obj in load_objects([path])]
    assert len(found) == 2
    assert all(isinstance(read_defaults(obj), CanaryDefaults) for obj in found)
    obj = {"apiVersion": "serin.dev/v1alpha1", "kind": "CanaryPolicy", **policy({"target": {"virtualService": "cart"}})}
    effective = parse_policy(with_defaults(obj, layers_for("shop", found)))
    assert isinstance(effective, CanaryPolicy)
    assert effective.spec.judge.harm_budget == 0.0005
    assert (effective.spec.judge.dwell.min_s, effective.spec.judge.dwell.max_s) == (30.0, 600.0)
    assert effective.spec.deadlines.canary_ready_s == 1200.0
    assert effective.spec.mode == "observe"


# --- lint -------------------------------------------------------------------------------------------------------------


def lint(folder: Path, home: str = HOME, **texts: str) -> list[Finding]:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return lint_files([folder], home=home)


def defaults_text(spec: str, namespace: str = "shop") -> str:
    return HEAD + f"kind: CanaryDefaults\nmetadata: {{name: default, namespace: {namespace}}}\nspec: {spec}\n"


def test_a_folder_of_defaults_alone_is_right(tmp_path: Path) -> None:
    assert lint(tmp_path, defaults=defaults_text("{}")) == []


def test_a_clash_names_both_places(tmp_path: Path) -> None:
    in_defaults = lint(
        tmp_path, cart=POLICY + "  judge: {dwell: {min: 4m}}\n", all=defaults_text("{judge: {dwell: {max: 3m}}}")
    )
    (finding,) = in_defaults
    assert (Path(finding.file).name, finding.line, finding.column) == ("all.yaml", 4, 29)
    assert f"in policy cart ({tmp_path / 'cart.yaml'}:1)" in finding.message
    in_policy = lint(
        tmp_path, cart=POLICY + "  judge: {dwell: {max: 1m}}\n", all=defaults_text("{judge: {dwell: {min: 2m}}}")
    )
    (finding,) = in_policy
    assert (Path(finding.file).name, finding.line, finding.column) == ("cart.yaml", 6, 24)
    assert f"together with CanaryDefaults of shop ({tmp_path / 'all.yaml'}:1)" in finding.message


def test_the_defaults_of_others_do_not_count(tmp_path: Path) -> None:
    clash = "{judge: {dwell: {max: 3m}}}"
    text = POLICY + "  judge: {dwell: {min: 4m}}\n"
    assert lint(tmp_path, cart=text, all=defaults_text(clash, "other")) == []
    assert len(lint(tmp_path, cart=text, all=defaults_text(clash, "serin-system"))) == 1
    assert lint(tmp_path, "canaries", cart=text, all=defaults_text(clash, "serin-system")) == []
    assert len(lint(tmp_path, "other", cart=text, all=defaults_text(clash, "other"))) == 1


def test_defaults_that_are_wrong_are_told_once_and_left_out(tmp_path: Path) -> None:
    found = lint(tmp_path, cart=POLICY, all=defaults_text("{judge: {bake: 10}, mode: watch}"))
    assert [(Path(f.file).name, f.code) for f in found] == [
        ("all.yaml", Code.WRONG_UNIT), ("all.yaml", Code.WRONG_VALUE),
    ]  # fmt: skip


def test_routes_that_defaults_name_are_looked_for_in_the_virtual_service(tmp_path: Path) -> None:
    text = (ROOT / "policies/examples/helloworld/virtual-service.yaml").read_text()
    own = POLICY.replace("virtualService: cart", "virtualService: helloworld").replace("shop", "helloworld")
    found = lint(tmp_path, own=own, there=text, all=defaults_text("{stages: [{route: everybody}]}", "helloworld"))
    (finding,) = found
    assert (Path(finding.file).name, finding.line, finding.column, finding.code) == (
        "all.yaml",
        4,
        25,
        Code.ROUTE_MISSING,
    )
    assert "in policy cart" in finding.message
