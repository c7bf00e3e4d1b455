"""Experiments: plans, progress, results."""

from __future__ import annotations

from typing import Any

from droidft.experiments.findings.results import Analysis
from droidft.experiments.plan.written import Plan
from droidft.experiments.runs.folder import Obstacle
from droidft.experiments.runs.progress import ExperimentState
from droidft.server.schemas.base import Body, Wire


class PlanRequest(Body):
    """A new experiment."""

    plan: dict[str, Any]
    """A plan, as in a file for `droidft experiment`; docs/experiments.md shows every part."""
    start: bool = False
    """Start it as soon as its plan is fixed."""


class Planning(Wire):
    """Progress of the planning."""

    phase: str
    done: int
    total: int | None


class ExperimentSummary(Wire):
    """An experiment in the list."""

    id: str
    title: str
    state: ExperimentState
    created: float
    model: str
    data: str
    arms: list[str]
    seeds: int
    runs: int
    """All of them; 0 before the plan is fixed."""
    done: int
    run: str | None
    """The run that is next, or under way."""
    seconds_left: float | None
    """By the measured costs of the runs that are left."""
    problem: Obstacle | None
    planning: Planning | None


class Figures(Wire):
    """Plots as SVG, coloured by the page that shows them; empty where there is nothing to draw."""

    differences: str
    """Of the test loss, with their intervals."""
    efficiency: str
    """Test loss over the share of the data."""


class ExperimentDetail(Wire):
    """Everything about one experiment."""

    summary: ExperimentSummary
    request: Plan
    """The plan as it was given."""
    analysis: Analysis | None
    """Results so far; None before the plan is fixed."""
    figures: Figures | None
    """The same in plots."""
