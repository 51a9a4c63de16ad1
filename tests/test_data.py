"""The store of clips, batches from it, and augmentation, equal to the published feeder given the same numbers."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamp import Preprocessing, Skeleton, get_layout
from mamp.data import ClipStore, StoreWriter
from mamp.data.augment import (
    COLUMNS,
    Augmentation,
    PackedBatch,
    augment,
    bone_factors,
    drop_joints,
)
from mamp.data.crops import find_bodies, map_of_joints
from mamp.data.loader import Shard, TrainingBatches, clip_weights, generator_for, training_clips
from mamp.errors import ConfigError, DataError, LayoutError, MAMPError
from mamp.evaluate.data import open_labelled
from mamp.geometry import (
    facing_angle,
    from_the_root,
    lerp,
    mirrored_joints,
    resample_index,
    rotation_matrix,
    to_the_right,
)
from mamp.preprocessing import normalize, to_stream

NTU = get_layout("ntu25")
Array = NDArray[np.float32]


def positions(people: int, frames: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(people, frames, 25, 3)).astype(np.float32)


SIZES = [(1, 30), (2, 80), (1, 200), (2, 1), (1, 64), (1, 65), (2, 131), (1, 90), (2, 45), (1, 70), (1, 33), (2, 64)]


def write(path: Path, sizes: list[tuple[int, int]] = SIZES) -> ClipStore:
    with StoreWriter(path, NTU, {"source": "made up"}) as writer:
        for i, (people, frames) in enumerate(sizes):
            writer.add(f"clip{i}", positions(people, frames, i), fps=30 if i % 2 else None, label=i % 3)
    return ClipStore(path)


@pytest.fixture
def store(tmp_path: Path) -> ClipStore:
    return write(tmp_path / "store")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- the store ------------------------------------------------------------------------------------------------------


def test_round_trip(store: ClipStore) -> None:
    assert len(store) == len(SIZES) and store.layout is NTU and store.info["source"] == "made up"
    assert store.num_rows == sum(people * frames for people, frames in SIZES)
    for i, (people, frames) in enumerate(SIZES):
        np.testing.assert_array_equal(store.read(i), positions(people, frames, i))
        np.testing.assert_array_equal(
            store.read(i, frames // 2, 1), positions(people, frames, i)[:, frames // 2 :][:, :1]
        )
    assert store.columns["label"].tolist() == [i % 3 for i in range(len(SIZES))]
    assert store.read(0).flags.writeable


def test_recordings(tmp_path: Path) -> None:
    x = positions(2, 6, 0)
    x[1, 2:4] = 0
    with StoreWriter(tmp_path / "s", NTU) as writer:
        writer.add("wave", x, fps=25, label=7, view="front")
        writer.add("bow", x, label=8, view="side")
    first, second = ClipStore(tmp_path / "s").recordings()
    assert (first.name, first.fps) == ("wave", 25.0) and first.info == {"label": 7, "view": "front", "ends": "kept"}
    assert second.fps is None and second.layout is NTU
    assert np.isnan(first.positions[1, 2:4]).all() and first.tracked.sum() == (12 - 2) * 25
    np.testing.assert_array_equal(np.nan_to_num(first.positions), x)


def test_what_is_written(store: ClipStore) -> None:
    assert set(contents(store.path)) == {"meta.json", "positions.bin", "clips.npz"}
    meta = json.loads((store.path / "meta.json").read_text())
    assert meta["num_clips"] == len(SIZES) and meta["num_rows"] == store.num_rows and meta["layout"] == "ntu25"
    assert meta["sha256"] == hashlib.sha256((store.path / "positions.bin").read_bytes()).hexdigest()
    assert names(store.path.parent) == ["store"], "nothing is left beside it"


def test_store_can_be_shared(store: ClipStore) -> None:
    """Readable by whom the umask lets: a store is often made by one person for many."""
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o777 & ~umask


def test_frames_are_read_from_disk_when_asked_for(store: ClipStore) -> None:
    before = store.read(2)
    copy = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 10_000 < (store.path / "positions.bin").stat().st_size
    np.testing.assert_array_equal(copy.read(2), before)
    (store.path / "positions.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"positions.bin ended in clip clip2; prepare the data again"):
        store.read(2)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files where the system lists them")
def test_files_are_closed_with_the_store(store: ClipStore) -> None:
    open_files = len(names(Path("/proc/self/fd")))
    for _ in range(20):
        again = ClipStore(store.path)
        again.read(0)
        del again
    assert len(names(Path("/proc/self/fd"))) == open_files


def test_read_runs_of_rows(store: ClipStore) -> None:
    out = np.full((9, 25, 3), np.nan, np.float32)
    store.read_rows(np.array([30 + 80 + 2, 3]), np.array([5, 4]), out)
    np.testing.assert_array_equal(out[:5], positions(2, 80, 1)[1, 2:7], "the second of two people")
    np.testing.assert_array_equal(out[5:], positions(1, 30, 0)[0, 3:7])
    assert store.read(1, 3, 0).shape == (2, 0, 25, 3)
    (store.path / "positions.bin").write_bytes(b"1234567")
    with pytest.raises(DataError, match=r"positions\.bin ended in clip clip1; prepare the data again"):
        store.read_rows(np.array([30 + 80 + 2, 3]), np.array([5, 4]), out)


def test_systems_without_positioned_reads(store: ClipStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    np.testing.assert_array_equal(store.read(1, 3, 7), positions(2, 80, 1)[:, 3:10])
    (store.path / "positions.bin").write_bytes(b"1234567")
    with pytest.raises(DataError, match=r"positions\.bin ended in clip clip0"):
        store.read(0)


def test_threads_share_a_store(store: ClipStore) -> None:
    def right(i: int) -> bool:
        return bool((store.read(i % 12) == positions(*SIZES[i % 12], i % 12)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(200)))


@pytest.mark.parametrize("existing", [False, True])
def test_nothing_is_left_of_a_failed_write(tmp_path: Path, existing: bool) -> None:
    path = tmp_path / "store"
    before = contents(write(path, [(1, 5)]).path) if existing else {}
    with pytest.raises(KeyboardInterrupt), StoreWriter(path, NTU) as writer:
        writer.add("a", positions(1, 9, 0))
        raise KeyboardInterrupt
    assert names(tmp_path) == (["store"] if existing else [])
    if existing:
        assert contents(path) == before
        np.testing.assert_array_equal(ClipStore(path).read(0), positions(1, 5, 0))


def test_failure_at_the_very_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    before = contents(write(path, [(1, 5)]).path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises((OSError, DataError), match="No space left"), StoreWriter(path, NTU) as writer:
        writer.add("a", positions(1, 9, 0))
    assert names(tmp_path) == ["store"] and contents(path) == before


def test_store_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "store", [(1, 5)])
    assert len(write(tmp_path / "store", [(2, 3), (1, 1)])) == 2
    assert names(tmp_path) == ["store"]


def test_open_store_outlives_its_replacement(tmp_path: Path) -> None:
    old = write(tmp_path / "store", [(1, 5)])
    old.read(0)
    write(tmp_path / "store", [(2, 3)])
    np.testing.assert_array_equal(old.read(0), positions(1, 5, 0))


def test_folders_above_are_made(tmp_path: Path) -> None:
    assert len(write(tmp_path / "a" / "b" / "store", [(1, 2)])) == 1


@pytest.mark.parametrize(
    "x, columns, message",
    [
        (np.zeros((1, 4, 24, 3)), {}, r"b: expected positions \[M, T, 25, 3\], found \(1, 4, 24, 3\)"),
        (np.zeros((4, 25, 3)), {}, r"b: expected positions .*found \(4, 25, 3\)"),
        (np.zeros((1, 0, 25, 3)), {}, r"b: expected positions .*found \(1, 0, 25, 3\)"),
        (np.full((1, 4, 25, 3), np.nan), {}, r"b: positions hold NaN or infinity; normalise the recording first"),
        (np.full((1, 4, 25, 3), np.inf), {}, r"b: positions hold NaN or infinity"),
        (
            np.zeros((1, 4, 25, 3)),
            {"subject": 2},
            r"b: expected the columns of the clips before it, found \['subject'\]",
        ),
        (np.zeros((1, 4, 25, 3)), None, r"b: expected the columns of the clips before it, found \[\]"),
    ],
)
def test_refused_clips(tmp_path: Path, x: Any, columns: dict[str, Any] | None, message: str) -> None:
    if columns == {}:
        columns = {"label": 1}
    with pytest.raises(DataError, match=message), StoreWriter(tmp_path / "store", NTU) as writer:
        writer.add("a", positions(1, 3, 0), label=0)
        writer.add("b", x, **(columns or {}))
    assert names(tmp_path) == []


def test_empty_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no clip to write"), StoreWriter(tmp_path / "store", NTU):
        pass
    assert names(tmp_path) == []


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write here"), StoreWriter(tmp_path / "file" / "store", NTU):
        pass


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def edit_meta(path: Path, **changes: Any) -> None:
    meta = json.loads((path / "meta.json").read_text())
    meta.update(changes)
    (path / "meta.json").write_text(json.dumps({key: value for key, value in meta.items() if value is not None}))


def edit_columns(path: Path, **changes: Any) -> None:
    with np.load(path / "clips.npz") as file:
        columns: dict[str, Any] = {**dict(file), **changes}
    np.savez(path / "clips.npz", **{key: value for key, value in columns.items() if value is not None})


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda p: (p / "meta.json").unlink(), r"not a store of clips, or damaged"),
        (lambda p: (p / "clips.npz").unlink(), r"not a store of clips, or damaged"),
        (lambda p: (p / "positions.bin").unlink(), r"positions.bin has 0 bytes, the index needs \d+; prepare again"),
        (lambda p: cut(p / "meta.json"), r"damaged"),
        (lambda p: (p / "meta.json").write_text("[]"), r"store format 1 with a layout, found format None"),
        (lambda p: (p / "meta.json").write_bytes(b"\xff\xfe\x00"), r"damaged"),
        (lambda p: cut(p / "clips.npz"), r"damaged"),
        (lambda p: (p / "clips.npz").write_bytes(b""), r"damaged"),
        (lambda p: cut(p / "positions.bin"), r"positions.bin has \d+ bytes, the index needs"),
        (lambda p: edit_meta(p, format=99), r"store format 1 with a layout, found format 99; prepare the data again"),
        (lambda p: edit_meta(p, format=None), r"store format 1 with a layout, found format None"),
        (lambda p: edit_meta(p, layout=None), r"store format 1 with a layout"),
        (lambda p: edit_meta(p, layout="nope"), r"unknown layout 'nope'"),
        (lambda p: edit_columns(p, fps=None, frames=None), r"clips.npz lacks the columns frames, fps"),
        (
            lambda p: edit_columns(p, frames=np.ones(3, np.int32)),
            r"clips.npz is damaged: expected contiguous clips",
        ),
        (lambda p: edit_columns(p, first_row=np.zeros(12, np.int64)), r"clips.npz is damaged"),
        (lambda p: edit_columns(p, people=np.zeros(12, np.int16)), r"clips.npz is damaged"),
        (lambda p: edit_columns(p, label=np.int64(3)), r"clips.npz is damaged"),
    ],
)
def test_damaged_store(store: ClipStore, damage: Any, message: str) -> None:
    damage(store.path)
    with pytest.raises((DataError, LayoutError), match=message):
        ClipStore(store.path)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a folder written by python -m mamp.prepare, found none") as caught:
        ClipStore(tmp_path / "nothing")
    assert isinstance(caught.value, MAMPError)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="not a store of clips"):
        ClipStore(tmp_path / "empty")


# --- augmentation, against the published feeder ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=["cut", "full"])
def feeder(request: pytest.FixtureRequest, golden: Path) -> dict[str, Any]:
    folder = golden if request.param == "cut" else request.getfixturevalue("shared") / "reference" / "golden"
    with np.load(folder / "feeder.npz") as file:
        return dict(file)


def packed(x: Array, start: int, length: int, uniform: Tensor | None = None) -> PackedBatch:
    """One clip [M, T, V, 3], cut out, as a batch."""
    rows = torch.from_numpy(np.ascontiguousarray(x[:, start : start + length]).reshape(-1, 25, 3))
    return PackedBatch(
        rows,
        torch.arange(len(x))[None] * length,
        torch.tensor([length]),
        torch.ones(1, len(x), dtype=torch.bool),
        torch.full((1, len(COLUMNS)), 0.5) if uniform is None else uniform,
        torch.zeros(1, dtype=torch.int64),
    )


def resized(batch: PackedBatch, num_frames: int) -> Tensor:
    """Crops alone, clip by clip, with what the encoder's preprocessing is made of."""
    x = torch.zeros(*batch.present.shape, num_frames, *batch.rows.shape[1:])
    for b, m in batch.present.nonzero().tolist():
        low, high, share = resample_index(int(batch.start[b, m]), int(batch.length[b]), num_frames)
        rows = batch.rows.numpy()
        x[b, m] = torch.from_numpy(lerp(rows[low], rows[high], share[:, None, None]))
    return x


