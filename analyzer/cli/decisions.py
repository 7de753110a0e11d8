"""`serin replay --decisions`: tells whether what was decided is what follows from what was seen."""

import sys
from collections.abc import Iterator
from typing import Final

from analyzer.replay.counts import open_counts
from analyzer.replay.decisions import BadLog, DecisionReplay

_SAME: Final = 0
_OTHERWISE: Final = 1
_UNREADABLE: Final = 2


def replay_decisions(name: str) -> int:
    """Decide a log again (`-`: standard input; `.gz` too), and return the exit code: 1 at the first difference."""
    replay = DecisionReplay()
    try:
        difference = replay.play(_lines(name))
    except OSError as error:
        print(
            f"serin replay: --decisions {name}: {error.strerror or error}; name a decision log, or `-`", file=sys.stderr
        )
        return _UNREADABLE
    except BadLog as error:
        print(f"serin replay: {name}: {error}", file=sys.stderr)
        return _UNREADABLE
    for line in _notes(replay):
        print(f"serin replay: {line}", file=sys.stderr)
    if not any(followed.decisions for followed in replay.policies.values()):
        print(f"serin replay: {name}: no decision in it begins with what was remembered", file=sys.stderr)
        return _UNREADABLE
    width = max(len(key) for key in replay.policies)
    for key, followed in sorted(replay.policies.items()):
        phase = followed.state.phase.value if followed.state is not None else "–"
        print(
            f"{key:<{width}}  {followed.decisions:,} decisions  {followed.intervals:,} intervals  "
            f"{followed.steps:,} weight changes  {phase}"
        )
    print(str(difference) if difference is not None else "All decided as before.")
    return _SAME if difference is None else _OTHERWISE


def _lines(name: str) -> Iterator[str]:
    with open_counts(name) as stream:
        for raw in stream:
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            if text:
                yield text


def _notes(replay: DecisionReplay) -> Iterator[str]:
    if replay.skipped:
        yield f"{replay.skipped:,} lines left out, before the first that says what was remembered"
    for number in replay.beginnings:
        yield f"line {number} begins a chain of its own: a process began to write there"
    for number in replay.cut_off:
        yield f"line {number} was cut off, by a crash it seems"
