"""Pages of recordings: what is packed comes back, sizes, what is described, mistakes, the command."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mamp import MAMPConfig, MAMPEncoder, Skeleton, get_layout, load
from mamp.cli import main
from mamp.errors import RecordingError, SearchError, WeightsError
from mamp.pretraining import MAMPForPretraining
from mamp.synthetic import synthesize, write_recordings
from mamp.view import page
from mamp.view.method import attention_map, busiest_span, predict
from mamp.view.packing import Block, encode_positions, hold_last, share_of
from mamp.view.trace import change, colours, find_segments, frame_embeddings, window_spans

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "mamp" / "view" / "assets"
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("view") / "recordings"
    write_recordings(path, variations=2, actions=("walk", "wave", "jump"))
    return path


@pytest.fixture(scope="module")
def walk(folder: Path) -> Skeleton:
    return load(folder / "walk-0.bvh", unit="cm", up="y")


def parts(text: str) -> tuple[dict[str, Any], bytes]:
    """Description and inflated arrays of a page."""
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    (block,) = re.findall(r'<script type="text/plain" id="block">(.*?)</script>', text, re.DOTALL)
    return json.loads(data), zlib.decompress(base64.b64decode(block))


def unpack(about: dict[str, Any], block: bytes) -> NDArray[np.float64]:
    """Positions [M, T, V, 3] in metres, as viewer/src/data.ts has them."""
    ref, parents = about["positions"], about["layout"]["parents"]
    people, frames, joints = about["people"], about["frames"], len(parents)
    planes = np.frombuffer(block, np.uint8, ref["bytes"], ref["at"]).reshape(ref["planes"], -1).astype(np.int64)
    codes = sum(planes[i] << (8 * i) for i in range(ref["planes"]))
    steps = np.where(codes % 2, -(codes + 1) // 2, codes // 2).reshape(people, joints, 3, frames)
    for _ in range(ref["order"]):
        steps = steps.cumsum(axis=-1)
    done: set[int] = set()

    def add(joint: int) -> None:
        if joint < 0 or joint in done:
            return
        add(parents[joint])
        done.add(joint)
        if parents[joint] >= 0:
            steps[:, joint] += steps[:, parents[joint]]

    for joint in range(joints):
        add(joint)
    return steps.transpose(0, 3, 1, 2) * 1e-4


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_positions_come_back_within_half_a_tenth_of_a_millimetre(noise: float) -> None:
    time = np.arange(200)[:, None, None] / 30
    smooth = np.sin(time + np.arange(25)[:, None] / 5 + np.arange(3)) + 900 * (np.arange(3) == 2)
    positions = (smooth + noise * rng.normal(size=(2, 200, 25, 3))).astype(np.float32)
    layout = get_layout("ntu25")
    _, order = encode_positions(positions, layout.parents)
    assert (order == 1) == (noise > 0)  # noise is not worth differencing again
    description, block = parts(page(Skeleton(positions, layout, fps=30), weights=None))
    (about,) = description["recordings"]
    np.testing.assert_allclose(unpack(about, block), positions, atol=5.1e-5 + 3.1e-5)  # float32 near 900 m
    assert about["tracked"] is None


def test_what_was_not_tracked_is_told_apart() -> None:
    positions = rng.normal(size=(1, 21, 25, 3)).astype(np.float32)
    positions[0, :3, 4] = positions[0, 9:, 4] = np.nan
    positions[0, :, 7] = np.nan
    held = hold_last(positions)
    np.testing.assert_array_equal(held[0, :3, 4], np.repeat(positions[0, 3:4, 4], 3, axis=0))
    np.testing.assert_array_equal(held[0, 9:, 4], np.repeat(positions[0, 8:9, 4], 12, axis=0))
    assert not held[0, :, 7].any()
    description, block = parts(page(Skeleton(positions, "ntu25"), weights=None))
    (about,) = description["recordings"]
    bits = np.frombuffer(block, np.uint8, about["tracked"]["bytes"], about["tracked"]["at"])
    tracked = np.unpackbits(bits)[: 21 * 25].reshape(1, 21, 25).astype(bool)
    np.testing.assert_array_equal(tracked, np.isfinite(positions).all(-1))
    np.testing.assert_allclose(unpack(about, block)[tracked], positions[tracked], atol=5.1e-5)
    assert ["not tracked", "6.9% of the joints"] in about["facts"] and about["rate"].startswith("unknown")


def test_a_minute_of_one_person_takes_less_than_600_kb(tmp_path: Path) -> None:
    (tmp_path / "walk.bvh").write_text(synthesize("walk", seconds=60))
    walk = load(tmp_path / "walk.bvh", unit="cm", up="y")
    model = walk.to_layout("ntu25").positions
    noisy = Skeleton(model + 0.005 * rng.normal(size=model.shape), "ntu25", fps=30, name="noisy")  # as a depth camera
    script = len((ASSETS / "viewer.js").read_bytes())
    assert script < 900_000
    for recording in (walk, noisy):
        text = page(recording)
        description, block = parts(text)
        assert len(description["recordings"][0]["windows"]["spans"]) == 29 and len(block) > 100_000
        assert len(text) - script < 600_000, recording.name


def test_frames_that_no_screen_shows_are_left_out() -> None:
    positions = rng.normal(size=(1, 90, 25, 3)).astype(np.float32)
    description, block = parts(page(Skeleton(positions, "ntu25", fps=120), weights=None))
    (about,) = description["recordings"]
    assert (about["fps"], about["frames"], about["every"]) == (60, 45, 2)
    np.testing.assert_allclose(unpack(about, block), positions[:, ::2], atol=5.1e-5)
    assert ["frames", "90, every 2nd shown"] in about["facts"]
    (about,) = parts(page(Skeleton(positions, "ntu25", fps=120), weights=None, max_fps=120))[0]["recordings"]
    assert (about["fps"], about["frames"], about["every"]) == (120, 90, 1)


def test_how_the_joints_of_the_model_are_derived() -> None:
    recording = Skeleton(rng.normal(size=(1, 9, 17, 3)), "coco17", fps=30)
    description, block = parts(page(recording, weights=None))
    (about,) = description["recordings"]
    model = get_layout("ntu25")
    assert description["model"]["joints"] == list(model.joints)
    counts = {one: about["conversion"]["status"].count(one) for one in ("taken", "between", "extrapolated", "absent")}
    assert counts == {"taken": 12, "between": 5, "extrapolated": 4, "absent": 4}  # as docs/layouts.md says
    read, converted = unpack(about, block), recording.to_layout(model).positions
    for joint, row in enumerate(about["conversion"]["rows"]):
        found = sum((weight * read[:, :, source] for source, weight in row), np.zeros((1, 9, 3)))
        if row:
            np.testing.assert_allclose(found, converted[:, :, joint], atol=5e-4)
        else:
            assert np.isnan(converted[:, :, joint]).all()


def test_names_cannot_break_out_of_the_page(walk: Skeleton) -> None:
    name = "</script><script>alert(1)</script> & {{block}}"
    text = page(walk.replace(name=name), weights=None)
    assert text.count("<script") == 3 and "alert(1)</script>" not in text
    assert parts(text)[0]["title"] == name
    assert "default-src 'none'" in text and "http://" not in re.sub(r"http://www\.w3\.org/\S*", "", text)


def test_change_peaks_where_the_embedding_turns() -> None:
    first, second = np.eye(8, dtype=np.float32)[:2]
    frames = np.concatenate([np.tile(first, (60, 1)), np.tile(second, (90, 1))])
    moved = change(frames, 30)
    assert moved.max() == 1 and moved[:50].max() == moved[70:].max() == 0 and 52 <= moved.argmax() <= 67
    (one, two) = find_segments(moved, 30)
    assert one[0] == 0 and one[1] == two[0] and two[1] == 5 and 1.7 < one[1] < 2.3
    assert find_segments(np.zeros(90, np.float32), 30) == [(0, 3)]
    (colour,) = colours([frames])
    assert len(np.unique(colour[:60], axis=0)) == 1 and (colour[0] != colour[-1]).any()


def test_windows_are_those_of_the_index(walk: Skeleton) -> None:
    assert window_spans(walk, None, None) == [(0, 4)]
    assert window_spans(walk, 2, 1) == [(0, 2), (1, 3), (2, 4)]
    assert window_spans(walk, 3, None) == [(0, 3), (1, 4)]


def test_the_busiest_window_of_a_long_recording_is_shown() -> None:
    positions = np.tile(rng.normal(size=(1, 1, 25, 3)), (1, 600, 1, 1))
    positions[:, 400:450] += rng.normal(size=(1, 50, 1, 1))
    assert busiest_span(Skeleton(positions, "ntu25", fps=30)) == (12, 16)
    assert busiest_span(Skeleton(positions[:, :90], "ntu25", fps=30)) == (0, 3)


def test_attention_is_that_of_the_network() -> None:
    config = MAMPConfig(dim_feat=16, depth=2, num_heads=2, num_frames=8)
    encoder = MAMPEncoder(config).eval()
    x = torch.from_numpy(rng.normal(size=(1, 8, 25, 3)).astype(np.float32))
    with torch.no_grad():
        seen = attention_map(encoder, x, np.ones((1, 50), bool))
        # With the values of the tokens as they are, attention applied to them is what the last block adds.
        h = (encoder.joints_embed(x) + encoder.pos_embed + encoder.temp_embed).reshape(1, 50, 16)
        h = encoder.blocks[0](h)
        last = encoder.blocks[1]
        z = last.norm1(h)
        last.attn.qkv.weight[32:] = torch.eye(16)
        last.attn.qkv.bias[32:] = 0
        last.attn.proj.weight[:] = torch.eye(16)
        last.attn.proj.bias[:] = 0
        heads = last.attn(z)[0]
        assert seen.shape == (50, 50)
        torch.testing.assert_close(seen.sum(-1), torch.ones(50))
        q, k, _ = (last.attn.qkv(z)[0].reshape(50, 3, 2, 8)[:, i] for i in range(3))
        by_head = torch.einsum("ihd,jhd->hij", q, k).div(8**0.5).softmax(-1)
        torch.testing.assert_close(by_head.mean(0), seen)
        torch.testing.assert_close(torch.cat([by_head[0] @ z[0, :, :8], by_head[1] @ z[0, :, 8:]], -1), heads)


def test_prediction_is_that_of_the_objective() -> None:
    config = MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=8)
    model = MAMPForPretraining(config, decoder_dim_feat=16, decoder_depth=1, norm_target=False, decoded_tokens=3)
    x = torch.from_numpy(rng.normal(size=(1, 8, 25, 3)).astype(np.float32))
    noise = torch.rand(1, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mask, truth, predicted = predict(model, x, noise)
    assert model.objective.decoded_tokens == 3 and model.training
    moved = np.linalg.norm(np.diff(x[0].numpy(), axis=0, append=x[0, -1:].numpy()), axis=-1)
    np.testing.assert_allclose(truth, moved, rtol=1e-5)
    hidden = np.repeat(mask.reshape(2, 25).numpy() == 1, 4, axis=0)
    np.testing.assert_array_equal(np.isfinite(predicted), hidden)


def test_a_run_shows_what_its_decoder_predicts(tmp_path: Path, walk: Skeleton) -> None:
    description, _ = parts(page(walk))
    method = description["recordings"][0]["method"]
    assert method["predicted"] is None and "without a decoder" in method["why"]
    assert method["hidden"].startswith("74 of 750 tokens are seen, 676 masked")

    from mamp.train.config import TrainConfig
    from mamp.train.engine import export_encoder

    config = TrainConfig(
        encoder=MAMPConfig(dim_feat=16, depth=1, num_heads=2), objective={"decoder_dim_feat": 16, "decoder_depth": 1}
    )
    torch.manual_seed(0)
    model = config.build_model()
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    export_encoder(model, run / "encoder", torch.float32)
    (run / "run.json").write_text(json.dumps({"config": config.to_dict()}))
    with pytest.raises(WeightsError, match="expected a run with a checkpoint, found none"):
        page(walk, weights=run)
    torch.save({"model": model.state_dict()}, run / "checkpoints" / "step-00000001.pt")
    description, block = parts(page(walk, weights=run))
    method = description["recordings"][0]["method"]
    truth, predicted = (
        np.frombuffer(block, np.uint8, method[n]["bytes"], method[n]["at"]) for n in ("truth", "predicted")
    )
    assert truth.shape == predicted.shape == (3000,) and (predicted == 255).sum() == 74 * 4
    assert description["weights"] == "run" and method["unit"] == "m a frame"
    torch.save({"model": {}}, run / "checkpoints" / "step-00000001.pt")
    with pytest.raises(WeightsError, match=r"expected the checkpoint of its run.json"):
        page(walk, weights=run)


def test_segments_that_are_given(walk: Skeleton) -> None:
    with pytest.raises(RecordingError, match="expected a list for each of 1 recordings, found 2"):
        page(walk, weights=None, segments=[[], []])
    (about,) = parts(page(walk, weights=None, segments=[[(0, 1.5, "step"), (1.5, 4, "stand")]]))[0]["recordings"]
    assert [one["label"] for one in about["segments"]] == ["step", "stand"]


def test_mistakes(walk: Skeleton, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="expected recordings to show, found none"):
        page([])
    with pytest.raises(RecordingError, match=r"expected a mamp.Skeleton, found str"):
        page(["walk.bvh"])  # type: ignore[list-item]
    with pytest.raises(RecordingError, match="max_fps: expected a number above zero, found 0"):
        page(walk, max_fps=0)
    with pytest.raises(WeightsError):
        page(walk, weights=tmp_path / "nowhere")
    with pytest.raises(SearchError):
        page(walk, index=tmp_path / "nowhere")


def test_nobody_who_is_tracked_is_shown_all_the_same() -> None:
    empty = Skeleton(np.full((1, 12, 25, 3), np.nan), "ntu25", fps=30)
    (about,) = parts(page(empty))[0]["recordings"]
    assert about["method"] is None if "method" in about else True


def test_neighbours_of_each_window(folder: Path, walk: Skeleton, tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="needs mamp[search]")
    from mamp.search import Index

    index = Index.create(tmp_path / "moves", window=2.0)
    reading = {"unit": "cm", "up": "y"}
    index.add(folder, **reading)
    description, block = parts(page(walk, index=index, k=3, reading=reading))
    (about,) = description["recordings"]
    assert [(one["start"], one["end"]) for one in about["nearest"]] == [(0, 2), (1, 3), (2, 4)]
    for window in about["nearest"]:
        scores = [hit["score"] for hit in window["hits"]]
        assert scores == sorted(scores, reverse=True) and len(scores) == 3
        best = description["clips"][window["hits"][0]["clip"]]
        assert best["file"].startswith("walk") and scores[0] < 0.9999  # not the window itself
    clip = description["clips"][0]
    original = load(folder / clip["file"], **reading)
    first, last = round(clip["start"] * 30), round(clip["end"] * 30)
    np.testing.assert_allclose(unpack(clip, block)[0], original.positions[0, first:last], atol=6e-5)

    hits = index.search(walk, k=2)
    (folder / "gone.bvh").write_bytes((folder / "jump-0.bvh").read_bytes())
    lost = [hits[0], type(hits[0])("lost.bvh", 0, 1, 0, 0.5, str(folder))]
    description, _ = parts(page(walk, hits=lost, reading=reading))
    assert [len(one["hits"]) for one in description["recordings"][0]["nearest"]] == [1]


def test_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or len(opened) < 2)
    monkeypatch.chdir(tmp_path)
    walk, wave, options = str(folder / "walk-0.bvh"), str(folder / "wave-0.bvh"), ["--unit", "cm", "--up", "y"]
    assert main(["view", f"{walk}@1-3", *options]) == 0
    written = tmp_path / "walk-0.bvh@1-3.view.html"
    assert opened == [written.as_uri()] and parts(written.read_text())[0]["recordings"][0]["frames"] == 60
    assert main(["view", walk, wave, "-o", "two.html", "--weights", "none", *options]) == 0
    assert "no browser was found here" in capsys.readouterr().out and len(opened) == 2
    assert len(parts((tmp_path / "two.html").read_text())[0]["recordings"]) == 2
    assert main(["view", walk, "nowhere.bvh", "-o", "one.html", "--weights", "none", "--json", *options]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["files"] == ["walk-0.bvh"] and "no such file: nowhere.bvh" in err and len(opened) == 2
    assert main(["view", "nowhere.bvh", "-o", "none.html"]) == 1 and not (tmp_path / "none.html").exists()
    assert main(["view", walk, "-o", str(tmp_path / "no" / "page.html")]) == 1


def test_search_shows_its_hits(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lancedb", reason="needs mamp[search]")
    options, index, output = ["--unit", "cm", "--up", "y"], str(tmp_path / "moves"), tmp_path / "hits.html"
    assert main(["index", str(folder), "-o", index, *options]) == 0
    query = ["search", str(folder / "walk-0.bvh@0.5-3.5"), "--index", index, "-k", "3", *options]
    assert main([*query, "--view", "--no-browser", "-o", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    description, _ = parts(output.read_text())
    assert [len(one["hits"]) for one in description["recordings"][0]["nearest"]] == [3]
    assert description["recordings"][0]["frames"] == 90


def test_built_files_are_those_of_the_sources() -> None:
    built = json.loads((ASSETS / "built.json").read_text())
    viewer, digest = ROOT / "viewer", hashlib.sha256()
    names = [*sorted(path.relative_to(viewer).as_posix() for path in (viewer / "src").iterdir()), "build.mjs"]
    for name in [*names, "package-lock.json"]:
        digest.update((viewer / name).read_bytes())
    assert built["sources"] == digest.hexdigest(), "viewer/ has changed: npm ci && npm run build in viewer/"
    lock = json.loads((viewer / "package-lock.json").read_text())["packages"]
    for name, about in built["packages"].items():
        assert about["version"] == lock[f"node_modules/{name}"]["version"] and about["licence"] == "MIT"
    assert f"three.js {built['packages']['three']['version']}" in (ASSETS / "LICENSES.txt").read_text()


def test_shares_are_bytes() -> None:
    found = share_of(np.array([0, 0.5, 1, 2, np.nan]), 1.0)
    assert found.tolist() == [0, 127, 254, 254, 255]
    block = Block()
    assert block.add(found) == {"at": 0, "bytes": 5} and block.add(b"ab") == {"at": 5, "bytes": 2}
    assert zlib.decompress(base64.b64decode(block.text())) == found.tobytes() + b"ab"


def test_windows_leave_no_steps_in_the_trace(tmp_path: Path) -> None:
    (tmp_path / "walk.bvh").write_text(synthesize("walk", seconds=14))
    recording = load(tmp_path / "walk.bvh", unit="cm", up="y")
    frames = frame_embeddings(recording, MAMPEncoder.from_pretrained())
    assert frames.shape == (420, 256) and np.allclose(np.linalg.norm(frames, axis=1), 1, atol=1e-5)
    step = np.linalg.norm(np.diff(frames, axis=0), axis=1)
    at_windows = step[[first * 60 - 1 for first in range(1, 7)]]  # windows begin every 2 s
    assert at_windows.max() < 1.5 * np.quantile(step, 0.9)
    gone = recording.positions.copy()
    gone[:, 150:300] = np.nan
    found = frame_embeddings(recording.replace(positions=gone), MAMPEncoder.from_pretrained())
    assert np.isfinite(found[:120]).all() and np.isfinite(found[300:]).all()
