"""Training settings: what they are, whether a draft will do, YAML in and out."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from droidft.config import settings as all_settings
from droidft.server.runs import drafts
from droidft.server.schemas.settings import Draft, DraftReport, ParsedSettings, Settings, SettingView, YamlText

router = APIRouter(prefix="/api/settings", tags=["settings"])


@router.get("", operation_id="getSettings")
async def get_settings() -> Settings:
    """Every setting with default, limits and meaning."""
    return Settings(settings=[SettingView.model_validate(asdict(each)) for each in all_settings.settings()])


# Not `async`: a large file or draft takes a moment, so it is looked at in a thread.
@router.post("/check", operation_id="checkDraft")
def check_draft(draft: Draft) -> DraftReport:
    """What is wrong or doubtful about a draft, and the same draft as a command line and as YAML."""
    return drafts.check(draft.values, steps=draft.steps)


@router.post("/parse", operation_id="parseYaml")
def parse_yaml(file: YamlText) -> ParsedSettings:
    """The settings that a YAML file names."""
    return ParsedSettings(values=drafts.parse(file.text))
