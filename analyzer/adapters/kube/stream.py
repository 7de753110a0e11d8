"""A watch: one line of JSON per change, until the server ends the stream."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

from analyzer.adapters.kube import failures
from analyzer.adapters.kube.api import CONNECT_S, NO_ANSWER, Api, Request
from analyzer.ports import Change, ChangeType, Kind, Object

_BEYOND_S: Final = 30.0
"""The server ends the stream itself; only one that forgot to is cut off, so much later [s]."""

# A peer that is gone without a word (a node that lost power, a firewall that forgot us) is noticed within these [s], and
# costs the API server nothing.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


async def follow(
    api: Api, request: Request, kind: Kind, *, head_s: float, watch_s: float
) -> AsyncGenerator[Change, None]:
    """Yield changes until the server ends the stream.

    Raises
    ------
    WatchExpired
        The version to begin with is gone.
    ClusterUnavailable
        There is no stream, it broke, or what came is none.
    """
    response = await _begin(api, request, head_s=head_s, watch_s=watch_s)
    try:
        if response.status != 200:
            raise await api.error_of(response, request, timeout_s=head_s)
        if response.content_type != "application/json":
            raise failures.explain_garbage(what=request.what, write=False)
        _keep_alive(response)
        async for line in response.content:
            yield _change(line, request, kind)
    except NO_ANSWER as error:
        raise api.no_answer(error, request) from error
    finally:
        response.close()


async def _begin(api: Api, request: Request, *, head_s: float, watch_s: float) -> aiohttp.ClientResponse:
    timeout = aiohttp.ClientTimeout(
        total=watch_s + _BEYOND_S, connect=CONNECT_S, sock_connect=CONNECT_S, sock_read=watch_s + _BEYOND_S
    )
    try:
        async with asyncio.timeout(head_s):
            return await api.open(request, timeout=timeout)
    except TimeoutError as error:
        raise api.no_answer(error, request) from error


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    connection = response.connection
    sock = connection.transport.get_extra_info("socket") if connection and connection.transport else None
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # Linux and macOS differ
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _change(line: bytes, request: Request, kind: Kind) -> Change:
    """Read one line; whatever is no change of an object is an error, and never handed on."""
    try:
        event = json.loads(line)
        if event["type"] == "ERROR":
            raise failures.explain_status(event["object"], what=request.what, write=False)
        change = Change(ChangeType(event["type"]), trimmed(kind, event["object"]))
        change.object["metadata"]["resourceVersion"]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise failures.explain_garbage(what=request.what, write=False) from None
    return change


def trimmed(kind: Kind, obj: Object) -> Object:
    """Give an object of a list the kind that lists leave out, and drop what nobody reads."""
    return without_managed_fields({"apiVersion": kind.api_version, "kind": kind.kind, **obj})


def without_managed_fields(obj: Object) -> Object:
    """Drop `metadata.managedFields`, in place."""
    obj["metadata"].pop("managedFields", None)
    return obj
