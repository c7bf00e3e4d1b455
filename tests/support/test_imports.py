from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CODE = """
import hashlib, sys
from pathlib import Path
from droidft.support.imports import remember_transformers
read = []
sys.addaudithook(lambda event, of: read.append(of[0]) if event == "open" and "/models/" in str(of[0]) else None)
if len(sys.argv) > 1:
    remember_transformers(lambda: Path(sys.argv[1]))
import transformers
from transformers import AutoConfig, AutoTokenizer, LlamaConfig
from transformers.utils.import_utils import define_import_structure
inner = define_import_structure(Path(transformers.__file__).parent / "models" / "llama")
names = [sorted(dir(transformers)), sorted(dir(transformers.models)), sorted(map(sorted, inner))]
print(len(read), hashlib.sha256(repr(names).encode()).hexdigest())
"""


def imported(*cache: Path) -> tuple[int, str]:
    """Files of models that were read, and a hash of all names."""
    command = [sys.executable, "-W", "ignore", "-c", CODE, *map(str, cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, names = done.stdout.split()
    return int(count), names


def test_names_are_those_of_a_plain_import_and_hardly_a_file_is_read_for_them(tmp_path: Path) -> None:
    plain, names = imported()
    first, same = imported(tmp_path)
    few, again = imported(tmp_path)
    assert names == same == again
    assert few < first / 10 < plain / 10, "transformers itself reads them twice"
    kept = tmp_path / "transformers.json"
    found = json.loads(kept.read_text())
    found["origin"][0] = "0.0.1"
    for damaged in (json.dumps(found), '{"origin"'):
        kept.write_text(damaged)
        assert imported(tmp_path) == (first, names)
        assert json.loads(kept.read_text())["origin"] != found["origin"]


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert imported(file)[1] == imported()[1]
