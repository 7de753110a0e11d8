"""`--help` with the commands in groups, in plain text."""

from typing import Any, Final

from typer.core import TyperGroup

_OTHERS: Final = "Commands"


class Grouped(TyperGroup):
    """A group of commands that are shown by their panel, in the order in which they were added."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002  of typer's own copy of click
        """Write the commands, panel by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        width = max((len(name) for name in self.commands), default=0)
        for name, command in self.commands.items():
            if not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                rows = panels.setdefault(panel if isinstance(panel, str) else _OTHERS, [])
                rows.append((name.ljust(width), command.get_short_help_str(limit=70)))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002  as above
        """Name the commands in the order in which they were added."""
        return list(self.commands)
