"""A server on this machine that misbehaves in every way that networks do."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONTENT = bytes(range(256)) * 2000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``content`` at /good; /gone is 404; /breaks closes early; /wrong serves something else."""

    content = CONTENT
    asked: list[tuple[str, str | None]]
    breaks_after = 100_000

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if self.path == "/gone":
            self.send_error(404)
            return
        content = b"something else" if self.path == "/wrong" else self.content
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.path != "/no-ranges" else 0
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        end = (
            min(len(content), first + self.breaks_after) if self.path.startswith("/breaks") else len(content)
        )
        self.wfile.write(content[first:end])

    def log_message(self, *_) -> None:
        pass


@contextmanager
def serving() -> Iterator[Any]:
    """A fresh class of :class:`Server` with ``url`` and what was ``asked`` of it."""
    handler: Any = type("Handler", (Server,), {"asked": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{running.server_address[1]}"
    try:
        yield handler
    finally:
        running.shutdown()
        running.server_close()
