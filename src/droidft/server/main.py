"""The application: routes, errors, front end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from droidft import __version__
from droidft.server.app_state import AppState
from droidft.server.errors import Boundary, add_handlers
from droidft.server.openapi import document
from droidft.server.options import Options
from droidft.server.prefix import Prefix
from droidft.server.routes import (
    adapters,
    data,
    experiments,
    exports,
    inference,
    jobs,
    models,
    openai,
    rewards,
    runs,
    settings,
    sockets,
    system,
)
from droidft.server.schemas.base import ErrorAnswer
from droidft.server.security import Guard

STATIC = Path(__file__).parent / "static"
"""The built front end: part of a wheel; in a checkout `make serve` builds it."""

ROUTERS = (
    system.pages, system.router, runs.router, sockets.router, runs.queue, settings.router, settings.methods,
    rewards.router, inference.router, openai.router, models.router, adapters.router, exports.router, data.router,
    jobs.router, experiments.router, system.unknown,
)  # fmt: skip
"""In the order in which the document shows them; the last takes every other address below `/api` and `/v1`."""


def create_app(options: Options | None = None) -> FastAPI:
    """The application. Nothing is opened or started before its lifespan begins."""
    app = FastAPI(
        title="Droid FineTuning",
        version=__version__,
        lifespan=_lifespan,
        separate_input_output_schemas=False,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses={
            "4XX": {"model": ErrorAnswer, "description": "The request cannot be done; the error says why."},
            "5XX": {"model": ErrorAnswer, "description": "The server or a worker failed; the error says how."},
        },
    )
    state = AppState(options or Options())
    app.state.droidft = state
    add_handlers(app)
    app.add_middleware(Boundary)
    app.add_middleware(Guard, access=state.access, options=state.options)
    if state.options.root_path:
        app.add_middleware(Prefix, root=state.options.root_path)
    for router in ROUTERS:
        app.include_router(router)
    if (STATIC / "index.html").is_file():
        app.frontend("/", directory=STATIC, fallback="index.html")
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: AppState = app.state.droidft
    async with state.running():
        yield
