"""Pages that need neither server nor network, from `templates/`: everything that is put into one is escaped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What such a page may do: show itself."""


def template(name: str, **filters: Callable[..., Any]) -> Template:
    """The template of this name, with `filters` of its own."""
    environment = Environment(
        loader=PackageLoader("droidft.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)
