"""What lives as long as an `async with`: jobs beside its body, and a directory."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from analyzer.sandbox.child import ChildDied

Job = Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def beside(jobs: Iterable[Job]) -> AsyncIterator[None]:
    """Run jobs beside the body, and cancel them when it ends.

    A job that fails cancels the body, and its error is raised; if several failed, the end of a process is the cause.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job()) for job in jobs]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        causes = [error for error in errors if isinstance(error, ChildDied)] or errors
        if len(causes) > 1:
            raise
        raise causes[0]  # noqa: B904 - the error itself, not a consequence of the group around it


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@contextmanager
def workplace(directory: Path | None) -> Iterator[Path]:
    """Give a directory; a temporary one is kept only where an error makes its logs worth reading."""
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory
        return
    path = Path(tempfile.mkdtemp(prefix="serin-sandbox-"))
    try:
        yield path
    except Exception as error:
        error.add_note(f"The logs of the sandbox's processes are in {path}")
        raise
    except BaseException:
        shutil.rmtree(path)
        raise
    shutil.rmtree(path)
