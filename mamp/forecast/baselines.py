"""What a forecast has to beat: the last pose, constant velocity, and a small MLP on the same clips.

The MLP is written after the idea of siMLPe (Guo et al., WACV 2023): fully connected layers over time, between two over
joints, on the discrete cosine transform of the past, which predict the displacement from the last pose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from mamp.data import ClipStore
from mamp.data.augment import augment
from mamp.data.loader import TrainingBatches, clip_weights, training_clips
from mamp.forecast.forecaster import Forecaster
from mamp.future import displacement, mean_distance
from mamp.train.config import TrainConfig
from mamp.train.engine import people_of
from mamp.train.loop import learning_rate

FloatArray = NDArray[np.float32]
Predict = Callable[[FloatArray], FloatArray]


def last_pose(past: FloatArray, future: int) -> FloatArray:
    """Repeat the last pose of bodies [N, past, V, 3]: [N, future, V, 3]."""
    return np.repeat(past[:, -1:], future, axis=1)


def constant_velocity(past: FloatArray, future: int) -> FloatArray:
    """Go on with the velocity between the last two frames of bodies [N, past, V, 3]: [N, future, V, 3]."""
    steps = np.arange(1, future + 1, dtype=np.float32)[:, None, None]
    return np.asarray(past[:, -1:] + steps * (past[:, -1:] - past[:, -2:-1]))


@dataclass(frozen=True)
class MLPSettings:
    """Size and training of the MLP.

    Attributes:
        depth: Layers over time.
        clips: Training clips, augmented as those of the run.
        batch: Clips in a batch.
        lr: Largest learning rate, with a cosine schedule.
        seed: Seed of weights and clips.
    """

    depth: int = 24
    clips: int = 32768
    batch: int = 64
    lr: float = 1e-3
    seed: int = 0


class MLP(nn.Module):
    """``forward`` maps positions [N, past, V, C] to displacements [N, future, V, C] from the last pose."""

    into: Tensor
    back: Tensor

    def __init__(self, past: int, future: int, joints: int, axes: int, centre: int, depth: int) -> None:
        super().__init__()
        self.centre = centre  # the joint whose last position is the origin
        width = joints * axes
        self.register_buffer("into", cosines(past), persistent=False)
        self.register_buffer("back", cosines(future).T.contiguous(), persistent=False)
        self.first, self.last = nn.Linear(width, width), nn.Linear(width, width)
        self.layers = nn.ModuleList(nn.Linear(past, past) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(past) for _ in range(depth))
        self.ahead = nn.Identity() if past == future else nn.Linear(past, future)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, past: Tensor) -> Tensor:
        """Displacements; see the class."""
        h = past - past[:, -1:, self.centre : self.centre + 1]
        h = self.into @ rearrange(h, "n t v c -> n t (v c)")
        h = rearrange(self.first(h), "n t k -> n k t")
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = h + norm(layer(h))
        h = self.back @ self.last(rearrange(self.ahead(h), "n k t -> n t k"))
        return rearrange(h, "n t (v c) -> n t v c", v=past.shape[2])


def cosines(length: int) -> Tensor:
    """Orthonormal discrete cosine transform [T, T], a row for each frequency."""
    row, column = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    matrix = torch.cos(math.pi / length * (column + 0.5) * row) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix


def make_mlp(forecaster: Forecaster, settings: MLPSettings) -> MLP:
    """An MLP for the clips of a forecaster, with random weights."""
    config = forecaster.model.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return MLP(
            forecaster.past,
            forecaster.future,
            config.num_joints,
            config.dim_in,
            forecaster.layout.joints.index(config.preprocessing.center_joint),
            settings.depth,
        )


def train_mlp(mlp: MLP, config: TrainConfig, store: ClipStore, settings: MLPSettings) -> Iterator[float]:
    """Train an MLP on the clips of a run; yields the loss of each step.

    The loss is the mean distance of positions and of velocities, as in siMLPe.
    """
    steps = settings.clips // settings.batch
    optimizer = torch.optim.AdamW(mlp.parameters(), lr=settings.lr, weight_decay=1e-4)
    past = mlp.into.shape[0]
    batches = TrainingBatches(
        store,
        config.augment,
        settings.batch,
        people_of(config, store),
        config.encoder.preprocessing.absent_person,
        settings.seed,
        epoch=0,
        weights=clip_weights(store, config.data.weight_by, config.data.weights),
        samples_per_epoch=steps * settings.batch,
        clips=training_clips(store, config.data.split, config.data.protocol),
    )
    for step in range(steps):
        clips = augment(batches[step][0], config.augment, store.layout, config.encoder.num_frames)
        x = rearrange(clips.target, "b m t v c -> (b m) t v c")
        wanted, found = displacement(x, past)[:, past:], mlp(x[:, :past])
        loss = mean_distance(found, wanted) + mean_distance(found.diff(dim=1), wanted.diff(dim=1))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings.lr, settings.lr / 100, 0, steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


def mlp_predictor(mlp: MLP, forecaster: Forecaster) -> Predict:
    """Predict positions [N, future, V, 3] of bodies [N, past, V, 3], turned as those the forecaster sees."""

    @torch.no_grad()
    def predict(past: FloatArray) -> FloatArray:
        turn = forecaster.turn(past)
        moved = mlp(torch.from_numpy(np.einsum("nij,ntvj->ntvi", turn, past))).numpy()
        return np.asarray(past[:, -1:] + np.einsum("nji,ntvj->ntvi", turn, moved))

    return predict
