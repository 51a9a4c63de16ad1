"""The page of examples/browser: its clips are those of the package, and it embeds a dropped file in a real Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_helpers import ROOT

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, load
from mamp.errors import ConfigError
from mamp.preprocessing import prepare_clip, token_presence
from mamp.readers.bvh import parse_bvh_file
from mamp.synthetic import synthesize, write_recordings

PAGE = ROOT / "examples" / "browser"
_spec = spec_from_file_location("browser_build", PAGE / "build.py")
assert _spec is not None and _spec.loader is not None
_page = module_from_spec(_spec)
_spec.loader.exec_module(_page)
describe = _page.describe

NODE = shutil.which("node")
SETTINGS = Preprocessing(center="clip", facing=True, max_people=None, absent_person="none", crop=0.95, missing="drop")
# Names that other writers give the joints of a synthetic recording, in its order of hips, spine, ...
RENAMED = {
    "mixamo": lambda name: f"mixamorig:{name}",
    "biped": lambda name: f"Bip01_{name}",
    "underscored": lambda name: f"Character1_{name}_jnt",
}


@pytest.fixture(scope="module")
def encoder() -> MAMPEncoder:
    return MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2, preprocessing=SETTINGS)).eval()


@pytest.fixture(scope="module")
def model(encoder: MAMPEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.json of a small encoder."""
    folder = tmp_path_factory.mktemp("model")
    write_recordings(folder / "known", variations=1, actions=("walk", "wave", "jump"), seconds=2)
    path = folder / "model.json"
    path.write_text(json.dumps(describe(encoder, folder / "known")))
    return path


def clips(model: Path, files: list[Path]) -> list[dict[str, Any]]:
    command = [str(NODE), str(ROOT / "tests" / "browser_clip.mjs"), str(model), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def files_of_writers(folder: Path) -> list[Path]:
    """One movement in the names, units and axes of several writers, and as MediaPipe sees it."""
    text = synthesize("wave", seconds=3)
    (folder / "plain.bvh").write_text(text)
    names = [joint.name for joint in parse_bvh_file(folder / "plain.bvh").joints if not joint.is_end]
    for writer, rename in RENAMED.items():
        renamed = text
        for name in names:
            for word in ("ROOT", "JOINT"):
                renamed = renamed.replace(f"{word} {name}\n", f"{word} {rename(name)}\n")
        (folder / f"{writer}.bvh").write_text(renamed)
    landmarks = np.random.default_rng(0).normal(size=(50, 33, 3), scale=0.02).cumsum(axis=0)
    landmarks += np.random.default_rng(1).normal(size=(33, 3), scale=0.4)
    visible = np.ones((50, 33))
    visible[10:20, 15], visible[:, 28] = 0.1, 0.2
    rows = [
        [dict(zip("xyz", point, strict=True), visibility=seen) for point, seen in zip(frame, there, strict=True)]
        for frame, there in zip(landmarks.tolist(), visible.tolist(), strict=True)
    ]
    (folder / "landmarks.json").write_text(json.dumps(rows))
    np.save(folder / "landmarks.npy", np.where(visible[..., None] < 0.5, np.nan, landmarks * [1, -1, -1]))
    return sorted([*folder.glob("*.bvh"), folder / "landmarks.json"])


@pytest.mark.skipif(NODE is None, reason="needs Node.js")
def test_clips_are_those_of_the_package(model: Path, tmp_path: Path, encoder: MAMPEncoder) -> None:
    files = files_of_writers(tmp_path)
    cases = ROOT.parent / "shared" / "cases"
    files += sorted(cases.rglob("*.bvh")) if cases.is_dir() else []
    assert len(files) >= 5
    compared = 0
    for file, found in zip(files, clips(model, files), strict=True):
        assert "error" not in found, (file.name, found)
        if file.suffix == ".json":
            recording = load(file.with_suffix(".npy"), layout="mediapipe33", unit="m", up="y", fps=25)
        else:
            recording = load(file)
        config = encoder.config
        x, clip = prepare_clip(recording, config.preprocessing, config.num_frames)
        np.testing.assert_allclose(np.reshape(found["bodies"], x[0].shape), x[0], atol=1e-5, err_msg=file.name)
        np.testing.assert_array_equal(np.array(found["there"], bool), token_presence(clip, config)[0], file.name)
        compared += 1
    assert compared == len(files)


@pytest.mark.skipif(NODE is None, reason="needs Node.js")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.index("MOTION")], "found no line MOTION. Is the file cut"),
        (lambda text: "\n".join(text.splitlines()[:-20]), "the file is cut: 90 frames announced, 70 found"),
        (lambda text: text.replace("Xrotation", "Wrotation", 1), "are malformed: found Wrotation"),
        (lambda text: text.replace("UpLeg", "Zzz").replace("Arm", "Yyy"), "joint names not understood"),
        (lambda text: text.rstrip() + " 7", "numbers in each frame, found something else in frame 90"),
        (lambda text: "hello", "expected HIERARCHY and MOTION"),
    ],
)
def test_files_that_cannot_be_used(model: Path, tmp_path: Path, change: Any, message: str) -> None:
    (tmp_path / "bad.bvh").write_text(change(synthesize("walk", seconds=3)))
    [found] = clips(model, [tmp_path / "bad.bvh"])
    assert message in found.get("error", ""), found


def test_a_page_for_other_settings_is_refused(tmp_path: Path) -> None:
    other = MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2))
    with pytest.raises(ConfigError, match="the page prepares clips as the openmocap weights expect them"):
        describe(other, tmp_path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built page, with the weights of the package."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"needs {package}, of the extra export")
    if not (PAGE / "node_modules").is_dir():
        pytest.skip("needs what npm brings: npm ci --prefix examples/browser")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, str(PAGE / "build.py"), str(folder)], check=True, capture_output=True)
    return folder


def test_a_dropped_file_in_a_browser(site: Path, tmp_path: Path) -> None:
    from browser_helpers import Visit, chromium, served

    file = tmp_path / "mine.bvh"
    file.write_text(synthesize("jump", seconds=4))
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with served(site) as address, chromium(*camera) as browser:
        visit = Visit(browser)
        page = visit.page
        page.goto(address)
        page.locator("#file:enabled").set_input_files(file)
        page.locator("#nearest li").first.wait_for(timeout=60_000)
        assert page.locator("#nearest li span").first.inner_text() == "jump"
        with page.expect_download() as download:
            page.locator("#save").click()
        embedding = np.array(json.loads(Path(download.value.path()).read_text()))
        expected = MAMPEncoder.from_pretrained("openmocap-small").encode(load(file, unit="cm", up="y"))
        np.testing.assert_allclose(embedding, expected, atol=1e-4)
        frames = [page.locator("#stage").get_attribute("data-frame")]
        page.wait_for_timeout(300)
        assert page.locator("#stage").get_attribute("data-frame") != frames[0]

        cut = tmp_path / "cut.bvh"
        cut.write_text(file.read_text()[:500])
        page.locator("#file").set_input_files(cut)
        page.locator("#say.wrong").wait_for()
        assert "cut.bvh: expected HIERARCHY and MOTION" in page.locator("#say").inner_text()
        assert visit.complaints == []
        assert [asked for asked in visit.requests if not asked.startswith((address, "blob:", "data:"))] == []
