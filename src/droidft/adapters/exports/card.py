"""The model card of an export: metadata for the hub, the certificate's figures, settings, how to use it.

It holds nothing that was not measured or recorded, and no place on this machine. What others may have written, such
as a model's name or a setting, is made harmless for Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from droidft.adapters.exports.certificate import Certificate
from droidft.adapters.exports.licence import Licence
from droidft.adapters.exports.usage import usage
from droidft.adapters.folder import AdapterInfo
from droidft.adapters.record import TrainingRecord, without_place, without_places
from droidft.models.hub import REPO_ID
from droidft.support.durable import write_atomically
from droidft.support.plain import safe
from droidft.support.words import count, loss, plain

FILE = "README.md"
ADAPTERS = ("peft", "gguf-adapter")
"""Forms that hold the update alone; the base is needed besides."""
_LIBRARIES = {"peft": "peft", "merged": "transformers", "mlx": "mlx", "gguf": "gguf", "gguf-adapter": "gguf"}
_SETTINGS = {
    "method": "method",
    "fine_tune_type": "type",
    "lora_rank": "rank",
    "lora_alpha": "alpha",
    "lora_scaling": "scaling",
    "lora_dropout": "dropout",
    "lora_targets": "targets",
    "lora_num_layers": "blocks from the top (-1: all)",
    "learning_rate": "learning rate",
    "lr_schedule": "schedule",
    "warmup_steps": "warm-up steps",
    "optimizer": "optimizer",
    "weight_decay": "weight decay",
    "batch_size": "rows at once",
    "grad_accumulation_steps": "accumulation",
    "max_seq_length": "tokens in a row, at most",
    "mask_prompt": "prompts masked",
    "beta": "beta",
    "seed": "seed",
}
"""Settings that a card shows, and what it calls them."""
_OF_REWARDS_OR_PREFERENCES = ("beta",)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!])")


@dataclass(frozen=True)
class Subject:
    """What a card is about, beside the certificate."""

    title: str
    """Of the export."""
    base: str
    """The base model as the adapter or the user names it: hub id, name or path, of which the last part is shown."""
    licence: Licence
    adapter: AdapterInfo
    record: TrainingRecord | None
    """How the adapter came to be, where that is known."""
    repo_id: str | None = None
    """Where the export is pushed to."""
    file: str | None = None
    """The GGUF file of the export, if it has one."""

    @property
    def base_name(self) -> str:
        """Hub id of the base, or its name."""
        return without_place(self.base)


def write_card(folder: Path, certificate: Certificate, subject: Subject) -> None:
    """Write the card into the folder of the export. Raises StorageError as `write_atomically`."""
    write_atomically(folder / FILE, card(certificate, subject).encode())


def card(certificate: Certificate, subject: Subject) -> str:
    """The card as Markdown with metadata in front."""
    parts = [
        f"---\n{_metadata(certificate, subject)}---",
        f"# {_text(subject.title)}",
        _about(certificate, subject),
        *_caution(certificate),
        "## How to use it",
        _usage(certificate, subject),
        *_prompting(subject.record),
        "## Checked after the export",
        _measured(certificate),
        "## How it was trained",
        _trained(subject),
        "## Licence",
        _licence(subject),
    ]
    return "\n\n".join(parts) + "\n"


def _caution(certificate: Certificate) -> list[str]:
    if certificate.passed:
        return []
    what = "This export did not pass its check." if certificate.failed else "The check of this export proves nothing."
    return [f"> **{what}** {_text(certificate.sentence)}"]


def _metadata(certificate: Certificate, subject: Subject) -> str:
    base, licence, record = subject.base_name, subject.licence, subject.record
    method = record.settings.get("method") if record else subject.adapter.record.get("method")
    tags = ["droidft", subject.adapter.fine_tune_type, *([method] if isinstance(method, str) else [])]
    values: dict[str, Any] = {
        **({"base_model": base, "base_model_relation": _relation(certificate)} if REPO_ID.fullmatch(base) else {}),
        "license": licence.id,
        **(licence.more or {}),
        "library_name": _LIBRARIES.get(certificate.form, "gguf"),
        "pipeline_tag": "text-generation",
        "tags": [
            *dict.fromkeys([*tags, *(["gguf"] if "gguf" in (certificate.form, *_suffix(subject.file)) else [])])
        ],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)


def _suffix(file: str | None) -> tuple[str, ...]:
    return (file.rpartition(".")[2],) if file else ()


def _relation(certificate: Certificate) -> str:
    """What the hub calls the way from the base to this."""
    if certificate.form in ADAPTERS:
        return "adapter"
    return "finetune" if certificate.quantisation is None else "quantized"


def _usage(certificate: Certificate, subject: Subject) -> str:
    dora, rank = subject.adapter.fine_tune_type == "dora", subject.adapter.rank
    return usage(certificate.form, subject.base_name, subject.repo_id, subject.file, dora=dora, rank=rank)


def _about(certificate: Certificate, subject: Subject) -> str:
    base, kind = (
        _base(subject),
        {"dora": "DoRA", "full": "full fine-tuning"}.get(subject.adapter.fine_tune_type, "LoRA"),
    )
    sort = f", quantised to {_text(certificate.quantisation)}" if certificate.quantisation else ""
    what = {
        "peft": f"An adapter ({kind}) for {base}, in PEFT's format.",
        "gguf-adapter": f"An adapter ({kind}) for {base}, as a GGUF file for llama.cpp.",
        "merged": f"{base} with what was learned ({kind}) added to its weights.",
        "mlx": f"{base} with what was learned ({kind}) added to its weights, in mlx-lm's format{sort}.",
    }
    return what.get(certificate.form, f"{base} with what was learned ({kind}) added, as a GGUF file{sort}.")


def _base(subject: Subject) -> str:
    name = subject.base_name
    return f"[{name}](https://huggingface.co/{name})" if REPO_ID.fullmatch(name) else _text(name)


def _prompting(record: TrainingRecord | None) -> list[str]:
    prompt = record.settings.get("system_prompt") if record else None
    if not isinstance(prompt, str) or not prompt:
        return []
    return [
        f"It was trained with a system prompt of {count(len(prompt), 'character')}, which is not part of this card."
    ]


def _measured(certificate: Certificate) -> str:
    losses = certificate.loss
    table = _table(
        ("read", "loss, nats per token"),
        [
            ("base", loss(losses.base)),
            ("base + adapter, as trained", loss(losses.trained)),
            ("these files", loss(losses.exported)),
        ],
    )
    rest = [(label, text) for label, text in certificate.lines() if label not in ("base", "trained", "exported")]
    hashes = certificate.hashes
    rest += [("data", f"SHA-256 {hashes.data}"), ("base", f"SHA-256 {hashes.base}")]
    rest += [("adapter", f"SHA-256 {hashes.adapter}")]
    lead = "On rows that training has not seen; the files were read back for this."
    notes = "".join(f"\n- {_text(note)}" for note in certificate.notes)
    sentence = f"**{_text(certificate.sentence)}**"
    return "\n\n".join(filter(None, [lead, table, sentence, _table(("", ""), rest), notes.strip()]))


def _trained(subject: Subject) -> str:
    record, info = subject.record, subject.adapter
    if record is None:
        facts = [("type", info.fine_tune_type), ("rank", plain(info.rank)), ("alpha", plain(info.alpha))]
        facts += [("modules", plain(info.modules)), ("blocks", plain(len(info.layers)))]
        return "The settings of the training are not known here; these are the adapter's.\n\n" + _table(
            ("", ""), facts
        )
    rewarded = record.settings.get("method") not in (None, "sft")
    rows = [
        (label, plain(value))
        for name, label in _SETTINGS.items()
        if (value := record.settings.get(name)) is not None
        and (rewarded or name not in _OF_REWARDS_OR_PREFERENCES)
        and not isinstance(value, dict | list)
    ]
    rows += [("modules", plain(info.modules)), ("steps", plain(record.steps))]
    if record.train_rows is not None:
        rows.append(("rows", f"{record.train_rows:,} trained on, {record.val_rows or 0:,} for validation"))
    if record.best_loss is not None:
        rows.append(("lowest validation loss", f"{loss(record.best_loss)}, at step {plain(record.best_step)}"))
    if record.data_hash is not None:
        rows.append(("data", f"SHA-256 {record.data_hash} of tokens and masks"))
    rows += [(f"version of {name}", text) for name, text in record.versions.items()]
    return _table(("", ""), rows)


def _licence(subject: Subject) -> str:
    if subject.licence.known:
        return f"That of the base, {_base(subject)}: {_text(subject.licence.id)}."
    hint = "Its page may, and that holds here too."
    return f"Not known: the base, {_base(subject)}, does not state one in its files here. {hint}"


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [
        f"| {head[0]} | {head[1]} |",
        "|---|---|",
        *(f"| {_text(label)} | {_text(text)} |" for label, text in rows),
    ]
    return "\n".join(lines)


def _text(value: str) -> str:
    """A value as it may stand in a line of Markdown: no markup, no place of this machine."""
    line = " ".join(safe(without_places(value)).split())
    return _MARKDOWN.sub(r"\\\1", line[:1000])