def rotations(angles: Tensor) -> Tensor:
    """``Rz Ry Rx`` [B, 3, 3] of angles [B, 3]."""
    return torch.from_numpy(rotation_matrix(angles.numpy()))


def rotate(x: Tensor, matrix: Tensor) -> Tensor:
    """Rotate clips [B, M, T, V, 3] by a matrix [B, 3, 3] each."""
    return torch.einsum("bij,bmtvj->bmtvi", matrix, x)


def mirror(x: Tensor) -> Tensor:
    """Mirror clips [B, M, T, V, 3]: negate x, and swap left and right."""
    flipped = x.clone()
    for left, right in NTU.pairs:
        i, j = NTU.joints.index(left), NTU.joints.index(right)
        flipped[..., [i, j], :] = x[..., [j, i], :]
    return flipped * torch.tensor([-1.0, 1.0, 1.0])


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_random_crop_and_resize(feeder: dict[str, Any]) -> None:
    cases = [
        name.removesuffix("/out") for name in feeder if name.startswith("vcr/L") and "/rand" in name and "out" in name
    ]
    assert len(cases) >= 3
    for name in cases:
        _, length, window, _ = name.split("/")
        frames = int(length[1:])
        x = np.ascontiguousarray(feeder[f"vcr/{length}/data"].transpose(3, 1, 2, 0))
        u, (low, high, start) = feeder[f"{name}/u"], feeder[f"{name}/randint(lo,hi,value)"]
        crop = Augmentation().crop(frames, float(u[0]), float(u[1]))
        assert crop == (start, frames - (high - 1)) and low == 0, name
        golden = feeder[f"{name}/out"].transpose(3, 1, 2, 0)
        found = resized(packed(x, *crop), int(window[1:]))[0].numpy()
        np.testing.assert_allclose(found[: len(golden)], golden, rtol=0, atol=1e-6, err_msg=name)
        assert not found[len(golden) :].any()


