"""Every row that the data page shows is trained on, one step on a tiny model."""

import json
import re
from pathlib import Path

import pytest

from droidft.config import parse_config
from droidft.engine.assemble import assembled
from droidft.engine.machine.device import computing
from droidft.engine.training.loop import train
from droidft.events import Finished, TrainReport
from droidft.support.places import Places
from tests.conftest import CACHE
from tests.data import templates
from tests.tiny import SPECIAL, write_model

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
TEMPLATE = templates.TOOL_TAGS.replace("<|end|>", "<|im_end|>")
for name in ("system", "user", "assistant", "tool"):
    TEMPLATE = TEMPLATE.replace(f"<|{name}|>", f"<|im_start|>{name}")
TEMPLATE = TEMPLATE.replace("<|{{ m.role }}|>", "<|im_start|>{{ m.role }}")


def documented() -> list[str]:
    """The lines of the page's JSON blocks."""
    blocks = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_page_shows_every_format() -> None:
    fields = {name for line in documented() for name in json.loads(line)}
    assert fields >= {"messages", "conversations", "instruction", "question", "prompt", "history", "text", "chosen"}
    assert SPECIAL[1] in TEMPLATE


@pytest.mark.parametrize("line", documented())
def test_a_row_of_the_page_is_trained_on(line: str, tmp_path: Path) -> None:
    row = json.loads(line)
    model = write_model(tmp_path / "models" / "tiny")
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n" + line + "\n", encoding="utf-8")
    method = "dpo" if "chosen" in row else "sft"
    config = parse_config(
        {
            "model_path": str(model),
            "train_data_path": str(path),
            "val_data_path": str(path),
            "method": method,
            "mask_prompt": "text" not in row and method == "sft",
            "iterations": 1,
            "steps_per_report": 1,
        }
    )
    places = Places(*(tmp_path / name for name in ("models", "adapters", "cache", "checkpoints", "rewards")))
    places.cache.mkdir()
    with computing(CACHE) as device:
        events = list(train(assembled(config, places, device).job))
    assert any(isinstance(event, TrainReport) for event in events)
    assert any(isinstance(event, Finished) for event in events)
