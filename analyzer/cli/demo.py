"""`serin demo`: the story on the screen."""

import asyncio
import os
from pathlib import Path

from rich.console import Console

from analyzer.app import logs
from analyzer.errors import SerinError
from analyzer.sandbox.demo import Demo
from analyzer.sandbox.release import Release
from analyzer.sandbox.story import STORY, Result, Scene
from analyzer.sandbox.view import PlainView, choose_view, results_table

_EXIT_UNEXPECTED = 1
_EXIT_USAGE = 2
_EXIT_UNREACHABLE = 4


def play_demo(release: str | None, *, plain: bool, log_file: Path | None) -> int:
    """Play the demo, and return the exit code."""
    console = Console(width=None if Console().is_terminal else 160)
    try:
        scenes = STORY if release is None else (Scene("a release of your own", Release.parse(release), None),)
    except SerinError as error:
        console.print(f"serin demo: {error}", highlight=False, markup=False)
        return _EXIT_USAGE
    view = PlainView(console) if plain else choose_view(console)
    with (log_file or Path(os.devnull)).open("a", encoding="utf-8") as stream:
        logs.configure(json=log_file is not None, stream=stream)
        try:
            with view:
                results = asyncio.run(Demo(scenes, view).play())
        except* SerinError as group:
            for error in _leaves(group):
                console.print(f"serin demo: {error}", highlight=False, markup=False)
            return _EXIT_UNREACHABLE
        except* KeyboardInterrupt:
            console.print("stopped")
            return 130
    return _conclude(console, results)


def _leaves(group: BaseExceptionGroup[SerinError]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _conclude(console: Console, results: list[Result]) -> int:
    console.print(results_table(results))
    if all(result.as_expected for result in results):
        console.print("All releases ended as they should.", style="green")
        return 0
    console.print("Not every release ended as it should.", style="bold red")
    return _EXIT_UNEXPECTED
