import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from analyzer.replay.counts import MAX_REPORTED, CountsReader, open_counts
from analyzer.replay.lines import Header, HistoryLine, IntervalLine
from tests.replay.records import EDGES, Line, header, history, interval, read, text, version


def complaint(*lines: Line | str) -> str:
    """The one thing that is wrong with these lines."""
    _, [bad] = read(*lines)
    return bad


def test_lines_become_records() -> None:
    records, bad = read(header(falseRollback="0.5%"), history(), interval())
    assert bad == []
    begun, before, seen = records
    assert isinstance(begun, Header)
    assert begun.edges_ms == (10.0, 25.0, 50.0, 100.0)
    assert begun.policy.spec.judge.false_rollback == 0.005
    assert isinstance(before, HistoryLine)
    assert before.requests.tolist() == [400, 400]
    assert before.latency_counts.tolist() == [[400, 0, 0, 0, 0]] * 2
    assert isinstance(seen, IntervalLine)
    assert (seen.interval.end_s, seen.interval.weight, seen.next_weight) == (15.0, 10.0, 25.0)
    assert seen.interval.canary.youngest_pod_age_s == 15.0
    assert seen.interval.stable.requests == 900
    assert seen.interval.edges_ms is begun.edges_ms


def test_what_may_be_left_out_may_also_be_null() -> None:
    full = interval()
    del full["next_weight"], full["canary"]["pod_age_s"]
    records, bad = read(header(), full, interval(t=30.0, next_weight=None, canary=version(pod_age_s=None)))
    assert bad == []
    for record in records[1:]:
        assert isinstance(record, IntervalLine)
        assert record.next_weight is None
        assert record.interval.canary.youngest_pod_age_s == math.inf


def test_whole_numbers_may_be_written_with_a_fraction_of_zero() -> None:
    records, bad = read(header(), interval(stable=version(900.0, latency_counts=[900.0, 0, 0, 0, 0])))  # type: ignore[arg-type]
    assert bad == []
    assert isinstance(records[1], IntervalLine)
    assert records[1].interval.stable.latency_counts.tolist() == [900, 0, 0, 0, 0]


