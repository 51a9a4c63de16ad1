"""``Forecaster``: the coming motion of a recording, by a model whose future was masked in training."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from mamp.config import Preprocessing
from mamp.errors import ConfigError, RecordingError, WeightsError
from mamp.forecast.carry import carry
from mamp.geometry import facing_angle, lerp, rotation_matrix, to_the_right
from mamp.layouts import get_layout
from mamp.preprocessing import center_index, normalize
from mamp.pretraining import MAMPForPretraining
from mamp.skeleton import WHOLE, Skeleton
from mamp.train.config import TrainConfig
from mamp.train.report import is_run, read_run_file
from mamp.train.trained import read_model

FloatArray = NDArray[np.float32]

AT_ONCE = 64  # bodies
LONGEST = 60.0  # seconds


class Forecaster:
    """Predicts how a recording goes on.

    >>> forecaster = Forecaster.from_pretrained("runs/forecast")
    >>> coming = forecaster.predict(load("walk.bvh"), 1.0)

    Args:
        model: A model whose target is ``displacement``.
        fps: Frames per second of the clips it was trained on.

    Attributes:
        past: Frames that the model sees, at ``fps``.
        future: Frames that it predicts at once.

    Raises:
        ConfigError: The model was trained for something else.
    """

    def __init__(self, model: MAMPForPretraining, fps: float) -> None:
        expected = model.config.preprocessing
        if model.objective.target != "displacement":
            raise ConfigError(
                f"expected a model with target 'displacement', found {model.objective.target!r}. Train one with the "
                "recipe 'forecast'."
            )
        wanted = {"unit": "m", "up": "y", "height": None, "stream": "joint"}
        for name, value in wanted.items():
            if getattr(expected, name) != value:
                raise ConfigError(
                    f"preprocessing.{name}: expected {value!r} to predict positions, found {getattr(expected, name)!r}."
                )
        self.model, self.fps, self.layout = model.eval(), fps, get_layout(expected.layout)
        self.as_recorded = Preprocessing(expected.layout, center="none", max_people=None, absent_person="none")
        self.past, self.future = model.past_frames, model.config.num_frames - model.past_frames

    @classmethod
    def from_pretrained(cls, run: str | os.PathLike[str], *, device: str = "cpu") -> Forecaster:
        """Load the newest checkpoint of a run of the recipe ``forecast``.

        Raises:
            WeightsError: The folder is not that of a run, or has no checkpoint.
            TrainingError: The run is damaged.
            ConfigError: It is a run of another objective.
        """
        if not is_run(Path(run)):
            raise WeightsError(
                f"{os.fspath(run)}: expected the folder of a run with its decoder, found no run.json. The recipe "
                "'forecast' of python -m mamp.train makes one."
            )
        record = read_run_file(Path(run))
        config = TrainConfig(**record["config"])
        window = config.augment.window
        if window is None or window[0] != window[1] or not record.get("data_fps"):
            raise ConfigError(
                f"{os.fspath(run)}: expected a run on crops of one length (augment.window) of clips whose frame rate "
                f"is known, found {window} and {record.get('data_fps')}. Train one with the recipe 'forecast'."
            )
        model = read_model(Path(run))
        if model is None:
            raise ConfigError(f"{os.fspath(run)}: expected a run of the recipe 'forecast', found a distilled encoder.")
        return cls(model.to(device), record["data_fps"] * config.encoder.num_frames / window[0])

    def predict(self, recording: Skeleton, seconds: float) -> Skeleton:
        """Predict what follows the last frame of a recording.

        The model sees about the last second; if the recording is shorter, its first pose is repeated before it. It
        predicts about a second at once, and goes on from its own prediction after that. Nothing is drawn at random.

        Args:
            recording: Any recording with a frame rate.
            seconds: How far to predict, up to a minute.

        Returns:
            The coming frames, in the coordinates, layout and frame rate of the recording. Joints and people who are
            not tracked in its last frame are NaN. Joints that the model lacks move with their neighbours.

        Raises:
            RecordingError: The frame rate is unknown, nobody is tracked in the last frame, or ``seconds`` is less than
                a frame, or more than a minute.
            LayoutError: The recording cannot be converted to the joints of the model.
        """
        fps = recording.fps
        if fps is None:
            raise RecordingError(f"{recording.name}: expected a frame rate, found none. Give it: load(path, fps=30).")
        if not isinstance(seconds, (int, float)) or not 0.5 / fps < seconds <= LONGEST:
            raise RecordingError(
                f"seconds: expected at least a frame ({1 / fps:.3f}) and at most {LONGEST:g}, found {seconds!r}."
            )
        part = self._last(recording)
        there = np.flatnonzero(part.tracked[:, -1].any(axis=-1))
        if not len(there):
            raise RecordingError(f"{recording.name}: expected somebody in the last frame, found all joints missing.")
        past = self._past(part.replace(positions=part.positions[there]))
        coming = self._displacements(past, np.arange(1, round(seconds * fps) + 1) * (self.fps / fps))
        conversion = recording.layout.conversion(self.layout)
        positions = np.full((recording.num_people, coming.shape[1], *recording.positions.shape[2:]), np.nan, np.float32)
        for person, seen, moved in zip(there, past[:, -1], coming, strict=True):
            positions[person] = carry(recording.positions[person, -1], seen, seen + moved, conversion)
        info = {name: value for name, value in recording.info.items() if name not in WHOLE}
        return Skeleton(positions, recording.layout, fps, name=f"{recording.name}, predicted", info=info, allow_2d=True)

    def predict_positions(self, past: NDArray[np.floating]) -> FloatArray:
        """Coming positions [N, future, V, 3] of bodies [N, past, V, 3], at ``fps``, in metres, y up, without gaps."""
        cfg = self.model.config
        past = np.asarray(past, np.float32)
        if past.shape[1:] != (self.past, cfg.num_joints, cfg.dim_in):
            raise RecordingError(
                f"past: expected positions [N, {self.past}, {cfg.num_joints}, {cfg.dim_in}], found {past.shape}."
            )
        groups = [self._predict(past[first : first + AT_ONCE]) for first in range(0, len(past), AT_ONCE)]
        return np.concatenate(groups) if groups else np.zeros((0, self.future, *past.shape[2:]), np.float32)

    @torch.no_grad()
    def extrapolate(self, past: FloatArray) -> FloatArray:
        """What the linear part of the model alone makes of the same; see :meth:`predict_positions`."""
        frames = torch.from_numpy(np.concatenate([past, np.repeat(past[:, -1:], self.future, axis=1)], axis=1))
        moved = self.model.decoder_past(frames.to(self.model.mask_token)).float().cpu().numpy()
        return np.asarray(past[:, -1:] + moved[:, self.past :])

    def turn(self, past: FloatArray) -> FloatArray:
        """Rotations [N, 3, 3] of bodies [N, past, V, 3] to the frame of the model."""
        angles = np.zeros((len(past), 3))
        if self.model.config.preprocessing.facing:
            angles[:, 1] = facing_angle(to_the_right(past, self.layout))
        return np.asarray(rotation_matrix(angles), np.float32)

    @torch.no_grad()
    def _predict(self, past: FloatArray) -> FloatArray:
        cfg, expected = self.model.config, self.model.config.preprocessing
        bodies, turn = past, self.turn(past)
        if expected.center == "clip":
            joint = center_index(expected, self.layout)
            bodies = bodies - bodies[:, :1, joint : joint + 1]
        bodies = np.einsum("nij,ntvj->ntvi", turn, bodies)
        frames = np.concatenate([bodies, np.repeat(bodies[:, -1:], self.future, axis=1)], axis=1)
        x = torch.from_numpy(frames[:, None]).to(self.model.mask_token)
        output = self.model(x, torch.zeros(len(past), cfg.num_tokens, device=x.device)).prediction
        moved = rearrange(
            output.float().cpu().numpy(),
            "n (t v) (u p c) -> n (t u) (v p) c",
            t=cfg.grid[0],
            u=cfg.t_patch_size,
            p=cfg.patch_size,
        )[:, self.past :]
        return np.asarray(past[:, -1:] + np.einsum("nji,ntvj->ntvi", turn, moved))

    def continued(self, recording: Skeleton, at: float | None = None) -> Skeleton:
        """A recording up to ``at`` seconds, then its prediction up to its end: to be compared with the recording.

        By default, the last second is predicted.
        """
        if recording.fps is None:
            raise RecordingError(f"{recording.name}: expected a frame rate, found none. Give it: load(path, fps=30).")
        at = recording.num_frames / recording.fps - 1.0 if at is None else at
        frame = round(at * recording.fps)
        if not 1 <= frame < recording.num_frames:
            raise RecordingError(
                f"{recording.name}: expected to predict from within its {recording.num_frames / recording.fps:.2f} "
                f"seconds, found {at:.2f}."
            )
        seen = recording.replace(positions=recording.positions[:, :frame], confidence=None, allow_2d=True)
        coming = self.predict(seen, (recording.num_frames - frame) / recording.fps)
        return coming.replace(positions=np.concatenate([seen.positions, coming.positions], axis=1))

    def _last(self, recording: Skeleton) -> Skeleton:
        """As much of the end of a recording as the model sees, in its joints."""
        assert recording.fps is not None
        frames = 2 + math.ceil((self.past - 1) * recording.fps / self.fps)
        positions = recording.positions[:, -frames:]
        part = recording.replace(positions=positions, confidence=None, info=dict(WHOLE), allow_2d=True)
        return part.to_layout(self.layout)

    def _past(self, part: Skeleton) -> FloatArray:
        """Everybody [N, past, V, 3] of what :meth:`_last` gives, at the rate of the model, without gaps."""
        assert part.fps is not None
        frames = normalize(part, self.as_recorded, everybody=True, keep_gaps=True, part=True).positions
        return at_frames(frames, frames.shape[1] - 1 - part.fps / self.fps * np.arange(self.past)[::-1])

    def _displacements(self, past: FloatArray, frames: NDArray[np.floating]) -> FloatArray:
        """Displacements [N, T, V, 3] from the last pose of ``past``, at ``frames`` [T] after it at the model's rate."""
        track = past
        while track.shape[1] - past.shape[1] < frames[-1]:
            track = np.concatenate([track, self.predict_positions(track[:, -self.past :])], axis=1)
        return at_frames(track, self.past - 1 + frames) - past[:, -1:]


def at_frames(positions: FloatArray, frames: NDArray[np.floating]) -> FloatArray:
    """Positions [N, T, V, 3] at fractional ``frames`` [T'], interpolated linearly, held before the first one."""
    frames = np.clip(frames, 0, positions.shape[1] - 1)
    low = np.floor(frames).astype(np.int64)
    high, share = np.minimum(low + 1, positions.shape[1] - 1), (frames - low).astype(np.float32)
    return np.asarray(lerp(positions[:, low], positions[:, high], share[:, None, None]), np.float32)
