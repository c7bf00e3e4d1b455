"""Sets of rows: what is put in comes out, whatever was taken from what, and the hash is that of the joined rows."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from droidft.data.tokens import Encoded, TokenSet, TokenSetBuilder


def rows(count: int, vocabulary: int) -> list[Encoded]:
    draw = np.random.default_rng(1)
    lengths = draw.integers(1, 40, count)
    return [
        Encoded(
            draw.integers(0, vocabulary, length).astype(np.int32), np.arange(length) >= draw.integers(1, length + 1)
        )
        for length in lengths
    ]


def built(encoded: list[Encoded], limit: int | None = None) -> TokenSet:
    builder = TokenSetBuilder(limit)
    for number, row in enumerate(encoded):
        builder.add(row, "a.jsonl", number + 1)
    return builder.build()


def joined_hash(encoded: list[Encoded]) -> str:
    """As runs of earlier versions recorded it."""
    digest = hashlib.sha256()
    digest.update(np.concatenate([row.tokens for row in encoded]).astype("<i4").tobytes())
    digest.update(np.cumsum([0, *(len(row.tokens) for row in encoded)]).astype("<i8").tobytes())
    digest.update(np.packbits(np.concatenate([row.supervised for row in encoded])).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("vocabulary", [1000, 1 << 16, 200_000])
def test_rows_come_out_as_they_were_put_in(vocabulary: int) -> None:
    encoded = rows(300, vocabulary)
    made = built(encoded)
    order = np.random.default_rng(2).permutation(300)[:77]
    for chosen, indices in ((made, np.arange(300)), (made.take(order), order)):
        assert len(chosen) == len(indices)
        for row, index in zip(chosen, indices, strict=True):
            assert row.tokens.dtype == np.int32
            assert row.tokens.tolist() == encoded[index].tokens.tolist()
            assert row.supervised.tolist() == encoded[index].supervised.tolist()
            assert row.line == index + 1
        assert chosen.sha256() == joined_hash([encoded[index] for index in indices])
        assert chosen.token_count == sum(len(encoded[index].tokens) for index in indices)


def test_a_large_token_after_small_ones_widens_the_set() -> None:
    encoded = [*rows(20, 1000), *rows(20, 200_000)]
    assert built(encoded).sha256() == joined_hash(encoded)


def test_sets_of_small_vocabularies_take_two_bytes_a_token_and_are_not_copied() -> None:
    made = built(rows(300, 1000))
    assert made.tokens.nbytes == 2 * made.token_count
    assert made.take(np.arange(10)).tokens is made.tokens


def test_rows_are_cut_and_their_full_length_is_known() -> None:
    encoded = rows(50, 1000)
    made = built(encoded, limit=7)
    assert [row.tokens.tolist() for row in made] == [row.tokens[:7].tolist() for row in encoded]
    assert made.cut.tolist() == [max(0, len(row.tokens) - 7) for row in encoded]


def test_a_set_without_rows_has_a_hash() -> None:
    assert len(built([])) == 0
    assert built([]).sha256() == hashlib.sha256(np.zeros(1, "<i8").tobytes()).hexdigest()
