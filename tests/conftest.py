"""What all tests share."""

import asyncio

from hypothesis import settings

# How long an example takes says nothing about it: the machine may be busy.
settings.register_profile("serin", deadline=None)
settings.load_profile("serin")


def pytest_configure() -> None:
    # Without this, pytest-asyncio asks for "the current loop" before an asynchronous test, Python < 3.14 makes one for the
    # asking, and nobody closes it: with warnings as errors the session fails when it is collected.
    asyncio.set_event_loop(None)
