"""Every error a user can meet, in one tree.

A `DroidError` is safe to show: `message` names the value and the limit, `hint` the fix. Anything else that
escapes is our own mistake and keeps its traceback.

To add one: subclass `DroidError`, give it a `code`, raise it where the value is known, and never catch it to
raise something vaguer.
"""

from __future__ import annotations

from typing import Any, ClassVar


class DroidError(Exception):
    """An error whose cause lies outside the program, worded for the person who can fix it."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def as_dict(self) -> dict[str, Any]:
        """The one shape in which errors travel: events, HTTP answers, `--json`."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "field": self.field}


def error_of(code: str, message: str, *, hint: str = "") -> DroidError:
    """An error that was written down, of its kind; a `RunError` for codes of none, such as `out_of_memory`."""
    kinds = [DroidError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return next((kind for kind in kinds if kind.code == code), RunError)(message, hint=hint)


class ConfigError(DroidError):
    """A setting that is unknown, of the wrong type, out of range, or at odds with another one."""

    code = "config"


class DataError(DroidError):
    """Training data that cannot be used; the message names file, line and reason."""

    code = "data"


class ModelError(DroidError):
    """A model that is missing, damaged, unsupported, or asks for code to be run."""

    code = "model"


class PromptTooLong(ModelError):
    """A prompt that leaves no room for an answer in the model's context."""

    code = "context_length_exceeded"


class TargetError(ModelError):
    """A LoRA target that matches nothing that can be adapted."""

    code = "target"


class AdapterError(DroidError):
    """An adapter that is missing, damaged, or made for another model."""

    code = "adapter"


class NotFound(DroidError):
    """A run, model or adapter of that name does not exist here."""

    code = "not_found"


class ForbiddenPath(DroidError):
    """A path from a client that lies outside the folders which the server may read."""

    code = "forbidden_path"


class RunError(DroidError):
    """A run that cannot do what was asked in its present state."""

    code = "run"


class ExperimentError(DroidError):
    """An experiment that cannot do what was asked in its present state."""

    code = "experiment"


class CheckpointError(DroidError):
    """A checkpoint that is missing a file, fails its hash, or does not fit the run."""

    code = "checkpoint"


class RewardError(DroidError):
    """A reward that failed, or gave something other than a finite number for each completion."""

    code = "reward"


class NonFiniteError(DroidError):
    """A loss, gradient or weight became NaN or infinite; raised before the update is applied."""

    code = "non_finite"


class DamagedFile(DroidError):
    """A file that the program keeps is missing, cut, edited or not readable; the message names it."""

    code = "damaged"


class StorageError(DroidError):
    """The disk is full, read-only or failing."""

    code = "storage"


class DownloadError(DroidError):
    """A download from a model hub failed or was not allowed."""

    code = "download"


class UploadError(DroidError):
    """An upload to a model hub failed or was not allowed."""

    code = "upload"


class InternalError(DroidError):
    """A defect of ours, recorded so that the run's log still ends with a reason."""

    code = "internal"
