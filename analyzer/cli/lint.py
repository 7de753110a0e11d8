"""`serin lint`: policies and what they point to, checked before anybody applies them."""

from pathlib import Path
from typing import Annotated, Final

import typer

EXIT_FINDINGS: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 4


def lint(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Files or folders; `-` reads standard input.", show_default=False),
    ],
    *,
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
) -> None:
    """Check policies, and what they point to where it is among the files or, with --cluster, in the cluster.

    Prints `file:line:column CODE message` with a mend. Exit code 0: nothing is wrong (warnings may be); 1: something is; 4:
    the cluster cannot be read.
    """
    import sys

    from analyzer.cli.live import lister
    from analyzer.errors import SerinError
    from analyzer.policy.findings import format_findings, has_errors
    from analyzer.policy.lint import lint_files

    if context is not None and not cluster:
        typer.echo("serin lint: --context goes with --cluster", err=True)
        raise typer.Exit(EXIT_USAGE)
    stdin = sys.stdin.read() if Path("-") in files else None
    try:
        findings = lint_files(
            files,
            stdin=stdin,
            namespace=namespace,
            list_objects=lister(kubeconfig, context) if cluster else None,
        )
    except SerinError as error:
        typer.echo(f"serin lint: {error}", err=True)
        raise typer.Exit(EXIT_UNREACHABLE) from None
    typer.echo(format_findings(findings), nl=False)
    if has_errors(findings):
        raise typer.Exit(EXIT_FINDINGS)
