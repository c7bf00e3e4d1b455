"""Hatchling's hook: a wheel holds the built front end, so that installing it needs no Node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

import build_frontend


class FrontEnd(BuildHookInterface):
    """Builds the front end before a wheel is made; an editable installation leaves that to `make`."""

    def dependencies(self) -> list[str]:
        """Node from the package registry, where this machine has none."""
        missing = build_frontend.node_environment() is None
        return [build_frontend.NODE_PACKAGE] if missing and not build_frontend.is_fresh() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build if what is there is older than its sources."""
        if version == "editable" or build_frontend.is_fresh():
            return
        environment = build_frontend.node_environment()
        if environment is None:
            raise RuntimeError("Node 20.19 or newer is needed to build the front end")
        build_frontend.install(environment)
        build_frontend.build(environment)
