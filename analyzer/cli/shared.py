"""Options that several commands have."""

from typing import Annotated

import typer

SerinNamespace = Annotated[
    str,
    typer.Option("--serin-namespace", help="Where Serin runs: CanaryDefaults there are the cluster's.", metavar="NAME"),
]
