"""Options of the commands for people; everything else is imported when one of them runs."""

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from analyzer.cli.people.complete import complete_policy
from analyzer.cli.people.document import ExplainFormat, Format
from analyzer.cli.pipe import until_closed

if TYPE_CHECKING:
    from analyzer.cli.people.screen import Screen

PANEL: Final = "On call"
_INTERRUPTED: Final = 130


class Name(StrEnum):
    """Requests, as commands."""

    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    PROMOTE = "promote"
    ABORT = "abort"


_Policy = Annotated[
    str, typer.Argument(metavar="NAME", help="The policy.", show_default=False, autocompletion=complete_policy)
]
_OnePolicy = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="One policy only.", show_default=False, autocompletion=complete_policy),
]
_Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Where the policy is; the context's by default.", metavar="NAME"),
]
_Context = Annotated[str | None, typer.Option(help="Of the kubeconfig; its current one by default.", metavar="NAME")]
_Kubeconfig = Annotated[
    str | None,
    typer.Option(help="By default $KUBECONFIG, ~/.kube/config, or the pod's service account.", metavar="FILE"),
]
_Why = Annotated[str, typer.Option("--why", help="For the record, in one sentence.", metavar="TEXT")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed in scripts.")]
_Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until Serin has answered.")]
_Timeout = Annotated[str, typer.Option(help="How long to wait.", metavar="DURATION")]
_LeaseNamespace = Annotated[
    str,
    typer.Option(help="Of Serin's Lease, which tells whether it runs.", envvar="SERIN_LEASE_NAMESPACE", hidden=True),
]
_LeaseName = Annotated[str, typer.Option(help="Of Serin's Lease.", envvar="SERIN_LEASE_NAME", hidden=True)]


def _run(command: Callable[["Screen"], int]) -> NoReturn:
    """Run a command; what stops it is one line of what, and one of how to mend it."""
    from analyzer.cli.people.reach import Stopped
    from analyzer.cli.people.screen import Screen

    screen = Screen.of_process()

    def guarded() -> int:
        try:
            return command(screen)
        except Stopped as stopped:
            sys.stdout.flush()
            screen.tell(f"{screen.paint('error', 'bold', 'red')}: {stopped.what}")
            screen.tell(f"mend: {stopped.mend}")
            return stopped.code
        except KeyboardInterrupt:
            return _INTERRUPTED

    raise typer.Exit(until_closed(guarded))


def status(
    name: _OnePolicy = None,
    *,
    namespace: _Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="In all namespaces.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Live; one line a change where there is no terminal.")
    ] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to write it.")] = Format.TABLE,
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
) -> None:
    """Show all rollouts: where each is, and what the evidence says."""
    from analyzer.adapters.clock import SystemClock
    from analyzer.cli.people.reach import Place
    from analyzer.cli.people.status import show_status

    place = Place(kubeconfig, context, namespace, everywhere=everywhere)
    if everywhere and name:
        raise typer.BadParameter("give a name, or -A")
    _run(lambda screen: show_status(place, name, screen=screen, clock=SystemClock(), output=output, watch=watch))


def explain(
    name: _Policy,
    *,
    namespace: _Namespace = None,
    output: Annotated[ExplainFormat, typer.Option("--output", "-o", help="How to write it.")] = ExplainFormat.TEXT,
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
) -> None:
    """Say why a rollout is where it is, why not further, what is missing, and what to run next."""
    from analyzer.adapters.clock import SystemClock
    from analyzer.cli.people.explain import explain_policy
    from analyzer.cli.people.reach import Place

    place = Place(kubeconfig, context, namespace)
    _run(lambda screen: explain_policy(place, name, screen=screen, clock=SystemClock(), output=output.value))


def _ask(
    verb: Name,
    name: str,
    *,
    place: tuple[str | None, str | None, str | None],
    why: str,
    yes: bool,
    wait: bool,
    timeout: str,
    lease: tuple[str, str],
    weights: str | None = None,
    force: bool = False,
) -> NoReturn:
    def command(screen: "Screen") -> int:
        from analyzer.adapters.clock import SystemClock
        from analyzer.cli.people.ask import Wish, ask_serin
        from analyzer.cli.people.reach import Place, Stopped
        from analyzer.core.rollout.requests import DriftAnswer, Verb
        from analyzer.policy.quantities import parse_duration

        try:
            wait_s = parse_duration(timeout)
        except ValueError as error:
            raise Stopped(f"--timeout {timeout}: {error}", "write a duration, 30s, say") from None
        wish = Wish(
            verb=Verb(verb.value),
            name=name,
            why=why,
            yes=yes,
            wait_s=wait_s if wait else None,
            weights=None if weights is None else DriftAnswer(weights),
            force=force,
            lease=lease,
        )
        return ask_serin(Place(*place), wish, screen=screen, clock=SystemClock())

    _run(command)


