"""YAML without its traps: a name given twice is refused, and so is what makes a small text a huge value.

Every YAML text of a user is read here: settings, plans, rewards on the command line, what the form imports.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from droidft.support.strict_json import MAX_DEPTH, MOST_VALUES, Refused

MAX_BYTES = 1 << 20
"""Longest text: a file of settings has a few kilobytes."""


def parse(text: str) -> Any:
    """The value of a YAML text, or of JSON, which is YAML too.

    Raises:
        Refused: it is no YAML; or it has a name twice, an alias, a merge key, more than `MAX_DEPTH` levels or more
            than `MOST_VALUES` values. The reason names the line.
    """
    import yaml

    if len(text) > MAX_BYTES:
        fix = "leave out what is no setting; data goes into a file of its own"
        raise Refused("size", f"has more than {MAX_BYTES >> 20} MB", fix)
    try:
        reader = _loader()(text)
        try:
            return reader.get_single_data()
        finally:
            reader.dispose()
    except yaml.MarkedYAMLError as error:
        why = _worded(error)
    except (yaml.YAMLError, ValueError, LookupError) as error:  # a date such as 2026-02-30, a number too long
        why = " ".join(str(error).split())
    raise Refused("yaml", f"is not valid YAML: {why}", "check indentation, colons and quotes")


def _worded(error: Any) -> str:
    """What the parser says, in a line, with the place."""
    mark = error.problem_mark or error.context_mark
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    what = ", ".join(part for part in (error.context, error.problem) if part)
    return " ".join(f"{what}{place}".split())


@cache
def _loader() -> Any:
    """The loader's class. PyYAML is imported when the first text is read."""
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's safe loader, which checks each node before anything is built from it."""

        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.depth = 0
            self.values = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                reason = f"line {line}: refers to another place (*{event.anchor})"
                raise Refused("alias", reason, "write the value out")
            self.values += 1
            if self.values > MOST_VALUES:
                raise Refused("many", f"line {line}: holds more than {MOST_VALUES:,} values", "leave some out")
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise Refused("depth", f"line {line}: is nested more than {MAX_DEPTH} levels deep", "flatten it")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            first: dict[Any, int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if key.tag == "tag:yaml.org,2002:merge":
                    raise Refused("merge", f"line {line}: merges another value (<<)", "write its names out")
                name = self.construct_object(key, deep=True)
                if not isinstance(name, str | int | float | bool | None):
                    raise Refused("name", f"line {line}: has a name that is no text", "write `name: value` lines")
                if name in first:
                    reason = f"line {line}: has {name!r} a second time, first in line {first[name]}"
                    raise Refused("duplicate-key", reason, "keep one of the two")
                first[name] = line
            return super().construct_mapping(node, deep)

        def flatten_mapping(self, node: Any) -> None:
            """Leave merge keys as they are: `construct_mapping` refuses them."""

    return Loader
