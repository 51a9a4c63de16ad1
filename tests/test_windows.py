"""Recordings of any length: windows, and what they say of each frame."""

from __future__ import annotations

import math
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton
from mamp.errors import ConfigError, RecordingError
from mamp.windows import FrameMeans, check_window, window_starts

Array = NDArray[np.float32]
ALL = Preprocessing(max_people=None, absent_person="none")
ROOT = Path(__file__).resolve().parents[1]
POOLS = ("clip", "person", "frame", "joint", "tokens")


def make(preprocessing: Preprocessing = ALL, width: int = 16) -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(
        MAMPConfig(dim_feat=width, depth=1, num_heads=2, num_frames=16, preprocessing=preprocessing)
    ).eval()


def recording(frames: int, people: int = 1, seed: int = 0) -> Skeleton:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(people, 1, 25, 3)) + 0.05 * rng.normal(size=(people, frames, 25, 3)).cumsum(axis=1)
    return Skeleton(x, "ntu25", fps=30, name=f"take {seed}")


def part(whole: Skeleton, start: int, stop: int) -> Skeleton:
    return whole.replace(positions=whole.positions[:, start:stop])


# --- where windows lie ----------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 500), st.integers(1, 200), st.integers(1, 200))
def test_windows_cover_every_frame(frames: int, window: int, stride: int) -> None:
    stride = min(stride, window)
    starts = list(window_starts(frames, window, stride))
    assert len(starts) == 1 + math.ceil(max(frames - window, 0) / stride)
    assert starts[0] == 0 and starts == sorted(set(starts))
    assert set(np.diff(starts[:-1])) <= {stride}
    assert starts[-1] == max(frames - window, 0), "the last one ends with the recording"
    covered = np.zeros(frames, bool)
    for start in starts:
        covered[start : start + window] = True
    assert covered.all()


@pytest.mark.parametrize(
    "frames, window, stride, expected",
    [(10, 4, 4, [0, 4, 6]), (12, 4, 4, [0, 4, 8]), (3, 4, 4, [0]), (4, 4, 1, [0]), (7, 4, 2, [0, 2, 3])],
)
def test_window_starts(frames: int, window: int, stride: int, expected: list[int]) -> None:
    assert list(window_starts(frames, window, stride)) == expected


@pytest.mark.parametrize(
    "window, stride, message",
    [
        (0, None, "window: expected a whole number of frames of the recording, at least 1, found 0"),
        (2.5, None, "window: expected a whole number.*found 2.5.*round"),
        (True, None, "window: expected a whole number"),
        ("4", None, "window: expected a whole number"),
        (4, 0, "stride: expected a whole number"),
        (4, 5, r"stride: expected at most the window \(4\), found 5"),
    ],
)
def test_refused(window: Any, stride: Any, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        make().encode(recording(10), window=window, stride=stride)


def test_stride_without_window() -> None:
    with pytest.raises(RecordingError, match="stride: expected a window too, found none beside 4"):
        make().encode(recording(10), stride=4)


def test_without_a_stride_windows_do_not_overlap() -> None:
    assert check_window(7, None) == (7, 7)
    assert check_window(np.int64(7), np.int32(2)) == (7, 2)  # type: ignore[arg-type]


# --- what they say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    "preprocessing", [ALL, Preprocessing(), Preprocessing(absent_person="copy")], ids=["all", "zeros", "copy"]
)
def test_each_window_is_encoded_as_a_recording(pool: Any, preprocessing: Preprocessing) -> None:
    encoder, whole = make(preprocessing), recording(50, people=2)
    found = encoder.encode(whole, pool=pool, window=20, stride=8, batch_size=3)
    starts = [0, 8, 16, 24, 30]
    alone = [encoder.encode(part(whole, start, start + 20), pool=pool) for start in starts]
    assert found.dtype == np.float32
    if pool != "frame":
        assert found.shape == (5, *alone[0].shape)
        np.testing.assert_allclose(found, np.stack(alone), rtol=0, atol=1e-6)
        return
    assert found.shape == (50, 16)
    for frame in range(50):
        over = [rows[frame - start] for start, rows in zip(starts, alone, strict=True) if start <= frame < start + 20]
        np.testing.assert_allclose(found[frame], np.mean(over, axis=0), rtol=0, atol=1e-6)


def test_a_recording_shorter_than_the_window() -> None:
    encoder, whole = make(), recording(9)
    np.testing.assert_allclose(encoder.encode(whole, window=30)[0], encoder.encode(whole), rtol=0, atol=1e-6)
    frames = encoder.encode(whole, pool="frame")
    np.testing.assert_allclose(encoder.encode(whole, pool="frame", window=30), frames, rtol=0, atol=1e-6)


