"""Open and everyday sets: CMU, HDM05, UI-PRMD, Bandai-Namco, NW-UCLA, MSR-Action3D, UTD-MHAD, SBU and UTKinect.

Each is a folder (or zip file) as its owners distribute it, in any arrangement of sub-folders: files are told by their
names. What is known of a clip (label, subject, ...) becomes columns, and the usual split of the set a column ``split``.
"""

from __future__ import annotations

import argparse
import logging
import re
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mamp.config import Preprocessing
from mamp.errors import MissingFileError, RecordingError
from mamp.prepare import classes
from mamp.prepare.dataset import Column, Item, Source, find_files, key_of
from mamp.prepare.recordings import Recordings, Take, starts_in_t_pose
from mamp.readers import load, sbu, utkinect
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)


class CMU(Recordings):
    """CMU Graphics Lab takes, ``NN_MM.amc`` with ``NN.asf`` or conversions to BVH; the column ``subject`` is ``NN``."""

    title = "CMU motion capture"
    suffixes = (".amc", ".bvh")

    def takes(self, item: Item) -> list[Take]:
        """One clip a file, without a T-pose before the motion."""
        recording, name = load(item.path), self.name_of(item.path)
        dropped: dict[str, int] = {}
        if recording.info["format"] == "bvh" and starts_in_t_pose(recording):
            recording = recording.replace(positions=recording.positions[:, 1:])
            dropped["a T-pose before the motion"] = 1
        return [Take(name, recording, {"subject": name.partition("_")[0]}, dropped)]


class HDM05(Recordings):
    """HDM05 cuts, ``HDM_actor_class_NNN_120.amc`` with ``HDM_actor.asf``; labels number the classes that are there."""

    title = "HDM05"
    suffixes = (".amc",)
    pattern = re.compile(r"HDM_([a-z]+)_([A-Za-z]\w*?)_(\d+)_\d+\.amc", re.IGNORECASE)

    def __init__(self, raw: Path, expected: Preprocessing, fps: float | None = None) -> None:
        super().__init__(raw, expected, fps)
        files = find_files(raw, (".amc", ".asf"), {})
        self.classes = tuple(sorted({match[2] for path in files if (match := self.pattern.match(path.name))}))
        self.skeletons = {path.name.lower().partition(".asf")[0]: path for path in files if ".asf" in path.name.lower()}

    def takes(self, item: Item) -> list[Take]:
        """One clip a file."""
        match = self.pattern.match(item.path.name)
        actor, kind = (match[1].lower(), match[2]) if match else ("", "")
        recording = load(item.path, asf=self.skeletons.get(f"hdm_{actor}"))
        columns: dict[str, Column] = {"label": self.classes.index(kind), "subject": actor}
        return [Take(self.name_of(item.path), recording, columns)]


class UIPRMD(Recordings):
    """UI-PRMD, Kinect: ``mMM_sSS_eEE_positions[_inc].txt``; label, subject, and whether the exercise is done right."""

    title = "UI-PRMD (Kinect)"
    suffixes = (".txt",)
    pattern = re.compile(r"m\d+_s\d+_e\d+_positions(_inc)?\.txt", re.IGNORECASE)
    classes = classes.UIPRMD

    def is_member(self, path: Path) -> bool:
        """Positions of the Kinect, not of the Vicon system, which go by the same names."""
        inside = key_of(self.raw, path).lower().split("/")
        return super().is_member(path) and not any(folder.startswith("vicon") for folder in inside)

    def name_of(self, path: Path) -> str:
        """As in the file name, without ``_positions``."""
        return re.sub("_positions", "", super().name_of(path), flags=re.IGNORECASE)

    def columns(self, recording: Skeleton, item: Item) -> dict[str, Column]:
        """Label, subject, correct."""
        return {name: recording.info[name] for name in ("label", "subject", "correct")}


