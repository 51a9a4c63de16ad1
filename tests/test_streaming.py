"""Embeddings of a recording while it is being made."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton, get_layout, load
from mamp.errors import ConfigError, LayoutError, RecordingError
from mamp.streaming import StreamingEncoder
from mamp.synthetic import write_recordings

Array = NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[1]
BUNDLED = (ROOT / "weights" / "openmocap" / "model.safetensors").exists()


def make(**preprocessing: Any) -> MAMPEncoder:
    torch.manual_seed(0)
    expected = Preprocessing(**{"max_people": None, "absent_person": "none"} | preprocessing)
    return MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16, preprocessing=expected)).eval()


def positions(frames: int, people: int = 1, joints: int = 25, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(people, 1, joints, 3)) + 0.05 * rng.normal(size=(people, frames, joints, 3)).cumsum(axis=1)
    return np.asarray(x, np.float32)


def stream(live: StreamingEncoder, x: Array) -> list[Array]:
    """Push [M, T, V, 3] and flush; the embeddings that came."""
    results = [live.push(x[:, time]) for time in range(x.shape[1])]
    return [result for result in [*results, live.flush()] if result is not None]


@pytest.mark.parametrize("pool", ["clip", "person", "joint", "tokens"])
@pytest.mark.parametrize("people", [1, 3])
@pytest.mark.parametrize("frames", [1, 19, 20, 21, 27, 34, 60])
def test_as_encode(pool: Any, people: int, frames: int) -> None:
    """The embeddings of a stream are the rows of ``encode`` over the whole recording."""
    encoder, x = make(), positions(frames, people)
    if frames > 20:
        x[0, 5:9, 3] = np.nan
        x[-1, 15:18] = np.nan
    found = stream(StreamingEncoder(encoder, 30, 20, 7, layout="ntu25", pool=pool), x)
    expected = encoder.encode(Skeleton(x, "ntu25", fps=30), pool=pool, window=20, stride=7)
    np.testing.assert_allclose(np.stack(found), expected, rtol=0, atol=1e-6)


def test_one_window_is_encode_of_that_window() -> None:
    encoder, x = make(facing=True), positions(33)
    live = StreamingEncoder(encoder, 30, window=20, hop=1, layout="ntu25")
    for frame in range(33):
        found = live.push(x[0, frame])
        assert (found is None) == (frame < 19)
        if found is not None:
            np.testing.assert_array_equal(found, encoder.encode(Skeleton(x[:, frame - 19 : frame + 1], "ntu25")))


def test_frames_of_a_window() -> None:
    encoder, x = make(), positions(20)
    live = StreamingEncoder(encoder, window=20, hop=5, layout="ntu25", pool="frame")
    (found,) = stream(live, x)
    np.testing.assert_array_equal(found, encoder.encode(Skeleton(x, "ntu25"), pool="frame"))


def test_hops() -> None:
    live = StreamingEncoder(make(), window=6, hop=4, layout="ntu25")
    x = positions(20)
    assert [t for t in range(20) if live.push(x[0, t]) is not None] == [5, 9, 13, 17]


def test_people_come_and_go() -> None:
    encoder, x = make(), positions(30, people=3)
    x[1, :8] = np.nan
    x[2, 12:] = np.nan
    live = StreamingEncoder(encoder, window=30, hop=1, layout="ntu25", pool="person")
    for frame in range(29):
        people = 3 if frame < 12 else 2  # a tracker that sends those it sees
        assert live.push(x[:people, frame]) is None
    found = live.push(x[:2, 29])
    assert found is not None
    np.testing.assert_array_equal(found, encoder.encode(Skeleton(x, "ntu25"), pool="person"))


def test_nobody_is_there() -> None:
    encoder, x = make(), positions(6)
    live = StreamingEncoder(encoder, window=4, hop=1, layout="ntu25")
    pushed: list[Any] = [x[0, 0], None, np.zeros((0, 25, 3)), np.full((25, 3), np.nan), None, x[0, 5]]
    found = [live.push(frame) for frame in pushed]
    assert found[:3] == [None, None, None]
    assert found[3] is not None and np.isfinite(found[3]).all()
    assert found[4] is not None and np.isnan(found[4]).all() and found[4].shape == (16,)
    assert found[5] is not None and np.isfinite(found[5]).all()


def test_flush_begins_anew() -> None:
    encoder, x = make(), positions(7)
    live = StreamingEncoder(encoder, window=10, hop=5, layout="ntu25")
    for _ in range(2):
        assert [live.push(frame) for frame in x[0]] == [None] * 7
        rest = live.flush()
        assert rest is not None
        np.testing.assert_array_equal(rest, encoder.encode(Skeleton(x, "ntu25")))
        assert live.flush() is None


def test_reset() -> None:
    live = StreamingEncoder(make(), window=4, hop=1, layout="ntu25")
    x = positions(8)
    for frame in x[0, :3]:
        live.push(frame)
    live.reset()
    assert [live.push(frame) is None for frame in x[0, 3:7]] == [True, True, True, False]


def test_the_frame_is_copied() -> None:
    """A camera that writes each frame into the same array."""
    encoder, x = make(), positions(5)
    live, buffer = StreamingEncoder(encoder, window=5, hop=5, layout="ntu25"), np.empty((25, 3), np.float32)
    for frame in x[0]:
        buffer[:] = frame
        found = live.push(buffer)
    assert found is not None
    np.testing.assert_array_equal(found, encoder.encode(Skeleton(x, "ntu25")))


def test_other_layouts() -> None:
    encoder, x = make(), positions(5, joints=20)
    expected = encoder.encode(Skeleton(x, "kinect20"))
    for live, layout in (
        (StreamingEncoder(encoder, window=5, hop=5, layout="kinect20"), None),
        (StreamingEncoder(encoder, window=5, hop=5, layout=get_layout("kinect20")), "kinect20"),
        (StreamingEncoder(encoder, window=5, hop=5), list(get_layout("kinect20").joints)),
    ):
        found = [live.push(frame, layout=layout) for frame in x[0]][-1]
        assert found is not None
        np.testing.assert_array_equal(found, expected)


def test_preprocessing() -> None:
    encoder, x = make(), positions(5)
    live = StreamingEncoder(encoder, window=5, hop=5, layout="ntu25", preprocessing={"facing": True})
    np.testing.assert_array_equal(stream(live, x)[0], make(facing=True).encode(Skeleton(x, "ntu25")))


@pytest.mark.parametrize(
    "frame, message",
    [
        (np.zeros((24, 3)), r"expected a frame \[joints, 3\].*the 25 joints of layout 'ntu25', found shape \(24, 3\)"),
        (np.zeros((25, 2)), r"found shape \(25, 2\)"),
        (np.full((25, 3), np.inf), "the frame: positions hold infinite values"),
        (np.full((25, 3), 1001.0), "the frame: expected positions in metres, at most 1000 from the origin, found 1001"),
        (np.full((25, 3), 1e300), "the frame: positions hold infinite values"),
        (np.full((25, 3), 1j), "the frame: positions are not a regular array of numbers .found complex128"),
        (np.full((25, 3), "1"), "the frame: positions are not a regular array of numbers"),
        (torch.zeros(25, 3, requires_grad=True), r"the frame: positions: .*detach\(\) it first"),
        ([[0, 1], [2]], "the frame: positions are not a regular array"),
    ],
)
def test_bad_frames_are_not_taken(frame: Any, message: str) -> None:
    encoder, x = make(), positions(5)
    live = StreamingEncoder(encoder, window=5, hop=5, layout="ntu25")
    for good in x[0, :4]:
        live.push(good)
    with pytest.raises(RecordingError, match=message):
        live.push(frame)
    found = live.push(x[0, 4])
    assert found is not None
    np.testing.assert_array_equal(found, encoder.encode(Skeleton(x, "ntu25")))


def test_refused() -> None:
    with pytest.raises(RecordingError, match=r"hop: expected at most the window \(5\), found 6"):
        StreamingEncoder(make(), window=5, hop=6)
    with pytest.raises(RecordingError, match="window: expected a whole number"):
        StreamingEncoder(make(), window=0)
    with pytest.raises(RecordingError, match="fps: expected a frame rate above zero, or None, found 0"):
        StreamingEncoder(make(), fps=0)
    with pytest.raises(LayoutError, match="unknown layout 'kinect'"):
        StreamingEncoder(make(), layout="kinect")
    with pytest.raises(LayoutError, match="expected the layout of the frames, found none"):
        StreamingEncoder(make()).push(np.zeros((25, 3)))
    live = StreamingEncoder(make(), layout="ntu25")
    with pytest.raises(LayoutError, match="expected frames in layout 'ntu25' as before, found 'kinect20'"):
        live.push(np.zeros((20, 3)), layout="kinect20")
    with pytest.raises(RecordingError, match="pool: expected one of"):
        StreamingEncoder(make(), pool="mean")  # type: ignore[arg-type]
    for preprocessing, message in (({"faces": True}, "unknown field 'faces'"), (5, "expected an object of fields")):
        with pytest.raises(ConfigError, match=message):
            StreamingEncoder(make(), preprocessing=preprocessing)  # type: ignore[arg-type]


def test_flat_frames_are_refused() -> None:
    x = positions(5)
    x[..., 2] = 0
    with pytest.raises(RecordingError, match="looks like 2D keypoints"):
        stream(StreamingEncoder(make(), window=5, hop=5, layout="ntu25"), x)
    assert len(stream(StreamingEncoder(make(), window=5, hop=5, layout="ntu25", allow_2d=True), x)) == 1


def test_memory_is_bounded() -> None:
    """Of a stream of any length, no more than a window is kept."""
    live = StreamingEncoder(make(), window=30, hop=30, layout="ntu25")
    x = positions(30)[0]

    def push(frames: int) -> int:
        for number in range(frames):
            live.push(x[number % 30])
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        push(60)
        before = push(60)
        after = push(300)
    finally:
        tracemalloc.stop()
    assert after < before + 20_000, "bytes; 300 frames are 90,000"


@pytest.mark.slow
def test_a_day_of_frames() -> None:
    """24 hours at 30 frames a second."""
    resource = pytest.importorskip("resource")
    live = StreamingEncoder(make(), window=1800, hop=1800, layout="ntu25")
    x = positions(600)[0]

    def push(frames: int) -> int:
        for number in range(frames):
            live.push(x[number % 600])
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    before = push(30 * 3600)
    assert push(23 * 30 * 3600) < before + 20_000, "KiB; the frames of a day are 759,000"


# --- examples -------------------------------------------------------------------------------------------------------


def as_line(frame: Array | None) -> str:
    return json.dumps(None if frame is None else frame.tolist()) + "\n"


@pytest.mark.skipif(not BUNDLED, reason="needs the bundled weights")
def test_example_follows_a_file_as_it_grows(tmp_path: Path) -> None:
    path, x = tmp_path / "frames.jsonl", positions(24, people=2)
    path.write_text("")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "follow_file.py"), str(path), "--window", "10", "--hop", "10",
         "--idle", "60"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        with path.open("a") as file:
            for number in range(13):
                line = as_line(None if number == 3 else x[:, number])
                file.write(line[: len(line) // 2])  # a line that is cut where the other program's buffer ends
                file.flush()
                if number % 5 == 0:
                    time.sleep(0.02)
                file.write(line[len(line) // 2 :])
                file.flush()
            first = json.loads(process.stdout.readline())
            assert process.poll() is None, "it goes on"
            for number in range(13, 20):
                file.write(as_line(x[0, number]))  # one person, without the list of people
            file.flush()
            second = json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()
    x[:, 3] = np.nan
    x[1, 13:] = np.nan
    expected = MAMPEncoder.from_pretrained().encode(Skeleton(x[:, :20], "ntu25"), window=10)
    assert (first["frame"], second["frame"]) == (10, 20)
    np.testing.assert_allclose([first["embedding"], second["embedding"]], expected, atol=2e-4)


@pytest.mark.skipif(not BUNDLED, reason="needs the bundled weights")
def test_example_stops_when_the_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import follow_file  # type: ignore[import-not-found]

    frames, takes = tmp_path / "frames.jsonl", [tmp_path / f"{name}.npy" for name in ("a", "b")]
    files = write_recordings(tmp_path, actions=["walk", "wave"], variations=1)
    moves = [load(file).to_layout("ntu25").positions[0, :9] for file in files]  # of human size
    for move, take in zip(moves, takes, strict=True):
        np.save(take, move)
    frames.write_text("".join(as_line(frame) for frame in moves[1]))
    monkeypatch.setattr(sys, "argv", ["follow_file.py", str(frames), "--idle", "0.2", "--like", *map(str, takes)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the .npy files do not say
        follow_file.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"frame": 9, "seconds": 0.3, "nearest": str(takes[1]), "cosine": 1.0}


@pytest.fixture
def webcam(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import webcam  # type: ignore[import-not-found]

    return webcam


def test_example_webcam_turns_landmarks(webcam: Any) -> None:
    marks = [SimpleNamespace(x=i, y=2.0, z=3.0, visibility=1.0) for i in range(33)]
    marks[4].visibility = 0.2
    found = webcam.to_frame([marks])
    assert found.shape == (1, 33, 3)
    np.testing.assert_array_equal(found[0, 5], [5, -2, -3])
    assert np.isnan(found[0, 4]).all() and np.isfinite(np.delete(found, 4, axis=1)).all()
    assert webcam.to_frame([]) is None
    live = StreamingEncoder(make(), window=1, hop=1, layout="mediapipe33")
    assert np.shape(live.push(positions(1, joints=33)[:, 0])) == (16,)


def test_example_webcam_names_what_it_needs(webcam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mamp.errors import MissingExtraError

    for name in ("cv2", "mediapipe"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="found no cv2: pip install mediapipe opencv-python"):
        next(webcam.landmarks("model.task", 0, 1))
