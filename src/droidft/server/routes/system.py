"""Health, the machine, signing in."""

from __future__ import annotations

from fastapi import APIRouter, Response

from droidft.server.app_state import State
from droidft.server.schemas.system import Health, Launch, Login, SystemReport

router = APIRouter(prefix="/api", tags=["system"])


@router.get("/health", operation_id="getHealth")
async def health(state: State) -> Health:
    """Answers at once, whatever else is going on."""
    raise NotImplementedError


@router.get("/system", operation_id="getSystem")
async def system(state: State) -> SystemReport:
    """What `droidft doctor` says, and the folders that may be read."""
    raise NotImplementedError


@router.post("/login", operation_id="login", status_code=204)
async def login(request: Login, state: State) -> Response:
    """Sign this browser in with the token; answers with a cookie."""
    raise NotImplementedError


@router.post("/logout", operation_id="logout", status_code=204)
async def logout(state: State) -> Response:
    """Forget this browser."""
    raise NotImplementedError


@router.post("/launch", operation_id="launch")
async def launch(state: State) -> Launch:
    """A link that signs a browser in, once, within ten minutes."""
    raise NotImplementedError
