"""Picture of a prediction: the clip, its mask, and the predicted and true target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from mamp.data.augment import Augmentation, PackedBatch, augment
from mamp.data.loader import generator_for
from mamp.figures import LIGHT, new_figure
from mamp.layouts import Layout
from mamp.masking import patchify
from mamp.pretraining import MAMPForPretraining
from mamp.stick import Look, draw_body

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float32]
POSES = 6


@dataclass(frozen=True)
class Prediction:
    """Prediction for one body.

    Attributes:
        positions: [T, V, 3] joints in metres.
        hidden: [T, V] true where a joint is masked.
        truth: [T, V] length of the target vectors.
        predicted: [T, V] length of the predicted vectors, NaN where not masked.
        target: ``motion`` or ``joints``.
        scaled: Whether the model predicts normalised targets, here rescaled with the true statistics of each token.
    """

    positions: FloatArray
    hidden: NDArray[np.bool_]
    truth: FloatArray
    predicted: FloatArray
    target: str
    scaled: bool


@torch.no_grad()
def predict_clip(
    model: MAMPForPretraining, batch: PackedBatch, settings: Augmentation, layout: Layout, seed: int
) -> Prediction:
    """Predict the first body of a batch, with a fixed mask; model and random state are unchanged."""
    cfg, device = model.config, batch.rows.device
    clips = augment(batch, settings, layout, cfg.num_frames, cfg.preprocessing.stream)
    joints = augment(batch, settings, layout, cfg.num_frames).target[0, 0]
    x, target_x = clips.x[:1, :1], clips.target[:1, :1]
    confidence = None if clips.confidence is None else clips.confidence[:1, :1]
    noise = torch.rand(1, cfg.num_tokens, generator=generator_for("picture", seed)).to(device)
    objective, training = model.objective, model.training
    model.objective = replace(objective, decoded_tokens=None)
    model.eval()
    try:
        # forward rather than a call, which would recompile a compiled model.
        output = model.forward(x, noise, target_x, None, confidence)
    finally:
        model.objective = objective
        model.train(training)
    truth = patchify(model.target_of(target_x[0], objective.target), cfg.t_patch_size, cfg.patch_size)
    prediction = output.prediction.float()
    if objective.norm_target:
        std = (truth.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        prediction = prediction * std + truth.mean(dim=-1, keepdim=True)
    hidden = output.mask.bool()
    prediction = prediction.masked_fill(~hidden[..., None], torch.nan)
    return Prediction(
        joints.float().cpu().numpy(),
        _length(hidden[..., None].expand_as(prediction).float(), model).cpu().numpy() > 0,
        _length(truth, model).cpu().numpy(),
        _length(prediction, model).cpu().numpy(),
        objective.target,
        objective.norm_target,
    )


def _length(patches: torch.Tensor, model: MAMPForPretraining) -> torch.Tensor:
    """Length of the vector of each joint [T, V], from tokens [1, L, u * p * C]."""
    cfg = model.config
    vectors = rearrange(
        patches, "1 (t v) (u p c) -> (t u) (v p) c", t=cfg.grid[0], u=cfg.t_patch_size, p=cfg.patch_size
    )
    return vectors.norm(dim=-1)


def draw_prediction(prediction: Prediction, layout: Layout, title: str) -> Figure:
    """Draw poses over time, the mask, and the true and predicted target."""
    figure: Figure = new_figure(figsize=(11, 9), layout="constrained")
    poses, mask, truth, predicted = figure.subplots(4, 1, height_ratios=(1.3, 1, 1, 1))
    figure.suptitle(title, fontsize=10)
    _draw_poses(poses, prediction, layout)
    mask.imshow(prediction.hidden.T, aspect="auto", cmap="Greys", vmin=0, vmax=1.6, interpolation="nearest")
    mask.set_title(f"mask: {prediction.hidden.mean():.0%} hidden (grey)", fontsize=9)
    unit = "mm a frame" if prediction.target == "motion" else "m"
    scale = 1000.0 if prediction.target == "motion" else 1.0
    top = max(float(np.percentile(prediction.truth * scale, 99)), 1e-6)
    for axis, values, title in ((truth, prediction.truth, "true"), (predicted, prediction.predicted, "predicted")):
        image = axis.imshow(values.T * scale, aspect="auto", cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
        note = " (mean and spread of each token from the true one)" if prediction.scaled else ""
        seen = f" where hidden{note}" if title == "predicted" else ""
        axis.set_title(f"{title} {prediction.target}, length in {unit}{seen}", fontsize=9)
        figure.colorbar(image, ax=axis, pad=0.01)
    for axis in (mask, truth, predicted):
        axis.set_ylabel("joint")
    predicted.set_xlabel("frame")
    return figure


def _draw_poses(axis: Axes, prediction: Prediction, layout: Layout) -> None:
    """Draw poses side by side from the front: visible joints blue, masked ones orange."""
    positions = prediction.positions
    body = positions - positions.mean(axis=1, keepdims=True)
    width = 1.15 * max(float(np.ptp(body[..., 0])), 0.5)
    for number, frame in enumerate(np.linspace(0, len(positions) - 1, POSES).astype(int)):
        x, y = body[frame, :, 0] + number * width, body[frame, :, 1]
        draw_body(axis, np.stack([x, y], axis=-1), layout, Look(colour=LIGHT.line, width=1))
        for hidden, color in ((True, LIGHT.hidden), (False, LIGHT.accent)):
            chosen = prediction.hidden[frame] == hidden
            axis.scatter(x[chosen], y[chosen], s=14, color=color, alpha=0.45 if hidden else 1, zorder=5)
        axis.text(number * width, y.min() - 0.12, f"frame {frame}", ha="center", va="top", fontsize=8)
    axis.set_aspect("equal")
    axis.set_axis_off()
    axis.set_title("clip: seen joints blue, hidden ones orange", fontsize=9)
