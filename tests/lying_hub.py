"""A Hub that lies: the truth of :mod:`hub_server`, and what may be wrong with each answer."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from hub_server import HubServer, _Handler, git_hash

FILES = ("config.json", "model.safetensors")
Change = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Lie:
    """What is wrong with the answers about a file.

    Attributes:
        name: In words.
        file: About which file; ``None`` for both.
        when: ``"head"``, ``"get"``, ``"both"``, or ``"later"``: from the second question about a file on.
        status: HTTP status.
        headers: Headers to change; ``None`` leaves one out.
        body: What becomes of the content; the headers still describe the true one.
        content: What becomes of the content, with headers that fit.
        act: What the server does in place of an answer.
    """

    name: str
    file: str | None = None
    when: str = "both"
    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: Change | None = None
    content: Change | None = None
    act: str = ""


class LyingHub(HubServer):
    """A server that tells ``lie``, or the truth if that is ``None``."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = LyingHandler
        self.lie: Lie | None = None
        self.asked: dict[tuple[str, str], int] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class LyingHandler(_Handler):
    server: LyingHub

    def _resolve(self, body: bool) -> None:
        name = unquote(urlsplit(self.path).path).rpartition("/")[2]
        key = (self.command, name)
        self.server.asked[key] = self.server.asked.get(key, 0) + 1
        lie = self.server.lie
        applies = lie is not None and lie.file in (None, name) and lie.when in {
            "both", "get" if body else "head", "later" if self.server.asked[key] > 1 else "",
        }  # fmt: skip
        if lie is None or not applies:
            return super()._resolve(body)
        if lie.act:
            return self._act(lie.act, body)
        self._answer(lie, name, body)

    def _answer(self, lie: Lie, name: str, body: bool) -> None:
        parts = self.path.strip("/").split("/")
        repo = self.server.repos["/".join(parts[:2])]
        commit = repo.refs.get(unquote(parts[3]), unquote(parts[3]))
        content = repo.commits[commit].get(name, b"x" * 100)
        if lie.content is not None:
            content = lie.content(content)
        large = name.endswith(".safetensors")
        etag = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        headers: dict[str, str | None] = {
            "ETag": f'"{etag}"', "X-Repo-Commit": commit, "Content-Length": str(len(content)),
        }  # fmt: skip
        self.send_response(lie.status)
        for key, value in {**headers, **lie.headers}.items():
            if value is not None:
                text = value.replace("SELF", self.server.url + self.path).replace("HOST", self.server.url)
                self.send_header(key, text)
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        if body and not 300 <= lie.status < 400:
            self.wfile.write(lie.body(content) if lie.body is not None else content)

    def _act(self, act: str, body: bool) -> None:
        self.close_connection = True
        if act == "hang up":
            return
        if act == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif act == "silence":
            time.sleep(30)
        elif act == "garbage":
            self.wfile.write(b"\x16\x03\x01\x00hello\r\n\r\n")
        elif act == "no status":
            self.wfile.write(b"HTTP/1.1 abc OK\r\n\r\n")
        elif act == "endless headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for i in range(100_000):
                self.wfile.write(b"X-%d: %s\r\n" % (i, b"y" * 100))
        elif act == "slow headers":
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: 12345678901234567890123456789\r\n":
                self.wfile.write(bytes([byte]))
                time.sleep(0.5)
        elif act == "continue":
            for _ in range(60):
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                time.sleep(0.2)
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + _BODIES[act][0] + b"\r\n")
            _BODIES[act][1](self.wfile)


def _endless(file: Any) -> None:
    for _ in range(2000):  # 2 GB, if anybody takes them
        file.write(bytes(1 << 20))


def _slow(file: Any) -> None:
    for _ in range(60):
        file.write(b"x")
        time.sleep(0.5)


def _stops(file: Any) -> None:
    file.write(b"x" * 100)
    time.sleep(30)


_BODIES: dict[str, tuple[bytes, Callable[[Any], None]]] = {
    "endless body": (b"", _endless),
    "endless chunks": (
        b"Transfer-Encoding: chunked\r\n",
        lambda file: [file.write(b"5\r\nhello\r\n") for _ in range(10**6)],
    ),
    "bad chunks": (b"Transfer-Encoding: chunked\r\n", lambda file: file.write(b"zz\r\nhello\r\n")),
    "huge chunk": (b"Transfer-Encoding: chunked\r\n", lambda file: file.write(b"ffffffffffffffff\r\nhello\r\n")),
    "slow body": (b"Content-Length: 5000\r\n", _slow),
    "body that stops": (b"Content-Length: 5000\r\n", _stops),
    "bomb": (b"Content-Encoding: gzip\r\n", lambda file: file.write(gzip.compress(bytes(1 << 28), 1))),
}


def flip_last(data: bytes) -> bytes:
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


def other_field(data: bytes) -> bytes:
    """A configuration that is as long and says something else."""
    return data.replace(b'"center": "none"', b'"center": "clip"')


def without_hash(data: bytes) -> bytes:
    values = json.loads(data)
    values["weights_sha256"] = "0" * 64
    return json.dumps(values).encode()


