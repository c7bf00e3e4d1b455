"""Training settings: what they are, whether a draft will do, YAML in and out."""

from __future__ import annotations

from fastapi import APIRouter

from droidft.server.schemas.settings import Draft, DraftReport, ParsedSettings, Settings, YamlText

router = APIRouter(prefix="/api/settings", tags=["settings"])


@router.get("", operation_id="getSettings")
async def get_settings() -> Settings:
    """Every setting with default, limits and meaning."""
    raise NotImplementedError


@router.post("/check", operation_id="checkDraft")
async def check_draft(draft: Draft) -> DraftReport:
    """What is wrong or doubtful about a draft, and the same draft as a command line and as YAML."""
    raise NotImplementedError


@router.post("/parse", operation_id="parseYaml")
async def parse_yaml(file: YamlText) -> ParsedSettings:
    """The settings that a YAML file names."""
    raise NotImplementedError
