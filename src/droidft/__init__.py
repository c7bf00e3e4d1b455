"""Droid FineTuning: local-first LoRA fine-tuning of language models with MLX.

The names below come from `droidft.api`, which is imported when the first of them is asked for: `import droidft` and
`droidft --help` cost nothing. Their types stand in `__init__.pyi`.
"""

import sys as _sys

_by_name = _sys.argv[:1] == ["-m"] and any(word.startswith(("droidft", "-mdroidft")) for word in _sys.orig_argv)
if _by_name and not _sys.flags.safe_path:
    # `python -m droidft` puts the working directory first on the path, and a `json.py` among the user's data would be
    # run. Nothing else has been imported yet; `support/processes.py` does the same for the processes that we start.
    del _sys.path[0]

__version__ = "0.1.0"
__all__ = [
    "DroidError",
    "Experiment",
    "Exported",
    "Model",
    "RowLosses",
    "Run",
    "Sampling",
    "TrainingConfig",
    "__version__",
    "experiment",
    "export",
    "load",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'droidft' has no attribute {name!r}")
    # Not an import statement: the layers below would seem to import what stands above them.
    from importlib import import_module

    return getattr(import_module("droidft.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
