"""Serves the page to this machine alone: three files, and sessions as JSON."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ialp_agents.watch.stage import MOST_SEED, Stage
from recsim_envs.render import LOOK

HERE = "127.0.0.1"
HOSTS = (HERE, "localhost")
"""Names that a browser on this machine has for it; another page's name that leads here is none."""
FOLDER = Path(__file__).parent
FILES = {
    "/": (FOLDER / "page.html", "text/html"),
    "/page.js": (FOLDER / "page.js", "text/javascript"),
    "/page.css": (FOLDER / "page.css", "text/css"),
    "/look.css": (LOOK, "text/css"),
}
HEADERS = {
    # What a title might smuggle in, the browser neither loads nor runs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class WatchServer(ThreadingHTTPServer):
    """The page's server; :meth:`serve_forever` runs it.

    Threads, because browsers open connections on which they ask nothing for a while.

    Args:
        stage: plays the sessions.
        port: of 127.0.0.1; 0 is any free one.

    Raises:
        OSError: if the port is taken.
    """

    def __init__(self, stage: Stage, port: int) -> None:
        try:
            super().__init__((HERE, port), Handler)
        except (OSError, OverflowError) as error:
            raise OSError(f"--port {port} of {HERE}: {error}: give another one") from error
        self.stage = stage

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HERE}:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: WatchServer

    def do_GET(self) -> None:  # noqa: N802  the library's name
        """Sends a file, or JSON of what the stage says."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in HOSTS:
            self._send_json({"error": f"this page is at {self.server.url}"}, HTTPStatus.FORBIDDEN)
            return
        url = urlsplit(self.path)
        if url.path in FILES:
            file, kind = FILES[url.path]
            self._send(file.read_bytes(), kind)
        elif url.path == "/about":
            self._send_json(self.server.stage.about())
        elif url.path == "/session":
            self._send_session(url.query)
        else:
            self._send_json({"error": "no such page"}, HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the terminal shows where the page is."""

    def _send_session(self, query: str) -> None:
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        player, seed = asked.get("player", ""), asked.get("seed", "")
        players = list(self.server.stage.players)
        error = ""
        if player not in players:
            error = f"player={player!r} is unknown: use one of {players}"
        elif not (seed.isascii() and seed.isdecimal() and len(seed) <= 10):
            error = f"seed={seed!r} is no whole number: use 0..{MOST_SEED}"
        elif int(seed) > MOST_SEED:
            error = f"seed={seed} is out of range: use 0..{MOST_SEED}"
        if error:
            self._send_json({"error": error}, HTTPStatus.BAD_REQUEST)
        else:
            self._send_json(self.server.stage.session(player, int(seed)))

    def _send_json(self, content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content, allow_nan=False).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
