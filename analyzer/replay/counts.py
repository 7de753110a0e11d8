"""The counts format: recorded intervals of many rollouts as JSON lines.

Each line is one object; lines of several rollouts may be interleaved. Per rollout, in this order:

1. One header, before everything else of the rollout::

       {"rollout": "r1", "edges_ms": [5, 10, 25], "policy": {"falseRollback": "1%"}}

   `edges_ms`: the histogram's finite edges, ascending; empty without a histogram. `policy` (optional): overrides of
   `spec.judge`, written as in a policy.

2. History (optional): the stable version alone, per pod, before the rollout::

       {"rollout": "r1", "t": -3600.0, "seconds": 15.0,
        "history": {"requests": [620, 655], "errors": [0, 1], "latency_counts": [[..], [..]]}}

   A pod keeps its place in the lists; pods that come later are added at the end.

3. Its intervals::

       {"rollout": "r1", "t": 15.0, "seconds": 15.0, "weight": 10, "next_weight": 25,
        "stable": {"pods": 20, "requests": 13500, "errors": 13, "latency_counts": [..]},
        "canary": {"pods": 2, "pod_age_s": 15.0, "requests": 1500, "errors": 2, "latency_counts": [..]}}

   `t` is the interval's end [s] on any clock, ascending within a rollout, history included; `seconds` its length;
   `weight` the canary's share by the route [per cent]; `next_weight` what proof would allow (null, or left out: nothing
   is to be proven); `pod_age_s` the age of the youngest canary pod at the interval's end (null, or left out: not known
   to be young). `latency_counts` are per bucket, not cumulative, one more than there are edges; they need not add up to
   `requests`. Counts are of the interval alone. An interval that is not there is a gap.

A whole number may be written with a fraction of zero (`12.0`), as JSON Schema has it; lines of white space are no
lines. All else that is not as above is a bad line: `file:line: message; mend`. The JSON Schema is
`policies/schema/counts.schema.json`.
"""

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from analyzer.policy.quantities import show
from analyzer.replay.fields import Fault, Obj, check_keys, parse_object, read_object, read_text
from analyzer.replay.lines import (
    HEADER,
    Header,
    Known,
    Record,
    parse_edges,
    parse_history,
    parse_interval,
)
from analyzer.replay.overrides import Overrides

MAX_LINE_BYTES: Final = 16 << 20
MAX_REPORTED: Final = 20


class BadLine(NamedTuple):
    """A line that does not follow the format."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(slots=True)
class CountsReader:
    """Reads lines into records.

    Attributes
    ----------
    file
        As the user named it.
    bad
        The first `MAX_REPORTED` bad lines.
    bad_count
        How many there are.
    """

    file: str
    bad: list[BadLine] = field(default_factory=list)
    bad_count: int = 0
    _known: dict[str, Known] = field(default_factory=dict)
    _overrides: Overrides = field(default_factory=Overrides)

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        """Read a stream to its end; bad lines are noted, and give no record."""
        number = 0
        try:
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES:
                    self._note(number, Fault("the line is longer than 16 MiB", "write one interval a line"))
                    _skip_line(stream, raw)
                elif not raw.isspace():
                    try:
                        yield self._record(parse_object(raw))
                    except Fault as fault:
                        self._note(number, fault)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self._note(number + 1, Fault(f"the compressed file is damaged: {error}", "copy it again"))

    def _note(self, number: int, fault: Fault) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_REPORTED:
            self.bad.append(BadLine(self.file, number, str(fault)))

    def _record(self, obj: Obj) -> Record:
        if "rollout" not in obj:
            raise Fault("`rollout` is missing", 'add `"rollout": "…"`: it names the rollout that the line belongs to')
        rollout = read_text(obj, "rollout")
        if "edges_ms" in obj or "policy" in obj:
            return self._header(rollout, obj)
        known = self._known.get(rollout)
        if known is None:
            mend = f'write its header first: {{"rollout": "{rollout}", "edges_ms": […]}}'
            raise Fault(f"there is no header of the rollout {show(rollout)} before this line", mend)
        return parse_history(rollout, obj, known) if "history" in obj else parse_interval(rollout, obj, known)

    def _header(self, rollout: str, obj: Obj) -> Header:
        if rollout in self._known:
            mend = "give each rollout a name of its own, and one header"
            raise Fault(f"the rollout {show(rollout)} has a header already", mend)
        known = self._known[rollout] = Known(None)
        check_keys(obj, HEADER)
        edges_ms = parse_edges(obj["edges_ms"])
        policy = self._overrides.policy(read_object(obj, "policy") if "policy" in obj else {})
        known.edges_ms = edges_ms
        return Header(rollout, edges_ms, policy)


def _skip_line(stream: BinaryIO, raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(MAX_LINE_BYTES)


# --- files ------------------------------------------------------------------------------------------------------------


@contextmanager
def open_counts(name: str) -> Iterator[BinaryIO]:
    """Open a file, gzipped if it is called `.gz`, or standard input for `-`.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    if name == "-":
        yield sys.stdin.buffer
    elif name.endswith(".gz"):
        with gzip.open(name, "rb") as stream:
            yield cast("BinaryIO", stream)
    else:
        with Path(name).open("rb") as stream:
            yield stream