class BandaiNamco(Recordings):
    """Bandai-Namco Research Motiondataset 1 and 2: ``dataset-N_content_style_NNN.bvh``; content and style."""

    title = "Bandai-Namco Research Motiondataset"
    suffixes = (".bvh",)
    reading = MappingProxyType({"unit": "cm"})
    pattern = re.compile(r"dataset-\d+_([a-z-]+)_([a-z-]+)_(\d+)\.bvh", re.IGNORECASE)

    def columns(self, recording: Skeleton, item: Item) -> dict[str, Column]:
        """Content and style."""
        match = self.pattern.match(item.path.name)
        return {"content": match[1], "style": match[2]} if match else {}


class NWUCLA(Recordings):
    """NW-UCLA: ``aAA_sSS_eEE_vVV.json``; trained on views 1 and 2, tested on view 3."""

    title = "Northwestern-UCLA"
    suffixes = (".json",)
    pattern = re.compile(r"a\d+_s\d+_e\d+_v\d+")
    classes = classes.NWUCLA

    def columns(self, recording: Skeleton, item: Item) -> dict[str, Column]:
        """Label, subject, view, split."""
        known = _known(recording, "label", "subject", "view")
        return {**known, "split": "train" if known["view"] in (1, 2) else "test"}


class MSRAction3D(Recordings):
    """MSR-Action3D: ``aAA_sSS_eEE_skeleton3D.txt``; trained on odd subjects, tested on even ones."""

    title = "MSR-Action3D"
    suffixes = (".txt",)
    pattern = re.compile(r"a\d+_s\d+_e\d+_skeleton3D\.txt", re.IGNORECASE)
    classes = classes.MSR

    def name_of(self, path: Path) -> str:
        """As in the file name, without ``_skeleton3D``."""
        return super().name_of(path).rpartition("_")[0]

    def columns(self, recording: Skeleton, item: Item) -> dict[str, Column]:
        """Label, subject, split."""
        return _odd_subjects_train(_known(recording, "label", "subject"))


class UTDMHAD(Recordings):
    """UTD-MHAD: ``aA_sS_tT_skeleton.mat``; trained on odd subjects, tested on even ones."""

    title = "UTD-MHAD"
    suffixes = (".mat",)
    pattern = re.compile(r"a\d+_s\d+_t\d+_skeleton\.mat", re.IGNORECASE)
    classes = classes.UTDMHAD

    def name_of(self, path: Path) -> str:
        """As in the file name, without ``_skeleton``."""
        return super().name_of(path).rpartition("_")[0]

    def columns(self, recording: Skeleton, item: Item) -> dict[str, Column]:
        """Label, subject, split."""
        return _odd_subjects_train(_known(recording, "label", "subject"))


class SBU(Recordings):
    """SBU Kinect Interaction: ``sSSsSS/AA/NNN/skeleton_pos.txt``; label, pair of people, and its fold of five."""

    title = "SBU Kinect Interaction"
    suffixes = (".txt",)
    pattern = re.compile(r"skeleton_pos\.txt", re.IGNORECASE)

    def is_member(self, path: Path) -> bool:
        """The skeletons in the folder of a pair, an action and an example."""
        return super().is_member(path) and bool(sbu.parse_path(path))

    def name_of(self, path: Path) -> str:
        """Pair, action and example."""
        return "_".join(path.parts[-4:-1])

    def columns(self, recording: Skeleton, item: Item) -> dict[str, Column]:
        """Label, pair, fold."""
        pair = str(recording.info["pair"])
        folds = [fold for fold, pairs in enumerate(classes.SBU_FOLDS, start=1) if pair in pairs]
        return {"label": recording.info["label"], "pair": pair, "fold": folds[0] if folds else 0}


