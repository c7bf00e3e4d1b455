"""Rows of a file that is no run's data: recognised by their own columns, read whole, every token counts."""

from __future__ import annotations

from functools import partial
from typing import Any

from droidft.data.codec import Codec
from droidft.data.formats import recognise
from droidft.data.lines import Reading
from droidft.data.prepare import held_out_files
from droidft.data.rows import Columns, RowReader, batched
from droidft.data.sources import Fetch, Meter
from droidft.data.template import TemplateOptions
from droidft.data.tokens import RowEncoder, TokenSet, TokenSetBuilder, untrainable
from droidft.errors import DataError
from droidft.support.faults import Refused


def read_plain(
    reference: str,
    tokenizer: Any,
    *,
    called: str,
    template: TemplateOptions | None = None,
    context_length: int | None = None,
    offline: bool = False,
    fetch: Fetch | None = None,
) -> TokenSet:
    """The rows of a file, or of a test split: texts, pairs or conversations, cut where the model's context ends.

    `called` is what messages call them.

    Raises:
        InvalidData, DataError, DownloadError: as `prepare`.
    """
    paths = held_out_files(reference, offline=offline, fetch=fetch)
    reading, encoder = Reading(), RowEncoder(Codec(tokenizer, template or TemplateOptions()))
    builder = TokenSetBuilder(context_length)
    reader = RowReader(partial(recognise, columns=Columns()), reading)
    for batch in batched(reader.rows(paths, Meter(None, paths))):
        for located, row in zip(batch, encoder.encode([each.row for each in batch]), strict=True):
            why = row if isinstance(row, Refused) else untrainable(row, context_length)
            if why is not None:
                reading.log.add(located.path, located.line, located.offset, why)
            elif not isinstance(row, Refused):
                builder.add(row, str(located.path), located.line)
    reading.log.raise_if_any(called)
    if len(rows := builder.build()) == 0:
        raise DataError(f"{reference}: {called} has no rows", hint="add rows, or give another file")
    return rows