def test_rotation(feeder: dict[str, Any]) -> None:
    angles = torch.from_numpy(feeder["rot/angles"])
    matrices = rotations(angles)
    x = np.ascontiguousarray(feeder["rot/x"].transpose(3, 1, 2, 0))
    for i in range(3):
        np.testing.assert_allclose(matrices[i].numpy(), feeder[f"rot/matrix{i}"], rtol=0, atol=1e-6)
        uniform = torch.tensor([uniform_of(np.zeros(2), angles[i].numpy())])
        made = augment(packed(x, 0, x.shape[1], uniform), Augmentation(), NTU, x.shape[1])
        np.testing.assert_allclose(made.x[0].numpy(), feeder[f"rot/out{i}"].transpose(3, 1, 2, 0), rtol=0, atol=1e-6)
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), torch.eye(3).expand(3, 3, 3), rtol=0, atol=1e-6)


def as_clip(row: Array) -> Array:
    """A row [T, 150] of the published data set -> [M, valid frames, 25, 3], as the published feeder reads it.

    The number of frames that are not all zero is taken for the end, so that inner empty frames stay in.
    """
    x = row.reshape(len(row), 2, 25, 3).transpose(1, 0, 2, 3)
    valid = int((x.sum(axis=(0, 2, 3)) != 0).sum())
    return np.ascontiguousarray(x[: 2 if x[1].any() else 1, :valid])


def uniform_of(u: Array, angles: Array) -> list[float]:
    """The golden random numbers of an item as a row of uniform numbers."""
    values = {"length": u[0], "start": u[1]}
    values |= {name: (angle / 0.3 + 1) / 2 for name, angle in zip(("rot_x", "rot_y", "rot_z"), angles, strict=True)}
    return [float(values.get(name, 0.5)) for name in COLUMNS]


def run_items(
    path: Path,
    clips: list[Array],
    uniform: list[list[float]],
    monkeypatch: pytest.MonkeyPatch,
    num_frames: int = 120,
    stream: str = "joint",
) -> dict[int, Array]:
    """Training items of the clips through store, loader and augmentation, with these uniform numbers."""
    with StoreWriter(path, NTU) as writer:
        for i, clip in enumerate(clips):
            writer.add(str(i), clip)
    batches = TrainingBatches(ClipStore(path), Augmentation(), len(clips), 2, "zeros", seed=0, epoch=0)
    numbers = torch.tensor(uniform, dtype=torch.float64)[batches.order]

    def draw(*size: int, generator: torch.Generator) -> Tensor:
        assert size == tuple(numbers.shape)
        return numbers

    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", draw)
        (batch,) = batches[0]
    made = augment(batch, Augmentation(), NTU, num_frames, stream)
    assert made.x is made.target and made.x.dtype == torch.float32 and made.confidence is None
    return {int(clip): item.numpy() for clip, item in zip(batch.clips, made.x, strict=True)}


