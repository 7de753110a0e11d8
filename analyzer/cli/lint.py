"""`serin lint`: policies and what they point to, checked before anybody applies them."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from analyzer.cli.pipe import until_closed

if TYPE_CHECKING:
    from analyzer.policy.findings import Finding

EXIT_FINDINGS: Final = 1


class Format(StrEnum):
    """How findings are written."""

    TEXT = "text"
    GITHUB = "github"
    SARIF = "sarif"
    JSON = "json"


def lint(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files or folders; `-` reads standard input.", show_default=False),
    ],
    *,
    output: Annotated[
        Format, typer.Option("--format", help="For people, GitHub's annotations, code scanning, or programs.")
    ] = Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
) -> None:
    """Check policies, and what they point to where it is among the files.

    Prints `file:line:column CODE message` with a mend. Exit code 0: nothing is wrong (warnings may be); 1: something is.
    """
    raise typer.Exit(until_closed(lambda: _lint(files, output=output, strict=strict)))


def _lint(files: Sequence[Path], *, output: Format, strict: bool) -> int:
    import sys

    from analyzer.policy.findings import hardened, has_errors
    from analyzer.policy.lint import lint_files

    stdin = sys.stdin.buffer.read() if Path("-") in files else None
    findings = lint_files(files, stdin=stdin)
    if strict:
        findings = hardened(findings)
    typer.echo(_written(findings, output), nl=False)
    return EXIT_FINDINGS if has_errors(findings) else 0


def _written(findings: "Sequence[Finding]", output: Format) -> str:
    from analyzer.policy.findings import format_findings

    if output is Format.TEXT:
        return format_findings(findings)
    from analyzer import __version__
    from analyzer.policy.formats import github_annotations, json_report, sarif_report

    match output:
        case Format.GITHUB:
            return github_annotations(findings)
        case Format.SARIF:
            return sarif_report(findings, version=__version__)
        case Format.JSON:
            return json_report(findings)
