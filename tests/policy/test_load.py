import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import PolicyError
from analyzer.policy.findings import Code
from analyzer.policy.load import MAX_CHARACTERS, load_documents, load_objects
from analyzer.policy.nodes import resolve


def load_one(text: str, *, file: str = "a.yaml") -> object:
    loaded = load_documents(text, file=file)
    assert loaded.findings == []
    (document,) = loaded.documents
    return document.value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("10", 10),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("on", "on"),
        ("yes", "yes"),
        ("n", "n"),
        ("10s", "10s"),
        ("0.1%", "0.1%"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("2026-11-23", "2026-11-23"),
        ("9" * 65, "9" * 65),
    ],
)
def test_unquoted_words_are_typed_as_in_json(word: str, value: object) -> None:
    assert load_one(f"key: {word}") == {"key": value}
    assert type(resolve(word)) is type(value)


def test_quoted_words_are_strings() -> None:
    assert load_one("{a: '10', b: \"true\", c: !!str 7}") == {"a": "10", "b": "true", "c": "7"}


def test_keys_are_strings_whatever_they_look_like() -> None:
    assert load_one("{on: 1, 10: 2, null: 3}") == {"on": 1, "10": 2, "null": 3}


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ((), 1, 1),
        (("spec",), 3, 3),
        (("spec", "stages"), 4, 5),
        (("spec", "stages", 0, "route"), 4, 14),
        (("spec", "stages", 1, "weights", 1), 7, 11),
        (("spec", "flow"), 8, 9),
        (("spec", "flow", "a", 1, "b"), 8, 21),
        (("spec", "flow", "a", 2), 9, 13),
    ],
)
def test_every_value_knows_its_place(path: tuple[str | int, ...], line: int, column: int) -> None:
    text = (
        "kind: X\n"
        "spec:\n"
        "  stages:\n"
        "    - route: one\n"
        "    - weights:\n"
        "        - 1\n"
        "        - 5\n"
        "  flow: {a: [1, {b: 2},\n"
        "            3]}\n"
    )
    (document,) = load_documents(text, file="a.yaml").documents
    assert document.position(path) == (line, column)


def test_the_place_of_a_missing_value_is_the_key_it_should_be_under() -> None:
    (document,) = load_documents("a: 1\nspec:\n  target:\n    x: 1\n", file="a.yaml").documents
    assert document.position(("spec", "target", "missing", 3)) == (3, 3)
    assert document.position(("spec", "target", "x"), key=True) == (4, 5)


def test_positions_count_over_the_documents_of_a_file() -> None:
    first, second = load_documents("a: 1\n---\n# comment\n---\nb: 2\n", file="a.yaml").documents
    assert first.position(("a",)) == (1, 4)
    assert second.position(("b",)) == (5, 4)


def test_the_first_of_duplicate_keys_counts_and_the_second_is_found() -> None:
    loaded = load_documents("a: 1\nb: {c: 1, c: 2}\na: 3\n", file="x.yaml")
    assert [document.value for document in loaded.documents] == [{"a": 1, "b": {"c": 1}}]
    places = [(f.file, f.line, f.column, f.code) for f in loaded.findings]
    assert places == [("x.yaml", 2, 11, Code.DUPLICATE_KEY), ("x.yaml", 3, 1, Code.DUPLICATE_KEY)]


def test_aliases_and_merge_keys_are_written_out() -> None:
    text = "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nlist: {<<: [{x: 7}, *b]}\nsame: *b\n"
    value = load_one(text)
    assert value == {
        "base": {"x": 1, "y": 2},
        "use": {"x": 1, "y": 3},
        "list": {"x": 7, "y": 2},
        "same": {"x": 1, "y": 2},
    }
    (document,) = load_documents(text, file="a.yaml").documents
    assert document.position(("use", "x")) == (1, 14)


@pytest.mark.parametrize(
    "text",
    [
        "a: {<<: 1}",
        "? [a]\n: 1",
        "a: !!int 5",
        "a: !foo {}",
        "a: [" * 2000,
        "- " * 2000 + "x",
        "a: *b",
        "\ta: 1",
        '"\\U00110000"',
    ],
)
def test_what_cannot_be_read_is_a_finding(text: str) -> None:
    loaded = load_documents(text, file="a.yaml")
    assert [finding.code for finding in loaded.findings] == [Code.SYNTAX]


def test_a_forbidden_character_is_found_where_it_is() -> None:
    (finding,) = load_documents("a: 1\nb: x\x07\n", file="a.yaml").findings
    assert (finding.line, finding.column) == (2, 5)
    assert "U+0007" in finding.message


def test_documents_before_a_broken_one_are_still_read() -> None:
    loaded = load_documents("a: 1\n---\nb: [\n", file="a.yaml")
    assert [document.value for document in loaded.documents] == [{"a": 1}]
    assert len(loaded.findings) == 1


def test_a_file_that_is_far_too_large_is_not_read() -> None:
    (finding,) = load_documents("#" * (MAX_CHARACTERS + 1), file="a.yaml").findings
    assert finding.code is Code.UNREADABLE


def test_json_is_held_to_json() -> None:
    (finding,) = load_documents('{\n\t"a": 1,\n\t"b": nope\n}', file="a.json").findings
    assert (finding.line, finding.column, finding.code) == (3, 7, Code.SYNTAX)


def test_json_knows_places_and_duplicates_too() -> None:
    loaded = load_documents('{\n\t"a": [1, 2],\n\t"a": 3\n}', file="a.json")
    (finding,) = loaded.findings
    assert (finding.line, finding.column, finding.code) == (3, 2, Code.DUPLICATE_KEY)
    assert loaded.documents[0].position(("a", 1)) == (2, 11)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('abcdef<"\\é\U0001f600', max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values.filter(lambda value: value is not None), st.sampled_from([None, 2, "\t"]), st.booleans())
def test_any_json_is_read_as_json_reads_it(value: object, indent: int | str | None, ascii_only: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert load_one(text, file="a.json") == value


def test_a_list_holds_objects_of_its_own() -> None:
    text = "kind: List\nitems:\n  - kind: A\n  - {kind: B, x: on}\n"
    (document,) = load_documents(text, file="a.yaml").documents
    first, second = document.items()
    assert (first.value, second.value) == ({"kind": "A"}, {"kind": "B", "x": "on"})
    assert second.position(("kind",)) == (4, 12)
    assert second.odd_scalars == (("x",),)


def test_words_that_kubectl_reads_otherwise_are_marked() -> None:
    (document,) = load_documents("a: [on, y, 010, 1:30, '010', v1, 2026-11-23, NO]", file="a.yaml").documents
    assert document.odd_scalars == (("a", 0), ("a", 2), ("a", 3), ("a", 7))


def test_objects_are_loaded_for_other_uses(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text("kind: A\n---\nkind: B\n")
    assert load_objects([good]) == [{"kind": "A"}, {"kind": "B"}]


@pytest.mark.parametrize("text", ["- 1\n", "a: [", "a: 1\na: 2\n"])
def test_objects_that_cannot_be_loaded_say_where(tmp_path: Path, text: str) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    with pytest.raises(PolicyError, match=r"bad\.yaml:\d+:\d+ SRN"):
        load_objects([bad])


def test_a_missing_file_of_objects_says_which(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.yaml cannot be read"):
        load_objects([tmp_path / "none.yaml"])
