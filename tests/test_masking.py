"""Which tokens are kept: the published masks exactly, and the rule behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from closed_form import to_ours
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mamp import get_layout
from mamp.errors import ConfigError
from mamp.layouts import MODEL_LAYOUT
from mamp.masking import (
    mask_ratio_between,
    mask_tokens,
    missing_tokens,
    motion_aware_key,
    motion_intensity,
    num_kept,
    parts_key,
    patchify,
    token_confidence,
    tube_key,
)

Arrays = Mapping[str, Any]
RATIOS = ("0.9", "0.8", "0.5")
TAUS = ("0.75", "0.80", "0.00", "-1.00")


@pytest.fixture(scope="module", params=["cut", "full"])
def arrays(request: pytest.FixtureRequest, golden: Path) -> Arrays:
    folder = golden if request.param == "cut" else request.getfixturevalue("shared") / "reference" / "golden"
    with np.load(folder / "mamp.npz") as file:
        return dict(file)


@pytest.fixture
def bodies(arrays: Arrays) -> Tensor:
    """[N, T, V, C], the person fastest."""
    return to_ours(arrays["x"]).flatten(0, 1)


def key_of(bodies: Tensor, noise: Tensor, tau: float) -> Tensor:
    return motion_aware_key(motion_intensity(bodies, 4), noise, tau) if tau > 0 else noise


def test_bodies_are_in_the_published_order(arrays: Arrays, bodies: Tensor) -> None:
    if "x_flat" not in arrays:
        pytest.skip("x_flat is in the full golden data only")
    np.testing.assert_array_equal(bodies.numpy(), arrays["x_flat"])


def test_patchify(arrays: Arrays, bodies: Tensor) -> None:
    np.testing.assert_array_equal(patchify(bodies, 4).numpy(), arrays["patchify"])


def test_patchify_is_frame_major() -> None:
    x = torch.arange(8 * 4 * 3.0).reshape(1, 8, 4, 3)
    patches = patchify(x, t_patch_size=4, patch_size=2)
    assert patches.shape == (1, 4, 24)
    token = 1 * 2 + 1  # second patch in time, second pair of joints
    expected = torch.stack([x[0, t, v] for t in range(4, 8) for v in (2, 3)]).flatten()
    assert torch.equal(patches[0, token], expected)


@pytest.mark.parametrize("tau", ["0.75", "0.80"])
def test_probabilities(arrays: Arrays, bodies: Tensor, tau: str) -> None:
    noise = torch.full((len(bodies), 100), 0.5)
    gumbel = -torch.log(-torch.log(noise + 1e-10) + 1e-10)
    prob = (key_of(bodies, noise, float(tau)) - gumbel).exp()
    np.testing.assert_allclose(prob.numpy(), arrays[f"prob/tau{tau}"], rtol=2e-6)
    torch.testing.assert_close(prob.sum(1), torch.ones(len(bodies)))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("tau", TAUS)
def test_masks_are_the_published_ones(arrays: Arrays, bodies: Tensor, ratio: str, tau: str) -> None:
    assert arrays["min_sort_gap"].min() > 1e-6, "the golden keys are far enough apart to be compared exactly"
    mask = mask_tokens(key_of(bodies, torch.from_numpy(arrays["u"]), float(tau)), float(ratio))
    where = f"mask/ratio{ratio}/tau{tau}"
    np.testing.assert_array_equal(mask.mask.numpy(), arrays[f"{where}/mask"])
    np.testing.assert_array_equal(mask.ids_keep.numpy(), arrays[f"{where}/ids_keep"])
    np.testing.assert_array_equal(mask.ids_restore.numpy(), arrays[f"{where}/ids_restore"])


def test_kept_tokens_are_truncated_as_published(golden: Path) -> None:
    table = json.loads((golden / "mamp_full.json").read_text())["len_keep"]
    assert len(table) == 8
    for row, kept in table.items():
        tokens, ratio = (float(part.split("=")[1]) for part in row.split(","))
        assert num_kept(int(tokens), ratio) == kept, row
    assert num_kept(750, 0.9) == 74


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), 9])
def test_ratio_out_of_range(ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"mask_ratio: expected a share in \[0, 1\], found"):
        num_kept(750, ratio)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**31))
def test_mask_is_consistent(tokens: int, ratio: float, seed: int) -> None:
    key = torch.rand(3, tokens, generator=torch.Generator().manual_seed(seed))
    mask = mask_tokens(key, ratio)
    kept = num_kept(tokens, ratio)
    assert mask.ids_keep.shape == (3, kept)
    assert (mask.mask.sum(1) == tokens - kept).all()
    assert (mask.mask.gather(1, mask.ids_keep) == 0).all()
    every = torch.arange(tokens).expand(3, -1)
    assert torch.equal(mask.ids_shuffle.gather(1, mask.ids_restore), every)
    assert torch.equal(mask.ids_shuffle.sort(dim=1).values, every)
    if 0 < kept < tokens:
        assert (key.gather(1, mask.ids_keep).amax(1) <= key.gather(1, mask.ids_shuffle[:, kept:]).amin(1)).all()


def test_intensity_by_hand() -> None:
    x = torch.zeros(1, 12, 2, 3)
    x[0, 4:8, 0] = 1.0  # joint 0 moves by one from the first patch to the second, and back to the third
    x[0, 8:, 1] = torch.tensor([3.0, 0.0, 0.0])
    intensity = motion_intensity(x, 4).reshape(3, 2)
    torch.testing.assert_close(intensity, torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))


def test_intensity_of_one_patch_is_zero() -> None:
    assert (motion_intensity(torch.randn(2, 4, 25, 3), 4) == 0).all()


def test_nobody_is_masked_uniformly() -> None:
    noise = torch.rand(2, 100, generator=torch.Generator().manual_seed(0))
    key = motion_aware_key(torch.zeros(2, 100), noise, 0.75)
    assert torch.equal(key.argsort(1), noise.argsort(1))


def test_moving_tokens_are_masked_in_proportion() -> None:
    """The first token masked is drawn from the softmax: exp(1 / tau) more often where motion is largest."""
    intensity = torch.zeros(1, 10)
    intensity[0, 0] = 2.0
    tau = 0.75
    noise = torch.rand(20000, 10, generator=torch.Generator().manual_seed(0))
    last = mask_tokens(motion_aware_key(intensity.expand(20000, -1), noise, tau), 0.1).ids_shuffle[:, -1]
    expected = np.exp(1 / tau) / (np.exp(1 / tau) + 9)
    found = (last == 0).double().mean().item()
    assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / 20000)


def test_noise_of_zero_is_finite() -> None:
    key = motion_aware_key(torch.rand(1, 10), torch.zeros(1, 10), 0.75)
    assert key.isfinite().all()


# --- rules that are not the paper's ---------------------------------------------------------------------------------


@pytest.fixture
def noise() -> Tensor:
    return torch.rand(6, 30 * 25, generator=torch.Generator().manual_seed(0))


def kept_grid(key: Tensor, ratio: float) -> Tensor:
    """[N, t, v], true where a token stays visible."""
    return (mask_tokens(key, ratio).mask == 0).reshape(len(key), 30, 25)


def test_tubes_run_through_time(noise: Tensor) -> None:
    kept = kept_grid(tube_key(noise, 30), 0.9)
    whole = kept.all(dim=1).sum(1)
    touched = kept.any(dim=1).sum(1)
    assert (whole == 2).all() and (touched == 3).all(), "74 tokens are two joints at 30 times, and 14 of a third"
    assert len({tuple(row) for row in kept.any(dim=1).tolist()}) > 1, "each body has its own joints"


def test_tubes_take_any_joint(noise: Tensor) -> None:
    many = torch.rand(4000, 50, generator=torch.Generator().manual_seed(1))
    first = tube_key(many, 2)[:, :25].argmin(dim=1)
    counts = torch.bincount(first, minlength=25)
    assert counts.min() > 100 and counts.max() < 220


PARTS = torch.tensor(MODEL_LAYOUT.part_of)


def test_parts_of_the_model() -> None:
    joints = get_layout("ntu25").joints
    for joint, part in zip(joints, MODEL_LAYOUT.part_of, strict=True):
        side = joint.rsplit("_", 1)[-1]
        leg = joint.startswith(("hip", "knee", "ankle", "foot"))
        assert part == (0 if side not in ("left", "right") else 1 + (side == "right") + 2 * leg), joint


def test_at_each_time_one_part_is_visible(noise: Tensor) -> None:
    kept = kept_grid(parts_key(noise, 30, PARTS), 0.9)
    per_part = torch.stack([kept[..., part == PARTS].sum(-1) for part in range(5)], dim=-1)
    assert ((per_part > 0).sum(-1) <= 1).all()
    assert (per_part.sum((1, 2)) == 74).all()
    assert (per_part.sum((0, 1)) > 0).all(), "every part has its turn"


def test_confidence_of_tokens() -> None:
    confidence = torch.ones(1, 12, 2)
    confidence[0, 4:8, 0] = 0.2
    tokens = token_confidence(confidence, 4).reshape(3, 2)
    torch.testing.assert_close(tokens, torch.tensor([[0.2, 1.0], [0.2, 1.0], [0.2, 1.0]]))
    assert token_confidence(torch.full((1, 4, 3), 0.5), 4).tolist() == [[0.5] * 3]


def test_bodies_without_parts_or_a_stretch_of_time() -> None:
    draw = torch.rand(2000, 4, generator=torch.Generator().manual_seed(0))
    gone = missing_tokens(draw, 0.4, 30, PARTS).reshape(-1, 30, 25)
    some = gone.any(dim=(1, 2))
    assert not some[draw[:, 0] >= 0.4].any() and some[draw[:, 0] < 0.4].float().mean() > 0.9
    for body in gone[some]:
        joints, times = body.any(dim=0), body.any(dim=1)
        assert body.equal(joints[None] & times[:, None]), "some joints at some times"
        if joints.all():
            first, last = times.nonzero()[[0, -1], 0].tolist()
            assert times.sum() == last - first + 1 <= 15, "one stretch of up to half of the time"
        else:
            parts = {int(part) for part in PARTS[joints]}
            assert times.all() and len(parts) in (1, 2)
            assert joints.equal(torch.isin(PARTS, torch.tensor(sorted(parts)))), "whole parts"
    assert not missing_tokens(draw, 0.0, 30, PARTS).any()


def test_mask_ratio_drawn_log_uniformly() -> None:
    visible = [1 - mask_ratio_between(0.4, 0.9, u) for u in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(visible, [0.1, (0.1 * 0.6) ** 0.5, 0.6])
