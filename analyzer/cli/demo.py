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
_EXIT_INTERRUPTED = 130


def play_demo(release: str | None, *, plain: bool, log_file: Path | None) -> int:
    """Play the demo, and return the exit code."""
    console = Console(width=None if Console().is_terminal else 160)
    try:
        scenes = STORY if release is None else (Scene("a release of your own", Release.parse(release), None),)
    except SerinError as error:
        console.print(f"serin demo: {error}", highlight=False, markup=False)
        return _EXIT_USAGE
    with (log_file or Path(os.devnull)).open("a", encoding="utf-8") as stream:
        logs.configure(json=log_file is not None, stream=stream)
        view = PlainView(console) if plain else choose_view(console)
        try:
            with view:
                results = asyncio.run(Demo(scenes, view).play())
        except KeyboardInterrupt:
            console.print("stopped")
            return _EXIT_INTERRUPTED
        except (SerinError, BaseExceptionGroup) as error:
            expected, bugs = _sorted_out(error)
            for text in expected:
                console.print(f"serin demo: {text}", highlight=False, markup=False)
            if bugs:
                raise
            return _EXIT_UNREACHABLE
    return _conclude(console, results)


def _sorted_out(error: BaseException) -> tuple[list[str], bool]:
    """Return the texts of expected errors, and whether there are any others, which are bugs."""
    if isinstance(error, BaseExceptionGroup):
        parts = [_sorted_out(part) for part in error.exceptions]
        return [text for texts, _ in parts for text in texts], any(bug for _, bug in parts)
    return ([str(error)], False) if isinstance(error, SerinError) else ([], True)


def _conclude(console: Console, results: list[Result]) -> int:
    console.print(results_table(results))
    if all(result.as_expected for result in results):
        own = any(result.scene.expected is None for result in results)
        console.print("The release came to its end." if own else "All releases ended as they should.", style="green")
        return 0
    console.print("Not every release ended as it should.", style="bold red")
    return _EXIT_UNEXPECTED
