"""A hub on loopback: the few routes of Hugging Face that lmlab uses, and the ways they fail."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
REPO = "owner/Tiny-GGUF"


@dataclass
class Hub:
    """What the server holds and does. ``requests`` are ``(method, path, headers)`` of all it got.

    ``break_at``: byte counts after which the next answers with a body hang up. ``faults``: statuses of the next answers.
    ``gated`` and ``denied``: repositories that ask for terms, or for another token. ``cdn``: where files redirect to.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    break_at: list[int] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    denied: dict[str, int] = field(default_factory=dict)
    ignore_range: bool = False
    corrupt: bool = False
    plain: bool = False
    claimed_size: int | None = None
    cdn: str | None = None
    url: str = ""

    def paths(self, method: str) -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]


class Server:
    def __init__(self) -> None:
        self.hub = Hub()
        hub = self.hub

        class Handler(_Handler):
            state = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.hub.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append((self.command, path, {key.lower(): value for key, value in self.headers.items()}))
        if self.state.faults and (fault := self.state.faults.pop(0)):
            return self._send(fault)
        if self.state.plain:
            return self._send(200, b"<html>log in first</html>")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
            return self._info(match[1], sizes="blobs=true" in self.path.lower())
        if match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            return self._body(self.state.repos[match[1]][match[2]])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(match[1], match[3])
        return self._send(404)

    def _allowed(self, repo: str) -> bool:
        if repo in self.state.gated:
            self._send(401, headers={"X-Error-Code": "GatedRepo"})
        elif repo in self.state.denied:
            self._send(
                self.state.denied[repo], headers={"X-Error-Message": "Invalid credentials in Authorization header"}
            )
        elif repo not in self.state.repos:
            self._send(404, headers={"X-Error-Code": "RepoNotFound"})
        else:
            return True
        return False

    def _info(self, repo: str, *, sizes: bool) -> None:
        if self._allowed(repo):
            files = self.state.repos[repo].items()
            siblings = [{"rfilename": name, **({"size": len(data)} if sizes else {})} for name, data in files]
            self._send(200, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode())

    def _file(self, repo: str, name: str) -> None:
        if not self._allowed(repo):
            return None
        data = self.state.repos[repo].get(name)
        if data is None:
            return self._send(404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Linked-Size": str(self.state.claimed_size or len(data)),
        }
        if self.state.cdn:
            return self._send(302, headers={**headers, "Location": f"{self.state.cdn}/cdn/{repo}/{name}"})
        if self.command == "HEAD":
            return self._send(200, headers={**headers, "Content-Length": str(len(data))})
        return self._body(data, headers)

    def _body(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        if self.state.corrupt:
            data = bytes(len(data))
        total, status, headers = len(data), 200, dict(headers or {})
        if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) and not self.state.ignore_range:
            start = int(match[1])
            status, data = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        cut = self.state.break_at.pop(0) if self.state.break_at else None
        self._send(status, data, headers, cut)

    def _send(
        self, status: int, data: bytes = b"", headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.close_connection = True
