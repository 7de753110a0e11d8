"""How tests and people meddle: a small HTTP API on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from analyzer.errors import SerinError
from tests.cluster.bed.components import Components
from tests.cluster.bed.node import NodeAgent
from tests.cluster.bed.places import CONTROL_URL, POD_METRICS_PORT
from tests.cluster.bed.stalls import Stalls

VERBS: Final = ("start", "stop", "restart", "pause", "resume")


@asynccontextmanager
async def serve_control(components: Components, agent: NodeAgent, stalls: Stalls) -> AsyncIterator[None]:
    """Serve what is to do (`POST /components/NAME/VERB`, `/behave`, `/crash`) and to know (`GET /components`, `/stalls`).

    `GET /targets` is for Prometheus.
    """

    async def states(_: web.Request) -> web.Response:
        return web.json_response(components.states())

    async def act(request: web.Request) -> web.Response:
        name, verb = request.match_info["name"], request.match_info["verb"]
        known = components.states()
        if name not in known or verb not in VERBS:
            raise web.HTTPNotFound(text=f"{verb} {name}: take one of {', '.join(VERBS)}, and of {', '.join(known)}")
        if verb in {"pause", "resume"} and known[name] == "stopped":
            raise web.HTTPConflict(text=f"{verb} {name}: it is stopped")
        await getattr(components, verb)(name)
        return web.json_response(components.states())

    async def behave(request: web.Request) -> web.Response:
        body = await request.json()
        try:
            changed = agent.behave(body["namespace"], body["deployment"], body["values"])
        except (SerinError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"behave: {error}") from error
        return web.json_response(changed)

    async def crash(request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response(agent.crash(body["namespace"], body["deployment"]))

    async def targets(_: web.Request) -> web.Response:
        return web.json_response(
            [
                {
                    "targets": [f"{pod.address}:{POD_METRICS_PORT}"],
                    "labels": {"namespace": pod.spec.namespace, "pod": pod.name},
                }
                for pod in agent.pods()
            ]
        )

    async def stood(_: web.Request) -> web.Response:
        return web.json_response(stalls.seen)

    app = web.Application()
    app.router.add_get("/components", states)
    app.router.add_post("/components/{name}/{verb}", act)
    app.router.add_post("/behave", behave)
    app.router.add_post("/crash", crash)
    app.router.add_get("/targets", targets)
    app.router.add_get("/stalls", stood)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        address = urlsplit(CONTROL_URL)
        await web.TCPSite(runner, address.hostname, address.port).start()
        yield
    finally:
        await runner.cleanup()
