"""Load hostile files, each in a process of its own, with limits.

``python hostile_driver.py`` imports the package once and forks for each line of standard input, which names what to
load; it answers with what came of it, and what that cost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MEGABYTES = 10, 1024  # of processor time; above what the import takes
WALL = 300  # seconds on a busy machine


@dataclass(frozen=True)
class Outcome:
    """What came of a file.

    Attributes:
        kind: ``"error"``, ``"loaded"``, or what should not be: ``"raw error"``, ``"killed"``, ``"code"``.
        text: The message, or a hash of what was loaded.
        seconds: Of processor time.
        megabytes: Largest memory above that of an idle process.
    """

    kind: str
    text: str
    seconds: float = 0.0
    megabytes: float = 0.0


class Driver:
    """The process that forks."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        for name in ("MAMP_WEIGHTS", "MAMP_HUB_NAMESPACE"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.floor = self.load("nothing", Path(), Path()).megabytes

    def load(self, what: str, path: Path, out: Path) -> Outcome:
        """Load a file: ``what`` is ``"convert"`` (to ``out``), ``"encoder"`` or ``"classifier"``."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([what, str(path), str(out)]) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        found["megabytes"] -= getattr(self, "floor", 0.0)
        return Outcome(**found)

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def _work(what: str, path: str, out: str) -> str:
    """Load; return a hash of the weights and the configuration."""
    from mamp import MAMPClassifier, MAMPEncoder
    from mamp.hub import convert_checkpoint, fingerprint

    if what == "nothing":
        return ""
    if what == "convert":
        convert_checkpoint(path, out)
    if what == "classifier":
        network: Any = MAMPClassifier.from_pretrained(path)
        digest = fingerprint(network.encoder()) + str([x.sum().item() for x in network.head.state_dict().values()])
    else:
        network = MAMPEncoder.from_pretrained(out if what == "convert" else path)
        digest = fingerprint(network)
    return hashlib.sha256((digest + json.dumps(network.config.to_dict())).encode()).hexdigest()[:16]


def _child(request: list[str], answers: int) -> None:
    """In the forked process: work under limits, and answer."""
    from mamp.errors import MAMPError

    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + 3 * MEGABYTES * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (2 * SECONDS, 2 * SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    allowed, violations = str(Path(request[2]).parent), []

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"):
            violations.append(event)
        writes = event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and not args[0].startswith((allowed, "/dev/null")):
            violations.append(f"open {args[0]}")

    sys.addaudithook(audit)
    try:
        answer = {"kind": "loaded", "text": _work(*request)}
    except MAMPError as error:
        answer = {"kind": "error", "text": str(error)}
    except BaseException as error:
        answer = {"kind": "raw error", "text": f"{type(error).__name__}: {str(error)[:500]}"}
    if violations:
        answer = {"kind": "code", "text": str(violations)}
    os.write(answers, json.dumps(answer).encode())
    os._exit(0)


def _fork(request: list[str]) -> dict[str, Any]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(request, write)
    os.close(write)
    deadline = time.monotonic() + WALL
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    with os.fdopen(read, "rb") as file:
        content = file.read()
    found = json.loads(content) if content else {"kind": "killed", "text": f"status {status}"}
    return found | {"seconds": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss / 1024}


def main() -> None:
    import logging

    import torch

    torch.set_num_threads(1)
    logging.getLogger("mamp").addHandler(logging.NullHandler())
    _work("nothing", "", "")
    import mamp.hub.client  # noqa: F401 - everything that a child would import

    for line in sys.stdin:
        print(json.dumps(_fork(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
