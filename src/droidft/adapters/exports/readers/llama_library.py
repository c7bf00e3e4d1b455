"""llama.cpp's C interface, taken from the library inside the package `xllamacpp`.

The package's own Python interface gives the likeliest few tokens of what is generated; the C interface gives the
logits of every position of a given text, which is what has to be compared. Structures are passed by value, so their
layout has to be the library's: `Library` compares what the library fills in by default with what `ContextSettings`
and `ModelSettings` say, and refuses another layout.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from droidft.adapters.exports.readers.child import Unfit

FLOAT32 = 0
"""ggml's number of that type."""
NO_DEVICES, NO_FLASH_ATTENTION = 0, 0
_SPARE = 64
"""Room for fields that a later version appends: the library writes and reads as much as it knows."""


class UnknownLayout(Unfit):
    """This build of llama.cpp lays out its settings in another way than the one that is known."""


class ContextSettings(Structure):
    """`llama_context_params` as of llama.cpp of October 2026 (build 11549)."""

    _fields_: ClassVar[Any] = [
        ("n_ctx", c_uint32), ("n_batch", c_uint32), ("n_ubatch", c_uint32), ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32), ("n_outputs_max", c_uint32), ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32), ("n_threads_batch", c_int32), ("ctx_type", c_int32), ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32), ("attention_type", c_int32), ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float), ("rope_freq_scale", c_float), ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float), ("yarn_beta_fast", c_float), ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32), ("defrag_thold", c_float), ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p), ("type_k", c_int32), ("type_v", c_int32), ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p), ("samplers_or_count", c_void_p), ("embeddings", c_bool),
        ("offload_kqv", c_bool), ("no_perf", c_bool), ("op_offload", c_bool), ("swa_full", c_bool),
        ("kv_unified", c_bool), ("spare", c_int8 * _SPARE),
    ]  # fmt: skip
    DEFAULTS: ClassVar[dict[str, object]] = {
        "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_rs_seq": 0, "n_outputs_max": 0,
        "n_threads": 4, "n_threads_batch": 4, "ctx_type": 0, "rope_scaling_type": -1, "pooling_type": -1,
        "attention_type": -1, "flash_attn_type": -1, "rope_freq_base": 0.0, "rope_freq_scale": 0.0,
        "yarn_ext_factor": -1.0, "yarn_orig_ctx": 0, "cb_eval": None, "cb_eval_user_data": None, "type_k": 1,
        "type_v": 1, "abort_callback": None, "abort_callback_data": None, "embeddings": False, "offload_kqv": True,
        "op_offload": True,
    }  # fmt: skip


class ModelSettings(Structure):
    """`llama_model_params`: what comes first in it; the rest keeps the library's defaults."""

    _fields_: ClassVar[Any] = [
        ("devices", c_void_p), ("tensor_buft_overrides", c_void_p), ("n_gpu_layers", c_int32),
        ("split_mode", c_int32), ("main_gpu", c_int32), ("spare", c_int8 * (64 + _SPARE)),
    ]  # fmt: skip
    DEFAULTS: ClassVar[dict[str, object]] = {
        "devices": None, "tensor_buft_overrides": None, "n_gpu_layers": -1, "split_mode": 1,
    }  # fmt: skip


class Batch(Structure):
    """`llama_batch`."""

    _fields_: ClassVar[Any] = [
        ("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", c_void_p), ("pos", POINTER(c_int32)),
        ("n_seq_id", c_void_p), ("seq_id", c_void_p), ("logits", POINTER(c_int8)),
    ]  # fmt: skip


