"""Attention other than the published one: group by group as with all other pairs masked, in every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mamp import MAMPConfig, MAMPEncoder, Skeleton
from mamp.attention import Pattern, Places
from mamp.config import Attending
from mamp.errors import ConfigError
from mamp.pretraining import MAMPForPretraining

KINDS: tuple[Attending, ...] = ("factorised", "local")


def tiny(kind: Attending, **changes: int) -> MAMPConfig:
    return MAMPConfig(
        **{"dim_feat": 16, "num_heads": 2, "depth": 2, "num_frames": 44, "num_joints": 5, **changes}
    ).replace(attention=kind, attention_window=changes.get("attention_window", 3))


def encoder(kind: Attending, **changes: int) -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(tiny(kind, **changes)).double().eval()


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_by_hand(kind: Attending) -> None:
    """Two steps of two joints: tokens (0, 0), (0, 1), (1, 0), (1, 1)."""
    pairs = Pattern(kind, window=0).pairs(Places(2, 2), heads=2, device=torch.device("cpu"))
    same_time = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]).bool()
    same_joint = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]).bool()
    expected = same_time[None, None] if kind == "local" else torch.stack([same_joint, same_time])[None]
    assert torch.equal(pairs, expected)
    assert Pattern().pairs(Places(2, 2), 2, torch.device("cpu")).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("steps", "window"), [(11, 3), (11, 4), (3, 8), (6, 0), (1, 2)])
def test_groups_are_all_pairs_with_others_masked(kind: Attending, steps: int, window: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, steps * 5, 6).double()
    pattern, places = Pattern(kind, window), Places(steps, 5)
    masked = F.scaled_dot_product_attention(q, k, v, attn_mask=pattern.pairs(places, 4, q.device))
    torch.testing.assert_close(pattern.attend(q, k, v, places), masked, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_visible_tokens_does_not_matter(kind: Attending) -> None:
    model = encoder(kind)
    x = torch.randn(3, 44, 5, 3).double()
    order = torch.stack([torch.randperm(55) for _ in x])
    with torch.no_grad():
        whole, some = model.encode_tokens(x), model.encode_tokens(x, order)
    torch.testing.assert_close(whole.gather(1, order[..., None].expand_as(whole)), some, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_out_of_reach_has_no_influence(kind: Attending) -> None:
    """One block: a token changes with a joint of the same time, and not with another joint of another time."""
    model = encoder(kind, depth=1)
    x = torch.randn(1, 44, 5, 3).double()
    moved = x.clone()
    moved[:, :4, 0] += 1  # token (0, 0)
    with torch.no_grad():
        changed = (model.encode_tokens(x) - model.encode_tokens(moved)).abs().amax(-1).view(11, 5) > 1e-9
    reached = torch.zeros(11, 5, dtype=torch.bool)
    if kind == "local":
        reached[:4] = True
    else:
        reached[0], reached[:, 0] = True, True
    assert torch.equal(changed, reached)


def test_default_is_the_published_one() -> None:
    assert MAMPConfig().attention == "joint" and MAMPConfig.from_dict({}) == MAMPConfig()
    model = encoder("joint")
    assert all(block.attn.pattern.kind == "joint" for block in model.blocks)
    attend, x = model.blocks[0].attn, torch.randn(1, 6, model.config.dim_feat, dtype=model.dtype)
    q, k, v = attend.qkv(x).unflatten(-1, (3, attend.num_heads, -1)).permute(2, 0, 3, 1, 4)
    expected = attend.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attend(x), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_joint(kind: Attending) -> None:
    shapes = [{name: p.shape for name, p in encoder(one).state_dict().items()} for one in (kind, "joint")]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("kind", KINDS)
def test_pretraining_reaches_every_parameter(kind: Attending) -> None:
    torch.manual_seed(0)
    model = MAMPForPretraining(tiny(kind), decoder_dim_feat=16, decoder_depth=1, mask_ratio=0.7)
    model(torch.randn(2, 1, 44, 5, 3)).loss.backward()
    lost = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not lost


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_encoded_in_parts(kind: Attending, tmp_path: Path) -> None:
    """The folder says which attention; joints that were not tracked, and a share of the tokens, are left out."""
    torch.manual_seed(0)
    config = MAMPConfig(dim_feat=16, num_heads=2, depth=2, num_frames=40, attention=kind)
    MAMPEncoder(config).save_pretrained(tmp_path)
    model = MAMPEncoder.from_pretrained(tmp_path)
    assert model.config.attention == kind
    positions = np.random.default_rng(0).normal(size=(30, 25, 3)).cumsum(0).astype(np.float32) * 0.01
    whole = model.encode(Skeleton(positions, "ntu25", fps=30))
    positions[5:20, 3] = np.nan
    part = model.encode(Skeleton(positions, "ntu25", fps=30))
    assert np.isfinite(part).all() and 0 < np.abs(whole - part).max() < 1
    assert np.isfinite(model.encode(Skeleton(positions, "ntu25", fps=30), token_share=0.5)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_exported_graph(kind: Attending) -> None:
    """What every exported format computes, with tokens that are not there, in all heads at once or one by one."""
    from mamp.export.graph import Graph

    model = encoder(kind).float()
    x, there = torch.randn(2, 44, 5, 3), torch.rand(2, 55) < 0.8
    with torch.no_grad():
        for one_by_one in (False, True):
            *_, tokens = Graph(model, one_by_one)(x, there)
            for body in range(2):
                ids = there[body].nonzero().T
                expected = model.encode_tokens(x[body : body + 1], ids)
                torch.testing.assert_close(tokens[body].reshape(55, -1)[ids[0]], expected[0], rtol=0, atol=1e-5)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match=r"config\.attention: expected one of 'joint', 'factorised', 'local'"):
        MAMPConfig(attention="global")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected an even number for attention 'factorised', found 1"):
        MAMPConfig(attention="factorised", num_heads=1)
    with pytest.raises(ConfigError, match=r"attention_window: expected a whole number of at least 0"):
        MAMPConfig(attention_window=-1)
