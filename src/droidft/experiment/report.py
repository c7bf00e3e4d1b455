"""Thin path."""

from droidft.experiment.results import Analysis


def render(analysis: Analysis, form: str) -> str:
    """JSON for now."""
    return analysis.model_dump_json(indent=1)
