"""`droidft serve`: the application in the browser."""

from __future__ import annotations

import argparse
import hmac
import html
import json
import logging
import logging.handlers
import os
import secrets
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape

from droidft import __version__
from droidft.commands._terminal import add_json, line, marked, print_json, terminal, warn
from droidft.errors import ConfigError, DroidError, RunError
from droidft.home import Home
from droidft.support import locks, network, stored
from droidft.support.confined import confine
from droidft.support.durable import write_atomically

if TYPE_CHECKING:
    from droidft.server.options import Options

PORT = 8323
PORTS_TRIED = 20
SHUTDOWN_SECONDS = 2
LOG_BYTES = 5_000_000
ANSWER_SECONDS = 10.0
"""How long a server that is there may take to answer; one that is just starting is waited for."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `droidft serve`."""
    parser.add_argument("--port", type=int, metavar="N", help=f"port, 0 for any free one [{PORT}, or the next free]")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen at [127.0.0.1]")
    parser.add_argument(
        "--allow-remote", action="store_true", help="needed for a --host that other machines can reach"
    )
    parser.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="a further name the server is reached under"
    )
    parser.add_argument(
        "--root-path", default="", metavar="PATH", help="path below which a proxy shows the server, such as /droid"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder from which data files and models may be taken, besides the home folder and this one",
    )
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="runs that train at once [1]")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    add_json(parser, "print where it is as a line of JSON")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; a run in training goes on without the server."""
    console, home = terminal(quiet=args.json), Home.find()
    lock = locks.hold(home.server / "lock")
    if lock is None:
        return _already_running(home, console, as_json=args.json)
    with lock:
        listener = _listen(args.host, args.port)
        try:
            options = _options(args, home, listener)
        except BaseException:
            listener.close()
            raise
        _log_to(home.server / "log.txt")
        return _serve(options, listener, console, browser=not args.no_browser, as_json=args.json)


def _options(args: argparse.Namespace, home: Home, listener: socket.socket) -> Options:
    from droidft.server.options import Options
    from droidft.server.prefix import checked_root_path
    from droidft.server.security import check_bind

    warning = check_bind(args.host, allow_remote=args.allow_remote)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    if args.parallel < 1:
        raise ConfigError(f"--parallel {args.parallel}: must be 1 or more", hint="1 is the default")
    roots = [Path(folder).expanduser().resolve() for folder in (*args.allow, ".")]
    for folder in roots:
        if not folder.is_dir():
            raise ConfigError(f"--allow {folder}: there is no such folder", hint="check the path")
    return Options(
        home=home,
        host=args.host,
        port=listener.getsockname()[1],
        hosts=tuple(args.name),
        root_path=checked_root_path(args.root_path),
        roots=tuple(dict.fromkeys(roots)),
        parallel=args.parallel,
    )


def _serve(options: Options, listener: socket.socket, console: Console, *, browser: bool, as_json: bool) -> int:
    import uvicorn

    from droidft.server import paths
    from droidft.server.idle import ImpatientProtocol, raise_descriptor_limit
    from droidft.server.main import STATIC, create_app

    raise_descriptor_limit()
    confine(paths.data_folders(options), paths.secret_folders(options))
    app = create_app(options)
    host = "127.0.0.1" if options.host in ("", "0.0.0.0", "::") else options.host
    host = f"[{host}]" if ":" in host else host
    url = f"http://{host}:{options.port}{options.root_path}"
    # The server's log is for defects; requests, with what is in them, are not logged.
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        http=ImpatientProtocol,
        proxy_headers=False,  # what a client says of itself in X-Forwarded-… is not believed
        ws_max_size=1 << 16,  # clients have nothing to say on a socket
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    link = f"{url}/launch?code={app.state.droidft.access.launch_code()}"
    _ = app.state.droidft.access.token  # made now, if there is none
    written = json.dumps({"url": url, "pid": os.getpid()}).encode()
    write_atomically(options.home.server / "server.json", written)
    marked(console, f"[bold]Droid FineTuning {__version__}[/] is at {escape(url)}")
    line(console, f"open      {link}")
    line(console, "          signs a browser in, once, within ten minutes; `droidft serve` prints another", "dim")
    line(console, f"home      {options.home.root}")
    line(console, f"API key   in {options.home.server / 'token'}")
    if not (STATIC / "index.html").is_file():
        warn(console, "this checkout has no built front end; `make serve` builds it")
    line(console, "Ctrl-C ends the server; a run in training goes on", style="dim")
    if as_json:
        print_json(_where(options.home, url, link, running=False), indent=None)
    if browser:
        _open(options.home.server / "open.html", link)
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _already_running(home: Home, console: Console, *, as_json: bool) -> int:
    """Give a new link to the server that runs already."""
    url, link = _new_link(home)
    if as_json:
        print_json(_where(home, url, link, running=True), indent=None)
    line(console, f"a server is running already at {url}")
    line(console, f"open      {link}")
    return 0


def _new_link(home: Home) -> tuple[str, str]:
    """Address of the server that runs, and a link from it. One that is just starting is waited for.

    Raises:
        RunError: it does not answer, or what answers at its address does not know the token.
    """
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return _asked_for_link(home)
        except (OSError, ValueError, KeyError, TypeError, DroidError) as error:
            if time.monotonic() > end:
                reason = f"a server holds {home.root} and does not answer: {error}"
                raise RunError(reason, hint="end it, then start it again") from error
        time.sleep(0.1)


def _asked_for_link(home: Home) -> tuple[str, str]:
    from droidft.server.access import proof

    known = stored.mapping(home.server / "server.json")
    if known["pid"] != locks.holder(home.server / "lock"):
        raise RunError("it has not written its address yet")  # what stands there is an earlier server's
    url, token = str(known["url"]), stored.content(home.server / "token").decode().strip()
    nonce = secrets.token_urlsafe(24)
    # The token goes only to a server that has shown that it knows it: another program may listen at that port by now.
    with network.ask_own_server(
        urllib.request.Request(f"{url}/proof?nonce={nonce}"), seconds=ANSWER_SECONDS
    ) as answer:
        shown = answer.read(200).decode("ascii", "replace")
    if not hmac.compare_digest(shown.encode(), proof(token, urlsplit(url).port or 0, nonce).encode()):
        raise RunError(f"another program answers at {url}")
    request = urllib.request.Request(f"{url}/api/launch", method="POST", headers={"Authorization": f"Bearer {token}"})
    with network.ask_own_server(request, seconds=ANSWER_SECONDS) as answer:
        return url, str(json.load(answer)["url"])


def _where(home: Home, url: str, link: str, *, running: bool) -> dict[str, Any]:
    """Where the server is, for programs; `running`: it was there before."""
    token = str(home.server / "token")
    return {"url": url, "open": link, "home": str(home.root), "token": token, "already_running": running}


def _listen(host: str, port: int | None) -> socket.socket:
    """A listening socket at `port`, or where None is given at the first free one of a few.

    It names its protocol, or asyncio would not switch Nagle's algorithm off, which holds every answer back for 40 ms.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [port] if port is not None else range(PORT, PORT + PORTS_TRIED)
    for number in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
        except (OSError, OverflowError) as error:
            listener.close()
            reason = error
            continue
        return listener
    raise ConfigError(
        f"cannot listen at {host}, port {' to '.join(map(str, sorted({wanted[0], wanted[-1]})))}: {reason}",
        hint="choose another --port (0 takes any free one)",
    )


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    errors = logging.StreamHandler()
    errors.setLevel(logging.ERROR)
    logging.basicConfig(level=logging.WARNING, handlers=[handler, errors])


def _open(page: Path, link: str) -> None:
    """Open a browser where there is one to be seen.

    It is given a private page that leads to the link, not the link: every user of the machine sees the arguments of
    every program.
    """
    import webbrowser

    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        text = f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(link)}"><title>Droid</title>'
        write_atomically(page, text.encode())
        webbrowser.open(page.as_uri())
