"""`serin lint`: policies and what they point to, checked before anybody applies them."""

from pathlib import Path
from typing import Annotated, Final

import typer

EXIT_FINDINGS: Final = 1


def lint(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files or folders; `-` reads standard input.", show_default=False),
    ],
) -> None:
    """Check policies, and what they point to where it is among the files.

    Prints `file:line:column CODE message` with a mend. Exit code 0: nothing is wrong (warnings may be); 1: something is.
    """
    import sys

    from analyzer.policy.findings import format_findings, has_errors
    from analyzer.policy.lint import lint_files

    stdin = sys.stdin.read() if Path("-") in files else None
    findings = lint_files(files, stdin=stdin)
    typer.echo(format_findings(findings), nl=False)
    if has_errors(findings):
        raise typer.Exit(EXIT_FINDINGS)
