"""The training methods and their defaults."""

from __future__ import annotations

from fastapi import APIRouter

from droidft.config import METHODS, Method
from droidft.config.methods import FAMILY_SETTINGS, without_effect
from droidft.config.settings import settings
from droidft.events import METRICS
from droidft.server.schemas.methods import MethodDefault, Methods, MethodView, MetricView

router = APIRouter(prefix="/api/methods", tags=["methods"])


@router.get("", operation_id="getMethods")
async def get_methods() -> Methods:
    """Every method with what it is good for, what it costs, and the defaults that it changes."""
    return Methods(
        methods=[_view(method) for method in Method],
        metrics=[MetricView(name=name, help=text) for name, text in METRICS.items()],
    )


def _view(method: Method) -> MethodView:
    described, order = METHODS[method], [setting.name for setting in settings()]
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
