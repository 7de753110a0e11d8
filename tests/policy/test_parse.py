from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import PolicyError
from analyzer.policy.model import API_VERSION, KIND, CanaryPolicy, CapacityMode, Mode, OnDelete, OnInconclusive
from analyzer.policy.parse import parse_policy
from analyzer.policy.quantities import format_duration, format_percent


def manifest(spec: object) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "shop"}, "spec": spec}


TARGET = {"virtualService": "shop"}


def test_everything_but_the_target_has_a_default() -> None:
    policy = parse_policy(manifest({"target": TARGET}))
    spec = policy.spec
    assert policy.key == ("default", "shop")
    assert (spec.mode, spec.suspend, spec.on_delete) == (Mode.ENFORCE, False, OnDelete.RESTORE)
    assert [(stage.route, stage.weights) for stage in spec.stages] == [(None, (1, 5, 10, 25, 50, 100))]
    judge = spec.judge
    assert (judge.false_rollback, judge.harm_budget) == (0.01, 0.001)
    assert (judge.errors.tolerance, judge.errors.floor) == (0.1, 0.0001)
    assert (judge.latency.tolerance, judge.latency.warm_up_s) == (0.05, 60.0)
    assert (judge.dwell.min_s, judge.dwell.max_s, judge.bake_s) == (30.0, 300.0, 600.0)
    assert judge.on_inconclusive is OnInconclusive.ADVANCE
    assert judge.limits is None
    assert spec.capacity.mode is CapacityMode.GATE
    assert (spec.deadlines.canary_ready_s, spec.deadlines.blind_s) == (600.0, 1800.0)


def test_an_object_from_a_cluster_is_read_with_all_that_the_server_added() -> None:
    obj = manifest({"target": TARGET})
    obj["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 2, "managedFields": [{"manager": "kubectl"}]}
    obj["status"] = {"phase": "Idle", "anything": [1]}
    metadata = parse_policy(obj).metadata
    assert (metadata.uid, metadata.resource_version, metadata.generation) == ("u", "7", 2)


def test_all_problems_are_told_at_once_with_path_and_mend() -> None:
    spec = {"target": TARGET, "mode": "enforced", "judge": {"bake": 10}, "stages": [{"weights": [10, 5, 100]}]}
    with pytest.raises(PolicyError) as caught:
        parse_policy(manifest(spec))
    assert str(caught.value).splitlines() == [
        "spec.mode: `enforced` is not one of enforce, observe; did you mean `enforce`?",
        "spec.stages[0].weights[1]: the weights do not increase: 5 follows 10; write each weight once, ascending: [5, 10, 100]",
        "spec.judge.bake: `10` has no unit; write `10s` (or `10m`, `10ms`)",
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (None, "spec: null is not a mapping"),
        ([], "spec: a list is not a mapping"),
        ({"target": TARGET, "suspend": "true"}, "spec.suspend: `true` is not true or false"),
        ({"target": TARGET, "suspend": 1}, "spec.suspend: `1` is not true or false"),
        ({"target": TARGET, "stages": [{"weights": [True, 100]}]}, "spec.stages[0].weights[0]: true is not a weight"),
        ({"target": TARGET, "stages": [{"weights": [1.0, 100]}]}, "spec.stages[0].weights[0]: `1.0` is not a weight"),
        ({"target": TARGET, "stages": {"route": "a"}}, "spec.stages: a mapping is not a list"),
        ({"target": TARGET, "stages": [{}] * 17}, "spec.stages: there are 17 entries, and at most 16 may be"),
        ({"target": TARGET, "alerts": ["a", "a"]}, "spec.alerts[1]: the receiver `a` is named twice"),
        ({"target": {"virtualService": "Shop"}}, "spec.target.virtualService: `Shop` cannot be the name of"),
        ({"target": {"virtualService": ""}}, "spec.target.virtualService: `` cannot be the name of"),
        ({"target": TARGET | {"deployments": {"v1": "a"}}}, "spec.target.deployments: a canary has exactly two"),
        ({"target": TARGET | {"deployments": {"v1": "a", "v2": "a"}}}, "both versions are the same Deployment"),
        ({"target": TARGET, "warmUp": "1s"}, "it belongs to `spec.judge.latency`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_spec_is_refused(spec: object, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(manifest(spec))
    assert message in str(caught.value)


def test_another_kind_is_named() -> None:
    with pytest.raises(PolicyError, match="this is a Deployment; a policy has the kind `CanaryPolicy`"):
        parse_policy({"apiVersion": "apps/v1", "kind": "Deployment"})


def test_a_policy_cannot_be_changed() -> None:
    policy = parse_policy(manifest({"target": TARGET}))
    with pytest.raises(ValueError, match="frozen"):
        policy.spec.suspend = True  # type: ignore[misc]


durations = st.integers(1, 10**7).map(lambda milliseconds: format_duration(milliseconds / 1000))
percents = st.integers(1, 10**6).map(lambda ppm: format_percent(ppm / 10**6))
weights = st.sets(st.integers(1, 99), min_size=1, max_size=8).map(lambda steps: [*sorted(steps), 100])
names = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
specs = st.fixed_dictionaries(
    {
        "target": st.fixed_dictionaries(
            {"virtualService": names},
            optional={"versions": st.lists(names, min_size=2, max_size=2, unique=True)},
        ),
    },
    optional={
        "mode": st.sampled_from(Mode).map(str),
        "suspend": st.booleans(),
        "stages": st.lists(
            st.fixed_dictionaries({"route": names, "weights": weights}),
            min_size=1,
            max_size=4,
            unique_by=lambda stage: stage["route"],
        ),
        "judge": st.fixed_dictionaries(
            {},
            optional={
                "falseRollback": st.integers(1, 2000).map(lambda n: format_percent(n / 10**4)),
                "errors": st.fixed_dictionaries({}, optional={"tolerance": percents, "floor": percents}),
                "latency": st.fixed_dictionaries({}, optional={"tolerance": percents, "warmUp": durations}),
                "harmBudget": percents,
                "dwell": st.just({"min": "10s", "max": "20s"}),
                "bake": durations,
                "onInconclusive": st.sampled_from(OnInconclusive).map(str),
            },
        ),
        "onDelete": st.sampled_from(OnDelete).map(str),
        "deadlines": st.fixed_dictionaries({}, optional={"canaryReady": durations, "blind": durations}),
        "alerts": st.lists(names, max_size=3, unique=True),
    },
)


@given(specs)
def test_a_policy_that_is_written_back_is_the_same_policy(spec: dict[str, Any]) -> None:
    policy = parse_policy(manifest(spec))
    written = policy.model_dump(mode="json", by_alias=True, exclude_none=True)
    again = parse_policy(written)
    assert isinstance(again, CanaryPolicy)
    assert again == policy
