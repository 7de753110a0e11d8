"""The decision log: what was decided, on what, so that anybody can decide it again.

One JSON object a line. `chain` links the lines, `codec` writes what they hold, `recorder` knows what has to be in the next one.
`analyzer.replay.decisions` reads them.
"""

from analyzer.app.decisions.recorder import Decisions, Recorder, Seen

__all__ = ["Decisions", "Recorder", "Seen"]