def _plainly(verb: Name, does: str) -> Callable[..., None]:
    """Make the command of a request that has no options of its own."""

    def command(
        name: _Policy,
        *,
        why: _Why = "",
        yes: _Yes = False,
        wait: _Wait = True,
        timeout: _Timeout = "30s",
        namespace: _Namespace = None,
        context: _Context = None,
        kubeconfig: _Kubeconfig = None,
        lease_namespace: _LeaseNamespace = "serin-system",
        lease_name: _LeaseName = "serin",
    ) -> None:
        _ask(
            verb,
            name,
            place=(kubeconfig, context, namespace),
            why=why,
            yes=yes,
            wait=wait,
            timeout=timeout,
            lease=(lease_namespace, lease_name),
        )

    command.__name__, command.__doc__ = verb.value, does
    return command


pause = _plainly(Name.PAUSE, "Let nothing move forward until `serin resume`; a rollback is still made.")
retry = _plainly(Name.RETRY, "Judge a revision again that was rolled back.")
abort = _plainly(Name.ABORT, "Take the canary out of the traffic.")


def resume(
    name: _Policy,
    *,
    adopt: Annotated[bool, typer.Option("--adopt", help="Go on from weights that somebody else wrote.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Put back the weights that were there before.")] = False,
    why: _Why = "",
    yes: _Yes = False,
    wait: _Wait = True,
    timeout: _Timeout = "30s",
    namespace: _Namespace = None,
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
    lease_namespace: _LeaseNamespace = "serin-system",
    lease_name: _LeaseName = "serin",
) -> None:
    """End a pause, approve the step that waits, or say what becomes of weights that somebody else wrote."""
    if adopt and restore:
        raise typer.BadParameter("give --adopt or --restore, not both")
    _ask(
        Name.RESUME,
        name,
        place=(kubeconfig, context, namespace),
        why=why,
        yes=yes,
        wait=wait,
        timeout=timeout,
        lease=(lease_namespace, lease_name),
        weights="adopt" if adopt else "restore" if restore else None,
    )


def promote(
    name: _Policy,
    *,
    force: Annotated[bool, typer.Option("--force", help="Whatever the evidence and the pods say.")] = False,
    why: _Why = "",
    yes: _Yes = False,
    wait: _Wait = True,
    timeout: _Timeout = "30s",
    namespace: _Namespace = None,
    context: _Context = None,
    kubeconfig: _Kubeconfig = None,
    lease_namespace: _LeaseNamespace = "serin-system",
    lease_name: _LeaseName = "serin",
) -> None:
    """Give everybody the canary, proven or not."""
    _ask(
        Name.PROMOTE,
        name,
        place=(kubeconfig, context, namespace),
        why=why,
        yes=yes,
        wait=wait,
        timeout=timeout,
        lease=(lease_namespace, lease_name),
        force=force,
    )


def add_commands(app: typer.Typer, *, panel: str | None = None) -> None:
    """Give an application the commands for people."""
    for command, short in (
        (status, "All rollouts; -w live."),
        (explain, "Why this weight, why not the next, what is missing."),
        (pause, "Keep the weights; rollbacks are still made."),
        (resume, "End a pause, approve a step, answer a drift."),
        (retry, "Judge a revision again that was rolled back."),
        (promote, "Give everybody the canary now."),
        (abort, "Take the canary out of the traffic."),
    ):
        app.command(short_help=short, rich_help_panel=panel)(command)


# --- kubectl canary … -------------------------------------------------------------------------------------------------

plugin = typer.Typer(
    name="kubectl canary",
    help="Rollouts that Serin judges: where they are, why, and what a person wants of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
add_commands(plugin)


@plugin.callback()
def canary() -> None:
    """Rollouts that Serin judges: where they are, why, and what a person wants of them."""


def kubectl_canary() -> None:
    """Run `kubectl canary …`."""
    plugin(prog_name="kubectl canary")


def kubectl_complete_canary() -> None:
    """Complete `kubectl canary …`: kubectl gives the words after it, and takes a line each, then `:4` (no file names)."""
    from contextlib import redirect_stdout, suppress
    from io import StringIO
    from shlex import join

    from typer.completion import completion_init  # type: ignore[attr-defined]

    *before, incomplete = sys.argv[1:] or [""]
    os.environ["_KUBECTL_CANARY_COMPLETE"] = "complete_bash"
    os.environ["COMP_WORDS"] = f"{join(['kubectl-canary', *before])} {incomplete}"
    os.environ["COMP_CWORD"] = str(len(before) + 1)
    said = StringIO()
    completion_init()
    with suppress(Exception, SystemExit), redirect_stdout(said):
        plugin(prog_name="kubectl-canary")
    sys.stdout.write("".join(f"{word}\n" for word in said.getvalue().split()) + ":4\n")
