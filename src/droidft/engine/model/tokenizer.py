"""Open a model's tokenizer, with the chat templates that its folder holds. No code of the folder is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlx_lm import utils
from mlx_lm.tokenizer_utils import TokenizerWrapper

from droidft.errors import ModelError
from droidft.models.files import again, read_json
from droidft.models.folder import tokenizer_fault
from droidft.models.templates import ChatTemplates, chat_templates, rendering

# What transformers and mlx-lm raise on files that make no tokenizer.
_BAD_TOKENIZER = (AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
_JSON = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")


def open_tokenizer(path: Path, eos_token_ids: Any) -> TokenizerWrapper:
    """The tokenizer of the model folder `path`; `eos_token_ids` end its answers besides its own.

    Raises:
        ModelError: files missing or damaged, a tokenizer that needs code, or a chat template that is no Jinja.
    """
    if problem := tokenizer_fault(path):
        raise ModelError(f"the tokenizer of {path} cannot be used: {problem.problem}", hint=problem.fix)
    settings = {name: read_json(path / name) for name in _JSON if (path / name).is_file()}
    refuse_code(path, settings.get("tokenizer_config.json", {}))
    templates = chat_templates(path)
    for name, text in templates.used().items():
        _refuse_no_jinja(path, templates.sources[name], text)
    try:
        tokenizer = utils.load_tokenizer(path, {"trust_remote_code": False}, eos_token_ids=eos_token_ids)
    except Exception as error:
        if not isinstance(error, _BAD_TOKENIZER) and type(error) is not Exception:  # which is what tokenizers raises
            raise
        raise ModelError(f"the tokenizer of {path} cannot be loaded: {_reason(error)}", hint=_fix(path)) from error
    _use(templates, tokenizer)
    return tokenizer


def _reason(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0]
    if isinstance(error, KeyError):
        return f"it has no entry {text}"
    if text.startswith("Couldn't instantiate"):
        return "transformers makes none of the files that are there"
    return text or type(error).__name__


def _fix(path: Path) -> str:
    if (path / "tokenizer.json").is_file():
        return again(path, only="tokenizer.json", damaged=True)
    return "put the tokenizer.json of the model beside them: nothing has to be converted then"


def refuse_code(path: Path, settings: dict[str, Any]) -> None:
    """Refuse a tokenizer that is a class of the model's own.

    Raises:
        ModelError: `tokenizer_config.json` names one.
    """
    mapped = settings.get("auto_map")
    named = mapped.get("AutoTokenizer") if isinstance(mapped, dict) else mapped
    if not named:
        return
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    known = settings.get("tokenizer_class")
    if isinstance(known, str) and tokenizer_class_from_name(known) is not None:
        return  # transformers has it, and takes its own
    names = [name for name in ([named] if isinstance(named, str) else named) if name]
    raise ModelError(
        f"the tokenizer of {path} is code of the model's own ({', '.join(map(str, names))}), which is never run",
        hint="use a version of the model whose tokenizer needs none: one that transformers has a class for",
    )


def _use(templates: ChatTemplates, tokenizer: TokenizerWrapper) -> None:
    """Give the tokenizer the templates of the folder; transformers reads fewer places, and drops some of them."""
    custom = tokenizer._chat_template is not None
    tokenizer.chat_template = templates.value
    tokenizer.has_chat_template = templates.value is not None or custom


def _refuse_no_jinja(path: Path, source: str, text: str) -> None:
    """Refuse a template before a row of data is blamed for it."""
    from jinja2 import TemplateError, TemplateSyntaxError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        with rendering():
            render_jinja_template([[]], chat_template=text)
    except TemplateSyntaxError as error:
        raise ModelError(
            f"the chat template in {path / source} is not valid Jinja: line {error.lineno}: {error.message}",
            hint=again(path, only=source, damaged=True),
        ) from error
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError):
        return  # it wants messages
