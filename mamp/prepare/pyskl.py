"""``pyskl``: 3D skeletons of NTU RGB+D as pickled by pyskl and MMAction2, such as ``ntu60_3danno.pkl``.

A pickle has ``split``, name -> file names, and ``annotations``, dicts with ``frame_dir`` (the file name), ``label``,
``keypoint`` [M, T, 25, 3] in camera coordinates, and ``total_frames``. Clips are centred as published: the spine of the
first person is at the origin in the first frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.prepare import ntu as ntu_source
from mamp.prepare.converted import Converted, add_file_arguments, run
from mamp.prepare.dataset import Clip, Column, Source
from mamp.readers import ntu
from mamp.readers.pickles import read_pickle

PARTS = {"train": "train", "val": "test", "test": "test"}
FACTS = ("subject", "camera", "setup", "replication")


def convert(path: Path) -> Converted:
    """Convert a pickle of pyskl, without running any code in it (:mod:`mamp.readers.pickles`).

    Raises:
        MissingFileError: There is no such file.
        ReadError: The file has another format, or 2D keypoints.
    """
    content = read_pickle(path)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise ReadError(f"{path}: expected a dict of split and annotations, as pyskl writes; found neither.")
    annotations = [_checked(path, number, one) for number, one in enumerate(content["annotations"])]
    if not annotations:
        raise ReadError(f"{path}: expected annotations, found none.")
    splits = _splits(path, content.get("split", {}))
    named = all(ntu.NAME.fullmatch(str(one["frame_dir"]).upper()) for one in annotations)
    benchmark: ntu_source.Benchmark = 60 if max(one["label"] for one in annotations) < 60 else 120
    protocols = [column.partition("_")[2] for column in splits if column != "split"]
    clips = (_clip(one, splits, named) for one in annotations)
    return Converted(clips, len(annotations), ntu_source.describe(benchmark, protocols))


def _checked(path: Path, number: int, found: Any) -> dict[str, Any]:
    """Validate an annotation."""
    where = f"{path}, annotation {number}"
    if not isinstance(found, dict) or not isinstance(found.get("keypoint"), np.ndarray):
        raise ReadError(f"{where}: expected a dict with frame_dir, label and keypoint.")
    name, label, keypoint = found.get("frame_dir"), found.get("label"), found["keypoint"]
    if not isinstance(name, str) or not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < 120:
        raise ReadError(f"{where}: expected frame_dir (text) and label (0 to 119), found {str((name, label))[:80]}.")
    if keypoint.ndim == 4 and keypoint.shape[-1] == 2:
        raise ReadError(
            f"{where}: keypoints are 2D, {list(keypoint.shape)}; expected 3D [M, T, 25, 3], as in ntu60_3danno.pkl."
        )
    if keypoint.ndim != 4 or keypoint.shape[2:] != (25, 3) or not keypoint.size or keypoint.dtype.kind != "f":
        raise ReadError(f"{where}: expected keypoint [M, T, 25, 3], found {keypoint.dtype} {list(keypoint.shape)}.")
    frames = found.get("total_frames", keypoint.shape[1])
    if not isinstance(frames, int) or not 0 < frames <= keypoint.shape[1] or keypoint.shape[0] > 2:
        raise ReadError(
            f"{where}: expected one or two people and total_frames up to {keypoint.shape[1]}, found "
            f"{keypoint.shape[0]} and {str(frames)[:20]}."
        )
    if not np.isfinite(keypoint).all():
        raise ReadError(f"{where}: keypoint holds NaN or infinity.")
    return {"frame_dir": name, "label": label, "keypoint": keypoint[:, :frames]}


def _splits(path: Path, found: Any) -> dict[str, dict[str, str]]:
    """Column -> name of a clip -> ``train`` or ``test``; ``xsub_val`` is of ``split_xsub``, ``val`` of ``split``."""
    columns: dict[str, dict[str, str]] = {}
    if not isinstance(found, dict):
        raise ReadError(f"{path}: expected split to be a dict of lists of file names.")
    for key, names in found.items():
        protocol, _, part = str(key).rpartition("_")
        if part not in PARTS or not isinstance(names, list):
            raise ReadError(f"{path}: expected splits such as xsub_train and xsub_val, found {str(key)[:40]!r}.")
        column = columns.setdefault(f"split_{protocol}" if protocol else "split", {})
        column.update({str(name): PARTS[part] for name in names})
    return columns


def _clip(annotation: dict[str, Any], splits: dict[str, dict[str, str]], named: bool) -> Clip:
    name = annotation["frame_dir"]
    facts = ntu.parse_name(name.upper()) if named else {}
    columns: dict[str, Column] = {"label": annotation["label"], **{key: facts[key] for key in FACTS if named}}
    columns |= {column: parts.get(name, "none") for column, parts in splits.items()}
    return Clip(name, _moved(annotation["keypoint"].astype(np.float32)), ntu.FPS, columns)


def _moved(positions: NDArray[np.float32]) -> NDArray[np.float32]:
    wide = rearrange(positions, "m t v c -> t (m v c)")
    return rearrange(ntu.translate(wide), "t (m v c) -> m t v c", v=ntu.JOINTS, c=3)


SOURCE = Source(
    "pyskl",
    "NTU RGB+D as prepared for pyskl and MMAction2: a .pkl of 3D skeletons",
    "python -m mamp.prepare pyskl ntu60_3danno.pkl store",
    add_arguments=add_file_arguments,
    run=lambda args: run(args, convert),
)
