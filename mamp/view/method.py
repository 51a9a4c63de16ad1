"""The method on one clip: the mask of one draw, predicted and true motion, and attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from mamp.inference import equal_counts, in_place
from mamp.layouts import get_layout
from mamp.masking import mask_tokens, motion_aware_key, motion_intensity, patchify
from mamp.preprocessing import prepare_clip, token_presence
from mamp.pretraining import MAMPForPretraining, Objective
from mamp.skeleton import Skeleton
from mamp.transformer import Backbone
from mamp.transformer import Block as Layer
from mamp.view.content import cut, rate_of
from mamp.view.packing import Block, share_of
from mamp.view.trace import WHOLE_UP_TO, WINDOW, window_spans

FloatArray = NDArray[np.float32]

LOWEST, HIGHEST = -1.0, 5.0  # attention as powers of two of its mean
_LEVELS = 15


def busiest_span(recording: Skeleton) -> tuple[float, float]:
    """Seconds of the clip that is shown: everything if it is short, else the window with most motion."""
    if recording.num_frames / rate_of(recording) <= WHOLE_UP_TO:
        return 0.0, recording.num_frames / rate_of(recording)
    speed = np.linalg.norm(np.diff(recording.positions, axis=1), axis=-1)
    spans, fps = window_spans(recording, WINDOW, WINDOW / 2), rate_of(recording)
    sums = [np.nansum(speed[:, round(start * fps) : round(end * fps)]) for start, end in spans]
    return spans[int(np.argmax(sums))]


@torch.no_grad()
def describe_method(recording: Skeleton, model: Backbone, block: Block, seed: int = 0) -> dict[str, Any]:
    """Mask, prediction and attention of the first person of a recording, for the page.

    Args:
        recording: A recording; of a long one, the window with most motion.
        model: An encoder, or a model with a decoder, whose predictions are shown.
        block: Takes the arrays.
        seed: Of the draw of the mask.
    """
    config = model.config
    start, end = busiest_span(recording)
    part = cut(recording, start, end)
    positions, clip = prepare_clip(part, config.preprocessing, config.num_frames)
    x = torch.from_numpy(positions[:1]).to(model.temp_embed.device, model.temp_embed.dtype)
    there = token_presence(clip, config)[:1]
    noise = torch.rand(1, config.num_tokens, generator=torch.Generator().manual_seed(seed)).to(x)
    objective = model.objective if isinstance(model, MAMPForPretraining) else Objective()
    intensity = motion_intensity(x, config.t_patch_size, config.patch_size)[0].float().cpu().numpy()
    about = {
        "start": start,
        "end": end,
        "steps": config.grid[0],
        "joints": config.grid[1],
        "frames": config.num_frames,
        "people": len(clip.people),
        "person": int(clip.people[0]),
        "names": list(get_layout(config.preprocessing.layout).joints),
        "intensity": block.add(share_of(intensity, float(intensity.max()))),
        **_masked(model, x, noise, objective, block),
        "attention": _attention(model, x, there, block),
    }
    length = f"{config.num_frames} frames, {config.num_tokens} tokens of {config.t_patch_size} frames of a joint"
    return {**about, "note": f"seconds {start:.1f} to {end:.1f}, as the model takes them: {length}"}


def _masked(model: Backbone, x: Tensor, noise: Tensor, objective: Objective, block: Block) -> dict[str, Any]:
    """The mask of one draw; with a decoder, the lengths of the true and the predicted target."""
    config = model.config
    if not isinstance(model, MAMPForPretraining):
        intensity = motion_intensity(x, config.t_patch_size, config.patch_size)
        mask = mask_tokens(motion_aware_key(intensity, noise, objective.motion_aware_tau), objective.mask_ratio).mask
        why = "These weights are an encoder without a decoder, so there is no prediction to show."
        found: dict[str, Any] = {"truth": None, "predicted": None, "top": 1.0, "why": why}
    else:
        mask, truth, predicted = predict(model, x, noise)
        top = max(float(np.percentile(truth, 99)), 1e-9)
        both = {"truth": block.add(share_of(truth, top)), "predicted": block.add(share_of(predicted, top))}
        known = " Mean and spread of each token are the true ones." if objective.norm_target else ""
        error = float(np.nanmean(np.abs(predicted - truth)) / max(float(np.nanmean(truth)), 1e-12))
        why = f"The lengths differ by {error:.0%} of their mean on the masked joints.{known}"
        found = {**both, "top": top, "why": why}
    kept, total = int((mask[0] == 0).sum()), config.num_tokens
    return {
        **found,
        "mask": block.add_bits(mask[0].bool().cpu().numpy()),
        "target": objective.target,
        "unit": config.preprocessing.unit + (" a frame" if objective.target == "motion" else ""),
        "hidden": f"{kept} of {total} tokens are seen, {total - kept} masked: {_rule(objective)}",
    }


def _rule(objective: Objective) -> str:
    if objective.masking == "motion" and objective.motion_aware_tau > 0:
        return f"drawn in favour of motion (temperature {objective.motion_aware_tau:g})"
    return f"drawn by the rule {objective.masking!r}"


def predict(model: MAMPForPretraining, x: Tensor, noise: Tensor) -> tuple[Tensor, FloatArray, FloatArray]:
    """Mask [1, L], and lengths [T, V] of the true and predicted target of a body [1, T, V, C]; NaN where not masked."""
    config, objective = model.config, model.objective
    model.objective = replace(objective, decoded_tokens=None)
    training = model.training
    model.eval()
    try:
        output = model.forward(x[:, None], noise, confidence=torch.ones_like(x[:, None, ..., 0]))
    finally:
        model.objective = objective
        model.train(training)
    patches = patchify(model.target_of(x, objective.target), config.t_patch_size, config.patch_size)
    predicted = output.prediction.float()
    if objective.norm_target:
        spread = (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        predicted = predicted * spread + patches.mean(dim=-1, keepdim=True)
    predicted = predicted.masked_fill(output.mask[..., None] == 0, torch.nan)
    return output.mask, _lengths(patches, model), _lengths(predicted, model)


def _lengths(patches: Tensor, model: Backbone) -> FloatArray:
    """Length [T, V] of the vectors in tokens [1, L, u * p * C]."""
    cfg = model.config
    vectors = rearrange(
        patches, "1 (t v) (u p c) -> (t u) (v p) c", t=cfg.grid[0], u=cfg.t_patch_size, p=cfg.patch_size
    )
    return np.asarray(vectors.norm(dim=-1).float().cpu().numpy())


def attention_map(model: Backbone, x: Tensor, there: NDArray[np.bool_]) -> Tensor:
    """Attention [K, K] of the last block, mean over heads, among the tokens ``there`` [1, L] of a body [1, T, V, C]."""
    (_, ids), *_ = equal_counts(torch.from_numpy(there).to(x.device))
    h, places = model.embed_tokens(x, ids)
    *first, last = model.blocks
    for block in first:
        h = block(h, places)
    assert isinstance(last, Layer)
    qkv = last.attn.qkv(last.norm1(h))
    q, k, _ = rearrange(qkv, "n l (three h d) -> three n h l d", three=3, h=model.config.num_heads)
    scores = torch.einsum("nhid,nhjd->nhij", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~last.attn.pattern.pairs(places, q.shape[1], x.device), -torch.inf)
    return scores.softmax(dim=-1).mean(dim=1)[0]


def _attention(model: Backbone, x: Tensor, there: NDArray[np.bool_], block: Block) -> dict[str, Any] | None:
    """Attention [L, L] in four bits: powers of two of the mean, two a byte."""
    if not len(model.blocks):
        return None
    known = attention_map(model, x, there).float().cpu()
    ids = torch.from_numpy(there).nonzero()[:, 1]
    full = in_place(known[None], ids[None], model.config)
    rows = rearrange(full, "1 t v k -> (t v) k").numpy()
    relative = np.full((len(rows), len(rows)), 2.0**LOWEST, np.float32)
    relative[:, ids.numpy()] = np.nan_to_num(rows * len(ids), nan=2.0**LOWEST)
    powers = np.log2(relative.clip(2.0**LOWEST, 2.0**HIGHEST))
    levels = np.round((powers - LOWEST) / (HIGHEST - LOWEST) * _LEVELS).astype(np.uint8)
    if levels.size % 2:
        levels = np.append(levels.ravel(), np.uint8(0))
    pairs = levels.reshape(-1, 2)
    return {
        "values": block.add(pairs[:, 0] << 4 | pairs[:, 1]),
        "low": LOWEST,
        "high": HIGHEST,
        "note": "last block, mean over its heads",
    }
