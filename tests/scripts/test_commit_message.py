"""What the commit-msg hook lets through."""

from __future__ import annotations

import pytest
from scripts.commit_message import LONGEST_SUBJECT, faults_of

BODY = "\n\nA reader of the log learns why it was made.\n"


@pytest.mark.parametrize(
    "text",
    [
        "Name the limit in the error" + BODY,
        "x" * LONGEST_SUBJECT + BODY,
        "Name the limit"
        + BODY
        + "# a comment of git's that is longer than seventy-two characters, which is no part of it\n",
        "Merge branch 'rooms'\n",
    ],
)
def test_a_good_message_passes(text: str) -> None:
    assert faults_of(text) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the subject is empty"),
        ("x" * (LONGEST_SUBJECT + 1) + BODY, "the subject has 73 characters; the limit is 72"),
        ("Name the limit\n", "there is no body"),
        ("Name the limit\n\n# only comments of git follow here, and nothing of one's own\n", "there is no body"),
        ("Name the limit\nand go on without a blank line, which makes it one long subject\n", "not blank"),
    ],
)
def test_a_faulty_message_is_refused_with_its_reason(text: str, fault: str) -> None:
    assert any(fault in found for found in faults_of(text))
