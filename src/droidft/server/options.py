"""How the server was started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from droidft.home import Home


@dataclass(frozen=True)
class Options:
    """Settings of one server; fixed while it runs."""

    home: Home = field(default_factory=Home.find)
    host: str = "127.0.0.1"
    port: int = 8323
    hosts: tuple[str, ...] = ()
    """Further names under which a browser may reach the server."""
    root_path: str = ""
    """The path below which a proxy shows the application, such as `/droid`; empty for none."""
    roots: tuple[Path, ...] = ()
    """Folders below which clients may name data files and models, besides the home folder."""
    parallel: int = 1
    """How many runs train at once."""
    upload_limit: int = 20 << 30
    """Largest data file that is taken, in bytes."""
