"""Labelled clips: a store with classes, training clips and test clips."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.data import ClipStore
from mamp.data.labels import has_label
from mamp.data.store import sha256_of
from mamp.errors import DataError

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """A store of clips with labels and a split.

    Attributes:
        store: The clips.
        labels: [N] class 0 to K - 1 of every clip; -1 for a clip outside both splits whose class is in neither.
        classes: [K] names of the classes, or their numbers in the store if they have no names.
        train: Indices of the training clips.
        test: Indices of the test clips.
        protocol: Name of the split, if the set has several.
    """

    store: ClipStore
    labels: IntArray
    classes: tuple[str, ...]
    train: IntArray
    test: IntArray
    protocol: str | None

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.classes)

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Hashes of the files that are evaluated, computed once, whatever ``meta.json`` states."""
        files = ["positions.bin", *(["confidence.bin"] if self.store.has_confidence else [])]
        return {file: sha256_of(self.store.path / file) for file in files}

    def names(self, clips: IntArray) -> list[str]:
        """Names of some clips."""
        return [str(name) for name in self.store.columns["name"][clips]]

    def describe(self) -> dict[str, Any]:
        """The data as plain values for JSON."""
        return {
            "name": str(self.store.info.get("source") or self.store.path.resolve().name),
            "sha256": self.sha256["positions.bin"],
            "protocol": self.protocol,
            "layout": self.store.layout.name,
            "classes": list(self.classes),
            "train_clips": len(self.train),
            "test_clips": len(self.test),
        }


def open_labelled(path: str | os.PathLike[str], protocol: str | None = None, layout: str = "ntu25") -> Labelled:
    """Open a store to evaluate on.

    Args:
        path: A store made by ``python -m mamp.prepare``, with the column ``label`` and a column ``split``, or
            ``split_PROTOCOL`` for each split of a set that has several.
        protocol: Name of the split.
        layout: Layout that the weights expect.

    Raises:
        DataError: Labels or a split are missing, there are fewer than two classes, a class of the test clips has no
            training clip, or the clips have other joints than the weights expect.
    """
    store, train, test, protocol = open_clips(path, protocol, layout, needed="label")
    labels, classes = _classes(store, np.concatenate([train, test]))
    if len(classes) < 2:
        raise DataError(f"{store.path}: expected clips of at least two classes, found only {classes[0]!r}.")
    unseen = np.setdiff1d(labels[test], labels[train])
    if len(unseen):
        names = ", ".join(repr(classes[number]) for number in unseen)
        raise DataError(
            f"{store.path}: each class of the test clips needs training clips; none for {names}. Leave these clips "
            "out, or split the set differently."
        )
    return Labelled(store, labels, classes, train, test, protocol)


def open_clips(
    path: str | os.PathLike[str], protocol: str | None, layout: str, needed: str | None = None
) -> tuple[ClipStore, IntArray, IntArray, str | None]:
    """A store whose joints are those of the weights, its training and test clips, and the name of the split.

    Raises:
        DataError: A split is missing, the clips have other joints, or the store lacks the column ``needed``.
    """
    store = _open_store(path, layout)
    if needed is not None and needed not in store.columns:
        raise DataError(
            f"{store.path}: expected a column {needed!r} with the class of each clip, found "
            f"{', '.join(store.columns)}. Prepare a set that has labels."
        )
    column = store.split_column(protocol)
    protocol = protocol if column == "split" else column.removeprefix("split_")
    return store, store.split("train", protocol), store.split("test", protocol), protocol


def open_unlabelled(path: str | os.PathLike[str], protocol: str | None = None, layout: str = "ntu25") -> Labelled:
    """Open a store whose test clips need no labels; all clips are of class 0, which has no name.

    Raises:
        DataError: There is no split ``test``, or the clips have other joints than the weights expect.
    """
    store = _open_store(path, layout)
    column = store.split_column(protocol)
    protocol = protocol if column == "split" else column.removeprefix("split_")
    train = np.flatnonzero(store.columns[column].astype(str) == "train")
    return Labelled(store, np.zeros(len(store), np.int64), (), train, store.split("test", protocol), protocol)


def _open_store(path: str | os.PathLike[str], layout: str) -> ClipStore:
    """Open a store whose joints are those of the weights."""
    store = ClipStore(path)
    if store.layout.name != layout:
        raise DataError(
            f"{store.path}: the weights expect the layout {layout}, the clips have {store.layout.name}. Prepare the "
            f"data for {layout}, or choose weights for {store.layout.name}."
        )
    return store


def _classes(store: ClipStore, used: IntArray) -> tuple[IntArray, tuple[str, ...]]:
    """Labels as 0 to K - 1, in the order of the store's labels, and the names of the classes."""
    found, missing = store.columns["label"], ~has_label(store)
    if missing[used].any():
        first = store.columns["name"][used[missing[used]][0]]
        raise DataError(f"{store.path}: {int(missing[used].sum())} clips have no label, {first} for one.")
    values = np.unique(found[used])
    place = np.searchsorted(values, found).clip(max=len(values) - 1)
    labels = np.where(values[place] == found, place, -1).astype(np.int64)
    names = store.info.get("classes") or []
    if found.dtype.kind == "U" or values.max() >= len(names):
        return labels, tuple(str(value) for value in values)
    return labels, tuple(str(names[value]) for value in values)
