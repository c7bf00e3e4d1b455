"""docs/python.md from the docstrings of `droidft`, and the public names with their signatures as text."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, is_typeddict

import droidft

WIDEST = 100
"""Characters of a call that is shown on one line."""
NOTE = "<!-- Written by `make docs` from the code; edit the code. -->"
SECTION = re.compile(r"(Args|Returns|Raises):$")
HEAD = """
Everything that the terminal and the browser do, from a script or a notebook. Runs and adapters are the same: what is
started here is seen there, and the other way round.

```python
import droidft

run = droidft.train(model_path="smollm2-135m-instruct", train_data_path="orders.jsonl", mask_prompt=True)
for event in run.follow():
    print(event)
print(droidft.load("smollm2-135m-instruct", adapter=run.adapter).answer("Two lattes for Greta."))
```

`orders.jsonl` is a file of your own in any form of [data.md](data.md), or
[examples/orders/train.jsonl](../examples/orders/train.jsonl). The model is fetched the first time (93 MB). Every
error is a `droidft.DroidError` with a `message`, a `hint` and a `code`. The types of events are in `droidft.events`,
the settings of `train` in [config.md](config.md).

[first_steps.ipynb](../examples/notebooks/first_steps.ipynb) trains, plots the loss, and compares base and adapter.
[own_method.py](../examples/own_method.py) trains in its own process with a loss of its own: `droidft.engine` is the
loop, and a subclass of `droidft.engine.training.method.Method` is what it trains with. Unlike the names below, the
engine's may change between versions.
"""


def python_page() -> Iterator[str]:
    """The page, line by line."""
    yield from ["# Python", "", NOTE, *HEAD.rstrip().splitlines()]
    for name in sorted(droidft.__all__, key=lambda name: (not inspect.isfunction(getattr(droidft, name)), name)):
        value = getattr(droidft, name)
        if inspect.isfunction(value):
            yield from ["", f"## `{name}`", "", *_call(f"droidft.{name}", value), ""]
            yield from as_markdown(value)
        elif inspect.isclass(value) and value.__module__.startswith("droidft.api"):
            yield from ["", f"## `{name}`", "", *as_markdown(value)]
            yield from (_fields(value) if is_typeddict(value) else _members(name, value))


def public_api() -> str:
    """Every public name with its signature, a line each, in order of names."""
    lines = [line for name in sorted(droidft.__all__) for line in _lines(name, getattr(droidft, name))]
    return "\n".join(lines) + "\n"


def changed(before: str, after: str) -> list[str]:
    """The names whose lines differ between two texts of `public_api`, without `droidft.`."""
    return sorted({line.split(maxsplit=1)[0] for line in {*before.splitlines()} ^ {*after.splitlines()}})


def unmentioned(names: list[str], changelog: str) -> list[str]:
    """Those of `names` that the unreleased part of a changelog does not have between backticks."""
    parts = re.split(r"^## ", changelog, flags=re.M)
    unreleased = next((part for part in parts if "unreleased" in part.partition("\n")[0].lower()), "")
    code = "\n".join(re.findall(r"`[^`]+`", unreleased))
    return [name for name in names if not re.search(rf"\b{re.escape(_shown(name))}\b", code)]


def signature(function: Any) -> str:
    """`(prompt: str, *, seed: int | None = None) -> str`: annotations as they are written."""
    found = inspect.signature(function)
    parameters = [
        each if each.annotation is each.empty else each.replace(annotation=_Written(each.annotation))
        for each in found.parameters.values()
    ]
    return str(found.replace(parameters=parameters, return_annotation=_Written(found.return_annotation)))


def as_markdown(value: Any) -> Iterator[str]:
    """A docstring, its sections as lists."""
    in_section = False
    for line in (inspect.getdoc(value) or "").splitlines():
        if match := SECTION.match(line):
            in_section = True
            yield f"**{match[1]}**"
            yield ""
        elif in_section and (item := re.match(r"    (\*{0,2}\w[\w, ]*): (.*)", line)):
            yield f"- `{item[1]}`: {item[2]}"
        elif in_section and line.startswith("    "):
            yield f"  {line.strip()}"
        else:
            yield line


class _Written:
    """An annotation that is shown as it was written."""

    def __init__(self, text: Any) -> None:
        self._text = str(text)

    def __repr__(self) -> str:
        return self._text


def _shown(name: str) -> str:
    """How a changelog names it: a setting by its own name, a member with its class."""
    return name.removeprefix("TrainingConfig.")


def _public(owner: Any) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in vars(owner).items() if not name.startswith("_"))


def _members(name: str, owner: Any) -> Iterator[str]:
    for member, value in _public(owner):
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if not inspect.isfunction(function):
            continue
        shown = f"{name}.{member}"
        if isinstance(value, property):
            yield from ["", f"### `{shown}`", "", f"Property: `{_result(function)}`", ""]
        else:
            yield from ["", f"### `{shown}`", "", *_call(shown, function), ""]
        yield from as_markdown(function)


def _call(name: str, function: Any) -> Iterator[str]:
    """How it is called, with a line for each parameter where that is too long for one."""
    text = signature(function).replace("(self, ", "(").replace("(self)", "()").replace("(cls, ", "(")
    line = f"{name}{text}"
    if len(line) > WIDEST:
        inside, _, result = text[1:].rpartition(") -> ")
        line = "\n    ".join([f"{name}(", *(f"{each}," for each in _split(inside))]) + f"\n) -> {result}"
    yield from ["```python", *line.splitlines(), "```"]


def _split(parameters: str) -> list[str]:
    """At commas that stand in no brackets."""
    return re.split(r", (?![^\[]*\])", parameters)


def _fields(owner: Any) -> Iterator[str]:
    """Fields of a typed dictionary, with the docstrings under them."""
    yield from ["", "| name | type | meaning |", "|---|---|---|"]
    texts = re.findall(r'^    (\w+): [^\n]+\n    """(.*?)"""', inspect.getsource(owner), flags=re.M | re.S)
    for name, text in texts:
        kind = _type(owner.__annotations__[name]).replace(" | ", " or ")
        yield f"| `{name}` | `{kind}` | {' '.join(text.split())} |"


def _lines(name: str, value: Any) -> Iterator[str]:
    if inspect.isfunction(value):
        yield f"{name} {signature(value)}"
    elif inspect.isclass(value):
        yield f"{name} class"
        if issubclass(value, BaseException):
            return
        for field, default in _defaults(value).items():
            yield f"{name}.{field} field {default}".rstrip()
        if value.__module__.startswith("droidft.api") and not is_typeddict(value):
            for member, each in _public(value):
                function = getattr(each, "fget", None) or getattr(each, "__func__", each)
                shown = f"property {_result(function)}" if isinstance(each, property) else signature(function)
                yield f"{name}.{member} {shown}"


def _defaults(owner: Any) -> dict[str, str]:
    """Fields of a model with their defaults, or of a typed dictionary."""
    if is_typeddict(owner):
        return dict.fromkeys(owner.__annotations__, "")
    fields = getattr(owner, "model_fields", {})
    given = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    return {name: "" if field.is_required() else f"= {given[name]!r}" for name, field in fields.items()}


def _result(function: Any) -> str:
    return _type(inspect.signature(function).return_annotation)


def _type(annotation: Any) -> str:
    return str(getattr(annotation, "__forward_arg__", annotation))
