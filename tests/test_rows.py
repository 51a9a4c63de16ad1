"""Rows of recordings, windows and people; data frames of embeddings."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from evaluate_helpers import make_weights, tiny

from mamp import MAMPEncoder, Skeleton, embed_frame, load
from mamp.config import Preprocessing
from mamp.errors import MissingExtraError, ReadError, RecordingError
from mamp.rows import cut_seconds, embed_parts, frames_of
from mamp.synthetic import write_recordings


@pytest.fixture(scope="module")
def encoder() -> MAMPEncoder:
    return MAMPEncoder(tiny(preprocessing=Preprocessing(max_people=None, absent_person="none"))).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_recordings(tmp_path_factory.mktemp("files"), variations=1, seconds=3, actions=["walk", "bow"])


def pair(frames: int = 90, fps: float | None = 30.0) -> Skeleton:
    """Two people, the second of whom is there in the last third only."""
    positions = np.random.default_rng(0).normal(size=(2, frames, 25, 3)).astype(np.float32)
    positions[1, : 2 * frames // 3] = np.nan
    return Skeleton(positions, "ntu25", fps, name="pair")


def test_parts_are_what_encode_gives(encoder: MAMPEncoder) -> None:
    recording = pair()
    (parts, x), _ = embed_parts(encoder, [recording, recording])
    np.testing.assert_array_equal(x, encoder.encode(recording)[None])
    assert parts == [("pair", None, 0.0, 3.0)]
    ((parts, x),) = embed_parts(encoder, [recording], window=1.0, stride=0.5, people=True)
    alone = [recording.replace(positions=recording.positions[[person]]) for person in (0, 1)]
    expected = np.stack([encoder.encode(one, window=30, stride=15) for one in alone], axis=1)
    assert [(one.person, one.start, one.end) for one in parts] == [
        (0, 0.0, 1.0), (0, 0.5, 1.5), (0, 1.0, 2.0), (0, 1.5, 2.5), (1, 1.5, 2.5), (0, 2.0, 3.0), (1, 2.0, 3.0)
    ]  # fmt: skip
    np.testing.assert_array_equal(x[[0, 4, 6]], expected[[0, 3, 4], [0, 1, 1]])


def test_seconds_are_those_of_the_recording(encoder: MAMPEncoder) -> None:
    slow = pair(30, fps=10.0)
    ((parts, _),) = embed_parts(encoder, [slow], window=1.0)
    assert [(one.start, one.end) for one in parts] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    ((parts, _),) = embed_parts(encoder, [pair(fps=None)])
    assert (parts[0].start, parts[0].end) == (None, None)
    with pytest.raises(RecordingError, match=r"pair: window is in seconds, and the frame rate .* is unknown"):
        embed_parts(encoder, [pair(fps=None)], window=1.0)
    with pytest.raises(RecordingError, match="stride: expected a window too"):
        embed_parts(encoder, [slow], stride=1.0)
    for value in (0, -1.0, float("nan"), float("inf"), True, "2"):
        with pytest.raises(RecordingError, match="window: expected seconds above zero"):
            frames_of(slow, value, "window")  # type: ignore[arg-type]


def test_parts_of_recordings() -> None:
    recording = pair()
    cut = cut_seconds(recording, 1.0, 2.0)
    np.testing.assert_array_equal(cut.positions, recording.positions[:, 30:60])
    assert cut_seconds(recording, None, None) is recording
    assert cut_seconds(recording, 2.5, None).num_frames == 15 and cut_seconds(recording, 0.0, 1.0).num_frames == 30
    for start, end in ((3.0, None), (2.0, 1.0), (5.0, 6.0)):
        with pytest.raises(RecordingError, match="pair: expected a part of its 3 seconds"):
            cut_seconds(recording, start, end)


def test_frame(encoder: MAMPEncoder, files: list[Path], tmp_path: Path) -> None:
    frame = embed_frame([*files, pair()], encoder)
    assert list(frame.columns[:5]) == ["file", "person", "start", "end", "e0"] and len(frame.columns) == 4 + 16
    assert frame.file.tolist() == [*map(str, files), "pair"] and frame.person.isna().all()
    np.testing.assert_array_equal(frame.filter(regex=r"^e\d+$").to_numpy(), encoder.encode([*map(load, files), pair()]))
    windows = embed_frame(files[0], encoder, window=1.0, people=True, wide=False)
    assert windows.person.tolist() == [0, 0, 0] and windows.end.tolist() == [1.0, 2.0, 3.0]
    assert windows.vector[0].shape == (16,) and windows.attrs == {"failed": {}}
    assert list(embed_frame([], encoder).columns) == list(frame.columns)
    assert np.isnan(embed_frame([pair(fps=None)], encoder).start[0])
    weights = make_weights(tmp_path / "weights")
    assert len(embed_frame(files, weights)) == 2


def test_files_that_fail(encoder: MAMPEncoder, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cut.bvh").write_bytes(files[0].read_bytes()[:300])
    empty = Skeleton(np.full((20, 25, 3), np.nan), "ntu25", 30, name="nobody")
    sources = [files[0], tmp_path / "cut.bvh", empty, tmp_path / "absent.bvh", files[1]]
    with pytest.warns(UserWarning, match="left out") as said:
        frame = embed_frame(sources, encoder, batch_size=4)
    failed = frame.attrs["failed"]
    assert [*failed] == [str(tmp_path / "cut.bvh"), "nobody", str(tmp_path / "absent.bvh")] and len(said) == 3
    assert frame.file.tolist() == [str(files[0]), str(files[1])]
    with pytest.raises(ReadError, match=r"absent.bvh"):
        embed_frame(sources[3:], encoder, errors="raise")
    with pytest.raises(RecordingError, match="errors: expected 'warn' or 'raise'"):
        embed_frame(sources, encoder, errors="ignore")  # type: ignore[arg-type]


def test_pandas_is_an_extra(encoder: MAMPEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[sklearn\]'"):
        embed_frame([], encoder)