def lies(other: Mapping[str, bytes]) -> Iterator[Lie]:
    """All lies; ``other`` are the files of another encoder."""
    for file in FILES:
        yield from _about(file, other[file])
    for name in ("hang up", "reset", "silence", "garbage", "no status", "endless headers", "slow headers", "continue"):
        for when in ("head", "get"):
            yield Lie(f"{name} ({when})", when=when, act=name)
    for name in _BODIES:
        yield Lie(name, when="get", act=name)
    for status in (204, 206, 301, 307, 400, 401, 403, 404, 405, 408, 410, 416, 418, 451, 500, 501, 502, 504, 599, 999):
        yield Lie(f"status {status}", status=status)
    for status in (403, 404, 500):
        yield Lie(f"status {status} of the download", when="get", status=status)
    for code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo", "x" * 1000):
        yield Lie(f"code {code[:20]}", status=404, headers={"X-Error-Code": code})
    for after in ("0", "1", "3600", "-1", "99999999999999", "soon", "Wed, 21 Oct 2099 07:28:00 GMT"):
        yield Lie(f"busy until {after}", when="get", status=429, headers={"Retry-After": after})
    yield Lie("busy, asked politely", when="head", status=429, headers={"Retry-After": "3600"})
    yield Lie("unavailable for an hour", when="get", status=503, headers={"Retry-After": "3600"})
    yield Lie("rate limit", when="get", status=429, headers={"ratelimit": '"api";r=0;t=3600'})
    places = {
        "itself": "SELF", "a file": "file:///etc/passwd", "nowhere": "http://127.0.0.1:9/x", "no address": "http://",
        "nothing": "", "up": "../../../../x", "another scheme": "ftp://127.0.0.1/x", "a name": "x y\\z", "half": "//",
        "a page": "HOST/you/one/resolve/main/README.md",
    }  # fmt: skip
    for name, place in places.items():
        for when in ("head", "get"):
            yield Lie(f"redirect to {name} ({when})", when=when, status=302, headers={"Location": place})
    yield Lie("redirect without a place", status=302, headers={"Location": None})


def _about(file: str, other: bytes) -> Iterator[Lie]:
    def lie(name: str, **fields: Any) -> Lie:
        return Lie(f"{file}: {name}", file, **fields)

    for name, etag in {
        "another": "0" * 64, "another, short": "1" * 40, "none": None, "nothing": "", "weak": f'W/"{"2" * 40}"',
        "of another file": hashlib.sha256(other).hexdigest(), "upper case": "A" * 40, "up": "../../../evil",
        "absolute": "/tmp/evil-by-the-hub", "long": "a" * 5000, "text": "hello", "md5": "a" * 32, "dots": "..",
        "hidden": ".lock", "Windows": "C:\\evil", "percent": "%2e%2e%2fevil",
    }.items():  # fmt: skip
        for when in ("both", "later") if "up" in name or "absolute" in name else ("both",):
            yield lie(f"ETag {name} ({when})", headers={"ETag": etag}, when=when)
    yield lie("linked ETag up", headers={"X-Linked-Etag": "../../../evil"})
    yield lie("linked ETag of another", headers={"X-Linked-Etag": '"' + hashlib.sha256(other).hexdigest() + '"'})
    for name, commit in {"another": "0" * 40, "none": None, "up": "../../evil", "short": "abc", "refs": "main"}.items():
        yield lie(f"commit {name}", headers={"X-Repo-Commit": commit})
    for name, size in {
        "0": "0", "1": "1", "-1": "-1", "text": "x", "2^50": str(1 << 50), "none": None, "one more": "LONGER",
    }.items():  # fmt: skip
        yield lie(f"size {name}", headers={"Content-Length": size if size != "LONGER" else "99999"}, when="head")
        if size is not None:
            yield lie(f"linked size {name}", headers={"X-Linked-Size": size if size != "LONGER" else "99999"})
    bodies: dict[str, Change] = {
        "a bit flipped": flip_last, "cut": lambda data: data[:-100], "nothing": lambda data: b"",
        "zeros": lambda data: bytes(len(data)), "another encoder's": lambda data: other,
        "another encoder's, as long": lambda data: (other + data)[: len(data)], "more": lambda data: data + b"x" * 1000,
        "a page": lambda data: b"<html>", "twice": lambda data: data + data, "another field": other_field,
    }  # fmt: skip
    for name, body in bodies.items():
        yield lie(f"body: {name}", when="get", body=body)
    # Hash and size fit; what is wrong is that the two files do not belong together.
    yield lie("content: another encoder's", content=lambda data: other)
    yield lie("content: no JSON and no weights", content=lambda data: b"{}" * 50)
    yield lie("content: deep", content=lambda data: b"[" * 100_000)
    yield lie("content: a pickle", content=lambda data: b"\x80\x02cos\nsystem\n(S'touch evil'\ntR.")
    if file == "config.json":
        yield lie("content: another hash of the weights", content=without_hash)
    yield lie("gzip that is none", when="get", headers={"Content-Encoding": "gzip"})
