"""A server on loopback that speaks the part of the Hugging Face Hub's protocol that we use, and a client process.

The real client reads HF_ENDPOINT at import, so it runs in a process of its own (:class:`Client`), which executes what
the tests hand it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]


def git_hash(content: bytes) -> str:
    """Hash by which git, and so the Hub, names a small file."""
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()


@dataclass
class Repo:
    """Commits (hash -> file -> content), branches (name -> hash), and who may read."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str | None = None

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        parent = self.commits.get(self.refs.get(branch, ""), {})
        content = {**parent, **files}
        digest = hashlib.sha1(repr((len(self.commits), sorted(content.items()))).encode()).hexdigest()
        self.commits[digest] = content
        self.refs[branch] = digest
        return digest


class HubServer(ThreadingHTTPServer):
    """Repositories in memory; ``requests`` lists what was asked, ``fault`` maps a file name to a misbehaviour."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: dict[str, str] = {}
        self.connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in self.connections:  # a client keeps its connections open
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._resolve(body=False)

    def do_GET(self) -> None:
        self._resolve(body=True)

    def do_POST(self) -> None:
        path = self._note()
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b"".join(self._chunks())
        if path == "/api/validate-yaml":
            return self._json(200, {"errors": [], "warnings": []})
        if self._token() is None:
            return self._json(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            return self._create(json.loads(content))
        _, api, kind, owner, name, action, revision = path.split("/", 6)
        repo = self.server.repos.get(f"{owner}/{name}")
        if (api, kind) != ("api", "models") or repo is None:
            return self._error(404, "RepoNotFound")
        if action == "branch":
            if unquote(revision) in repo.refs:
                return self._json(409, {"error": "Reference already exists"})
            repo.refs[unquote(revision)] = repo.refs.get("main") or repo.commit({})
            return self._json(200, {})
        if unquote(revision) not in repo.refs and unquote(revision) != "main":
            return self._error(404, "RevisionNotFound")
        if action == "preupload":
            files = json.loads(content)["files"]
            answer = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self._json(200, {"files": answer})
        lines = [json.loads(line) for line in content.splitlines() if line.strip()]
        added = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        oid = repo.commit(added, unquote(revision))
        address = f"{self.server.url}/{owner}/{name}/commit/{oid}"
        return self._json(200, {"commitUrl": address, "commitOid": oid, "pullRequestUrl": None})

    def _create(self, values: dict[str, Any]) -> None:
        owner = values.get("organization") or "me"
        repo_id = f"{owner}/{values['name']}"
        address = {"url": f"{self.server.url}/{repo_id}"}
        if owner == "forbidden":
            return self._json(403, {"error": "You don't have the rights to create a model under this namespace"})
        private = values.get("private") or values.get("visibility") == "private"
        if repo_id in self.server.repos:
            return self._json(409, {"error": "You already created this model repo", **address})
        self.server.repos[repo_id] = Repo(token=self._token() if private else None)
        return self._json(200, address)

    def _resolve(self, body: bool) -> None:
        path = self._note()
        parts = path.strip("/").split("/")
        repo = self.server.repos.get("/".join(parts[:2]))
        if len(parts) != 5 or parts[2] != "resolve" or repo is None:
            return self._error(401 if self._token() is None else 404, "RepoNotFound")
        if repo.token is not None and self._token() != repo.token:
            return self._error(401 if self._token() is None else 403, "RepoNotFound" if self._token() is None else "")
        revision, name = unquote(parts[3]), parts[4]
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            return self._error(404, "RevisionNotFound")
        if name not in repo.commits[commit]:
            return self._error(404, "EntryNotFound", {"X-Repo-Commit": commit})
        content = repo.commits[commit][name]
        fault = self.server.faults.get(name)
        if fault == "unavailable":
            return self._error(503, "")
        if fault == "busy":
            return self._send(429, b"", {"Retry-After": "3600"})
        large = name.endswith(".safetensors")  # the Hub names large files by sha256, others by git's hash
        etag = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        if fault == "other bytes":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if fault == "etag outside":
            etag = "../../../evil"
        if fault == "commit outside":
            commit = "../../../evil"
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content)))
        if fault == "truncated":
            self.send_header("Connection", "close")
        self.end_headers()
        if body and fault == "slow":
            for byte in content[:20]:
                self.wfile.write(bytes([byte]))
                time.sleep(1)
        elif body:
            self.wfile.write(content[: len(content) // 2] if fault == "truncated" else content)
        if fault == "truncated":
            self.close_connection = True

    def _note(self) -> str:
        path = urlsplit(self.path).path
        self.server.requests.append((self.command, path))
        return path

    def _token(self) -> str | None:
        header = self.headers.get("Authorization", "")
        return header.removeprefix("Bearer ") or None

    def _chunks(self) -> Any:
        while size := int(self.rfile.readline().strip(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _json(self, status: int, values: dict[str, Any]) -> None:
        self._send(status, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": code} if code else {}
        self._send(status, b"", {**named, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


_LOOP = """
import json, os, sys, time
from pathlib import Path
answers, sys.stdout = sys.stdout, sys.stderr
import torch
torch.set_num_threads(1)
import mamp
from mamp import MAMPConfig, MAMPEncoder
from mamp.hub import fingerprint
for line in sys.stdin:
    scope, started, answer = dict(globals()), time.perf_counter(), {}
    try:
        exec(json.loads(line), scope)
        answer["result"] = scope.get("result")
    except Exception as error:
        answer["error"] = [type(error).__name__, str(error)]
    answer["seconds"] = time.perf_counter() - started
    print(json.dumps(answer), file=answers, flush=True)
"""


@dataclass
class Answer:
    """What a piece of code left in ``result``, or the error it ended with, and how long it took."""

    seconds: float
    result: Any = None
    error: tuple[str, str] | None = None


class Client:
    """A Python process with the real client, pointed at ``endpoint`` and with a home of its own."""

    def __init__(self, endpoint: str, home: Path, **variables: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE", "MAMP_"))}
        proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        settings = {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "XDG_CACHE_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._log = (home / "stderr.txt").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**inherited, **proxies, **settings, **variables},
            cwd=home,
        )

    def run(self, code: str, **values: object) -> Answer:
        """Execute ``code`` with ``values`` as variables."""
        assert self._process.stdin and self._process.stdout
        given = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        self._process.stdin.write(json.dumps(given + code) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the client process ended: " + Path(self._log.name).read_text()
        return Answer(**json.loads(line))

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()
        self._log.close()
