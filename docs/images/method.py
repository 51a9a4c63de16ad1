"""Draw docs/images/method-*.png: the masks of a synthetic kick, and a prediction of a squat.

    python docs/images/method.py CHECKPOINT

CHECKPOINT is of the default encoder, trained further with a new decoder on other synthetic recordings, for 15 minutes
of one core:

    python examples/synthesize_bvh.py recordings --variations 16 --seed 5
    python -m mamp.prepare folder recordings store
    python -m mamp.train smoke --data store --output run --init openmocap --encoder.dim_feat 256 --encoder.depth 4 \\
        --encoder.num_heads 8 --encoder.preprocessing.facing true --augment.facing true --augment.rotation 0 \\
        --augment.window 100 120 --optim.epochs 40 --optim.warmup_epochs 3 --objective.decoder_depth 2 \\
        --objective.decoder_dim_feat 128 --objective.decoded_tokens 150

Without CHECKPOINT only the masks are drawn. Prints the loss on nine recordings that the model was not trained on, and
that of predicting zeros, over 20 masks each.
"""

from __future__ import annotations

import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mamp import MAMPConfig, MAMPEncoder, load
from mamp.classifier import prepare_batch
from mamp.figures import new_figure
from mamp.layouts import MODEL_LAYOUT
from mamp.masking import motion_aware_key, motion_intensity, num_kept, patchify, tube_key
from mamp.pretraining import MAMPForPretraining, normalize_target, temporal_motion
from mamp.synthetic import write_recordings
from mamp.train.pictures import Prediction
from mamp.train.pictures import _draw_poses as draw_poses
from mamp.train.recipes import get_recipe

HERE = Path(__file__).parent
RATIO, DRAWS = 0.9, 400


def clips(config: MAMPConfig) -> dict[str, torch.Tensor]:
    """A clip [1, 1, T, V, C] of each action, of bodies that were not trained on."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_recordings(folder, variations=1, seed=99)
        return {path.stem[:-2]: prepare_batch([load(path, unit="cm", up="y")], config)[0] for path in paths}


def save(figure: Figure, name: str) -> None:
    """With fewer colours than matplotlib writes."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=100)
    Image.open(raw).convert("RGB").quantize(128).save(HERE / f"method-{name}.png", format="png", optimize=True)


def draw_masks(x: torch.Tensor, config: MAMPConfig) -> None:
    """How much each token moves, and what four rules leave visible, in one draw and on average over many."""
    steps = config.grid[0]
    torch.manual_seed(0)
    intensity = motion_intensity(x[0], config.t_patch_size)
    noise = torch.rand(DRAWS, config.num_tokens)
    moving = intensity.expand(DRAWS, -1)
    keys = {
        "random": noise,
        "motion, tau 0.8": motion_aware_key(moving, noise, 0.8),
        "motion, tau 0.2": motion_aware_key(moving, noise, 0.2),
        "tube": tube_key(noise, steps),
    }
    figure = new_figure(figsize=(9.6, 4.6), layout="constrained")
    grid = figure.subplots(2, 4)

    def image(axis: Axes, values: torch.Tensor, title: str, cmap: str, top: float) -> None:
        axis.imshow(rearrange(values, "(t v) -> v t", t=steps), aspect="auto", cmap=cmap, vmin=0, vmax=top)
        axis.set_title(title, fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])

    image(grid[0, 0], intensity[0], "motion of each token", "magma", float(intensity.max()))
    grid[0, 0].set_ylabel("25 joints")
    grid[0, 0].set_xlabel("30 steps of 4 frames")
    for column, (name, key) in enumerate(keys.items(), 1):
        order = key.argsort(dim=1)[:, : num_kept(config.num_tokens, RATIO)]
        visible = torch.zeros_like(key).scatter(1, order, 1.0)
        if name == "tube":
            image(grid[1, 0], visible[0], "tube: one draw", "Greys", 1)
            continue
        image(grid[0, column], visible[0], f"{name}: one draw", "Greys", 1)
        image(grid[1, column], visible.mean(0), "how often visible", "viridis", 0.25)
    save(figure, "masks")


@torch.no_grad()
def draw_predicted(checkpoint: str) -> None:
    """A squat, what is masked of it, and the true and predicted motion there."""
    smoke = get_recipe("smoke").config
    expects = replace(smoke.encoder.preprocessing, facing=True)
    config = smoke.encoder.replace(dim_feat=256, depth=4, num_heads=8, preprocessing=expects)
    model = MAMPForPretraining(config, smoke.objective, decoder_depth=2, decoder_dim_feat=128)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    model.eval()
    steps, patch = config.grid[0], config.t_patch_size
    torch.manual_seed(0)
    found = clips(config)
    for action, x in found.items():
        draws = [model(x) for _ in range(20)]
        truth = normalize_target(patchify(temporal_motion(x[0], 1), patch))
        still = [truth[draw.mask.bool()].square().mean() for draw in draws]
        loss = torch.stack([draw.loss for draw in draws])
        print(f"{action}: loss {loss.mean():.3f}; of predicting zeros {torch.stack(still).mean():.3f}")
    x = found["squat"]
    output = model(x)
    hidden = output.mask.bool()[..., None]

    def up(tokens: torch.Tensor) -> torch.Tensor:
        """The vertical component, [V, T], of tokens [1, L, 12]."""
        return rearrange(tokens, "1 (t v) (u c) -> c v (t u)", t=steps, u=patch)[1]

    target = normalize_target(patchify(temporal_motion(x[0], 1), patch))
    masked = up(hidden.expand_as(target).float())
    figure = new_figure(figsize=(9, 8.4), layout="constrained")
    poses, mask, truth, predicted = figure.subplots(4, 1, height_ratios=(1.5, 1, 1, 1))
    draw_poses(
        poses, Prediction(x[0, 0].numpy(), masked.T.numpy() > 0, *[masked.T.numpy()] * 2, "motion", True), MODEL_LAYOUT
    )
    mask.imshow(masked, aspect="auto", cmap="Greys", vmin=0, vmax=1.6)
    mask.set_title("mask: hidden tokens grey", fontsize=10)
    for axis, values, title in ((truth, target, "true"), (predicted, output.prediction, "predicted")):
        shown = up(values.masked_fill(~hidden, torch.nan))
        image = axis.imshow(shown, aspect="auto", cmap="RdBu_r", vmin=-2, vmax=2, interpolation="nearest")
        axis.set_title(f"{title} motion of hidden joints, normalised: up (red) and down (blue)", fontsize=10)
        figure.colorbar(image, ax=axis, pad=0.01)
    for axis in (mask, truth, predicted):
        axis.set_ylabel("joint")
    predicted.set_xlabel("frame")
    save(figure, "prediction")


def main() -> None:
    """Draw."""
    config = MAMPEncoder.from_pretrained().config
    draw_masks(clips(config)["kick"], config)
    if sys.argv[1:]:
        draw_predicted(sys.argv[1])


if __name__ == "__main__":
    main()
