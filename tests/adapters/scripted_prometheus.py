"""An HTTP server on loopback that answers as a test says."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Asked:
    """One request that arrived."""

    method: str
    path: str  # with its query string
    headers: Mapping[str, str]
    form: Mapping[str, str]
    port: int  # the client's: tells connections apart

    @property
    def query(self) -> str:
        return self.form["query"]


@dataclass(frozen=True)
class Reply:
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def success(result: Any, kind: str = "matrix", **more: Any) -> Reply:
    payload = {"status": "success", "data": {"resultType": kind, "result": result}, **more}
    return Reply(json.dumps(payload).encode())


def html(status: int, **headers: str) -> Reply:
    return Reply(b"<html>upstream connect error</html>", status, {"Content-Type": "text/html", **headers})


EMPTY = success([])
Script = Callable[[Asked], Reply | None]  # None: never answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients hang up here on purpose
            super().handle_error(request, client_address)


class ScriptedPrometheus:
    """Answers by `script`; `asked` has every request so far. A hanging answer ends when the server does."""

    def __init__(self) -> None:
        self.script: Script = lambda _: EMPTY
        self.asked: list[Asked] = []
        self.hanging = threading.Semaphore(0)  # released once by each request that hangs
        self.done = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                asked = Asked(self.command, self.path, dict(self.headers), form, self.client_address[1])
                owner.asked.append(asked)
                reply = owner.script(asked)
                if reply is None:
                    owner.hanging.release()
                    owner.done.wait()
                    self.close_connection = True
                    return
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                with suppress(ConnectionError):  # a client may have read enough
                    self.end_headers()
                    self.wfile.write(reply.body)

            do_GET = do_POST  # noqa: N815 — the base class looks for this name

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the base class names it so
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @contextmanager
    def running(self) -> Iterator["ScriptedPrometheus"]:
        self._thread.start()
        try:
            yield self
        finally:
            self.done.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
