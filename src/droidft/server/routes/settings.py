"""Training settings and methods: what there is, whether a draft will do, YAML in and out."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from droidft.config import METHODS, Method
from droidft.config import settings as all_settings
from droidft.config.methods import FAMILY_SETTINGS, without_effect
from droidft.events import METRICS
from droidft.server.runs import drafts
from droidft.server.schemas.methods import MethodDefault, Methods, MethodView, MetricView
from droidft.server.schemas.settings import Draft, DraftReport, ParsedSettings, Settings, SettingView, YamlText

router = APIRouter(prefix="/api/settings", tags=["settings"])
methods = APIRouter(prefix="/api/methods", tags=["methods"])


@router.get("", operation_id="getSettings")
async def get_settings() -> Settings:
    """Every setting with default, limits and meaning."""
    return Settings(settings=[SettingView.model_validate(asdict(each)) for each in all_settings.settings()])


# Not `async`: a large file or draft takes a moment, so it is looked at in a thread.
@router.post("/check", operation_id="checkDraft")
def check_draft(draft: Draft) -> DraftReport:
    """Problems and warnings of a draft, and the same draft as a command line and as YAML."""
    return drafts.check(draft.values, rows=draft.rows)


@router.post("/parse", operation_id="parseYaml")
def parse_yaml(file: YamlText) -> ParsedSettings:
    """The settings that a YAML file names."""
    return ParsedSettings(values=drafts.parse(file.text))


@methods.get("", operation_id="getMethods")
async def get_methods() -> Methods:
    """Every method with what it is good for, what it costs, and the defaults that it changes."""
    return Methods(
        methods=[_view(method) for method in Method],
        metrics=[MetricView(name=name, help=text) for name, text in METRICS.items()],
    )


def _view(method: Method) -> MethodView:
    described, order = METHODS[method], [setting.name for setting in all_settings.settings()]
    return MethodView(
        name=method,
        title=described.title,
        paper=described.paper,
        good_for=described.good_for,
        costs=described.costs,
        family=method.family,
        defaults=[
            MethodDefault(name=name, value=described.defaults[name].value, why=described.defaults[name].why)
            for name in order
            if name in described.defaults
        ],
        settings=[name for name in order if name in FAMILY_SETTINGS[method.family]],
        without_effect=[name for name in order if name in without_effect(method)],
    )
