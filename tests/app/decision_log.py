"""A decision log in memory, and the way to decide it again."""

from dataclasses import dataclass, field

from analyzer.app.decisions import Decisions
from analyzer.errors import DecisionsUnwritable
from analyzer.replay.decisions import DecisionReplay
from tests.app.loop import Loop


@dataclass
class Kept:
    """A sink that keeps its lines, and fails when told to."""

    lines: list[str] = field(default_factory=list)
    broken: bool = False

    def last(self) -> str:
        return self.lines[-1] if self.lines else ""

    def append(self, line: str) -> bool:
        if self.broken:
            raise DecisionsUnwritable("no space left on device")
        self.lines.append(line)
        return False


def logged(loop: Loop) -> Kept:
    """Have a loop log its decisions, each life of it anew."""
    sink = Kept()
    loop.decisions = lambda: Decisions(sink)
    return sink


def again(lines: list[str]) -> DecisionReplay:
    replay = DecisionReplay()
    difference = replay.play(lines)
    assert difference is None, str(difference)
    assert replay.skipped == 0
    return replay
