"""Training methods, as a person chooses one."""

from __future__ import annotations

from typing import Any

from droidft.config import Family, Method
from droidft.server.schemas.base import Wire


class MethodDefault(Wire):
    """A default that a method changes."""

    name: str
    """The setting."""
    value: Any
    why: str


class MethodView(Wire):
    """One method."""

    name: Method
    title: str
    paper: str
    """Empty for `sft`."""
    good_for: str
    costs: str
    family: Family
    defaults: list[MethodDefault]
    settings: list[str]
    """Settings that belong to its family and not to every other."""
    without_effect: list[str]
    """Settings that it does not look at."""


class MetricView(Wire):
    """Something that reports measure; NAME in `name` stands for the name of a reward."""

    name: str
    help: str


class Methods(Wire):
    """Every method, in order, and what their reports measure."""

    methods: list[MethodView]
    metrics: list[MetricView]