def test_lines_of_white_space_are_no_lines() -> None:
    records, bad = read("", header(), "  ", interval(), "")
    assert (len(records), bad) == (2, [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "{",
            "this is not JSON: Expecting property name enclosed in double quotes at column 2; write one whole object",
        ),
        ("[1]", 'a list is no object; write `{"rollout": …}`'),
        ('{"rollout": "r1", "rollout": "r2"}', "the key `rollout` is there twice; keep one of the two"),
        ({"t": 1}, '`rollout` is missing; add `"rollout": "…"`'),
        (interval() | {"rollout": ""}, "`rollout`: `` is no name; write a string in quotes"),
        (interval() | {"rollout": 7}, "`rollout`: `7` is no name; write a string in quotes"),
        (interval() | {"wait": 1}, "there is no field `wait`; did you mean `weight`?"),
        ({k: v for k, v in interval().items() if k != "seconds"}, '`seconds` is missing; add `"seconds": …`'),
        (interval(t="15"), '`t`: the string "15" is no number; write a number, without quotes'),
        (interval(t=True), "`t`: true is no number; write a number"),
        (
            json.dumps(interval()).replace("15.0", "NaN", 1),
            "NaN is no number; write a number, or leave the interval out",
        ),
        (
            json.dumps(interval()).replace("15.0", "-Infinity", 1),
            "-Infinity is no number; write a number, or leave the interval out",
        ),
        (
            json.dumps(interval()).replace("15.0", "1e999", 1),
            "`t` is too large for a number; write a smaller one, or leave the interval out",
        ),
        (interval(t=10**400), "`t` is too large for a number; write a smaller one, or leave the interval out"),
        (interval(seconds=0), "`seconds`: 0 is out of range; write a number of seconds above 0"),
        (interval(weight=101), "`weight`: 101 is out of range; write a number from 0 to 100, in per cent"),
        (interval(weight=-1), "`weight`: -1 is out of range; write a number from 0 to 100, in per cent"),
        (interval(next_weight=0), "`next_weight`: 0 is out of range; write a number above 0 and up to 100"),
        (interval(stable=5), "`stable`: `5` is no object; write `{…}`"),
        (interval(stable=version(pod_age_s=1)), "there is no field `stable.pod_age_s`; did you mean `pods`?"),
        (interval(canary=version(-1)), "`canary.requests`: -1 is negative; write counts of the interval alone"),
        (interval(canary=version(1.5)), "`canary.requests`: 1.5 is no whole number; write counts, not rates"),  # type: ignore[arg-type]
        (interval(canary=version(2**60)), f"`canary.requests`: {2**60} is above 2^53; write counts of the interval"),
        (interval(canary=version(3, 5)), "`canary.errors`: 5 errors of 3 requests; count each error as a request too"),
        (interval(canary=version(pod_age_s=-1)), "`canary.pod_age_s`: -1 is out of range; write a number of seconds"),
        (
            interval(canary=version(latency_counts=[1, 2])),
            "`canary.latency_counts` has 2 entries, and the header's 4 edges make 5 buckets; write 5",
        ),
        (interval(canary=version(latency_counts=[0, 0, -3, 0, 0])), "`canary.latency_counts[2]`: -3 is negative"),
        (interval(canary=version(latency_counts=[0, 0, True, 0, 0])), "`canary.latency_counts[2]`: true is no count"),
        (interval(canary=version(latency_counts=7)), "`canary.latency_counts`: `7` is no list; write `[…]`"),
        (history(errors=[1, 401]), "`history.errors[1]`: 401 errors of 400 requests; count each error as a request"),
        (history(errors=[1]), "`history.errors` has 1 entries, and `history.requests` has 2 pods; write 2"),
        (history(requests=[]), "`history.requests` is empty; leave the line out where there are no pods"),
        (
            history(latency_counts=[[1], [0, 0, 0, 0, 0]]),
            "`history.latency_counts[0]` has 1 entries, and the header's 4 edges make 5 buckets; write 5",
        ),
        (header(), "the rollout `r1` has a header already; give each rollout a name of its own, and one header"),
    ],
)
def test_a_bad_line_is_told_with_its_place_and_mend(line: Line | str, message: str) -> None:
    assert complaint(header(), line).startswith(f"f.jsonl:2: {message}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (header(edges=[5, 5]), "`edges_ms` does not ascend; write the upper edges of the buckets"),
        (header(edges=[0, 5]), "`edges_ms[0]`: 0 is out of range; write a number above 0: +Inf is left out"),
        ({"rollout": "r1", "edges_ms": None}, "`edges_ms`: null is no list; write `[5, 10, 25]`, or `[]`"),
        ({"rollout": "r1", "policy": {}}, '`edges_ms` is missing; add `"edges_ms": …`'),
        (header(edges=list(range(1, 400))), "`edges_ms` has 399 edges; merge buckets: at most 255 are judged"),
        ({"rollout": "r1", "edges_ms": [], "policy": 5}, "`policy`: `5` is no object; write `{…}`"),
        (
            header(falseRollback="50%"),
            "policy.falseRollback: `50%` is out of range; write more than 0% and at most 20%",
        ),
        (header(bake=10), "policy.bake: `10` has no unit; write `10s` (or `10m`, `10ms`)"),
        (header(errors={"tolerence": "1%"}), "policy.errors.tolerence: there is no field `tolerence` under"),
        (header(spec={}), "policy.spec: there is no field `spec` under `spec.judge`; "),
    ],
)
def test_a_bad_header_is_told_with_its_mend(line: Line, message: str) -> None:
    assert complaint(line).startswith(f"f.jsonl:1: {message}")


def test_every_problem_of_a_policy_is_told() -> None:
    bad = complaint(header(bake=10, harmBudget="0%"))
    assert "policy.bake: `10` has no unit; write `10s`" in bad
    assert "policy.harmBudget: `0%` is out of range; write more than 0%" in bad


