"""A Prometheus over HTTP that knows one model mesh: as much of the API as Serin asks for."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from analyzer.ports import SeriesBatch, TelemetryQuery
from tests.app.model import ModelMesh

_RANGE = re.compile(r"\[(\d+)ms\]$")


@asynccontextmanager
async def mesh_prometheus(mesh: ModelMesh) -> AsyncIterator[str]:
    """Serve, and give the address."""

    async def query(request: web.Request) -> web.Response:
        form = await request.post()
        data = _answer(mesh, str(form["query"]), form.get("time"))
        return web.json_response({"status": "success", "data": data})

    app = web.Application()
    app.router.add_post("/api/v1/query", query)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _answer(mesh: ModelMesh, text: str, time: Any) -> dict[str, Any]:
    now_s = mesh.clock.now_s()
    if text == "time()":
        return {"resultType": "scalar", "result": [now_s, f"{now_s}"]}
    found = _RANGE.search(text)
    assert found is not None, f"the model does not know {text}"
    window = mesh.window(TelemetryQuery(frozenset(), end_s=float(time), window_s=int(found[1]) / 1000))
    if 'reporter="destination"' in text:
        series: list[dict[str, Any]] = []  # the pods' own proxies are not scraped here
    elif text.startswith("istio_requests_total"):
        series = _series(window.requests)
    elif text.startswith("istio_request_duration_milliseconds_bucket"):
        series = _series(window.durations)
    else:
        series = _series(window.reporters)
    return {"resultType": "matrix", "result": series}


def _series(batch: SeriesBatch) -> list[dict[str, Any]]:
    parts = [slice(int(batch.offsets[row]), int(batch.offsets[row + 1])) for row in range(len(batch.labels))]
    return [
        {
            "metric": dict(labels),
            "values": [[at, f"{value:.0f}"] for at, value in zip(batch.times[part], batch.values[part], strict=True)],
        }
        for labels, part in zip(batch.labels, parts, strict=True)
        if part.stop > part.start
    ]
