"""`TrainingConfig`: every setting of a training run, with its limits and help text, once.

The command line, YAML files, JSON, `docs/config.md` and the JSON schema are all made from this class; the
docstring under a field is its help. Unknown names and values out of range are refused by name. Nothing is
corrected silently: a legal setting that does nothing is reported by `TrainingConfig.warnings`.

choices   enumerations            methods    training methods and the defaults each changes
rewards   what completions earn   training   the class itself          parse   from files, flags and requests
measurement   what a trained model is held against                     wording   what is wrong, in words

Standard library and pydantic only.
"""

from __future__ import annotations

from droidft.config.choices import (
    ComputeDtype,
    DataFormat,
    Family,
    FineTuneType,
    LongRows,
    LoraRouters,
    LoraScaling,
    LoraTargets,
    LossType,
    LrSchedule,
    Method,
    Optimizer,
    ScaleRewards,
    SplitBy,
    SystemRole,
    TrainOn,
    Validation,
)
from droidft.config.methods import METHODS, method_defaults
from droidft.config.parse import load_config_file, parse_config, parse_config_text, problems
from droidft.config.rewards import Reward
from droidft.config.training import Contradiction, Name, TrainingConfig
from droidft.config.wording import nearest

__all__ = [
    "METHODS",
    "ComputeDtype",
    "Contradiction",
    "DataFormat",
    "Family",
    "FineTuneType",
    "LongRows",
    "LoraRouters",
    "LoraScaling",
    "LoraTargets",
    "LossType",
    "LrSchedule",
    "Method",
    "Name",
    "Optimizer",
    "Reward",
    "ScaleRewards",
    "SplitBy",
    "SystemRole",
    "TrainOn",
    "TrainingConfig",
    "Validation",
    "load_config_file",
    "method_defaults",
    "nearest",
    "parse_config",
    "parse_config_text",
    "problems",
]
