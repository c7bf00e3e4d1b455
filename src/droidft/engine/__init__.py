"""The training engine: the only code that imports mlx. It knows no run folder, server or terminal."""

from __future__ import annotations

import importlib
import resource

MLX_LM_FILES = 4096
"""mlx-lm sets the hard limit on open files to this when it is imported, and fails where it is lower."""


def _import_despite_few_files() -> None:
    """Import mlx-lm where the system allows fewer open files than it asks for; what it needs is far less."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= MLX_LM_FILES:
        return
    original = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        importlib.import_module("mlx_lm.utils")
    finally:
        resource.setrlimit = original


_import_despite_few_files()
