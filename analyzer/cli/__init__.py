"""The command line. Heavy imports live inside each command: `serin lint` in a pre-commit hook must start at once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from analyzer.cli.grouped import Grouped
from analyzer.cli.init import init
from analyzer.cli.lint import lint
from analyzer.cli.people.commands import add_commands
from analyzer.cli.receivers import receivers as check_receivers
from analyzer.cli.studies import calibrate, plan, replay

POLICIES: Final = "Policies"
RELEASES: Final = "Before and after a release"
DAEMON: Final = "The daemon"

app = typer.Typer(
    name="serin",
    cls=Grouped,
    help="Automated canary analysis for Istio: proves harm or harmlessness and moves the weights.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Draft(StrEnum):
    """Dialects of JSON Schema."""

    DRAFT_07 = "draft-07"
    DRAFT_2020_12 = "2020-12"


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if value:
        from analyzer import __version__

        typer.echo(f"serin {__version__}")
        raise typer.Exit


@app.callback()
def serin(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Automated canary analysis for Istio: proves harm or harmlessness and moves the weights."""


add_commands(app, panel="On call")
app.command(short_help="Write a first policy.", rich_help_panel=POLICIES)(init)
app.command(short_help="Check policies and what they point to.", rich_help_panel=POLICIES)(lint)


