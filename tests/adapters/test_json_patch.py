import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.adapters.memory.json_patch import apply_patch, same_json
from analyzer.errors import ConflictError, WriteRefused

# RFC 6902, appendix A: document, patch, result.
APPLIES: list[tuple[str, Any, Any, Any]] = [
    ("A.1", {"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ("A.2", {"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ("A.3", {"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ("A.4", {"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ("A.5", {"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        "A.6",
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        "A.7",
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        "A.8",
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    ("A.10", {"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"g": {}}}], {"foo": "bar", "child": {"g": {}}}),
    ("A.11", {"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ("A.14", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ("A.16", {"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["a", "b"]}], {"foo": ["bar", ["a", "b"]]}),
    # Beyond the appendix.
    ("copy", {"a": {"b": [1]}}, [{"op": "copy", "from": "/a/b", "path": "/c"}], {"a": {"b": [1]}, "c": [1]}),
    ("move onto itself", {"a": [1, 2]}, [{"op": "move", "from": "/a/0", "path": "/a/0"}], {"a": [1, 2]}),
    ("the whole document", {"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ("the empty key", {"": 1}, [{"op": "replace", "path": "/", "value": 2}], {"": 2}),
    ("a slash in a key", {"a/b": 1}, [{"op": "replace", "path": "/a~1b", "value": 2}], {"a/b": 2}),
    ("at the end", {"a": [1]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2]}),
    ("in order", {}, [{"op": "add", "path": "/a", "value": 1}, {"op": "test", "path": "/a", "value": 1}], {"a": 1}),
    ("null where nothing is", {}, [{"op": "test", "path": "/a", "value": None}], {}),
    ("equal numbers", {"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
    (
        "no order of keys",
        {"a": {"b": 1, "c": 2}},
        [{"op": "test", "path": "/a", "value": {"c": 2, "b": 1}}],
        {"a": {"b": 1, "c": 2}},
    ),
]

CONFLICTS: list[tuple[str, Any, Any]] = [
    ("A.9", {"baz": "qux"}, {"op": "test", "path": "/baz", "value": "bar"}),
    ("A.15", {"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": "10"}),
    ("true is not 1", {"a": 1}, {"op": "test", "path": "/a", "value": True}),
    ("absent", {}, {"op": "test", "path": "/a", "value": 0}),
    ("absent parent", {}, {"op": "test", "path": "/a/b", "value": None}),
    ("absent index", {"a": []}, {"op": "test", "path": "/a/0", "value": None}),
    ("a longer list", {"a": [1]}, {"op": "test", "path": "/a", "value": [1, 2]}),
]

IMPOSSIBLE: list[tuple[str, Any, Any]] = [
    ("A.12", {"foo": "bar"}, {"op": "add", "path": "/baz/bat", "value": "qux"}),
    ("remove nothing", {"a": 1}, {"op": "remove", "path": "/b"}),
    ("replace nothing", {"a": 1}, {"op": "replace", "path": "/b", "value": 1}),
    ("move nothing", {"a": 1}, {"op": "move", "from": "/b", "path": "/c"}),
    ("copy nothing", {"a": 1}, {"op": "copy", "from": "/b", "path": "/c"}),
    ("move into itself", {"a": {"b": 1}}, {"op": "move", "from": "/a", "path": "/a/b/c"}),
    ("after the end", {"a": [1]}, {"op": "add", "path": "/a/2", "value": 2}),
    ("remove after the end", {"a": [1]}, {"op": "remove", "path": "/a/-"}),
    ("a leading zero", {"a": [1, 2]}, {"op": "remove", "path": "/a/01"}),
    ("a negative index", {"a": [1, 2]}, {"op": "remove", "path": "/a/-1"}),
    ("into a number", {"a": 1}, {"op": "add", "path": "/a/b", "value": 2}),
    ("no pointer", {"a": 1}, {"op": "remove", "path": "a"}),
    ("the whole document", {"a": 1}, {"op": "remove", "path": ""}),
    ("no path", {"a": 1}, {"op": "remove"}),
    ("no from", {"a": 1}, {"op": "move", "path": "/b"}),
    ("no op", {"a": 1}, {"path": "/a"}),
    ("an unknown op", {"a": 1}, {"op": "increment", "path": "/a"}),
]


@pytest.mark.parametrize(("name", "document", "patch", "result"), APPLIES, ids=[case[0] for case in APPLIES])
def test_a_patch_applies(name: str, document: Any, patch: Any, result: Any) -> None:
    answer = apply_patch(copy.deepcopy(document), patch)
    assert same_json(answer, result), answer


@pytest.mark.parametrize(("name", "document", "operation"), CONFLICTS, ids=[case[0] for case in CONFLICTS])
def test_a_failed_test_is_a_conflict_that_names_the_path(name: str, document: Any, operation: Any) -> None:
    with pytest.raises(ConflictError, match=f"422: test .* {operation['path']} failed"):
        apply_patch(document, [operation])


@pytest.mark.parametrize(("name", "document", "operation"), IMPOSSIBLE, ids=[case[0] for case in IMPOSSIBLE])
def test_an_operation_that_cannot_be_done_is_a_conflict_and_named(name: str, document: Any, operation: Any) -> None:
    good = {"op": "test", "path": "", "value": copy.deepcopy(document)}
    with pytest.raises(ConflictError, match="operation 1 "):
        apply_patch(document, [good, operation])


@pytest.mark.parametrize("operation", [{"op": "remove", "path": 1}, {"op": 1, "path": "/a"}])
def test_an_operation_that_cannot_be_read_is_refused_and_named(operation: Any) -> None:
    with pytest.raises(WriteRefused, match=r"operation 1 .* must be a string"):
        apply_patch({"a": 1}, [{"op": "test", "path": "/a", "value": 1}, operation])


def test_an_operation_without_a_value_has_null() -> None:
    assert apply_patch({"a": 1}, [{"op": "replace", "path": "/a"}]) == {"a": None}


def test_what_was_added_is_in_the_document_once() -> None:
    value: Any = {"list": []}
    add = [{"op": "add", "path": path, "value": value} for path in ("/a", "/b")]
    document = apply_patch({}, [*add, {"op": "copy", "from": "/a", "path": "/c"}])
    document["a"]["list"].append(1)
    assert document == {"a": {"list": [1]}, "b": {"list": []}, "c": {"list": []}}
    assert value == {"list": []}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["a", "~", "/", "-", "0"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "~", "/", "-", "0", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
POINTERS = st.lists(st.sampled_from(["a", "~0", "~1", "-", "0", "1", ""]), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)


@given(left=JSON, right=JSON)
def test_equality_is_that_of_the_written_json(left: Any, right: Any) -> None:
    assert same_json(left, right) == (json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True))


@given(document=JSON, path=POINTERS.filter(lambda path: "-" not in path), value=JSON)
def test_what_add_puts_there_is_there(document: Any, path: str, value: Any) -> None:
    try:
        patched = apply_patch(document, [{"op": "add", "path": path, "value": value}])
    except ConflictError:
        return
    apply_patch(patched, [{"op": "test", "path": path, "value": value}])


@given(
    document=JSON,
    operations=st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
                "path": POINTERS,
                "from": POINTERS,
                "value": JSON,
            }
        ),
        max_size=4,
    ),
)
def test_any_patch_ends_with_json_or_a_clear_error(document: Any, operations: Any) -> None:
    try:
        patched = apply_patch(document, operations)
    except ConflictError:
        return
    json.dumps(patched)  # no cycles
