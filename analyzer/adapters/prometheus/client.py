"""One blocking query over prometheus-api-client, and guards against the traps of that stack.

The library has no time-out by default, retries behind one's back, drops `warnings`, puts POST parameters into the URL and
returns nothing but `data.result`. So it runs over a session of our own.
"""

import io
import json
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import PreparedRequest, Request, Response, Session, exceptions
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.retry import Retry

from analyzer.adapters.prometheus import failures
from analyzer.errors import MetricsUnavailable

_CHUNK: Final = 1 << 16


class Answer(NamedTuple):
    """What a query returned. Takes the place of `data.result`, since the library returns only that."""

    type: str  # matrix, vector, scalar or string
    result: Any


class _Checked(Response):
    """A response whose body was read and checked."""

    payload: Any = None

    def json(self, **_: Any) -> Any:  # noqa: ANN401 — as requests has it
        return self.payload


class _TokenFile(AuthBase):
    """A bearer token that is read anew for each request, since it rotates."""

    def __init__(self, path: Path, where: str) -> None:
        self._path = path
        self._where = where

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        token = self._path.read_text(errors="replace").strip()
        if not token.isascii() or len(token.split()) != 1:
            raise failures.explain_token(self._path, self._where)
        request.headers["Authorization"] = f"Bearer {token}"
        return request


class _GuardedSession(Session):
    """Sends parameters in the body, follows nothing, reads no more than it should, and passes no doubtful answer on."""

    def __init__(self, where: str, *, deadline_s: float, max_bytes: int) -> None:
        super().__init__()
        self.trust_env = False  # no proxies, netrc or CA bundles from the environment
        self.headers["User-Agent"] = "serin"
        self._where = where
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes

    def prepare_request(self, request: Request) -> PreparedRequest:
        """Move the parameters from the URL, where a thousand names do not fit, into the form."""
        request.data, request.params = request.params, {}
        return super().prepare_request(request)

    def get_redirect_target(self, resp: Response) -> None:
        """Follow nothing: the token is for the address that the operator configured."""

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # noqa: ANN401 — as requests has it
        """Send, read and check."""
        until_s = time.monotonic() + self._deadline_s
        kwargs.update(stream=True, allow_redirects=False)
        try:
            with super().send(request, **kwargs) as response:
                body = self._read(response, until_s)
        except ReadTimeoutError as error:  # what urllib3 raises while we read, requests would have wrapped
            raise exceptions.ReadTimeout(error) from error
        except HTTPError as error:
            raise exceptions.ConnectionError(error) from error
        checked = _Checked()
        checked.__dict__.update(response.__dict__)
        checked.raw = io.BytesIO(body)
        checked.payload = self._check(checked, body)
        return checked

    def _read(self, response: Response, until_s: float) -> bytes:
        """Read the body by what comes: a read time-out alone lets a slow server go on for ever."""
        body = bytearray()
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > self._max_bytes:
                raise failures.explain_size(self._max_bytes, self._where)
            if time.monotonic() > until_s:
                raise exceptions.ReadTimeout("the answer came too slowly")
        return bytes(body)

    def _check(self, response: Response, body: bytes) -> Any:  # noqa: ANN401 — JSON
        if response.status_code != 200:
            raise failures.explain_status(response, self._where)
        try:
            payload = json.loads(body)
        except ValueError:
            raise failures.explain_no_json(response, self._where) from None
        if failure := failures.explain_payload(payload, self._where):
            raise failure
        data = payload["data"]
        data["result"] = Answer(str(data.get("resultType")), data["result"])
        return payload


class Client:
    """Asks one Prometheus, and blocks: for threads.

    Parameters
    ----------
    url
        Where the API is, without `/api/v1`.
    timeout_s
        To connect, and between two bytes [s].
    deadline_s
        For a whole answer [s].
    max_bytes
        No answer may be larger [byte].
    bearer_token_file, ca_file
        Credentials and trust, optional.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: tuple[float, float],
        deadline_s: float,
        max_bytes: int,
        bearer_token_file: Path | None,
        ca_file: Path | None,
    ) -> None:
        self.where = failures.shown_url(url)
        self._session = _GuardedSession(self.where, deadline_s=deadline_s, max_bytes=max_bytes)
        self._session.verify = str(ca_file) if ca_file else True
        self._connect = PrometheusConnect(
            url=url.rstrip("/"),
            session=self._session,
            retry=Retry(total=0),
            timeout=timeout_s,
            auth=_TokenFile(bearer_token_file, self.where) if bearer_token_file else None,
            method="POST",
        )

    def query(self, query: str, *, expected: str, at_s: float | None) -> Any:  # noqa: ANN401 — depends on the query
        """Evaluate a query at a time [unix seconds]; None: Prometheus' own now.

        Raises
        ------
        MetricsUnavailable
            However it failed.
        """
        params = {} if at_s is None else {"time": f"{at_s:.3f}"}
        try:
            answer = self._connect.custom_query(query, params=params)
        except MetricsUnavailable:
            raise
        except exceptions.RequestException as error:
            raise failures.explain_no_answer(error, self.where) from error
        except OSError as error:
            raise failures.explain_file(error, self.where) from error
        except (PrometheusApiClientException, KeyError, TypeError, ValueError) as error:
            raise failures.explain_shape(error, self.where) from error
        if not isinstance(answer, Answer) or answer.type != expected:
            raise failures.explain_type(getattr(answer, "type", "none"), expected, self.where)
        return answer.result

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()