def test_what_follows_a_bad_header_is_not_blamed_on_it() -> None:
    _, bad = read(header(edges=[5, 5]), interval(), interval(t=30.0, weight=200))
    assert len(bad) == 2
    assert bad[1].startswith("f.jsonl:3: `weight`: 200 is out of range")


def test_an_interval_before_its_header_is_refused() -> None:
    bad = complaint(interval("r9"))
    assert bad == (
        "f.jsonl:1: there is no header of the rollout `r9` before this line; "
        'write its header first: {"rollout": "r9", "edges_ms": […]}'
    )


def test_time_ascends_within_a_rollout_and_not_across_rollouts() -> None:
    _, bad = read(header("a"), header("b"), interval("a", t=30), interval("b", t=15), interval("a", t=30))
    assert bad == ["f.jsonl:5: `t`: 30 is not after 30, the rollout's line before; write lines in time order"]


def test_history_comes_before_the_first_interval() -> None:
    assert complaint(header(), interval(), history(t=30)).startswith(
        "f.jsonl:3: history after the rollout's first interval; write all history before it"
    )
    assert complaint(header(), history(t=20), interval(t=15)).startswith("f.jsonl:3: `t`: 15 is not after 20")


def test_all_bad_lines_are_counted_and_the_first_ones_told() -> None:
    reader = CountsReader("f.jsonl")
    lines = [header(), *(interval(t=-k) for k in range(100))]
    assert len(list(reader.read(io.BytesIO(text(lines))))) == 2
    assert (len(reader.bad), reader.bad_count) == (MAX_REPORTED, 99)


def test_bytes_that_are_no_text_are_told() -> None:
    reader = CountsReader("f.jsonl")
    assert list(reader.read(io.BytesIO(b'{"rollout": "\xff"}\n'))) == []
    assert str(reader.bad[0]) == "f.jsonl:1: byte 14 is not UTF-8; save the file as UTF-8"


def test_a_torn_last_line_is_told() -> None:
    torn = text([header(), interval()])[:-20]
    reader = CountsReader("f.jsonl")
    list(reader.read(io.BytesIO(torn)))
    assert str(reader.bad[0]).startswith("f.jsonl:2: this is not JSON: ")


def test_a_line_that_never_ends_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.replay.counts.MAX_LINE_BYTES", 1000)
    reader = CountsReader("f.jsonl")
    records = list(reader.read(io.BytesIO(b"x" * 5000 + b"\n" + text([header()]))))
    assert [str(bad).partition(";")[0] for bad in reader.bad] == ["f.jsonl:1: the line is longer than 16 MiB"]
    assert len(records) == 1


@pytest.mark.parametrize("name", ["f.jsonl", "f.jsonl.gz"])
def test_files_may_be_compressed(tmp_path: Path, name: str) -> None:
    raw = text([header(), interval()])
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    reader = CountsReader(name)
    with open_counts(str(tmp_path / name)) as stream:
        assert len(list(reader.read(stream))) == 2
    assert reader.bad == []


@pytest.mark.parametrize("keep", [40, -9])
def test_a_damaged_compressed_file_is_told(tmp_path: Path, keep: int) -> None:
    (tmp_path / "f.gz").write_bytes(gzip.compress(text([header(), interval()]))[:keep])
    reader = CountsReader("f.gz")
    with open_counts(str(tmp_path / "f.gz")) as stream:
        list(reader.read(stream))
    assert "the compressed file is damaged" in str(reader.bad[0])


def test_a_plain_file_called_gz_is_told(tmp_path: Path) -> None:
    (tmp_path / "f.gz").write_bytes(text([header()]))
    reader = CountsReader("f.gz")
    with open_counts(str(tmp_path / "f.gz")) as stream:
        list(reader.read(stream))
    assert str(reader.bad[0]).startswith("f.gz:1: the compressed file is damaged: Not a gzipped file")


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(text([header()]))

    monkeypatch.setattr("sys.stdin", Stdin)
    with open_counts("-") as stream:
        records: list[Any] = list(CountsReader("-").read(stream))
    assert records[0].edges_ms == tuple(map(float, EDGES))