class UTKinect(Recordings):
    """UTKinect-Action: ``joints_sSS_eEE.txt``, cut into actions as ``actionLabel.txt`` says; label and subject."""

    title = "UTKinect-Action"
    suffixes = (".txt",)
    pattern = re.compile(r"joints_s\d+_e\d+\.txt", re.IGNORECASE)
    classes = utkinect.ACTIONS

    def __init__(self, raw: Path, expected: Preprocessing, fps: float | None = None) -> None:
        super().__init__(raw, expected, fps)
        labels = [path for path in find_files(raw, (".txt",), {}) if path.name.lower() == "actionlabel.txt"]
        if not labels:
            raise MissingFileError(f"{raw}: expected actionLabel.txt, which says where the actions are, found none.")
        self.labels = utkinect.read_labels(labels[0])

    def options(self) -> dict[str, Any]:
        """What is said of the store, and where the actions are."""
        actions = {name: [[one.label, one.start, one.end] for one in found] for name, found in self.labels.items()}
        return {**self.info(), "actions": actions}

    def takes(self, item: Item) -> list[Take]:
        """One clip an action."""
        recording, name = load(item.path), self.name_of(item.path).partition("_")[2]
        if name not in self.labels:
            raise RecordingError(f"{item.key}: actionLabel.txt does not say where the actions of {name} are.")
        numbers = recording.info["frame_numbers"]
        found: list[Take] = []
        for action in self.labels[name]:
            inside = (numbers >= action.start) & (numbers <= action.end)
            if not inside.any():
                logger.warning(
                    "%s: no frame from %d to %d, where actionLabel.txt places %s; this action is left out.",
                    item.key, action.start, action.end, self.classes[action.label],
                )  # fmt: skip
                continue
            clip = recording.replace(positions=recording.positions[:, inside])
            columns: dict[str, Column] = {"label": action.label, "subject": recording.info["subject"]}
            found.append(Take(f"{name}_{self.classes[action.label]}", clip, columns))
        return found


def _known(recording: Skeleton, *columns: str) -> dict[str, Column]:
    missing = [name for name in columns if name not in recording.info]
    if missing:
        raise RecordingError(f"{recording.name}: the name does not say {' and '.join(missing)}, as in the set it does.")
    return {name: recording.info[name] for name in columns}


def _odd_subjects_train(columns: dict[str, Column]) -> dict[str, Column]:
    return {**columns, "split": "train" if int(columns["subject"]) % 2 else "test"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips", "how they are placed; the recipe must expect the same")
    group.add_argument("--fps", type=_rate, metavar="N", help="take every k-th frame to have N a second [keep all]")
    group.add_argument(
        "--center",
        choices=("clip", "none"),
        default="clip",
        help="spine at the origin in the first frame [%(default)s]",
    )
    group.add_argument("--facing", action="store_true", help="turn each clip towards the camera")


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < 1e6:
        raise argparse.ArgumentTypeError(f"expected frames per second above zero, found {text}")
    return rate


def _open(kind: type[Recordings], args: argparse.Namespace) -> Recordings:
    expected = Preprocessing(center=args.center, facing=args.facing, max_people=None, absent_person="none")
    return kind(args.raw, expected, args.fps)


def _source(name: str, kind: type[Recordings], help: str, example: str) -> Source:
    command = f"python -m mamp.prepare {name} {example} store"
    return Source(name, f"{kind.title}: {help}", command, partial(_open, kind), _arguments)


SOURCES: tuple[Source, ...] = (
    _source("cmu", CMU, "ASF/AMC or BVH folders as downloaded", "all_asfamc --fps 30"),
    _source("hdm05", HDM05, "the cuts, AMC with the ASF of each actor", "cut_amc --fps 30"),
    _source("ui-prmd", UIPRMD, "positions and angles, right and wrong", "ui-prmd"),
    _source("bandai-namco", BandaiNamco, "BVH, contents and styles", "Bandai-Namco-Research-Motiondataset"),
    _source("nw-ucla", NWUCLA, "JSON, views 1 and 2 for training", "all_sqe"),
    _source("msr-action3d", MSRAction3D, "skeleton text, odd subjects for training", "MSRAction3DSkeletonReal3D"),
    _source("utd-mhad", UTDMHAD, "skeleton .mat files, odd subjects for training", "Skeleton"),
    _source("sbu", SBU, "skeleton_pos.txt of two people, in the folders of the zip files", "sbu"),
    _source("utkinect", UTKinect, "joints and actionLabel.txt", "utkinect"),
)