_LOG = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [_LOG, c_void_p]),
    "llama_context_default_params": (ContextSettings, []),
    "llama_model_default_params": (ModelSettings, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, ModelSettings]),
    "llama_model_free": (None, [c_void_p]),
    "llama_init_from_model": (c_void_p, [c_void_p, ContextSettings]),
    "llama_free": (None, [c_void_p]),
    "llama_n_ctx": (c_uint32, [c_void_p]),
    "llama_n_batch": (c_uint32, [c_void_p]),
    "llama_n_threads": (c_int32, [c_void_p]),
    "llama_set_n_threads": (None, [c_void_p, c_int32, c_int32]),
    "llama_decode": (c_int32, [c_void_p, Batch]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_adapter_lora_init": (c_void_p, [c_void_p, c_char_p]),
    "llama_set_adapters_lora": (c_int32, [c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float)]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_model_chat_template": (c_char_p, [c_void_p, c_char_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_vocab_get_add_bos": (c_bool, [c_void_p]),
    "llama_vocab_bos": (c_int32, [c_void_p]),
    "llama_vocab_get_text": (c_char_p, [c_void_p, c_int32]),
    "llama_vocab_is_eog": (c_bool, [c_void_p, c_int32]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
}


class Library:
    """The loaded library; what it reports last about a failure is in `messages`."""

    def __init__(self) -> None:
        import xllamacpp.xllamacpp as package

        self.messages: list[str] = []
        self._calls = ctypes.CDLL(package.__file__)
        for name, (result, arguments) in _SIGNATURES.items():
            try:
                function = getattr(self._calls, name)
            except AttributeError:
                raise UnknownLayout(f"it has no {name}") from None
            function.restype, function.argtypes = result, arguments
        self._log = _LOG(self._reported)
        self.call("llama_log_set", self._log, None)
        self.call("llama_backend_init")
        _check(self.call("llama_context_default_params"))
        _check(self.call("llama_model_default_params"))

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a C function."""
        return getattr(self._calls, name)(*arguments)

    def _reported(self, level: int, text: bytes, _data: object) -> None:
        if level >= 3:  # warnings, errors, and the rest of their lines
            self.messages = [*self.messages[-20:], text.decode("utf-8", "replace").strip()]


def _check(settings: ContextSettings | ModelSettings) -> None:
    for name, expected in settings.DEFAULTS.items():
        if (value := getattr(settings, name)) != expected:
            raise UnknownLayout(f"{name} is {value!r} by default, not {expected!r}")


class Model:
    """A GGUF file, with at most one adapter on it; computes on the CPU, with keys and values in float32."""

    def __init__(self, library: Library, path: Path, *, context: int, threads: int) -> None:
        self._library = library
        wanted = library.call("llama_model_default_params")
        wanted.n_gpu_layers = NO_DEVICES
        self._model = library.call("llama_model_load_from_file", str(path).encode(), wanted)
        if not self._model:
            raise ValueError(f"llama.cpp does not load {path.name}: {self._complaint()}")
        settings = library.call("llama_context_default_params")
        settings.n_ctx = settings.n_batch = context
        settings.n_ubatch = min(context, 512)
        settings.flash_attn_type = NO_FLASH_ATTENTION
        settings.type_k = settings.type_v = FLOAT32
        self._context = library.call("llama_init_from_model", self._model, settings)
        if not self._context:
            raise ValueError(f"llama.cpp makes no context for {path.name}: {self._complaint()}")
        library.call("llama_set_n_threads", self._context, threads, threads)
        if library.call("llama_n_batch", self._context) < context:
            raise UnknownLayout(f"{context} tokens were asked for at once")
        self._vocabulary = library.call("llama_model_get_vocab", self._model)
        self.size: int = library.call("llama_vocab_n_tokens", self._vocabulary)

    def put(self, adapter: Path) -> None:
        """Put a GGUF LoRA on it, in full.

        Raises:
            ValueError: it does not fit.
        """
        made = self._library.call("llama_adapter_lora_init", self._model, str(adapter).encode())
        if not made:
            raise ValueError(f"llama.cpp does not load the adapter {adapter.name}: {self._complaint()}")
        handles, scales = (c_void_p * 1)(made), (c_float * 1)(1.0)
        if self._library.call("llama_set_adapters_lora", self._context, handles, 1, scales):
            raise ValueError(f"llama.cpp does not take the adapter {adapter.name}: {self._complaint()}")

    def forget(self) -> None:
        """Begin with an empty text."""
        self._library.call("llama_memory_clear", self._library.call("llama_get_memory", self._context), True)

    def decode(self, tokens: Sequence[int], *, at: int, wanted: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens from position `at` on; logits (N, V) after those whose places among them are `wanted`."""
        count = len(tokens)
        ids, places = (c_int32 * count)(*tokens), (c_int32 * count)(*range(at, at + count))
        marks = (c_int8 * count)()
        for place in wanted:
            marks[place] = 1
        batch = Batch(count, ids, None, places, None, None, marks)
        if code := self._library.call("llama_decode", self._context, batch):
            raise ValueError(f"llama.cpp cannot compute {count} tokens ({code}): {self._complaint()}")
        logits = np.empty((len(wanted), self.size), np.float32)
        for number, place in enumerate(wanted):
            found = self._library.call("llama_get_logits_ith", self._context, place)
            logits[number] = np.ctypeslib.as_array(found, (self.size,))
        return logits

    @property
    def template(self) -> str | None:
        """The file's chat template."""
        text = self._library.call("llama_model_chat_template", self._model, None)
        return None if text is None else text.decode("utf-8", "replace")

    def tokenize(self, rendered: str) -> list[int]:
        """A rendered conversation as llama.cpp's server tokenizes it: with a begin-of-sequence token if the file
        asks for one, and never with two."""
        if self._library.call("llama_vocab_get_add_bos", self._vocabulary):
            bos = self._library.call("llama_vocab_bos", self._vocabulary)
            rendered = rendered.removeprefix(
                self._library.call("llama_vocab_get_text", self._vocabulary, bos).decode()
            )
        raw = rendered.encode()
        room = len(raw) + 8
        ids = (c_int32 * room)()
        count = self._library.call("llama_tokenize", self._vocabulary, raw, len(raw), ids, room, True, True)
        if count < 0:
            raise ValueError(f"llama.cpp makes {-count} tokens of {len(raw)} bytes")
        return list(ids[:count])

    def close(self) -> None:
        """Free the model and what was computed."""
        self._library.call("llama_free", self._context)
        self._library.call("llama_model_free", self._model)

    def _complaint(self) -> str:
        return " ".join(filter(None, self._library.messages[-4:]))[-300:] or "no reason given"
