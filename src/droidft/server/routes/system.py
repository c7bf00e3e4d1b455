"""Health, the machine, signing in."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from droidft import __version__
from droidft.server.access import SESSION_SECONDS
from droidft.server.app_state import State
from droidft.server.errors import NoRoute, Unauthorized
from droidft.server.schemas.system import Health, Launch, Login, SystemReport
from droidft.server.security import cookies

router = APIRouter(prefix="/api", tags=["system"])
pages = APIRouter(include_in_schema=False)
unknown = APIRouter(include_in_schema=False)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@router.get("/health", operation_id="getHealth")
async def health(state: State) -> Health:
    """Answers at once, even when the server is busy."""
    return Health(version=__version__)


@router.get("/system", operation_id="getSystem")
async def system(state: State) -> SystemReport:
    """The report of `droidft doctor`, and the folders that may be read."""
    report = await state.inspector.system()
    roots = [str(root) for root in (state.home.root, *state.options.roots)]
    return SystemReport.model_validate({**report, "home": str(state.home.root), "roots": roots})


@router.post("/login", operation_id="login", status_code=204)
async def login(login: Login, request: Request, state: State) -> Response:
    """Sign this browser in with the token; answers with a cookie."""
    cookie = await asyncio.to_thread(state.access.sign_in, login.token)
    return _with_cookie(Response(status_code=204), request, state, cookie)


@router.post("/logout", operation_id="logout", status_code=204)
async def logout(request: Request, state: State) -> Response:
    """Forget this browser."""
    for cookie in cookies(request.headers, state.access.cookie):
        await asyncio.to_thread(state.access.sign_out, cookie)
    gone = Response(status_code=204)
    gone.delete_cookie(state.access.cookie, httponly=True, samesite="strict")
    return gone


@router.post("/launch", operation_id="launch")
async def launch(request: Request, state: State) -> Launch:
    """A link that signs a browser in, once, within ten minutes."""
    return Launch(
        url=state.access.launch_url(f"{request.url.scheme}://{request.url.netloc}{state.options.root_path}")
    )


@pages.get("/proof")
async def prove(state: State, nonce: Annotated[str, Query(min_length=16, max_length=200)]) -> Response:
    """Show whoever knows the token that this server does too, before it is sent here."""
    return Response(state.access.proof(nonce), media_type="text/plain")


@pages.get("/launch")
async def open_link(request: Request, state: State, code: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Where a launch link leads: to the front page, signed in. There a used link is reported as such."""
    try:
        cookie = await asyncio.to_thread(state.access.sign_in, code)
    except Unauthorized:
        known = any(map(state.access.is_session, cookies(request.headers, state.access.cookie)))
        return RedirectResponse("/" if known else "/?launch=expired", status_code=303)
    return _with_cookie(RedirectResponse("/", status_code=303), request, state, cookie)


@unknown.api_route("/api/{path:path}", methods=METHODS)
@unknown.api_route("/v1/{path:path}", methods=METHODS)
async def no_such_route(request: Request, path: str) -> Response:
    """The error, in the one shape, for an address without a route; the front end's pages have others."""
    if _takes(request, request.method, Match.PARTIAL):
        taken = [method for method in METHODS if _takes(request, method, Match.FULL)]
        raise HTTPException(405, headers={"Allow": ", ".join(taken)})
    raise NoRoute(
        f"there is no {request.method} {request.url.path[:200]}", hint="/api/openapi.json lists what there is"
    )


def _takes(request: Request, method: str, how: Match) -> bool:
    """Whether a route proper takes this address: with this method, or (partially) with another."""
    scope = {**request.scope, "method": method}
    routes = (route for route in request.app.routes if getattr(route, "original_router", None) is not unknown)
    return any(route.matches(scope)[0] is how for route in routes)


def _with_cookie(response: Response, request: Request, state: State, cookie: str) -> Response:
    """`response`, which gives the browser its cookie; scripts cannot read it and other sites cannot send it."""
    response.set_cookie(
        state.access.cookie,
        cookie,
        max_age=SESSION_SECONDS,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    response.headers["Cache-Control"] = "no-store"
    return response
