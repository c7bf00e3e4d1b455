"""The application: routes, errors, front end."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI

from droidft import __version__
from droidft.server.openapi import document
from droidft.server.routes import adapters, data, inference, jobs, models, queue, runs, settings, system
from droidft.server.schemas.base import ErrorAnswer

ROUTERS = (system, runs, queue, settings, inference, models, adapters, data, jobs)


def create_app() -> FastAPI:
    """The application."""
    app = FastAPI(
        title="Droid FineTuning",
        version=__version__,
        separate_input_output_schemas=False,
        responses={
            "4XX": {"model": ErrorAnswer, "description": "The request cannot be done; the error says why."},
            "5XX": {"model": ErrorAnswer, "description": "The server or a worker failed; the error says how."},
        },
    )
    for module in ROUTERS:
        app.include_router(module.router)
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    return app
