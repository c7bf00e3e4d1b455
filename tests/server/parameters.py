"""The parameters of every operation in the OpenAPI document, and bodies that are right but for one value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.server.furnished import Furnished


@dataclass(frozen=True)
class Operation:
    """One method of one address."""

    id: str
    method: str
    path: str
    parameters: dict[str, tuple[str, dict[str, Any]]]
    """Name -> where it stands (path, query, header), and its schema."""
    fields: dict[str, dict[str, Any]]
    """Fields of the JSON body."""

    def target(self, known: Furnished, name: str = "", value: str = "") -> str:
        """An address in which the parameter `name` has the value `value` (escaped), the others sensible ones."""
        path, query = self.path, []
        for other, (place, schema) in self.parameters.items():
            # No furniture is carried out: what is deleted is never there.
            sensible = known.value(other) if self.method != "DELETE" else None
            given = value if other == name else str(sensible or "x1")
            if place == "path":
                path = path.replace("{" + other + "}", given)
            elif place == "query" and (other == name or schema.get("required")):
                query.append(f"{other}={given}")
        return path + ("?" + "&".join(query) if query else "")

    def body(self, known: Furnished) -> dict[str, Any]:
        """A body that does what the operation is for."""
        full = {
            "model_path": known.model, "train_data_path": known.data, "val_data_path": None,
            "model_name": known.model, "model": known.model, "prompt": "a", "max_tokens": 2, "rows": [0],
            "settings": {}, "values": {}, "changes": {}, "position": 0, "token": "x" * 43, "text": "lora_rank: 8\n",
            "path": "x", "name": "x", "adapters": [None], "force": False,
            "messages": [{"role": "user", "content": "a"}],
        }  # fmt: skip
        return {name: full[name] for name in self.fields if name in full}


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Every operation of a document."""
    for path, methods in document["paths"].items():
        for method, made in methods.items():
            parameters = {
                item["name"]: (item["in"], {**item["schema"], "required": item.get("required", False)})
                for item in made.get("parameters", [])
            }
            content = made.get("requestBody", {}).get("content", {}).get("application/json", {})
            reference = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            fields = document["components"]["schemas"].get(reference, {}).get("properties", {})
            yield Operation(made["operationId"], method.upper(), path, parameters, fields)
