"""`serin init`: a first policy, from manifests or from a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from analyzer.cli.shared import SerinNamespace
from analyzer.policy.defaults import HOME

if TYPE_CHECKING:
    from analyzer.policy.bundle import Bundle

EXIT_NOTHING: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 4


def init(
    name: Annotated[
        str | None, typer.Argument(help="The VirtualService; needed where there are several.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        list[Path] | None,
        typer.Option("-f", "--file", help="Manifests: files, folders. May be repeated.", metavar="PATH"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write it there; never over a file.", metavar="FILE")
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Without -f: where the VirtualService is.", metavar="NAME")
    ] = "default",
    kubeconfig: Annotated[
        str | None,
        typer.Option(help="~/.kube/config by default.", metavar="FILE", envvar=["SERIN_KUBECONFIG", "KUBECONFIG"]),
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="The kubeconfig's current one by default.", metavar="NAME")
    ] = None,
    home: SerinNamespace = HOME,
) -> None:
    """Write a first policy for a VirtualService of the manifests (-f), or of a cluster.

    It has a comment on each line, only observes, and passes `serin lint`. Exit code 1: none can be written, and why; 4: the
    cluster cannot be read.
    """
    from analyzer.errors import SerinError
    from analyzer.policy.bundle import read_bundle
    from analyzer.policy.draft import draft_policy
    from analyzer.policy.findings import format_findings

    if output is not None and output.exists():
        typer.echo(f"serin init: {output} is there already: write elsewhere, or move it away", err=True)
        raise typer.Exit(EXIT_USAGE)
    if file:
        bundle = read_bundle(file)
    else:
        try:
            bundle = _from_cluster(kubeconfig, context, namespace, home)
        except SerinError as error:
            typer.echo(f"serin init: {error}", err=True)
            raise typer.Exit(EXIT_UNREACHABLE) from None
    if bundle.findings:
        typer.echo(format_findings(bundle.findings), nl=False, err=True)
        raise typer.Exit(EXIT_NOTHING)
    drafted = draft_policy(bundle, name=name, home=home)
    if not isinstance(drafted, str):
        looked = f"for VirtualService {name}" if name else "here"
        typer.echo(f"serin init: no policy can be written {looked}:", err=True)
        for refusal in drafted:
            typer.echo(f"  {refusal}", err=True)
        raise typer.Exit(EXIT_NOTHING)
    if output is None:
        typer.echo(drafted, nl=False)
    else:
        output.write_text(drafted)


def _from_cluster(kubeconfig: str | None, context: str | None, namespace: str, home: str) -> "Bundle":
    from analyzer.cli.live import lister
    from analyzer.policy.bundle import Bundle
    from analyzer.policy.load import from_cluster
    from analyzer.policy.model import DEFAULTS_KIND, KIND

    items = [from_cluster(obj) for obj in lister(kubeconfig, context, command="init", home=home)([namespace])]
    ours = {KIND, DEFAULTS_KIND}
    return Bundle(
        policies=[item for item in items if item.value.get("kind") == KIND],
        defaults=[item for item in items if item.value.get("kind") == DEFAULTS_KIND],
        objects=[item for item in items if item.value.get("kind") not in ours],
    )
