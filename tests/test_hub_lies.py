"""Whatever a Hub answers: the weights that it stated or an error, in bounded time, and nothing outside the cache."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import Answer, Client, Repo
from lying_hub import Lie, LyingHub, lies

from mamp import MAMPConfig, MAMPEncoder, Preprocessing

SEED = int(os.environ.get("MAMP_HOSTILE_SEED", "0"))
BOUND = 60.0  # seconds of a busy machine, for a ceiling of 6
LOAD = (
    "encoder = MAMPEncoder.from_pretrained(name, **options); result = [fingerprint(encoder), encoder.config.to_dict()]"
)
CONFIG = MAMPConfig(dim_feat=16, depth=1, num_heads=4, num_frames=8, preprocessing=Preprocessing(center="none"))


def saved(folder: Path, seed: int) -> dict[str, bytes]:
    torch.manual_seed(seed)
    MAMPEncoder(CONFIG).save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Stand:
    """A lying server and a real client, with everything that the client could write in one folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.hub = root, LyingHub()
        self.files, self.other = saved(root / "a", 0), saved(root / "b", 1)
        self.commit = self.hub.repos.setdefault("you/one", Repo()).commit(self.files)
        (root / "home").mkdir()
        ceilings = {"MAMP_HUB_TIMEOUT": "6", "HF_HUB_ETAG_TIMEOUT": "4", "HF_HUB_DOWNLOAD_TIMEOUT": "4"}
        self.client = Client(self.hub.url, root / "home", **ceilings)
        self.truth = self.load("truth").result
        self.count = 0

    def load(self, cache: str, **options: object) -> Answer:
        return self.client.run(LOAD, name="you/one", options={"cache_dir": str(self.root / cache), **options})

    def close(self) -> None:
        self.hub.lie = None
        self.client.close()
        self.hub.close()

    def outside(self, cache: str) -> set[str]:
        """Files that are not in this cache, but for the log of the client."""
        found = {str(path.relative_to(self.root)) for path in self.root.rglob("*")}
        return {name for name in found if not name.startswith((cache, "home"))} | {
            name for name in ("/tmp/evil-by-the-hub",) if Path(name).exists()
        }

    def tell(self, lie: Lie, known: bool) -> tuple[str, str]:
        """Tell a lie, and the truth afterwards; returns the outcome, and what is wrong with it or ``""``."""
        self.count += 1
        cache = f"cache-{self.count}"
        if known:
            self.load(cache)
        before = self.outside(cache)
        self.hub.asked.clear()
        self.hub.lie = lie
        answer = self.load(cache)
        self.hub.lie = None
        wrong = []
        if answer.error is None and answer.result != self.truth:
            wrong.append("other weights or another configuration, without an error")
        if answer.error is not None and answer.error[0] not in ("WeightsError", "ConfigError"):
            wrong.append(f"raw error {answer.error}")
        if answer.seconds > BOUND:
            wrong.append(f"{answer.seconds:.0f} seconds")
        if written := self.outside(cache) - before:
            wrong.append(f"written outside: {sorted(written)}")
        again = self.load(cache)
        if again.result != self.truth or again.seconds > BOUND:
            wrong.append(f"then the truth, and: {again}")
        local = self.load(cache, local_files_only=True)
        if local.result != self.truth:
            wrong.append(f"then the cache, and: {local}")
        what = "the truth" if answer.error is None else answer.error[0]
        return what, f"{lie.name}{' (known)' if known else ''}: {'; '.join(wrong)}" if wrong else ""


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.close()


def test_some_lies(stand: Stand) -> None:
    quick = [lie for lie in lies(stand.other) if lie.file is not None]
    for lie in random.Random(SEED).sample(quick, 12):
        assert not (fault := stand.tell(lie, known=False)[1]), fault
    for lie in (one for one in quick if "ETag up (later)" in one.name):
        assert not (fault := stand.tell(lie, known=False)[1]), fault


@pytest.mark.slow
def test_all_lies(stand: Stand) -> None:
    told, counts, wrong = list(lies(stand.other)), Counter[str](), []
    for known in (False, True):
        for lie in told:
            outcome, fault = stand.tell(lie, known)
            counts[f"{outcome}{', known before' if known else ''}"] += 1
            wrong += [fault] if fault else []
    print(f"\n{len(told)} lies: {dict(counts)}")
    assert len(told) >= 106 and not wrong, "\n".join(wrong)
