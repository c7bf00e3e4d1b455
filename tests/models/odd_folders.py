"""Model folders as people have them: each is the tiny model, changed the way that copies and downloads go wrong."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tests.tiny import LLAMA, write_model

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 269060552\n"
PAGE = "<!DOCTYPE html>\n<html><head><title>model.safetensors</title></head></html>"
INDEX = "model.safetensors.index.json"
Change = Callable[[Path], Path | None]


@dataclass(frozen=True)
class Odd:
    """A way in which a folder is odd, and what is to be read of it: words of the message, words of its hint."""

    name: str
    change: Change
    """Gets the folder of a good model; gives another to use, if it is not that one."""
    message: str
    hint: str = ""

    def make(self, folder: Path) -> Path:
        """The odd folder, from a good model at `folder`."""
        return self.change(write_model(folder)) or folder


def weights(folder: Path) -> dict[str, NDArray[Any]]:
    """The tensors of the model in a folder."""
    return load_file(folder / "model.safetensors")


def config(folder: Path, **changes: Any) -> None:
    """Change fields of `config.json`; None takes one away."""
    values = {**LLAMA, **changes}
    (folder / "config.json").write_text(
        json.dumps({name: value for name, value in values.items() if value is not None})
    )


def writing(name: str, content: str | bytes) -> Change:
    """Put other content into a file."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def without(*names: str) -> Change:
    """Take files away."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change


def only(**files: str | bytes) -> Change:
    """Nothing but these files; `__` stands for a dot, `___` for a slash."""

    def change(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in files.items():
            writing(name.replace("___", "/").replace("__", "."), content)(folder)

    return change


def instead_of_weights(name: str, content: str | bytes = b"\x80\x04N.") -> Change:
    """Another file in the place of the weights."""

    def change(folder: Path) -> None:
        without("model.safetensors")(folder)
        writing(name, content)(folder)

    return change


def shards(folder: Path, count: int, *, kept: int | None = None, index: bool = False) -> None:
    """The weights as `count` files, of which the first `kept` are there, with an index if asked."""
    tensors = weights(folder)
    (folder / "model.safetensors").unlink()
    where = {name: number % count + 1 for number, name in enumerate(tensors)}
    for number in range(1, (count if kept is None else kept) + 1):
        part = {name: tensors[name] for name in tensors if where[name] == number}
        save_file(part, folder / f"model-{number:05d}-of-{count:05d}.safetensors")
    if index:
        mapped = {name: f"model-{number:05d}-of-{count:05d}.safetensors" for name, number in where.items()}
        (folder / INDEX).write_text(json.dumps({"weight_map": mapped}))


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _dangling(folder: Path) -> None:
    without("model.safetensors")(folder)
    (folder / "model.safetensors").symlink_to("../../blobs/4d7a2146")


def _two_sets(folder: Path) -> None:
    tensors = weights(folder)
    shards(folder, 2)
    save_file(tensors, folder / "model.safetensors")
    shards(folder, 3)


def _folder_as_weights(folder: Path) -> None:
    without("model.safetensors")(folder)
    (folder / "model.safetensors").mkdir()


def _in_the_cache(folder: Path) -> Path:
    cache = folder.parent / f"hub-{folder.name}" / "models--org--name"
    (cache / "snapshots").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0a1b2c")
    folder.rename(cache / "snapshots" / "0a1b2c")
    return cache


def _outer(inner: str, **files: str) -> Change:
    def change(folder: Path) -> Path:
        outer = folder.parent / f"outer-{folder.name}"
        outer.mkdir()
        folder.rename(outer / inner)
        for name, content in files.items():
            writing(name.replace("__", "."), content)(outer)
        return outer

    return change


def _link_to_nothing(folder: Path) -> Path:
    link = folder.parent / f"link-{folder.name}"
    link.symlink_to(folder)
    shutil.rmtree(folder)
    return link


def _broken_off(folder: Path) -> None:
    without("model.safetensors")(folder)
    part = folder / ".cache" / "huggingface" / "download" / "xyz.4d7a2146.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")


PEFT = '{"peft_type": "LORA", "base_model_name_or_path": "org/base"}'
OURS = '{"model": "/models/base", "fine_tune_type": "lora", "num_layers": 2}'

BY_FILES = (
    Odd("empty", only(), "the folder is empty", "hf download"),
    Odd("no config", without("config.json"), "no config.json", "tokenizer.json"),
    Odd("no tokenizer", without("tokenizer.json", "tokenizer_config.json"), "no tokenizer", "tokenizer.json"),
    Odd("tokenizer settings only", without("tokenizer.json"), "no tokenizer", "tokenizer.json"),
    Odd("pointer: weights", writing("model.safetensors", POINTER), "model.safetensors is a Git LFS", "git lfs pull"),
    Odd("pointer: tokenizer", writing("tokenizer.json", POINTER), "tokenizer.json is a Git LFS", "git lfs pull"),
    Odd("pointer: vocabulary", writing("tokenizer.model", POINTER), "tokenizer.model is a Git LFS", "git lfs pull"),
    Odd("pointer: config", writing("config.json", POINTER), "config.json is a Git LFS pointer", "git lfs pull"),
    Odd("pointer: settings", writing("tokenizer_config.json", POINTER), "tokenizer_config.json is a Git LFS"),
    Odd("pointer: index", instead_of_weights(INDEX, POINTER), f"{INDEX} is a Git LFS", "git lfs pull"),
    Odd("page: weights", writing("model.safetensors", PAGE), "is a web page", "hf download"),
    Odd("page: config", writing("config.json", PAGE), "config.json is a web page", "hf download"),
    Odd("weights: empty", writing("model.safetensors", ""), "model.safetensors is empty", "again"),
    Odd("weights: cut off", _cut, "model.safetensors is damaged or cut off", "again"),
    Odd("weights: GGUF", writing("model.safetensors", b"GGUF\x03"), "model.safetensors is a GGUF file"),
    Odd("weights: folder", _folder_as_weights, "model.safetensors is a folder"),
    Odd("weights: link to nothing", _dangling, "link to ../../blobs/4d7a2146, which is not there", "again"),
    Odd("weights: none", without("model.safetensors"), "no model*.safetensors", "hf download"),
    Odd("weights: other name", lambda f: (f / "model.safetensors").rename(f / "weights.safetensors") and None,
        "but weights.safetensors", "call the file model.safetensors"),
    Odd("shard missing", lambda f: shards(f, 3, kept=1, index=True), "2 of 3 weight files are missing, such as "
        "model-00002-of-00003.safetensors", "hf download"),
    Odd("shard missing, no index", lambda f: shards(f, 2, kept=1), "1 of 2 weight files are missing", "hf download"),
    Odd("two sets of shards", _two_sets, "2 sets of weights (of-00002, of-00003)", "move"),
    Odd("index: a file elsewhere", instead_of_weights(INDEX, '{"weight_map": {"a": "../b.safetensors"}}'), "damaged"),
    Odd("index: no map", instead_of_weights(INDEX, "{}"), "does not name a file for each weight"),
    Odd("pickles", instead_of_weights("pytorch_model.bin"), "pickled (pytorch_model.bin)", "can run code"),
    Odd("pickled shards", instead_of_weights("pytorch_model-00001-of-00002.bin"), "pickled (pytorch_model-00001"),
    Odd("pickles alone", only(consolidated__pt=b"x", tokenizer__model=b"x"), "makers' own layout (consolidated.pt)"),
    Odd("checkpoint", only(last__ckpt=b"x"), "pickled (last.ckpt)", "safetensors"),
    Odd("broken off", _broken_off, "broken off", "hf download"),
    Odd("PEFT adapter", only(adapter_config__json=PEFT, adapter_model__safetensors=b"x"),
        "a PEFT adapter for org/base", "merge_and_unload"),
    Odd("PEFT adapter with config", both(writing("adapter_config.json", PEFT), without("model.safetensors")),
        "a PEFT adapter for org/base", "org/base"),
    Odd("adapter", only(adapter_config__json=OURS, adapters__safetensors=b"x"), "an adapter for /models/base",
        "--model /models/base --adapter"),
    Odd("GGUF alone", only(model__gguf=b"GGUF"), "a GGUF file (model.gguf)", "droidft models import"),
    Odd("GGUF with config", instead_of_weights("tiny.Q4_K_M.gguf", b"GGUF"), "GGUF file (tiny.Q4_K_M.gguf)",
        "droidft models import"),
    Odd("diffusion", only(model_index__json="{}", unet___config__json="{}"), "diffusion pipeline", "text model"),
    Odd("OpenCLIP", only(open_clip_config__json="{}"), "OpenCLIP", "text model"),
    Odd("ONNX", instead_of_weights("onnx/model.onnx"), "ONNX (onnx/model.onnx)", "safetensors"),
    Odd("Core ML", only(weights__mlpackage___Manifest__json="{}"), "Core ML", "safetensors"),
    Odd("OpenVINO", instead_of_weights("openvino_model.xml"), "OpenVINO", "safetensors"),
    Odd("Flax", instead_of_weights("flax_model.msgpack"), "Flax", "safetensors"),
    Odd("TensorFlow", instead_of_weights("tf_model.h5"), "TensorFlow", "safetensors"),
    Odd("Mistral's own", only(params__json="{}", consolidated__safetensors=b"x", tekken__json="{}"),
        "makers' own layout (consolidated.safetensors)", "model*.safetensors"),
    Odd("Mistral's own with config", instead_of_weights("consolidated.safetensors"), "makers' own layout"),
    Odd("Mistral's tokenizer", both(without("tokenizer.json"), writing("tekken.json", "{}")),
        "tekken.json, which is for Mistral's own programs", "tokenizer.json"),
    Odd("folder of the cache", _in_the_cache, "the cache's folder of org/name", "snapshots/0a1b2c"),
    Odd("snapshots of the cache", lambda f: _in_the_cache(f) / "snapshots", "folder of org/name", "give org/name"),
    Odd("the cache", lambda f: _in_the_cache(f).parent, "a Hugging Face cache", "org/name"),
    Odd("one folder too high", _outer("tiny-v1"), "its folder tiny-v1 has", "tiny-v1"),
    Odd("sentence transformer", _outer("0_Transformer", modules__json="[]"), "its folder 0_Transformer has"),
    Odd("config: not JSON", writing("config.json", '{"model_type": '), "config.json is damaged", "again"),
    Odd("config: a list", writing("config.json", "[]"), "not an object", "again"),
    Odd("config: byte order mark", writing("config.json", "\ufeff" + json.dumps(LLAMA)), "byte order mark", "UTF-8"),
    Odd("config: UTF-16", writing("config.json", json.dumps(LLAMA).encode("utf-16")), "byte order mark", "UTF-8"),
    Odd("config: no type", lambda f: config(f, model_type=None), "names no model_type"),
    Odd("link to nothing", _link_to_nothing, "which is not there", "remove the link"),
    Odd("a weight file", lambda f: f / "model.safetensors", "a file, not a folder", "folder with config.json"),
    Odd("an archive", lambda f: Path(shutil.make_archive(str(f), "zip", f)), "an archive", "unpack"),
)  # fmt: skip
"""Seen by the files alone, before anything is loaded."""

BY_TOKENIZER = (
    Odd("tokenizer: cut off", lambda f: os.truncate(f / "tokenizer.json", 999), "tokenizer.json is damaged"),
    Odd("tokenizer: other JSON", writing("tokenizer.json", '{"a": 1}'), "has no entry 'added_tokens'", "again"),
    Odd("tokenizer: settings cut off", writing("tokenizer_config.json", "{"), "tokenizer_config.json is damaged"),
    Odd("tokenizer: of no known kind", writing("tokenizer.json", json.dumps({
        "version": "1.0", "added_tokens": [], "model": {"type": "Nonesuch", "vocab": {}}})), "cannot be loaded"),
    Odd("tokenizer: code", writing("tokenizer_config.json", json.dumps({"tokenizer_class": "TinyTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_tiny.TinyTokenizer", None]}})),
        "tokenization_tiny.TinyTokenizer", "needs none"),
    Odd("template: no Jinja", writing("chat_template.jinja", "{% for m in messages %}\n{{ m"),
        "not valid Jinja: line 2"),
    Odd("template: a number", writing("tokenizer_config.json", '{"chat_template": 5}'), "chat_template is 5"),
    Odd("template: nameless", writing("tokenizer_config.json", '{"chat_template": [{"template": "a"}]}'),
        "chat_template is {", "name and template"),
    Odd("template: pointer", writing("chat_template.jinja", POINTER), "chat_template.jinja is a Git LFS", "git lfs"),
    Odd("generation: a word", writing("generation_config.json", '{"eos_token_id": "</s>"}'), 'token_id is "</s>"'),
    Odd("generation: cut off", writing("generation_config.json", "{"), "generation_config.json is damaged"),
)  # fmt: skip
"""Seen when the tokenizer is opened."""