def test_streams(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bones, velocities and both, of a training item with u = .25, .5 and angles .1, -.2, .3."""
    folder = shared / "reference" / "golden"
    with np.load(folder / "feeder.npz") as file, np.load(folder / "feeder_dataset.npz") as dataset:
        clip = as_clip(dataset["x_train"][1])
        numbers = uniform_of(np.array([0.25, 0.5]), np.array([0.1, -0.2, 0.3]))
        for name, stream in (("bone", "bone"), ("vel", "motion"), ("bone_vel", "bone_motion")):
            found = run_items(tmp_path / name, [clip], [numbers], monkeypatch, 64, stream)
            check_item(found[0], file[f"ds/{name}/train1_u.25_.5_rot.1_-.2_.3"])


def check_item(found: Array, golden: NDArray[Any]) -> None:
    golden = golden.transpose(3, 1, 2, 0)
    np.testing.assert_allclose(found[: len(golden)], golden, rtol=0, atol=1e-6)
    assert not found[len(golden) :].any()


def test_training_item(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(golden / "feeder.npz") as file:
        clip = as_clip(file["ds/train3/source"])
        numbers = uniform_of(file["ds/train3/u"], file["ds/train3/angles"])
        check_item(run_items(tmp_path / "s", [clip], [numbers], monkeypatch)[0], file["ds/train3/data"])


def test_training_items(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared / "reference" / "golden"
    with np.load(folder / "feeder.npz") as file, np.load(folder / "feeder_dataset.npz") as dataset:
        clips = [as_clip(row) for row in dataset["x_train"]]
        numbers = [uniform_of(file[f"ds/train{i}/u"], file[f"ds/train{i}/angles"]) for i in range(len(clips))]
        found = run_items(tmp_path / "s", clips, numbers, monkeypatch)
        assert sorted(found) == list(range(7))
        for i, item in found.items():
            check_item(item, file[f"ds/train{i}/data"])


# --- tracking confidence --------------------------------------------------------------------------------------------


def confidence_of(x: Array) -> Array:
    return np.random.default_rng(9).random(x.shape[:3]).astype(np.float32)


def test_confidence_goes_with_the_positions(tmp_path: Path) -> None:
    clips = [positions(1, 90, 0), positions(2, 70, 1)]
    with StoreWriter(tmp_path / "s", NTU) as writer:
        for i, clip in enumerate(clips):
            writer.add(str(i), clip, confidence=confidence_of(clip))
    store = ClipStore(tmp_path / "s")
    assert store.has_confidence
    for i, clip in enumerate(clips):
        np.testing.assert_array_equal(store.read_confidence(i, 3, 5), confidence_of(clip)[:, 3:8])
        found = store.recording(i).confidence
        assert found is not None
        np.testing.assert_array_equal(found, confidence_of(clip))
    (batch,) = TrainingBatches(store, Augmentation(), 2, 2, "zeros", seed=0, epoch=0)[0]
    made = augment(batch, Augmentation(), NTU, 16)
    assert made.confidence is not None and made.confidence.shape == (2, 2, 16, 25)
    assert not made.confidence[~batch.present].any()
    as_coordinates = replace_rows(batch, batch.confidence)
    close(made.confidence, resized(as_coordinates, 16)[..., 0])


def replace_rows(batch: PackedBatch, values: Tensor | None) -> PackedBatch:
    """A batch whose coordinates are all ``values`` [F, V]."""
    assert values is not None
    return dataclasses.replace(batch, rows=values[..., None].expand(-1, -1, 3))


def test_confidence_of_all_or_none(store: ClipStore, tmp_path: Path) -> None:
    assert not store.has_confidence and not (store.path / "confidence.bin").exists()
    with pytest.raises(DataError, match="the recordings of this store have no tracking confidence"):
        store.read_confidence(0)
    x = positions(1, 5, 0)
    for first, second, message in (
        (None, np.ones((1, 5, 25), np.float32), "either all clips of a store have a tracking confidence, or none"),
        (np.ones((1, 5, 25), np.float32), None, "either all clips"),
        (np.ones((1, 5, 24), np.float32), None, r"expected confidence \(1, 5, 25\), found \(1, 5, 24\)"),
    ):
        with pytest.raises(DataError, match=message), StoreWriter(tmp_path / "other", NTU) as writer:
            writer.add("a", x, confidence=first)
            writer.add("b", x, confidence=second)
    assert names(tmp_path) == ["store"]


# --- batches --------------------------------------------------------------------------------------------------------


def batches_of(store: ClipStore, **options: Any) -> TrainingBatches:
    defaults = {"batch_size": 6, "max_people": 2, "absent_person": "zeros", "seed": 3, "epoch": 1}
    return TrainingBatches(store, Augmentation(), **{**defaults, **options})


def same(a: PackedBatch, b: PackedBatch) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in a.__dict__]
    return all(x is y is None or torch.equal(x, y) for x, y in pairs)


def test_batches_are_the_same_again(store: ClipStore) -> None:
    first, again = batches_of(store), batches_of(ClipStore(store.path))
    assert len(first) == 2
    for step in range(2):
        assert same(first[step][0], again[step][0])
    assert not torch.equal(first[0][0].uniform, first[1][0].uniform)
    clips = torch.cat([first[step][0].clips for step in range(2)])
    assert sorted(clips.tolist()) == list(range(12)), "every clip once an epoch"
    for other in (batches_of(store, seed=4), batches_of(store, epoch=2)):
        assert not torch.equal(other.order, first.order)
        assert not torch.equal(other[0][0].uniform, first[0][0].uniform)


def test_two_views_are_one_crop_augmented_twice(store: ClipStore) -> None:
    batches = batches_of(store, views=2)
    assert len(batches) == 2
    for (batch,) in (batches[step] for step in range(2)):
        first, second = batch.uniform[::2], batch.uniform[1::2]
        assert torch.equal(batch.clips[::2], batch.clips[1::2]) and len(set(batch.clips.tolist())) == 3
        assert torch.equal(batch.length[::2], batch.length[1::2])
        for name in COLUMNS:
            at = COLUMNS.index(name)
            assert torch.equal(first[:, at], second[:, at]) == (name in ("length", "start", "mirror")), name
    parts = batches_of(store, views=2, shard=Shard(0, 1, 3))[0]
    assert all(len(part.clips) == 2 and part.clips[0] == part.clips[1] for part in parts), "a pair stays together"


def test_batches_after_a_restart(store: ClipStore) -> None:
    whole, rest = batches_of(store), batches_of(store, first_step=1)
    assert len(rest) == 1 and same(rest[0][0], whole[1][0])


@pytest.mark.parametrize("absent", ["zeros", "copy"])
@pytest.mark.parametrize("processes, micro", [(1, 1), (1, 6), (2, 1), (3, 2), (2, 3), (6, 1), (1, 12), (4, 3)])
def test_shards_make_up_the_whole_batch(store: ClipStore, absent: str, processes: int, micro: int) -> None:
    settings = Augmentation(
        noise=0.01, mirror=0.5, scale=(0.8, 1.2), view_rotation=1.0, speed=(0.8, 1.2), joint_dropout=0.1,
        person_dropout=0.3,
    )  # fmt: skip
    (whole,) = batches_of(store, batch_size=12, absent_person=absent)[0]
    expected = augment(whole, settings, NTU, 16)
    rows: dict[int, tuple[Tensor, Tensor]] = {}
    for rank in range(processes):
        shard = Shard(rank, processes, micro)
        parts = batches_of(store, batch_size=12, absent_person=absent, shard=shard)[0]
        assert len(parts) == micro
        for number, part in enumerate(parts):
            made = augment(part, settings, NTU, 16)
            x, target = made.x, made.target
            places = range(12)[shard.rows(12, number)]
            assert len(places) == len(x) == 12 // (processes * micro)
            assert torch.equal(part.clips, whole.clips[shard.rows(12, number)])
            assert not rows.keys() & set(places)
            rows |= {place: pair for place, *pair in zip(places, x, target, strict=True)}  # type: ignore[misc]
    assert sorted(rows) == list(range(12))
    for place, (x, target) in rows.items():
        torch.testing.assert_close(x, expected.x[place], rtol=0, atol=1e-6)
        torch.testing.assert_close(target, expected.target[place], rtol=0, atol=1e-6)


@pytest.mark.parametrize("absent", ["zeros", "copy", "none"])
def test_slots_for_people(store: ClipStore, absent: str) -> None:
    (batch,) = batches_of(store, batch_size=12, absent_person=absent)[0]
    x = resized(batch, 16)
    for clip, slots, here in zip(batch.clips.tolist(), x, batch.present, strict=True):
        if SIZES[clip][0] == 2:
            assert here.all() and not torch.equal(slots[0], slots[1])
        elif absent == "copy":
            assert here.all() and torch.equal(slots[0], slots[1])
        else:
            assert here.tolist() == [True, False] and not slots[1].any()
    assert x.isfinite().all() and x[:, 0].flatten(1).any(dim=1).all()


def test_more_people_than_slots(store: ClipStore) -> None:
    (batch,) = batches_of(store, batch_size=12, max_people=1)[0]
    assert resized(batch, 16).shape == (12, 1, 16, 25, 3)
    (wide,) = batches_of(store, batch_size=12, max_people=3)[0]
    assert wide.present.sum(1).tolist() == [SIZES[clip][0] for clip in wide.clips.tolist()]


def test_crops_come_from_the_store(store: ClipStore) -> None:
    (batch,) = batches_of(store, batch_size=12)[0]
    for row, clip in enumerate(batch.clips.tolist()):
        people, frames = SIZES[clip]
        numbers = dict(zip(COLUMNS, batch.uniform[row].tolist(), strict=True))
        start, length = Augmentation().crop(frames, numbers["length"], numbers["start"])
        assert batch.length[row] == length
        for m in range(people):
            first = int(batch.start[row, m])
            expected = positions(people, frames, clip)[m, start : start + length]
            np.testing.assert_array_equal(batch.rows[first : first + length].numpy(), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(store: ClipStore, workers: int) -> None:
    batches = batches_of(store, batch_size=4)
    loaded = list(batches.load(workers))
    assert len(loaded) == len(batches) == 3
    for step, parts in enumerate(loaded):
        assert same(parts[0], batches[step][0])


def test_weights_and_size_of_an_epoch(store: ClipStore) -> None:
    weights = torch.zeros(12)
    weights[[2, 5]] = torch.tensor([1.0, 3.0])
    batches = batches_of(store, weights=weights, samples_per_epoch=600)
    assert len(batches) == 100 and set(batches.order.tolist()) == {2, 5}
    share = (batches.order == 5).double().mean().item()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 600)
    assert len(batches_of(store, samples_per_epoch=7)) == 1


def test_epoch_smaller_than_a_batch(store: ClipStore) -> None:
    with pytest.raises(DataError, match="an epoch of 12 clips is smaller than one batch of 13"):
        batches_of(store, batch_size=13)


def test_split(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", NTU) as writer:
        for i in range(6):
            writer.add(str(i), positions(1, 5, i), split="train" if i % 3 else "test")
    store = ClipStore(tmp_path / "s")
    assert training_clips(store, "train").tolist() == [1, 2, 4, 5] and training_clips(store, None).tolist() == [
        *range(6)
    ]
    with pytest.raises(DataError, match="no clip of the split 'val'; there are test, train"):
        training_clips(store, "val")
    batches = batches_of(store, batch_size=2, clips=training_clips(store, "test"))
    assert sorted(batches.order.tolist()) == [0, 3]
    twice = batches_of(store, batch_size=2, clips=training_clips(store, "test"), samples_per_epoch=4)
    assert sorted(twice.order[:2].tolist()) == sorted(twice.order[2:].tolist()) == [0, 3]


def test_split_of_a_store_without(store: ClipStore) -> None:
    with pytest.raises(DataError, match="the clips have no column 'split'"):
        training_clips(store, "train")


def test_training_and_evaluation_split_alike(tmp_path: Path) -> None:
    """A store with a split of its own and those of two protocols: what is named counts, for all who ask."""
    columns = {
        "split": ["train"] * 9 + ["test"] * 3,
        "split_xsub": ["train"] * 6 + ["test"] * 6,
        "split_xview": ["test"] * 6 + ["train"] * 6,
    }
    with StoreWriter(tmp_path / "s", NTU) as writer:
        for i in range(12):
            row = {name: values[i] for name, values in columns.items()}
            writer.add(str(i), positions(1, 5, i), label=i % 2, **row)
    store = ClipStore(tmp_path / "s")
    for protocol, column in ((None, "split"), ("xsub", "split_xsub"), ("xview", "split_xview")):
        labelled = open_labelled(tmp_path / "s", protocol)
        training = training_clips(store, "train", protocol).tolist()
        assert training == labelled.train.tolist() == np.flatnonzero(store.columns[column] == "train").tolist()
        assert not set(training) & set(labelled.test.tolist()) and labelled.protocol == protocol
        if protocol is not None:  # no way to train on what the protocol tests on
            for split in (None, "test"):
                with pytest.raises(DataError, match=f"the protocol {protocol}"):
                    training_clips(store, split, protocol)
    assert len(training_clips(store, None)) == 12
    with pytest.raises(DataError, match="no column 'split_xset'; no split of the name 'xset'"):
        training_clips(store, None, "xset")


@pytest.mark.parametrize(("protocols", "taken"), [(["xsub"], True), (["xview"], False), (None, False)])
def test_a_store_of_one_split_says_of_which_protocol(tmp_path: Path, protocols: list[str] | None, taken: bool) -> None:
    with StoreWriter(tmp_path / "s", NTU, None if protocols is None else {"protocols": protocols}) as writer:
        for i in range(4):
            writer.add(str(i), positions(1, 5, i), split="train" if i else "test")
    store = ClipStore(tmp_path / "s")
    if taken:
        assert training_clips(store, "train", "xsub").tolist() == [1, 2, 3]
    else:
        with pytest.raises(DataError, match="one split that names no protocol"):
            training_clips(store, "train", "xsub")
    assert training_clips(store, "train").tolist() == [1, 2, 3]


def test_clip_weights(store: ClipStore, caplog: pytest.LogCaptureFixture) -> None:
    assert clip_weights(store, None, []) is None
    weights = clip_weights(store, "label", ["1=0.5", "2=0"])
    assert weights is not None
    share = [1.0, 0.5, 0.0]
    assert weights.tolist() == [frames * share[i % 3] for i, (_, frames) in enumerate(SIZES)]
    order = batches_of(store, weights=weights, samples_per_epoch=300).order
    assert (order % 3 != 2).all()
    with pytest.raises(DataError, match=r"data\.weight_by names the column 'corpus'; it has name"):
        clip_weights(store, "corpus", [])
    for by in ("label", None):
        with pytest.raises(ConfigError, match=r"data\.weights: expected group=weight, found 'a=b'"):
            clip_weights(store, by, ["a=b"])
    for number in ("-1", "nan", "inf"):
        with pytest.raises(ConfigError, match="expected a weight of at least 0"):
            clip_weights(store, "label", [f"1={number}"])
    nothing = clip_weights(store, "label", ["0=0", "1=0", "2=0"])
    with pytest.raises(ConfigError, match="all training clips have the weight 0"):
        batches_of(store, weights=nothing, samples_per_epoch=300)
    clip_weights(store, "label", ["00=2"])
    assert "no clip has the label 00, which data.weights names. Did you mean '0'?" in caplog.text


def test_steps_end(store: ClipStore) -> None:
    batches = batches_of(store)
    for item in (2, -1):
        with pytest.raises(IndexError):
            batches[item]


def test_generators_are_independent() -> None:
    draws = [
        torch.rand(1, generator=generator_for(*parts)).item() for parts in (("a", 1), ("a", 2), ("a", 11), ("b", 1))
    ]
    assert len(set(draws)) == 4
    assert torch.rand(1, generator=generator_for("a", 1)).item() == draws[0]


# --- the other augmentations ----------------------------------------------------------------------------------------


@pytest.fixture
def batch(store: ClipStore) -> PackedBatch:
    (batch,) = batches_of(store, batch_size=12)[0]
    return batch


OFF = Augmentation(rotation=0.0)


def changed(batch: PackedBatch, **settings: Any) -> tuple[Tensor, Tensor]:
    """Clips without and with an augmentation."""
    augmented = augment(batch, Augmentation(**{"rotation": 0.0, **settings}), NTU, 16)
    return augment(batch, OFF, NTU, 16).x, augmented.x


def test_everything_off_is_crop_and_resize(batch: PackedBatch) -> None:
    close(augment(batch, OFF, NTU, 16).x, resized(batch, 16))


def test_mirrored_joints_swap_in_pairs() -> None:
    order = mirrored_joints(NTU)
    assert [order[i] for i in order] == list(range(25))
    assert order[NTU.joints.index("hand_left")] == NTU.joints.index("hand_right")
    assert order[NTU.joints.index("head")] == NTU.joints.index("head")


def test_mirror_of_some(batch: PackedBatch) -> None:
    plain, some = changed(batch, mirror=0.5)
    which = batch.uniform[:, COLUMNS.index("mirror")] < 0.5
    assert 0 < which.sum() < 12
    close(some[~which], plain[~which])
    close(some[which], mirror(plain)[which])
    assert (abs(mirror(plain) - plain)[which].flatten(1).amax(dim=1) > 0.1).all()


def test_map_of_joints_is_the_matrix_of_each() -> None:
    matrix, x = torch.randn(2, 3, 3), torch.randn(2, 7, 4, 3)
    alike, each = np.array([2, 0, 1, 3]), np.array([[2, 0, 1, 3], [0, 1, 2, 3]])
    for places in (alike, each):
        found = (x.flatten(2) @ torch.from_numpy(map_of_joints(matrix.numpy(), places))).view(x.shape)
        moved = torch.einsum("bij,btvj->btvi", matrix, x)
        for b, order in enumerate(np.broadcast_to(places, (2, 4)).tolist()):
            close(found[b][:, order], moved[b])


@pytest.mark.parametrize("settings", [{}, {"mirror": 0.5}, {"center": True}, {"center": True, "mirror": 0.5}])
@pytest.mark.parametrize("num_frames", [16, 15])
def test_order_of_the_steps(batch: PackedBatch, settings: dict[str, Any], num_frames: int) -> None:
    """Centre, view, mirror, scale and rotation one after another, and the map that is all of them at once."""
    made = augment(batch, Augmentation(view_rotation=2.0, scale=(0.5, 1.5), **settings), NTU, num_frames)
    u = {name: batch.uniform[:, i] for i, name in enumerate(COLUMNS)}
    x = resized(batch, num_frames)
    if "center" in settings:
        spine = NTU.joints.index("spine_mid")
        x = (x - x[:, :1, :1, spine : spine + 1]) * batch.present[..., None, None, None]
    zero = torch.zeros(12)
    x = rotate(x, rotations(torch.stack([zero, (u["yaw"] * 2 - 1) * 2.0, zero], dim=1)))
    if "mirror" in settings:
        x = torch.where((u["mirror"] < 0.5)[:, None, None, None, None], mirror(x), x)
    x = x * (0.5 + u["scale"])[:, None, None, None, None]
    angles = torch.stack([u["rot_x"], u["rot_y"], u["rot_z"]], dim=1)
    x = rotate(x, rotations((angles * 2 - 1) * 0.3))
    torch.testing.assert_close(made.x, x, rtol=1e-6, atol=2e-6)


def test_streams_of_a_batch(batch: PackedBatch) -> None:
    """Bones and motion of the clips, made in groups, with a target of its own where noise is added."""
    settings = Augmentation(noise=0.1)
    joint, made = (augment(batch, settings, NTU, 16, stream) for stream in ("joint", "bone_motion"))
    assert torch.equal(made.x, to_stream(joint.x, "bone_motion"))
    assert torch.equal(made.target, to_stream(joint.target, "bone_motion"))


@pytest.mark.parametrize("group", [1, 2, 5, 100])
def test_groups_change_nothing(batch: PackedBatch, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Augmentation(noise=0.1, mirror=0.5, center=True)
    expected = augment(batch, settings, NTU, 16, "motion")
    monkeypatch.setattr("mamp.data.crops.GROUP", group)
    made = augment(batch, settings, NTU, 16, "motion")
    close(made.x, expected.x)
    close(made.target, expected.target)


def test_clips_in_use_are_not_overwritten(batch: PackedBatch, store: ClipStore) -> None:
    settings = Augmentation(noise=0.1)
    made = augment(batch, settings, NTU, 16)
    kept = [made.x.clone(), made.target.clone(), batch.rows.clone()]
    for step in range(4):
        for parts in batches_of(store, epoch=step).load(0):
            augment(parts[0], settings, NTU, 16)
    assert all(torch.equal(*pair) for pair in zip(kept, (made.x, made.target, batch.rows), strict=True))


def test_scale(batch: PackedBatch) -> None:
    plain, scaled = changed(batch, scale=(0.5, 1.5))
    factor = 0.5 + batch.uniform[:, COLUMNS.index("scale")]
    torch.testing.assert_close(scaled, plain * factor[:, None, None, None, None])


def test_view_rotation_keeps_heights(batch: PackedBatch) -> None:
    plain, turned = changed(batch, view_rotation=3.0)
    torch.testing.assert_close(turned[..., 1], plain[..., 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(turned.norm(dim=-1), plain.norm(dim=-1), rtol=0, atol=1e-5)
    assert (abs(turned - plain).flatten(1).amax(dim=1) > 0.1).sum() > 8


def test_rotation_keeps_lengths(batch: PackedBatch) -> None:
    plain, turned = changed(batch, rotation=0.3)
    torch.testing.assert_close(turned.norm(dim=-1), plain.norm(dim=-1), rtol=0, atol=1e-5)
    angle = (2 * batch.uniform[:, COLUMNS.index("rot_x") : COLUMNS.index("rot_z") + 1] - 1) * 0.3
    close(turned, rotate(plain, rotations(angle)))


def test_centring_of_the_crop(batch: PackedBatch) -> None:
    plain, centred = changed(batch, center=True)
    spine = NTU.joints.index("spine_mid")
    assert not centred[:, 0, 0, spine].any()
    absent = ~batch.present
    assert absent.any() and not centred[absent].any()
    moved = (centred - plain)[batch.present]
    torch.testing.assert_close(moved, moved[:, :1, :1].expand_as(moved), rtol=0, atol=1e-5)


def test_facing_is_that_of_preprocessing(batch: PackedBatch) -> None:
    _, faced = changed(batch, center=True, facing=True)
    torch.testing.assert_close(
        torch.from_numpy(np.cos(facing_angle(to_the_right(faced[:, 0].numpy(), NTU)))),
        torch.ones(12, dtype=torch.float64),
        rtol=0,
        atol=1e-5,
        msg="it looks at the camera",
    )
    x, _ = changed(batch)
    recording = Skeleton(x[0, :1].numpy(), "ntu25")
    expected = normalize(recording, Preprocessing(facing=True, max_people=None, absent_person="none")).positions
    np.testing.assert_allclose(faced[0, :1].numpy(), expected, atol=1e-4)


def test_noise_leaves_the_target_clean(batch: PackedBatch) -> None:
    settings = Augmentation(noise=0.1)
    made = augment(batch, settings, NTU, 16)
    assert torch.equal(made.target, augment(batch, Augmentation(), NTU, 16).x)
    assert torch.equal(augment(batch, settings, NTU, 16).x, made.x), "noise follows from the clip's numbers"
    noise = made.x - made.target
    assert not noise[~batch.present].any(), "absent people stay absent"
    std = noise[:, 0].flatten(1).std(dim=1)
    expected = 0.1 * batch.uniform[:, COLUMNS.index("noise")]
    torch.testing.assert_close(std, expected, rtol=0.1, atol=1e-4)
    flat = noise[:, 0].flatten(1) / std[:, None]
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.15, "each clip has its own"


def test_wobble_is_slow_and_leaves_the_target_clean(batch: PackedBatch) -> None:
    made = augment(batch, Augmentation(wobble=0.1), NTU, 48)
    assert torch.equal(made.target, augment(batch, Augmentation(), NTU, 48).x)
    assert torch.equal(augment(batch, Augmentation(wobble=0.1), NTU, 48).x, made.x), (
        "it follows from the clip's numbers"
    )
    error = made.x - made.target
    assert not error[~batch.present].any(), "absent people stay absent"
    size = error[batch.present].flatten(2).std(dim=1)
    assert 0.02 < size.mean() < 0.06, "the mean of sizes up to 0.1, less what lies between the points drawn"
    step = error[batch.present].diff(dim=1).flatten(2).std(dim=1)
    assert step.mean() < 0.2 * size.mean(), "slow: a fifth of it from one frame to the next, white noise 1.4 times"
    assert torch.corrcoef(error[:, 0].flatten(1)).fill_diagonal_(0).abs().max() < 0.5, "each clip has its own"


def bone_lengths(x: Tensor) -> Tensor:
    children = [joint for joint, parent in enumerate(NTU.parents) if parent >= 0]
    return (x[..., children, :] - x[..., [NTU.parents[joint] for joint in children], :]).norm(dim=-1)


def test_proportions_make_another_body(batch: PackedBatch) -> None:
    made = augment(batch, dataclasses.replace(OFF, proportions=0.2), NTU, 16)
    assert made.x is made.target, "the target is the motion of that body"
    plain, x = augment(batch, OFF, NTU, 16).x[:, 0], made.x[:, 0]
    factor = bone_lengths(x) / bone_lengths(plain)
    assert (factor.std(dim=1) < 1e-3).all(), "the same in all frames"
    factor = factor.mean(dim=1)
    assert factor.min() >= 0.8 - 1e-3 and factor.max() <= 1.2 + 1e-3 and (factor.std(dim=0) > 0.02).all()
    close(x[:, :, 0], plain[:, :, 0])
    ours, theirs = (torch.nn.functional.normalize(clips[..., 5, :] - clips[..., 4, :], dim=-1) for clips in (x, plain))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4, msg="bones keep their directions")
    mirrored = [joint for joint, parent in enumerate(NTU.parents) if parent >= 0]
    other = [mirrored.index(mirrored_joints(NTU)[joint]) for joint in mirrored]
    torch.testing.assert_close(factor, factor[:, other], rtol=1e-3, atol=1e-3, msg="left and right alike")


@pytest.mark.parametrize("mirror", [0.0, 0.5])
def test_proportions_come_before_the_other_steps(batch: PackedBatch, mirror: float) -> None:
    """As if the store held the other bodies."""
    settings = {"mirror": mirror, "scale": (0.5, 1.5), "rotation": 0.3}
    factors, rows = bone_factors(batch, 0.2, NTU), batch.rows.clone()
    for clip, person in batch.present.nonzero().tolist():
        start, end = batch.start[clip, person], batch.start[clip, person] + batch.length[clip]
        for joint in from_the_root(NTU):
            parent = NTU.parents[joint]
            bone = batch.rows[start:end, joint] - batch.rows[start:end, parent]
            rows[start:end, joint] = rows[start:end, parent] + float(factors[clip, joint]) * bone
    expected = augment(dataclasses.replace(batch, rows=rows), Augmentation(**settings), NTU, 16).x
    made = augment(batch, Augmentation(**settings, proportions=0.2), NTU, 16).x
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-4)


def test_people_are_dropped_but_the_first(batch: PackedBatch) -> None:
    made = augment(batch, dataclasses.replace(OFF, person_dropout=0.5), NTU, 16)
    plain = augment(batch, OFF, NTU, 16).x
    alone = batch.uniform[:, COLUMNS.index("person")] < 0.5
    assert (alone & batch.present[:, 1]).any() and (~alone & batch.present[:, 1]).any()
    assert torch.equal(made.x[:, 0], plain[:, 0]) and torch.equal(made.target, plain)
    assert not made.x[alone, 1].any() and torch.equal(made.x[~alone], plain[~alone])


def test_dropped_joints_hang_on_the_next(batch: PackedBatch) -> None:
    made = augment(batch, dataclasses.replace(OFF, joint_dropout=0.3), NTU, 16)
    plain = augment(batch, OFF, NTU, 16).x
    assert torch.equal(made.target, plain)
    lost = (made.x != plain).any(dim=-1).any(dim=2)[batch.present]
    assert 0.2 < lost.float().mean() < 0.4
    x = made.x[batch.present]
    assert torch.equal(x[:, :, 0], plain[batch.present][:, :, 0]), "the root is never lost"
    for joint, parent in enumerate(NTU.parents):
        gone = lost[:, joint]
        assert torch.equal(x[gone][:, :, joint], x[gone][:, :, parent])


def test_drop_joints_by_hand() -> None:
    x = torch.randn(1, 1, 4, 25, 3)
    lost = torch.zeros(1, 1, 25, dtype=torch.bool)
    lost[..., [NTU.joints.index(name) for name in ("wrist_left", "hand_left", "spine_base")]] = True
    found = x.clone()
    drop_joints(found, lost, NTU)
    at = NTU.joints.index
    for name in ("wrist_left", "hand_left"):
        assert torch.equal(found[..., at(name), :], x[..., at("elbow_left"), :])
    kept = [i for i in range(25) if i not in (at("wrist_left"), at("hand_left"))]
    assert torch.equal(found[..., kept, :], x[..., kept, :])


@pytest.mark.parametrize("u, length", [(0.0, 80), (0.5, 100), (0.999999, 120)])
def test_speed(u: float, length: int) -> None:
    settings = Augmentation(crop_share=(0.5, 0.5), speed=(0.8, 1.2))
    assert settings.crop(200, 0.3, 0.0, u) == (0, length)
    assert settings.crop(30, 0.3, 0.0, u) == (0, 30)


@pytest.mark.parametrize(
    "frames, u, expected",
    [
        (300, (0.0, 0.0), (0, 150)),
        (300, (0.999999, 0.999999), (1, 299)),
        (100, (0.0, 0.999), (36, 64)),
        (64, (0.2, 0.9), (0, 64)),
        (10, (0.2, 0.9), (0, 10)),
        (1, (0.0, 0.0), (0, 1)),
    ],
)
def test_crop(frames: int, u: tuple[float, float], expected: tuple[int, int]) -> None:
    assert Augmentation().crop(frames, *u) == expected


def test_window() -> None:
    settings = Augmentation(window=(20, 40))
    lengths = [settings.crop(1000, u, 0.5)[1] for u in np.linspace(0, 0.9999, 500)]
    assert set(lengths) == set(range(20, 41))
    assert settings.crop(30, 0.999, 0.99) == (0, 30)


@pytest.mark.parametrize(
    "settings", [{}, {"speed": (0.5, 1.5)}, {"window": (20, 40)}, {"window": (20, 40), "speed": (0.8, 1.2)}]
)
def test_crops_of_many_clips_are_those_of_each(settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    frames, u = rng.integers(1, 400, 500), rng.random((3, 500), np.float32)
    start, length = Augmentation(**settings).crop(frames, *u)
    assert start.dtype == length.dtype == np.int64
    each = [Augmentation(**settings).crop(*numbers) for numbers in zip(frames.tolist(), *u.tolist(), strict=True)]
    assert list(zip(start.tolist(), length.tolist(), strict=True)) == each


def test_frames_of_a_crop_lie_where_preprocessing_looks(batch: PackedBatch) -> None:
    for num_frames in (7, 120):
        bodies = find_bodies(batch.start, batch.length, batch.present, num_frames)
        crops = zip(batch.start.flatten()[bodies.slot].tolist(), batch.length[bodies.clip].tolist(), strict=True)
        for body, (start, length) in enumerate(crops):
            low, high, share = resample_index(start, length, num_frames)
            assert np.array_equal(bodies.rows[body].numpy(), np.stack([low, high], axis=1))
            assert np.array_equal(bodies.weight[body].numpy(), np.stack([1 - share, share], axis=1))


@pytest.fixture
def every_crop() -> Iterator[tuple[int, int, int]]:
    rng = np.random.default_rng(0)
    return ((frames, *Augmentation().crop(frames, *rng.random(2))) for frames in rng.integers(1, 400, 2000).tolist())


def test_crops_lie_inside(every_crop: Iterator[tuple[int, int, int]]) -> None:
    for frames, start, length in every_crop:
        assert start >= 0 and length >= min(frames, 64) and start + length <= frames


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"crop_share": (0.0, 1.0)}, r"augment.crop_share: expected two shares in \(0, 1\], ascending"),
        ({"crop_share": (0.9, 0.5)}, r"augment.crop_share"),
        ({"crop_share": (0.5, 1.1)}, r"augment.crop_share"),
        ({"window": (0, 5)}, r"augment.window: expected two frame counts, ascending"),
        ({"window": (9, 5)}, r"augment.window"),
        ({"crop_min": 0}, r"augment.crop_min: expected at least 1 frame, found 0"),
        ({"mirror": 1.5}, r"augment.mirror: expected a probability in \[0, 1\], found 1.5"),
        ({"joint_dropout": -0.1}, r"augment.joint_dropout: expected a probability"),
        ({"person_dropout": 2}, r"augment.person_dropout: expected a probability"),
        ({"rotation": -0.1}, r"augment.rotation: expected zero or more, found -0.1"),
        ({"noise": -0.1}, r"augment.noise: expected zero or more"),
        ({"view_rotation": -0.1}, r"augment.view_rotation: expected zero or more"),
        ({"speed": (0.0, 1.0)}, r"augment.speed: expected two factors above zero, ascending"),
        ({"scale": (0.0, 1.0)}, r"augment.scale: expected two factors above zero, ascending"),
        ({"scale": (1.2, 1.0)}, r"augment.scale"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation(**settings)


def test_move_to_device(batch: PackedBatch) -> None:
    batch = dataclasses.replace(batch, confidence=torch.rand(batch.rows.shape[:2]))
    moved = batch.to(torch.device("meta"))
    on_device = {name for name, value in moved.__dict__.items() if value.device.type == "meta"}
    assert on_device == {"rows", "confidence"}
    assert dataclasses.replace(batch, confidence=None).to(torch.device("meta")).confidence is None


def derived(path: Path, clips: ClipStore, noise: float = 0.0) -> ClipStore:
    """A store made from another, with its ``info``, as docs/evaluation.md does."""
    with StoreWriter(path, clips.layout, clips.info) as writer:
        for clip in range(len(clips) - (noise == 0)):
            writer.add(str(clips.columns["name"][clip]), clips.read(clip) + np.float32(noise))
    return ClipStore(path)


def test_what_describes_the_bytes_is_never_that_of_another_store(tmp_path: Path) -> None:
    confidence = np.ones((1, 5, 25), np.float32)
    with StoreWriter(tmp_path / "first", NTU, {"source": "made up"}) as writer:
        writer.add("a", positions(1, 5, 0), confidence=confidence)
        writer.add("b", positions(1, 5, 1), confidence=confidence)
    first = ClipStore(tmp_path / "first")
    assert first.has_confidence and first.info["confidence_sha256"]
    noisy, fewer = derived(tmp_path / "noisy", first, 0.01), derived(tmp_path / "fewer", first)
    for store in (first, noisy, fewer):
        data = (store.path / "positions.bin").read_bytes()
        assert store.info["sha256"] == hashlib.sha256(data).hexdigest() and store.info["source"] == "made up"
        assert (store.info["num_clips"], store.info["num_rows"]) == (len(store), store.num_rows)
        store.verify()
    assert not noisy.has_confidence and "confidence_sha256" not in noisy.info


@pytest.mark.parametrize("false", [{"sha256": "0" * 64}, {"num_clips": 9}, {"confidence": True}])
def test_an_older_store_with_the_sums_of_another_is_reported_and_corrected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, false: dict[str, Any]
) -> None:
    right = write(tmp_path / "s", [(1, 5), (1, 5)]).info
    meta = {**right, **false}
    del meta["writer"]
    (tmp_path / "s" / "meta.json").write_text(json.dumps(meta))
    store = ClipStore(tmp_path / "s")
    assert f"{next(iter(false))} in meta.json belong to other clips" in caplog.text
    assert {**store.info, "writer": 2} == right
    del caplog.records[:], meta
    (tmp_path / "s" / "meta.json").write_text(json.dumps(right))
    ClipStore(tmp_path / "s")
    assert not caplog.records


def test_verify_finds_changed_positions(tmp_path: Path) -> None:
    path = write(tmp_path / "s", [(1, 5)]).path
    data = bytearray((path / "positions.bin").read_bytes())
    data[100] ^= 1
    (path / "positions.bin").write_bytes(data)
    with pytest.raises(DataError, match=r"positions.bin has the sha256 .*, meta.json states .*Prepare the data again"):
        ClipStore(path).verify()


@pytest.mark.parametrize(
    "meta",
    [
        "[]",
        "null",
        "[" * 100_000,
        '{"format": 1, "layout": [1]}',
        '{"format": 1, "layout": 5}',
        '{"format": "1"}',
        "\xff",
    ],
)
def test_a_meta_file_of_anything_else_is_one_error(tmp_path: Path, meta: str) -> None:
    path = write(tmp_path / "s", [(1, 5)]).path
    (path / "meta.json").write_text(meta, encoding="latin-1")
    with pytest.raises(DataError, match=r"expected a meta.json of store format 1|not a store of clips"):
        ClipStore(path)


def test_a_damaged_index_is_our_error_or_none(tmp_path: Path) -> None:
    path, rng = write(tmp_path / "s", [(1, 5), (2, 3)]).path / "clips.npz", np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(600):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(len(data), size=rng.choice([1, 2, 6]))] = rng.integers(256)
        path.write_bytes(data.tobytes())
        with contextlib.suppress(DataError):
            ClipStore(path.parent)
