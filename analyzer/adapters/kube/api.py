"""One request to the API server: the path, the body, the answer, and every failure as one of our errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import structlog
from aiohttp.http_exceptions import HttpProcessingError

from analyzer.adapters.kube import failures
from analyzer.adapters.kube.library import ApiClient, ApiException, ConfigException
from analyzer.errors import ClusterUnavailable, WriteRefused
from analyzer.ports import Kind, Object

log = structlog.get_logger(__name__)

CONNECT_S: Final = 3.0
AT_ONCE: Final = 8
"""Requests, watches not among them. After a scrape all rollouts write their status: each with a connection of its own, that
would be 100 handshakes, and some 300 kB of memory for each that is kept."""
_PATIENCE_S: Final = 1.0
"""Whoever waited so long for others goes on beside them: requests that hang (in a webhook, say) are not everybody's trouble."""
_WARNINGS_KEPT: Final = 50

NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, ApiException, HttpProcessingError)
"""What is raised instead of an answer; the last by aiohttp for a line without an end. (Answers of all codes are read by us.)"""


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask.

    Attributes
    ----------
    what
        The same for people: `get VirtualService shop/helloworld`.
    body
        Anything that JSON can say; None: no body.
    """

    what: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"

    @property
    def is_write(self) -> bool:
        """Tell whether the answer matters even if it is lost."""
        return self.method != "GET"


def path_of(kind: Kind, namespace: str | None, name: str = "", subresource: str = "") -> str:
    """Build the path of a resource; the core group has one of its own."""
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if namespace is not None:
        parts += ["namespaces", namespace]
    parts += [part for part in (kind.plural, name, subresource) if part]
    return "/" + "/".join(quote(part, safe="") for part in parts)


class Api:
    """The API server, request by request.

    Parameters
    ----------
    client
        One for all, since it holds the connections; closed by who made it.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._warned: set[str] = set()

    async def ask(self, request: Request, *, timeout_s: float) -> Object:
        """Ask, and read the whole answer.

        Raises
        ------
        SerinError
            As `failures` says.
        """
        async with self._slot():
            return await self._ask(request, timeout_s=timeout_s)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._slots.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._slots.release()

    async def _ask(self, request: Request, *, timeout_s: float) -> Object:
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_S, sock_connect=CONNECT_S)
        response = await self.open(request, timeout=timeout)
        try:
            body = await response.read()
        except NO_ANSWER as error:
            raise failures.explain_no_answer(error, what=request.what, write=request.is_write) from error
        finally:
            response.close() if not response.content.at_eof() else response.release()
        if not 200 <= response.status < 300:
            raise failures.explain_answer(
                response.status, response.headers, body, what=request.what, write=request.is_write
            )
        self._warn(response)
        return _parse(body, request)

    async def open(self, request: Request, *, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:  # noqa: ASYNC109  aiohttp's own, of several parts
        """Ask, and return as soon as the head of the answer is there; whoever called closes it.

        Raises
        ------
        ClusterUnavailable, OutcomeUnknown
            There is no answer, or our credentials cannot be read.
        """
        body = _plain(request)
        try:
            response: aiohttp.ClientResponse = await self._client.call_api(
                request.path,
                request.method,
                query_params=list(request.query.items()),
                header_params={"Accept": "application/json", "Content-Type": request.content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
        except NO_ANSWER as error:
            raise failures.explain_no_answer(error, what=request.what, write=request.is_write) from error
        except (ConfigException, OSError) as error:
            raise ClusterUnavailable(f"{request.what}: our credentials cannot be read: {error}") from error
        return response

    def _warn(self, response: aiohttp.ClientResponse) -> None:
        """Log what the API server warns of, once each: a field that the CRD does not know, say, and that it dropped."""
        for text in response.headers.getall("Warning", []):
            if text not in self._warned and len(self._warned) < _WARNINGS_KEPT:
                self._warned.add(text)
                log.warning("the API server warns", warning=text)


def _plain(request: Request) -> Any:  # noqa: ANN401  JSON
    """Copy a body as JSON: what the library cannot write, it would fail on in its own ways."""
    try:
        return json.loads(json.dumps(request.body, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise WriteRefused(f"{request.what}: the object is not JSON: {error}") from error


def _parse(body: bytes, request: Request) -> Object:
    try:
        obj = json.loads(body)
    except ValueError:
        obj = None
    if not isinstance(obj, dict) or "metadata" not in obj:
        raise failures.explain_garbage(what=request.what, write=request.is_write)
    return obj


async def read_error(response: aiohttp.ClientResponse, request: Request, *, timeout_s: float) -> Exception:
    """Read an answer that is no stream, and return what it means."""
    try:
        async with asyncio.timeout(timeout_s):
            body = await response.read()
    except NO_ANSWER as error:
        return failures.explain_no_answer(error, what=request.what, write=request.is_write)
    return failures.explain_answer(response.status, response.headers, body, what=request.what, write=request.is_write)
