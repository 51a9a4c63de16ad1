"""Files from strangers end in an error of the package or in the sound result, in 1 GB and 10 s, and run nothing."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hostile_checkpoints import Case, cases, saved
from hostile_driver import MEGABYTES, SECONDS, Driver, Outcome
from hostile_folders import Folder, folders

from mamp import MAMPConfig
from mamp.hub.tensors import encoder_shapes

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits processes as Linux does")
SEED = int(os.environ.get("MAMP_HOSTILE_SEED", "0"))


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


def faults(case: Case | Folder, outcome: Outcome, sound: str) -> str:
    """What is wrong with an outcome, or ``""``."""
    allowed = {
        "error": outcome.kind == "error",
        "equal": outcome.kind == "loaded" and outcome.text == sound,
        "either": outcome.kind == "error" or (outcome.kind == "loaded" and outcome.text == sound),
        "any": outcome.kind in ("error", "loaded"),
    }
    wrong = "" if allowed[case.expect] else f"expected {case.expect}, found {outcome.kind}: {outcome.text[:300]}"
    if outcome.kind == "error" and not 20 < len(outcome.text) <= 2000:
        wrong += f" message of {len(outcome.text)} characters"
    if outcome.megabytes > MEGABYTES:
        wrong += f" {outcome.megabytes:.0f} MB"
    if outcome.seconds > SECONDS:
        wrong += f" {outcome.seconds:.1f} s"
    return f"{case.name}: {wrong}" if wrong else ""


def convert(driver: Driver, case: Case, place: Path) -> Outcome:
    """Convert a file; nothing may be left behind."""
    place.mkdir()
    (place / "c.pth").write_bytes(case.content)
    outcome = driver.load("convert", place / "c.pth", place / "out")
    left = {path.name for path in place.iterdir()} - {"c.pth", "out" if outcome.kind == "loaded" else ""}
    ran = (place.parent / "ran").exists()
    shutil.rmtree(place)
    if left or ran:
        return Outcome("code" if ran else "left behind", str(left))
    return outcome


def load(driver: Driver, folder: Folder, place: Path) -> Outcome:
    place.mkdir()
    for name, content in folder.files.items():
        (place / name).write_bytes(content)
    outcome = driver.load(folder.what, place, place / "out")
    left = {path.name for path in place.iterdir()} - {*folder.files}
    shutil.rmtree(place)
    return Outcome("left behind", str(left)) if left else outcome


def run(
    driver: Driver, tmp_path: Path, checkpoints: list[Case], hostile: list[Folder]
) -> tuple[list[str], dict[str, Counter[str]], list[Outcome]]:
    """Load everything; the first of each is sound."""
    wrong, counts, outcomes = [], {"checkpoints": Counter(), "folders": Counter()}, []
    sound = {"convert": convert(driver, checkpoints[0], tmp_path / "case").text}
    for case in checkpoints:
        outcome = convert(driver, case, tmp_path / "case")
        counts["checkpoints"]["equal" if outcome.text == sound["convert"] else outcome.kind] += 1
        wrong.append(faults(case, outcome, sound["convert"]))
        outcomes.append(outcome)
    for folder in hostile:
        if folder.name.startswith("sound"):
            sound[folder.what] = load(driver, folder, tmp_path / "case").text
    for folder in hostile:
        outcome = load(driver, folder, tmp_path / "case")
        counts["folders"]["equal" if outcome.text == sound[folder.what] else outcome.kind] += 1
        wrong.append(faults(folder, outcome, sound[folder.what]))
        outcomes.append(outcome)
    return [text for text in wrong if text], counts, outcomes


def test_some_hostile_files(driver: Driver, tmp_path: Path) -> None:
    checkpoints, hostile = list(cases(tmp_path / "ran", SEED, 2)), list(folders(tmp_path / "sound", SEED, 2))
    rng = random.Random(SEED)
    some = [checkpoints[0], *rng.sample(checkpoints[1:], 40)]
    sound = [folder for folder in hostile if folder.name.startswith("sound")]
    wrong, counts, _ = run(driver, tmp_path, some, [*sound, *rng.sample(hostile, 25)])
    assert not wrong, "\n".join(wrong)
    assert counts["checkpoints"]["error"] > 20 and counts["folders"]["error"] > 10


@pytest.mark.slow
def test_the_largest_encoder_that_is_taken(driver: Driver, tmp_path: Path) -> None:
    """76 million parameters, in one file of 302 MB; more than 320 MiB are refused."""
    shapes = encoder_shapes(MAMPConfig(dim_feat=1024, depth=6))
    content = saved({name: torch.full(shape, 0.5) for name, shape in shapes.items()})
    outcome = convert(driver, Case("largest", content), tmp_path / "case")
    print(f"\n{len(content):,} bytes: {outcome}")
    assert outcome.kind == "loaded" and outcome.megabytes < MEGABYTES and outcome.seconds < 2 * SECONDS  # and loaded


@pytest.mark.slow
def test_all_hostile_files(driver: Driver, tmp_path: Path) -> None:
    """MAMP_HOSTILE_SEED chooses other random damage."""
    checkpoints, hostile = list(cases(tmp_path / "ran", SEED, 60)), list(folders(tmp_path / "sound", SEED, 40))
    wrong, counts, outcomes = run(driver, tmp_path, checkpoints, hostile)
    print()
    for kind, found in counts.items():
        print(f"{kind}: {found.total()}: {dict(found)}")
    print(f"at most {max(o.megabytes for o in outcomes):.0f} MB, {max(o.seconds for o in outcomes):.1f} s of processor")
    assert not wrong, "\n".join(wrong)
    assert counts["checkpoints"].total() >= 210
