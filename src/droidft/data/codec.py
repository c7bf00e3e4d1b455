"""The model's tokenizer and chat template, as the data module needs them.

Works on a transformers tokenizer and on mlx-lm's wrapper alike, and gives the same tokens as their own
`encode` and `apply_chat_template`, but in batches and with exact character offsets.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from droidft.data.conversation import Message
from droidft.support.faults import Refused

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_SAMPLE = "Hello, wörld 123!\n\n  x = 1 "
_FAILURES_OF_TEMPLATES = (TypeError, ValueError, KeyError, AttributeError)


class Encoding:
    """Token ids of one text, with where each token ends and starts in it (None without a fast tokenizer)."""

    __slots__ = ("ends", "ids", "starts")

    def __init__(self, ids: list[int], offsets: list[tuple[int, int]] | None) -> None:
        self.ids = ids
        pairs = np.array(offsets, dtype=np.int64).reshape(-1, 2) if offsets is not None else None
        self.starts: npt.NDArray[np.int64] | None = pairs[:, 0] if pairs is not None else None
        self.ends: npt.NDArray[np.int64] | None = pairs[:, 1] if pairs is not None else None


class Codec:
    """Encodes text and renders conversations with one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.eos_id: int | None = tokenizer.eos_token_id
        self.bos_id: int | None = tokenizer.bos_token_id
        # mlx-lm's wrapper has a set of them; a transformers tokenizer answers to the name with one number.
        ends = getattr(tokenizer, "eos_token_ids", None)
        more = ends if isinstance(ends, set | list | tuple) else [ends]
        self.eos_ids = frozenset(index for index in (self.eos_id, *more) if index is not None)
        template = getattr(tokenizer, "has_chat_template", None)
        self.has_template: bool = tokenizer.chat_template is not None if template is None else bool(template)
        self._pieces: dict[int, str] = {}

    # -- text to tokens

    @cached_property
    def _whole(self) -> Any:
        """A private copy of the Rust tokenizer, or None."""
        return self._copy(special=True)

    @cached_property
    def _plain(self) -> Any:
        """The same without its post-processor, which adds special tokens and trims offsets."""
        return self._copy(special=False)

    def _copy(self, *, special: bool) -> Any:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        from tokenizers import Tokenizer

        copy = Tokenizer.from_str(backend.to_str())
        copy.no_truncation()
        copy.no_padding()
        if not special:
            copy.post_processor = None
        # Should a tokenizer class add steps of its own, its public method is used instead.
        ours = copy.encode(_SAMPLE, add_special_tokens=special).ids
        return copy if ours == list(self.tokenizer.encode(_SAMPLE, add_special_tokens=special)) else None

    def encode_rendered(self, texts: list[str]) -> list[Encoding]:
        """Encode rendered conversations: nothing is added, since the template wrote its own special tokens."""
        if self._plain is not None:
            found = self._plain.encode_batch(texts, add_special_tokens=False)
            return [Encoding(one.ids, one.offsets) for one in found]
        return [Encoding(list(self.tokenizer.encode(text, add_special_tokens=False)), None) for text in texts]

    def encode_texts(self, texts: list[str]) -> list[list[int]]:
        """Encode plain texts as the tokenizer does by itself (most put a start token first), but never two of it."""
        if self._whole is not None:
            rows = [list(one.ids) for one in self._whole.encode_batch_fast(texts, add_special_tokens=True)]
        else:
            rows = [list(self.tokenizer.encode(text)) for text in texts]
        if self.bos_id is None:
            return rows
        return [ids[1:] if ids[:2] == [self.bos_id, self.bos_id] else ids for ids in rows]

    # -- tokens to text

    def piece(self, token: int) -> str:
        """One token as text."""
        if token not in self._pieces:
            self._pieces[token] = self.tokenizer.decode([token], skip_special_tokens=False)
        return self._pieces[token]

    def is_space(self, token: int) -> bool:
        """Whether a token is white space only."""
        return token not in self.special and not self.piece(token).strip()

    def decode(self, tokens: list[int]) -> str:
        """Tokens as text, special ones included."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False))

    @cached_property
    def special(self) -> dict[int, str]:
        """Special tokens, by id."""
        return {
            index: token.content
            for index, token in self.tokenizer.added_tokens_decoder.items()
            if token.special or index in self.eos_ids
        }

    @cached_property
    def special_pattern(self) -> re.Pattern[str] | None:
        """Matches any special token written out in a text."""
        names = sorted((name for name in self.special.values() if name.strip()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names))) if names else None

    # -- conversations to text

    def render(self, messages: list[Message], tools: list[Any] | None, *, prompt: bool = False) -> str:
        """The conversation as the chat template writes it; `prompt` adds the assistant's opening.

        Raises:
            Refused: the template does not accept the conversation.
        """
        from jinja2 import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=prompt
            )
        except (TemplateError, *_FAILURES_OF_TEMPLATES) as error:
            fix = "change the row" if messages[0]["role"] != "system" else "change the row; some refuse a system turn"
            raise Refused("template", f"is refused by the model's chat template: {error}", fix) from None
        return str(text)

    @cached_property
    def marks_generation(self) -> bool:
        """Whether the chat template itself says which parts the assistant writes (`{% generation %}`)."""
        template = getattr(self.tokenizer, "chat_template", None)
        return isinstance(template, str) and _GENERATION.search(template) is not None

    def generation_spans(self, messages: list[Message], tools: list[Any] | None) -> tuple[str, list[tuple[int, int]]]:
        """The rendering with the character spans inside `{% generation %}`."""
        from transformers.utils.chat_template_utils import render_jinja_template

        values = dict(self.tokenizer.special_tokens_map)
        if hasattr(self.tokenizer, "has_thinking"):
            values["enable_thinking"] = self.tokenizer.has_thinking
        rendered: Any = render_jinja_template(
            conversations=[messages],
            tools=tools,
            chat_template=self.tokenizer.chat_template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=False,
            **values,
        )
        (text,), (spans,) = rendered
        return text, [(int(start), int(end)) for start, end in spans]
