"""A model folder: which of its files are the model, and why it cannot be used if it cannot.

One check for every entrance: `usable` refuses a folder before anything of it is loaded, `models list` shows the same
sentence. Which weight files count is one rule too (`weights_of`), since folders from the hub hold more than one set:

1. `model.safetensors`, as transformers does, unless the index names it as one of several;
2. else the files that `model.safetensors.index.json` names;
3. else the only complete set `model-00001-of-0000N.safetensors`;
4. else all of `model*.safetensors`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from droidft.errors import ModelError
from droidft.models import foreign, headers
from droidft.models.files import Fault, again, fault_of, read_json
from droidft.support import stored
from droidft.support.names import is_whole

INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
"""Any of these, or `*.tiktoken`, is a vocabulary."""
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.json", "generation_config.json")
_SHARD = re.compile(r"model-(\d+)-of-(\d+)\.safetensors")


@dataclass(frozen=True)
class Weights:
    """The weight files of a model folder."""

    files: tuple[Path, ...]
    """Those that are the model, whether they exist or not, sorted."""
    unused: tuple[str, ...] = ()
    """Other weight files beside them."""

    @property
    def absent(self) -> list[str]:
        """Names of the files that are not there."""
        return [file.name for file in self.files if not file.exists() and not file.is_symlink()]


def weights_of(path: Path) -> Weights:
    """The weight files of the model folder `path`, by the rule of this module.

    Raises:
        ModelError: the index is damaged, or two sets of weights are there and no index.
    """
    # Not `glob`: it passes over what it may not read.
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return Weights(())
    here = [name for name in names if name.startswith("model") and name.endswith(".safetensors")]
    indexed = _indexed(path / INDEX) if INDEX in names else []
    if "model.safetensors" in here:
        chosen = indexed if "model.safetensors" in indexed else ["model.safetensors"]
    elif indexed:
        chosen = indexed
    else:
        chosen = _numbered(path, here) or here
    others = [
        name
        for name in names
        if name.endswith(".safetensors") and name not in chosen and not name.startswith(("adapter", "."))
    ]
    return Weights(tuple(path / name for name in chosen), tuple(others))


def weight_files(path: Path) -> list[Path]:
    """The safetensors files that hold the weights of the model at `path`, in order; only those that are there."""
    try:
        return [file for file in weights_of(path).files if file.is_file()]
    except ModelError:  # `usable` reports it
        return []


def _indexed(index: Path) -> list[str]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(_is_beside(name) for name in names.values()):
        raise ModelError(
            f"{index} is damaged: its weight_map does not name a file for each weight",
            hint=again(index.parent, only=INDEX, damaged=True),
        )
    return sorted(set(names.values()))


def _is_beside(name: object) -> bool:
    return (
        isinstance(name, str) and name == os.path.basename(name) and name not in ("", ".", "..") and "\0" not in name
    )


def _numbered(path: Path, names: list[str]) -> list[str]:
    """All files of the set that the shards among `names` belong to; empty without shards."""
    totals = sorted({match[2] for name in names if (match := _SHARD.fullmatch(name))}, key=int)
    if not totals or any(not 0 < int(total) <= 9999 for total in totals):
        return []
    sets = [
        [f"model-{number:0{len(total)}d}-of-{total}.safetensors" for number in range(1, int(total) + 1)]
        for total in totals
    ]
    whole = [each for each in sets if set(each) <= set(names)]
    if len(sets) > 1 and len(whole) != 1:
        raise ModelError(
            f"{path} holds files of {len(sets)} sets of weights ({', '.join(f'of-{total}' for total in totals)}), "
            f"and no {INDEX} to say which is meant",
            hint="move the files of the other set away",
        )
    return (whole or sets)[0]


def fault(path: Path, *, weights: bool = True, tokenizer: bool = True) -> Fault | None:
    """Why the folder `path` cannot be used as a model; None if it can, as far as its files show.

    Nothing is loaded: of weights the headers are read, of a tokenizer the first bytes. What is not asked for may be
    missing.
    """
    if not is_whole(str(path)):
        return Fault("its path is not UTF-8", "rename the folder, or give a link to it")
    if problem := _folder(path):
        return problem
    config = path / "config.json"
    if problem := fault_of(config):
        return problem
    if not config.is_file():
        return foreign.without_config(path)
    try:
        if not isinstance(read_json(config).get("model_type"), str):
            return _typeless(path)
        if weights and (problem := _weights(path)):
            return problem
    except ModelError as error:
        return Fault(error.message, error.hint)
    return tokenizer_fault(path) if tokenizer else None


def usable(path: Path, *, weights: bool = True, tokenizer: bool = True) -> Path:
    """`path`, if it is a folder that can be used as a model.

    Raises:
        ModelError: why it cannot be.
    """
    if problem := fault(path, weights=weights, tokenizer=tokenizer):
        # An error of a file's own names the folder.
        named = problem.problem.startswith(str(path))
        text = problem.problem if named else f"{path} is not a usable model: {problem.problem}"
        raise ModelError(text, hint=problem.fix)
    return path


def _folder(path: Path) -> Fault | None:
    try:
        names = os.listdir(path)
    except NotADirectoryError:
        return _file(path)
    except FileNotFoundError:
        if path.is_symlink():
            fix = f"import the folder from where it lies now, or remove the link: `droidft models delete {path.name}`"
            return Fault(f"it is a link to {os.readlink(path)}, which is not there", fix)
        return Fault("the folder is gone", "give a folder that exists")
    except PermissionError:
        return Fault("the folder may not be read by this user", "allow it: `chmod u+rx`, as its owner")
    except OSError as error:
        return Fault(f"the folder cannot be read: {error.strerror or error}", "check the path and the disk")
    return None if names else Fault("the folder is empty", again(path), absent=True)


def _file(path: Path) -> Fault:
    if path.suffix == ".gguf" or begins_as_gguf(path):
        return Fault("it is a GGUF file", f"import it first: `droidft models import {path}`")
    if path.suffix in (".zip", ".gz", ".tar", ".tgz", ".7z", ".zst"):
        return Fault("it is an archive", "unpack it, and give the folder with config.json")
    return Fault("it is a file, not a folder", f"give the folder with config.json, such as {path.parent}")


def gguf_file(path: Path) -> bool:
    """Whether `path` is a GGUF file, to be converted.

    Raises:
        ModelError: it is called so, and is something else, such as a Git LFS pointer.
    """
    if not path.is_file():
        return False
    if begins_as_gguf(path):
        return True
    if path.suffix == ".gguf" and (problem := fault_of(path)):
        raise ModelError(f"{path}: {problem.problem}", hint=problem.fix)
    return path.suffix == ".gguf"


def begins_as_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do, whatever it is called."""
    with suppress(OSError), stored.opened(path) as stream:
        return stream.read(4) == b"GGUF"
    return False


