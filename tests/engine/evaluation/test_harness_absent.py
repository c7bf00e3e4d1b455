"""Without lm-eval: the module can be imported, and says what to install when it is asked for something."""

from __future__ import annotations

import sys

import pytest

from droidft.engine.evaluation import harness
from droidft.errors import ConfigError


@pytest.mark.parametrize("missing", ["lm_eval", "datasets"])
def test_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match="harness is not installed") as caught:
        harness.check(["mmlu"])
    assert caught.value.hint == 'pip install "droidft[harness]"'