def test_several_recordings() -> None:
    encoder, takes = make(), [recording(9), recording(50, seed=1), recording(31, people=2, seed=2)]
    found = encoder.encode(takes, window=10, batch_size=2)
    assert isinstance(found, list)
    assert [rows.shape for rows in found] == [(1, 16), (5, 16), (4, 16)]
    for take, rows in zip(takes, found, strict=True):
        np.testing.assert_allclose(rows, encoder.encode(take, window=10), rtol=0, atol=1e-6)


def test_other_layouts() -> None:
    x = np.random.default_rng(0).normal(size=(30, 20, 3))
    whole = Skeleton(x, "kinect20", confidence=np.ones((30, 20)))
    np.testing.assert_allclose(
        make().encode(whole, window=10),
        make().encode([Skeleton(x[i : i + 10], "kinect20") for i in (0, 10, 20)]),
        rtol=0,
        atol=1e-6,
    )


def test_windows_without_anybody() -> None:
    x = recording(60).positions.copy()
    x[:, 20:42] = np.nan
    whole = recording(60).replace(positions=x)
    found = make().encode(whole, window=10)
    assert np.isnan(found[[2, 3]]).all() and np.isfinite(found[[0, 1, 4, 5]]).all()
    np.testing.assert_allclose(found[5], make().encode(part(whole, 50, 60)), rtol=0, atol=1e-6)
    frames = make().encode(whole, pool="frame", window=10)
    assert np.isnan(frames[20:40]).all() and np.isfinite(frames[:20]).all() and np.isfinite(frames[40:]).all()


def test_a_person_keeps_their_row() -> None:
    x = np.concatenate([recording(40, seed=seed).positions for seed in range(3)])
    x[0, 10:] = np.nan
    x[2, :25] = np.nan
    found = make().encode(Skeleton(x, "ntu25"), pool="person", window=10)
    assert found.shape == (4, 3, 16)
    there = np.isfinite(found).all(axis=2)
    np.testing.assert_array_equal(there.T, [[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]])
    assert (np.isnan(found).any(axis=2) == ~there).all()


def test_a_flat_window_is_no_flat_recording() -> None:
    x = recording(30).positions.copy()
    x[:, :10, :, 2] = 3.0
    assert np.isfinite(make().encode(Skeleton(x, "ntu25"), window=10)).all()


def test_what_every_window_leaves_out_is_said_quietly(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "mamp"):
        make(Preprocessing()).encode(recording(40, people=3), window=4)
    assert len(caplog.records) <= 1


def test_memory_does_not_grow_with_the_length() -> None:
    """Beside the recording and the result, a long recording takes what a short one takes."""
    encoder = make()

    def peak(frames: int) -> int:
        whole = recording(frames)
        tracemalloc.start()
        try:
            found = encoder.encode(whole, window=60, stride=60, batch_size=4)
            return tracemalloc.get_traced_memory()[1] - found.nbytes
        finally:
            tracemalloc.stop()

    peak(600)
    short, long = peak(600), peak(6000)
    assert long < short + 200_000, "bytes; the recording alone has grown by 1,600,000"


def test_frame_means() -> None:
    means = FrameMeans(5, 2)
    means.add(0, np.array([[1, 2], [3, 4], [np.nan, np.nan]], np.float32))
    means.add(1, np.array([[5, 6], [7, 8]], np.float32))
    np.testing.assert_array_equal(means.result(), [[1, 2], [4, 5], [7, 8], [np.nan] * 2, [np.nan] * 2])


# --- other preprocessing than the weights say -----------------------------------------------------------------------


def test_preprocessing_can_be_changed() -> None:
    encoder, whole = make(), recording(40)
    other = make(Preprocessing(max_people=None, absent_person="none", facing=True, height=1.7))
    for options in ({}, {"window": 10}):
        found = encoder.encode(whole, preprocessing={"facing": True, "height": 1.7}, **options)
        np.testing.assert_array_equal(found, other.encode(whole, **options))
        assert abs(found - encoder.encode(whole, **options)).max() > 1e-3
    np.testing.assert_array_equal(encoder.encode(whole, preprocessing=other.config.preprocessing), other.encode(whole))


def test_preprocessing_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"preprocessing: unknown field 'face'\. Did you mean 'facing'"):
        make().encode(recording(5), preprocessing={"face": True})
    with pytest.raises(ConfigError, match=r"preprocessing: expected an object of fields.*found str"):
        make().encode(recording(5), preprocessing="facing")  # type: ignore[arg-type]


# --- docs/recordings.md ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "weights/openmocap/model.safetensors").exists(), reason="needs the bundled weights")
def test_the_documentation_runs() -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/recordings.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "docs/recordings.md", "exec"), {})
