"""`serin plan`, `replay` and `calibrate`: what the judge would do, would have done, and does to the harmless."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from analyzer.cli.pipe import until_closed
from analyzer.cli.shared import SerinNamespace
from analyzer.policy.defaults import HOME


class Output(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"


_Out = Annotated[Output, typer.Option("--output", "-o", help="A table, or JSON.")]
_Policy = Annotated[
    list[Path] | None,
    typer.Option(
        "--policy",
        help="A file with one CanaryPolicy. Again: files or folders whose CanaryDefaults count for it.",
        metavar="FILE",
        show_default=False,
    ),
]
_Prometheus = Annotated[
    str | None, typer.Option(help="Read the past out of Prometheus.", metavar="URL", show_default=False)
]


def _end(command: Callable[[], int]) -> NoReturn:
    raise typer.Exit(until_closed(command))


def plan(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="A file with one CanaryPolicy; then files or folders whose CanaryDefaults count for it. `-`: standard input.",
            show_default=False,
        ),
    ],
    rps: Annotated[
        float, typer.Option(help="Requests per second on the routes whose weights move.", show_default=False)
    ],
    error_rate: Annotated[str, typer.Option(help="Of the stable version: 0.1%", metavar="PERCENT")] = "0.1%",
    *,
    latency_p50: Annotated[str | None, typer.Option(help="Of the stable version: 60ms", metavar="DURATION")] = None,
    latency_p99: Annotated[str | None, typer.Option(help="Of the stable version: 250ms", metavar="DURATION")] = None,
    pods: Annotated[int, typer.Option(help="Of the stable version.")] = 10,
    plot: Annotated[Path | None, typer.Option(help="Draw it too, as SVG.", metavar="FILE")] = None,
    home: SerinNamespace = HOME,
    output: _Out = Output.TABLE,
) -> None:
    """Simulate what a policy will do to releases of a service like yours, with the real judge and decision.

    Tells the chance of a false rollback, how fast which regressions are found and how many users they hurt, and how long a
    harmless release takes.
    """
    from analyzer.cli.plan import plan_command

    _end(
        partial(
            plan_command,
            files[0],
            beside=files[1:],
            home=home,
            rps=rps,
            error_rate=error_rate,
            latency_p50=latency_p50,
            latency_p99=latency_p99,
            pods=pods,
            output=output.value,
            plot=plot,
        )
    )


def replay(
    counts: Annotated[
        str | None, typer.Option(help="A file of counts (JSON lines, .gz too); `-` is standard input.", metavar="FILE")
    ] = None,
    prometheus: _Prometheus = None,
    from_time: Annotated[
        str | None, typer.Option("--from", help="Begin: RFC 3339, unix seconds, or a duration ago.", metavar="TIME")
    ] = None,
    to_time: Annotated[str, typer.Option("--to", help="End.", metavar="TIME")] = "0s",
    policy: _Policy = None,
    *,
    decisions: Annotated[
        str | None,
        typer.Option(
            help="What `serin run --decision-log` wrote, to be decided again; `-` is standard input. Exit code 0: all the "
            "same, 1: the first difference is shown, 2: not what Serin wrote.",
            metavar="FILE",
        ),
    ] = None,
    stable: Annotated[str | None, typer.Option(help="The stable Deployment.", metavar="NS/NAME")] = None,
    canary: Annotated[str | None, typer.Option(help="The canary's Deployment.", metavar="NS/NAME")] = None,
    route: Annotated[str | None, typer.Option(help="Only requests on this http route.")] = None,
    weight: Annotated[float | None, typer.Option(help="The canary's weight, where it was constant.")] = None,
    reporter: Annotated[str, typer.Option(help="Whose metrics: source or waypoint.")] = "source",
    stable_pods: Annotated[int | None, typer.Option(help="Where Prometheus does not tell.")] = None,
    canary_pods: Annotated[int | None, typer.Option(help="Where Prometheus does not tell.")] = None,
    canary_since: Annotated[str | None, typer.Option(help="When the canary's pods began.", metavar="TIME")] = None,
    home: SerinNamespace = HOME,
    trace: Annotated[
        bool | None, typer.Option("--trace/--no-trace", help="Show each interval. [default: for a single rollout]")
    ] = None,
    output: _Out = Output.TABLE,
) -> None:
    """Judge recorded telemetry with the same judge and decision: from a file of counts, or out of Prometheus' past.

    Exit code 0: proven; 1: harm; 2: bad input; 3: inconclusive; 4: Prometheus does not answer.
    """
    from analyzer.cli.replay import replay_counts, replay_prometheus

    if sum(given is not None for given in (counts, decisions, prometheus)) != 1:
        raise typer.BadParameter(
            "give --counts FILE, or --decisions FILE, or --prometheus URL with --from and --policy"
        )
    if decisions is not None:
        from analyzer.cli.decisions import replay_decisions

        _end(partial(replay_decisions, decisions))
    if counts is not None:
        _end(partial(replay_counts, counts, output=output.value, trace=trace))
    if from_time is None or not policy or prometheus is None:
        raise typer.BadParameter("--prometheus needs --from TIME and --policy FILE")
    _end(
        partial(
            replay_prometheus,
            prometheus,
            policy=policy[0],
            beside=policy[1:],
            home=home,
            from_time=from_time,
            to_time=to_time,
            stable=stable,
            canary=canary,
            route=route,
            weight=weight,
            stable_pods=stable_pods,
            canary_pods=canary_pods,
            canary_since=canary_since,
            reporter=reporter,
            output=output.value,
            trace=trace,
        )
    )


def calibrate(
    prometheus: Annotated[str, typer.Option(help="Where Prometheus is.", metavar="URL", show_default=False)],
    workload: Annotated[str, typer.Option(help="The Deployment.", metavar="NS/NAME", show_default=False)],
    hours: Annotated[float, typer.Option(help="How much of its past.")] = 24.0,
    policy: _Policy = None,
    *,
    to_time: Annotated[str, typer.Option("--to", help="End of that past.", metavar="TIME")] = "0s",
    rollouts: Annotated[int, typer.Option(help="How many pseudo-rollouts.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed draws the same ones.")] = 1,
    home: SerinNamespace = HOME,
    output: _Out = Output.TABLE,
) -> None:
    """Let your stable pods play the canary, to see how often this policy would have rolled back a harmless release.

    Exit code 0: the policy keeps its promise on this service; 1: it does not, and what would mend it is told; 3: too little
    data; 4: Prometheus does not answer.
    """
    from analyzer.cli.calibrate import calibrate_workload

    _end(
        partial(
            calibrate_workload,
            prometheus,
            workload=workload,
            hours=hours,
            to_time=to_time,
            policy=policy[0] if policy else None,
            beside=policy[1:] if policy else (),
            home=home,
            rollouts=rollouts,
            seed=seed,
            output=output.value,
        )
    )
