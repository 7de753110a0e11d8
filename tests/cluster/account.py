"""The table that the cluster tests write: what each fault cost, and how often people were called."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

FILE: Final = "cluster.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault or story, and one service in it.

    Attributes
    ----------
    right
        What all being right means.
    seconds
        From the fault, or from the first moment at which it could be known, until all was right [s].
    failed
        Users' requests that failed.
    canary
        Users' requests that the canary answered.
    alerts
        Those that arrived, by reason.
    writes
        Serin's writes in the service's namespace, Leases apart.
    """

    fault: str
    service: str
    right: str
    seconds: float
    failed: int
    canary: int
    alerts: str
    writes: int


@dataclass(slots=True)
class Account:
    """All rows of a session, and what else was measured: notes of a line each, and whole tables in Markdown."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Tell whether there is anything in it."""
        return bool(self.rows or self.notes or self.tables)

    def render(self) -> str:
        """Write it as Markdown."""
        lines = [
            "| fault | service | right means | seconds until right | requests failed | by the canary | alerts | writes |",
            "|---|---|---|---:|---:|---:|---|---:|",
        ]
        lines += [
            f"| {row.fault} | {row.service} | {row.right} | {row.seconds:.1f} | {row.failed:,} | {row.canary:,} "
            f"| {row.alerts or 'none'} | {row.writes} |"
            for row in self.rows
        ]
        parts = ["\n".join(lines)] if self.rows else []
        parts += self.tables
        parts += ["\n".join(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n\n".join(parts) + "\n"

    def pack(self) -> dict[str, Any]:
        """Give it as plain values: it goes from the process that ran tests to the one that reports."""
        return asdict(self)

    def add(self, packed: dict[str, Any]) -> None:
        """Add what another process accounted for."""
        self.rows += [Row(**row) for row in packed["rows"]]
        self.notes += packed["notes"]
        self.tables += packed["tables"]

    def save(self, directory: Path) -> Path:
        """Write the file, and tell where it is."""
        path = directory / FILE
        path.write_text(self.render())
        return path
