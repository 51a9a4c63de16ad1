"""Export a store to the arrays of the published scripts, for comparison and other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.data import ClipStore
from mamp.data.intervals import read_intervals
from mamp.errors import DataError
from mamp.prepare import ntu, pku
from mamp.readers.files import StrPath

FloatArray = NDArray[np.float32]


def published_arrays(path: StrPath, protocol: str, split: str) -> tuple[FloatArray, NDArray[np.float64]]:
    """The published ``x`` and ``y`` arrays of a split, bit for bit.

    Args:
        path: A store of NTU RGB+D or PKU-MMD.
        protocol: ``xsub``, ``xview`` or ``xset``.
        split: ``train`` or ``test``.

    Returns:
        Positions [n, T, 150], padded with zeros, and one-hot labels [n, classes]. T is 300 for PKU-MMD, else the length
        of the longest clip (300 in the full sets). Needs 180 kB of memory per clip.

    Raises:
        DataError: The store is of another data set, or does not have the protocol.
    """
    path = Path(path)
    store = ClipStore(path)
    source = str(store.info.get("source"))
    if protocol not in store.info.get("protocols", ()) or split not in ("train", "test"):
        known = ", ".join(store.info.get("protocols", ())) or "none"
        raise DataError(f"{path}: has the protocols {known}, each train and test; found {protocol!r}, {split!r}.")
    if source.startswith("PKU"):
        return _pku(path, protocol, split)
    benchmark: ntu.Benchmark = 60 if source.endswith("60") else 120
    if ntu.get_protocol(benchmark, protocol).column in store.columns:
        rows = ntu.published_order(store.columns, benchmark, protocol, split)
    else:  # made from these arrays
        rows = np.flatnonzero(store.columns[f"split_{protocol}"] == split)
    copy = store.info["preprocessing"]["absent_person"] == "copy"
    x = np.zeros((len(rows), int(store.columns["frames"].max()), 150), dtype=np.float32)
    for to, row in zip(x, rows.tolist(), strict=True):
        wide = rearrange(store.read(row), "m t v c -> t (m v c)")
        to[: len(wide), : wide.shape[1]] = wide
        if copy and wide.shape[1] == 75:
            to[: len(wide), 75:] = wide
    return x, np.eye(benchmark)[store.columns["label"][rows]]


def _pku(path: Path, protocol: str, split: str) -> tuple[FloatArray, NDArray[np.float64]]:
    """Arrays from the untrimmed recordings, since clips of the store end where the published feeder stops."""
    store = ClipStore(path / pku.UNTRIMMED)
    instances, labels = [], []
    for clip in np.flatnonzero(store.columns[f"split_{protocol}"] == split).tolist():
        rows = np.zeros((int(store.columns["frames"][clip]), 150), dtype=np.float32)
        wide = rearrange(store.read(clip), "m t v c -> t (m v c)")
        rows[:, : wide.shape[1]] = wide
        for action, start, end, _ in read_intervals(store, clip).tolist():
            instance = pku.published_instance(rows, start, end)
            if len(instance):
                instances.append(instance)
                labels.append(action - 1)
    x = np.zeros((len(instances), pku.MAX_FRAMES, 150), dtype=np.float32)
    for to, instance in zip(x, instances, strict=True):
        to[: len(instance)] = instance
    return x, np.eye(pku.ACTIONS)[labels]