@app.command(rich_help_panel=POLICIES)
def schema(
    draft: Annotated[Draft, typer.Option(help="What editors read, or the newest.")] = Draft.DRAFT_07,
    *,
    counts: Annotated[bool, typer.Option("--counts", help="Of the counts that `serin replay` reads, instead.")] = False,
    defaults: Annotated[bool, typer.Option("--defaults", help="Of CanaryDefaults, instead.")] = False,
    receivers: Annotated[bool, typer.Option("--receivers", help="Of the file of receivers, instead.")] = False,
    crd: Annotated[
        bool, typer.Option("--crd", help="The CustomResourceDefinition for the API server, instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of a policy, for editors."""
    import json

    if crd:
        from analyzer.policy.crd.text import crd_text, defaults_crd_text

        typer.echo(defaults_crd_text() if defaults else crd_text(), nl=False)
        return

    from analyzer.policy import schema as schemas

    build = schemas.defaults_schema if defaults else schemas.receivers_schema if receivers else schemas.json_schema
    if counts:
        from analyzer.replay.schema import counts_schema as build
    wanted = build("draft-07") if draft is Draft.DRAFT_07 else build("2020-12")
    typer.echo(json.dumps(wanted, indent=2, ensure_ascii=False))


app.command(short_help="What a policy will do, by simulation.", rich_help_panel=RELEASES)(plan)
app.command(short_help="Recorded telemetry through the same judge.", rich_help_panel=RELEASES)(replay)
app.command(short_help="False rollbacks on your own service's past.", rich_help_panel=RELEASES)(calibrate)


@app.command(short_help="Run it.", rich_help_panel=DAEMON)
def run(
    prometheus: Annotated[
        str, typer.Option(help="Where Prometheus is, without /api/v1.", metavar="URL", envvar="SERIN_PROMETHEUS")
    ],
    *,
    bearer_token_file: Annotated[
        Path | None,
        typer.Option(help="For Prometheus; read at each request.", metavar="FILE", envvar="SERIN_BEARER_TOKEN_FILE"),
    ] = None,
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            help="Where the API server is; the pod's service account by default.",
            metavar="FILE",
            envvar=["SERIN_KUBECONFIG", "KUBECONFIG"],
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(help="Of the kubeconfig, its current one by default.", metavar="NAME", envvar="SERIN_CONTEXT"),
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            help="Look at this namespace alone; may be repeated. All by default, which takes a ClusterRole.",
            metavar="NAME",
            envvar="SERIN_NAMESPACE",
        ),
    ] = None,
    manifests: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run on an in-memory cluster with the objects of these files and folders, and no API server; their "
            "Deployments are taken for ready. May be repeated.",
            metavar="PATH",
        ),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(help="Names this process in Events; the host name by default.", envvar="SERIN_INSTANCE"),
    ] = None,
    listen: Annotated[
        str, typer.Option(help="Address of /healthz, /readyz and /metrics.", metavar="HOST:PORT", envvar="SERIN_LISTEN")
    ] = "127.0.0.1:8080",
    period: Annotated[
        str, typer.Option(help="Time between two reads of telemetry.", metavar="DURATION", envvar="SERIN_PERIOD")
    ] = "5s",
    checkpoint: Annotated[
        str,
        typer.Option(
            help="How often evidence goes into a policy's status.", metavar="DURATION", envvar="SERIN_CHECKPOINT"
        ),
    ] = "30s",
    reporter: Annotated[
        str, typer.Option(help="Whose metrics to read: source or waypoint.", envvar="SERIN_REPORTER")
    ] = "source",
    webhook: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="A receiver of alerts; may be repeated.", envvar="SERIN_WEBHOOK"),
    ] = None,
    receivers: Annotated[
        Path | None,
        typer.Option(
            help="File of receivers of alerts; read anew when it changes.",
            envvar="SERIN_RECEIVERS",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide and report, write nothing.", envvar="SERIN_DRY_RUN")
    ] = False,
    leader_elect: Annotated[
        bool,
        typer.Option(
            "--leader-elect/--no-leader-elect",
            help="Write only while holding a Lease, so that several can run. Without it, two of them fight.",
            envvar="SERIN_LEADER_ELECT",
        ),
    ] = True,
    lease_name: Annotated[
        str, typer.Option(help="The Lease, the same for all replicas.", metavar="NAME", envvar="SERIN_LEASE_NAME")
    ] = "serin",
    lease_namespace: Annotated[
        str | None,
        typer.Option(
            help="Where the Lease is, and the CanaryDefaults of the whole cluster; the pod's own namespace by default, or "
            "serin-system.",
            metavar="NAME",
            envvar="SERIN_LEASE_NAMESPACE",
        ),
    ] = None,
    lease_duration: Annotated[
        str,
        typer.Option(
            help="A dead leader is replaced after this; whole seconds, 3s or more.",
            metavar="DURATION",
            envvar="SERIN_LEASE_DURATION",
        ),
    ] = "15s",
    log_format: Annotated[str, typer.Option(help="auto, json or text.", envvar="SERIN_LOG_FORMAT")] = "auto",
    decision_log: Annotated[
        str | None,
        typer.Option(
            help="Where each decision goes, with all it depends on, a JSON object a line: FILE, or `-` for standard output. "
            "`serin replay --decisions` decides it again.",
            metavar="FILE",
            envvar="SERIN_DECISION_LOG",
        ),
    ] = None,
    decision_log_size: Annotated[
        str,
        typer.Option(
            help="Of the file; a full one becomes FILE.1, and so on to FILE.3.",
            metavar="SIZE",
            envvar="SERIN_DECISION_LOG_SIZE",
        ),
    ] = "64Mi",
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.", envvar="SERIN_LOG_LEVEL")] = "INFO",
) -> None:
    """Run the daemon until SIGTERM or SIGINT, then finish what is under way and exit with 0.

    It starts without the API server or Prometheus, says what is missing, and waits. HTTPS_PROXY and NO_PROXY are heeded on
    the way to the API server; NO_PROXY must name its host exactly, for ranges of addresses are not understood.
    """
    from analyzer.cli.daemon import RunOptions, run_daemon

    raise typer.Exit(
        run_daemon(
            RunOptions(
                prometheus=prometheus,
                bearer_token_file=bearer_token_file,
                kubeconfig=kubeconfig,
                context=context,
                namespaces=tuple(namespace or ()),
                manifests=tuple(manifests or ()),
                instance=instance,
                listen=listen,
                period=period,
                checkpoint=checkpoint,
                reporter=reporter,
                webhooks=tuple(webhook or ()),
                receivers=receivers,
                dry_run=dry_run,
                log_format=log_format,
                log_level=log_level,
                decision_log=decision_log,
                decision_log_size=decision_log_size,
                leader_elect=leader_elect,
                lease_name=lease_name,
                lease_namespace=lease_namespace,
                lease_duration=lease_duration,
            )
        )
    )


app.command(name="receivers", short_help="Check receivers of alerts.", rich_help_panel=DAEMON)(check_receivers)


@app.command(short_help="Play three releases on real traffic.", rich_help_panel=DAEMON)
def demo(
    release: Annotated[
        str | None,
        typer.Option(help="A release of your own instead of the three: errors=0.02,latency=1.5", show_default=False),
    ] = None,
    *,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the live picture.")] = False,
    log_file: Annotated[
        Path | None, typer.Option(help="Where the daemon's log goes; nowhere by default.", show_default=False)
    ] = None,
) -> None:
    """Play three releases on real traffic through a real Envoy: a good one, one with errors, a slow one.

    Exit code 0: each ended as it should.
    """
    from analyzer.cli.demo import play_demo

    raise typer.Exit(play_demo(release, plain=plain, log_file=log_file))


def main() -> None:
    """Run the command line."""
    app()
