"""The few API calls that the bed itself makes; the product's adapter is what is tested, so it is not used here."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp

from analyzer.errors import SerinError
from analyzer.ports import Object
from tests.cluster.bed.places import ADMIN_TOKEN, API_URL

News = list[Object] | tuple[str, Object]
"""All objects, or one change: `(type, object)`."""

MERGE: Final = "application/merge-patch+json"
_AGAIN_S: Final = 0.25
_WATCH_S: Final = 240
_LONGEST_LINE: Final = 2**22


class KubeError(SerinError):
    """The API server said no."""

    reason = "KubeError"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Kube:
    """An administrator's connection."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "User-Agent": "bed"}

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> Object:
        """Make one request.

        Raises
        ------
        KubeError
            It was refused; with what the server said.
        aiohttp.ClientError, TimeoutError
            There was no answer.
        """
        headers = {**self._headers, "Content-Type": content_type}
        data = None if body is None else json.dumps(body)
        url, timeout = f"{API_URL}{path}", aiohttp.ClientTimeout(total=15)
        async with self._session.request(
            method, url, data=data, headers=headers, params=params, timeout=timeout
        ) as response:
            text = await response.text()
            if response.status >= 400:
                raise KubeError(response.status, f"{method} {path}: {response.status} {text[:500]}")
            answer: Object = json.loads(text)
            return answer

    async def insist(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> bool:
        """Repeat a request until it is answered, as kubelets do; False where the object is gone or another's."""
        while True:
            try:
                await self.call(method, path, body, content_type=content_type)
            except KubeError as error:
                if error.status in {404, 409}:
                    return False
                if error.status < 500 and error.status != 429:
                    raise
            except (aiohttp.ClientError, TimeoutError):
                pass
            else:
                return True
            await asyncio.sleep(_AGAIN_S)

    async def follow(self, path: str) -> AsyncIterator[News]:
        """Give all objects, then each change; all anew where the watch broke."""
        while True:
            try:
                listed = await self.call("GET", path)
                yield listed["items"]
                async for event in self._watch(path, listed["metadata"]["resourceVersion"]):
                    yield event
            except (aiohttp.ClientError, TimeoutError, KubeError):
                await asyncio.sleep(_AGAIN_S)

    async def _watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(_WATCH_S)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_WATCH_S + 10)
        async with self._session.get(
            f"{API_URL}{path}", params=params, headers=self._headers, timeout=timeout, read_bufsize=_LONGEST_LINE
        ) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]
