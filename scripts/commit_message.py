"""Refuse a commit message without a short subject and a body. Git's commit-msg hook; `make hooks` installs it.

python scripts/commit_message.py FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

LONGEST_SUBJECT = 72
SHORTEST_BODY = 20
UNWRITTEN = ("Merge ", "Revert ", "fixup! ", "squash! ")
"""Subjects that git writes itself."""


def main() -> int:
    """Name what is wrong with the message in the file on the command line."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    faults = faults_of(text)
    for fault in faults:
        print(f"commit message: {fault}", file=sys.stderr)
    return 1 if faults else 0


def faults_of(text: str) -> list[str]:
    """What is wrong with a commit message; empty if nothing is."""
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("#")]
    subject, rest = (lines[0], lines[1:]) if lines else ("", [])
    if subject.startswith(UNWRITTEN):
        return []
    faults = []
    if not subject:
        faults.append("the subject is empty")
    if len(subject) > LONGEST_SUBJECT:
        faults.append(f"the subject has {len(subject)} characters; the limit is {LONGEST_SUBJECT}")
    if rest and rest[0]:
        faults.append("the line after the subject is not blank")
    if len("".join(rest).strip()) < SHORTEST_BODY:
        faults.append("there is no body; say in a line or two why the change is made")
    return faults


if __name__ == "__main__":
    sys.exit(main())
