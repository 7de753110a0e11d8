"""`serin lint`: policies and what they point to, checked before anybody applies them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from analyzer.cli.pipe import until_closed
from analyzer.cli.shared import SerinNamespace
from analyzer.policy.defaults import HOME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analyzer.policy.findings import Finding

EXIT_FINDINGS: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 4


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
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check them against what is in a cluster now, too; reads only.")
    ] = False,
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            help="With --cluster; ~/.kube/config by default, or the pod's service account.",
            metavar="FILE",
            envvar=["SERIN_KUBECONFIG", "KUBECONFIG"],
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(help="With --cluster; the kubeconfig's current one by default.", metavar="NAME"),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Of objects that name none; default by default.", metavar="NAME"),
    ] = None,
    home: SerinNamespace = HOME,
) -> None:
    """Check policies, and what they point to where it is among the files or, with --cluster, in the cluster.

    Prints `file:line:column CODE message` with a mend. Exit code 0: nothing is wrong (warnings may be); 1: something is; 4:
    the cluster cannot be read.
    """
    import sys

    from analyzer.cli.live import lister
    from analyzer.errors import SerinError
    from analyzer.policy.findings import hardened, has_errors
    from analyzer.policy.lint import lint_files

    if context is not None and not cluster:
        typer.echo("serin lint: --context goes with --cluster", err=True)
        raise typer.Exit(EXIT_USAGE)
    stdin = sys.stdin.buffer.read() if Path("-") in files else None
    try:
        findings = lint_files(
            files,
            stdin=stdin,
            namespace=namespace,
            home=home,
            list_objects=lister(kubeconfig, context, command="lint", home=home) if cluster else None,
        )
    except SerinError as error:
        typer.echo(f"serin lint: {error}", err=True)
        raise typer.Exit(EXIT_UNREACHABLE) from None
    findings = hardened(findings) if strict else findings
    verdict = EXIT_FINDINGS if has_errors(findings) else 0
    raise typer.Exit(until_closed(lambda: _print(findings, output, verdict=verdict)))


def _print(findings: "Sequence[Finding]", output: Format, *, verdict: int) -> int:
    typer.echo(_written(findings, output), nl=False)
    return verdict


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