def _typeless(path: Path) -> Fault:
    for other in (foreign.without_weights(path), None):
        if other is not None and not other.absent and not weights_of(path).files:
            return Fault(f"{path / 'config.json'} names no model_type; {other.problem}", other.fix)
    return Fault(
        f"{path / 'config.json'} names no model_type", "the folder is no language model; get its config.json again"
    )


def _weights(path: Path) -> Fault | None:
    found = weights_of(path)
    if not found.files:
        return foreign.without_weights(path)
    if missing := found.absent:
        of = f"{len(missing)} of {len(found.files)} weight files are missing, such as {missing[0]}"
        return Fault(of, again(path), absent=True)
    return next((problem for file in found.files if (problem := fault_of(file) or _header(file))), None)


def _header(file: Path) -> Fault | None:
    """What is wrong with a weight file by its header; the reference reader checks every length against the file's."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            tensors.keys()
    except (SafetensorError, OSError) as error:
        reason = f"{file.name} is damaged or cut off: {error}"
        return Fault(reason, again(file.parent, only=file.name, damaged=True))
    return None


def tokenizer_fault(path: Path) -> Fault | None:
    """What is wrong with the tokenizer's files, and with what belongs to it, by their first bytes."""
    names = set(os.listdir(path))
    present = [name for name in TOKENIZERS if name in names] or [name for name in names if name.endswith(".tiktoken")]
    if not present:
        fix = f"{again(path)}; or copy tokenizer.json and tokenizer_config.json of the model it was made from"
        but = ", but tekken.json, which is for Mistral's own programs" if "tekken.json" in names else ""
        return Fault(f"it has no tokenizer (tokenizer.json, tokenizer.model){but}", fix, absent=True)
    kept = (*present, *(name for name in _BESIDE if name in names))
    return next((problem for name in kept if (problem := fault_of(path / name))), None)


def check_headers(path: Path) -> None:
    """Refuse damaged weight files before mlx reads them.

    Raises:
        ModelError: a file is missing, damaged, or not itself.
    """
    if weights_of(path).files and (problem := _weights(path)):
        raise ModelError(f"{path}: {problem.problem}", hint=problem.fix)


def stored_names(path: Path) -> set[str] | None:
    """Names of the saved tensors, read from the weight files' headers; None where no weights are here yet.

    An output head that holds the embedding once more is left out: it is tied, whatever `config.json` says.

    Raises:
        ModelError: a file is damaged.
    """
    found = weights_of(path)
    if not found.files or found.absent:
        return None
    check_headers(path)
    return set(headers.names(*found.files))


@contextmanager
def as_mlx_lm_reads(path: Path, config: str) -> Iterator[Path]:
    """A folder of links under names that mlx-lm's loader takes: the chosen weights, nothing else, and `config`.

    mlx-lm takes every `model*.safetensors` of a folder, in no order, and nothing from a path with brackets.
    """
    with TemporaryDirectory(prefix="droidft-") as name:
        folder = Path(name)
        for number, file in enumerate(weights_of(path).files):
            (folder / f"model-{number:05d}.safetensors").symlink_to(file.absolute())
        (folder / "config.json").write_text(config, encoding="utf-8")
        if (path / "hf_quant_config.json").is_file():
            (folder / "hf_quant_config.json").symlink_to((path / "hf_quant_config.json").absolute())
        yield folder


def remarks(path: Path) -> list[str]:
    """What of a usable folder is not used, for whoever thinks it is."""
    unused = weights_of(path).unused
    if not unused:
        return []
    chosen = [file.name for file in weights_of(path).files]
    used = chosen[0] if len(chosen) == 1 else f"{chosen[0]} to {chosen[-1]}"
    more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
    return [f"the model's weights are {used}; {unused[0]}{more} beside them is not used"]
