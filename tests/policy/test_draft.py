"""`serin init`: whatever it writes, lint has nothing against it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.policy.bundle import read_bundle
from analyzer.policy.defaults import HOME
from analyzer.policy.draft import DRAFT, draft_policy
from analyzer.policy.findings import has_errors
from analyzer.policy.lint import lint_bundle, lint_files
from analyzer.policy.load import load_documents
from analyzer.policy.parse import parse_policy

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "policies" / "examples"

names = st.sampled_from(["primary", "insiders", "on", "10", "a b", 'qu"ote', "line\nbreak", "x" * 260, "", None])
subsets = st.sampled_from(["v1", "v2", "v3", "1", "on", "1.2.0", None])
destinations = st.builds(
    lambda subset, weight, host: {
        "destination": {"host": host} | ({"subset": subset} if subset else {}),
        **({} if weight is None else {"weight": weight}),
    },
    subsets,
    st.sampled_from([None, 0, 10, 50, 90, 100, 33]),
    st.sampled_from(["cart", "cart", "cart", "other", "cart.far.svc.cluster.local"]),
)
matches = st.sampled_from(
    [
        None,
        [{"headers": {"cookie": {"regex": "^(.*?;\\s*)?(beta=1)(;.*)?$"}}}],
        [{"uri": {"prefix": "/api"}}],
        [{"headers": {"x-user": {"exact": "me"}}}, {"uri": {"exact": "/"}}],
    ]
)
routes = st.builds(
    lambda name, match, route: {
        **({} if name is None else {"name": name}), **({} if match is None else {"match": match}), "route": route,
    },
    names,
    matches,
    st.lists(destinations, max_size=3),
)  # fmt: skip
services = st.builds(
    lambda http, more: {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"hosts": ["cart"], "http": http, **more},
    },
    st.lists(routes, max_size=4),
    st.sampled_from([{}, {}, {}, {"tcp": [{}]}]),
)


@given(services)
def test_what_is_written_passes_lint_with_what_it_was_made_from(service: Any) -> None:
    bundle = read_bundle([], stdin=json.dumps(service))
    drafted = draft_policy(bundle, home=HOME)
    if not isinstance(drafted, str):
        assert all(refusal.reasons for refusal in drafted)
        return
    both = f"{drafted}---\n{json.dumps(service)}\n"
    assert not has_errors(lint_files([], stdin=both)), drafted
    assert "\t" not in drafted


def without_policy(example: str) -> list[Path]:
    return [path for path in sorted((EXAMPLES / example).glob("*.yaml")) if path.name != "policy.yaml"]


@pytest.mark.parametrize("example", ["helloworld", "helloworld-focused"])
def test_the_examples_get_their_own_policy(example: str) -> None:
    bundle = read_bundle(without_policy(example))
    text = draft_policy(bundle, home=HOME)
    assert isinstance(text, str)
    (document,) = load_documents(text, file=DRAFT).documents
    drafted = parse_policy(document.value)
    (written,) = load_documents((EXAMPLES / example / "policy.yaml").read_text(), file="policy.yaml").documents
    theirs = parse_policy(written.value)
    assert drafted.spec.target == theirs.spec.target
    assert drafted.spec.stages == theirs.spec.stages
    assert drafted.spec.mode == "observe"
    bundle.policies.append(document)
    assert not has_errors(lint_bundle(bundle))


def test_every_line_that_decides_something_has_a_comment() -> None:
    text = draft_policy(read_bundle(without_policy("helloworld-focused")), home=HOME)
    assert isinstance(text, str)
    spec = text.split("spec:\n")[1].splitlines()
    assert [line for line in spec if "#" not in line and not line.endswith(":")] == []


ONE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: shop}
spec: {hosts: [NAME], http: [{route: [{destination: {host: NAME, subset: v1}}]}]}
"""
TWO = ONE.replace(
    "{destination: {host: NAME, subset: v1}}", "DEST, {destination: {host: NAME, subset: v2}, weight: 10}"
)
TWO = TWO.replace("DEST", "{destination: {host: NAME, subset: v1}, weight: WEIGHT}")


EQUAL = TWO.replace("NAME", "cart").replace("WEIGHT", "50").replace("weight: 10", "weight: 50")


def refusals(text: str, name: str | None = None) -> list[str]:
    drafted = draft_policy(read_bundle([], stdin=text), name=name, home=HOME)
    assert not isinstance(drafted, str), drafted
    return [str(refusal) for refusal in drafted]


def test_without_a_second_version_it_says_which_and_why() -> None:
    (told,) = refusals(ONE.replace("NAME", "cart"))
    assert told.startswith("VirtualService shop/cart: no http route leads to two versions")
    assert "with `weight: 0`" in told


def test_of_several_one_must_be_named() -> None:
    text = "---\n".join(TWO.replace("NAME", name).replace("WEIGHT", "90") for name in ("cart", "pay"))
    assert refusals(text) == [
        "VirtualService shop/cart: could have one: name it", "VirtualService shop/pay: could have one: name it",
    ]  # fmt: skip
    assert isinstance(draft_policy(read_bundle([], stdin=text), name="pay", home=HOME), str)
    assert refusals(text, "cat") == [
        "VirtualService shop/cart: is another one",
        "VirtualService shop/pay: is another one",
    ]


def test_of_several_the_only_one_with_two_versions_is_taken() -> None:
    text = ONE.replace("NAME", "cart") + "---\n" + TWO.replace("NAME", "pay").replace("WEIGHT", "90")
    drafted = draft_policy(read_bundle([], stdin=text), home=HOME)
    assert isinstance(drafted, str)
    assert "virtualService: pay" in drafted


def test_where_the_weights_are_equal_it_says_whom_it_trusts() -> None:
    drafted = draft_policy(read_bundle([], stdin=EQUAL), home=HOME)
    assert isinstance(drafted, str)
    assert "    stable: v1  # trusted to begin with" in drafted


def test_weights_that_cannot_express_a_step_are_told() -> None:
    (told,) = refusals(TWO.replace("NAME", "cart").replace("WEIGHT", "23"))
    assert "the route's weights sum to 33" in told


# --- the command ------------------------------------------------------------------------------------------------------


def serin(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analyzer", *map(str, args)]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60, env=env)


def test_it_writes_a_file_and_never_over_one(tmp_path: Path) -> None:
    for path in without_policy("helloworld"):
        (tmp_path / path.name).write_text(path.read_text())
    assert serin("init", "-f", ".", "-o", "policy.yaml", cwd=tmp_path).returncode == 0
    assert serin("lint", ".", cwd=tmp_path).stdout == ""
    again = serin("init", "-f", ".", "-o", "policy.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "policy.yaml is there already" in again.stderr
    told = serin("init", "-f", ".", cwd=tmp_path)
    assert told.returncode == 1
    assert "already has the policy helloworld" in told.stderr


def test_a_cluster_that_does_not_answer_is_said_to_be_so(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": {"token": "secret"}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    result = serin("init", "cart", "-n", "shop", "--kubeconfig", "config", cwd=tmp_path)
    assert result.returncode == 4
    assert result.stderr.startswith("serin init: ")
    assert "Traceback" not in result.stderr
