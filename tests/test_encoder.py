"""The encoder against the published one, and the person who is not there."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from closed_form import (
    assert_fingerprint,
    closed_form_clips,
    closed_form_weights,
    config_of,
    sha256,
    state_dict,
    to_ours,
)
from torch import Tensor

from mamp import MAMPConfig, MAMPEncoder, MAMPError
from mamp.errors import RecordingError
from mamp.transformer import DropPath, resize_temp_embed

Arrays = Mapping[str, Any]


@pytest.fixture(scope="module", params=["cut", "full"])
def arrays(request: pytest.FixtureRequest, golden: Path) -> Arrays:
    """Golden arrays: those kept with the tests, then the full set where it is at hand."""
    folder = golden if request.param == "cut" else request.getfixturevalue("shared") / "reference" / "golden"
    with np.load(folder / "encoder.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def full_size(golden: Path) -> dict[str, Any]:
    """Fingerprints of the published size."""
    return dict(json.loads((golden / "encoder_full.json").read_text()))


@pytest.fixture
def encoder(arrays: Arrays) -> MAMPEncoder:
    encoder = MAMPEncoder(config_of(str(arrays["cfg"])))
    encoder.load_state_dict(state_dict(arrays, "linprobe/sd/"))
    return encoder.eval()


@pytest.fixture
def x(arrays: Arrays) -> Tensor:
    return to_ours(arrays["x"])


@pytest.fixture
def tiny() -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16)).eval()


@pytest.fixture
def pair() -> Tensor:
    """Three clips of two people: both there, the second absent, both absent."""
    x = torch.randn(3, 2, 16, 25, 3, generator=torch.Generator().manual_seed(1))
    x[1, 1] = 0
    x[2] = 0
    return x


# --- parity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grad", [True, False])
def test_tokens_float64(encoder: MAMPEncoder, x: Tensor, arrays: Arrays, grad: bool) -> None:
    with torch.set_grad_enabled(grad):
        tokens = encoder.double()(x.double())
    np.testing.assert_allclose(tokens.detach().numpy(), arrays["tokens_f64"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("grad", [True, False])
def test_tokens_float32(encoder: MAMPEncoder, x: Tensor, arrays: Arrays, grad: bool) -> None:
    with torch.set_grad_enabled(grad):
        tokens = encoder(x)
    assert tokens.dtype == torch.float32 and tokens.shape == (3, 2, 4, 25, 32)
    np.testing.assert_allclose(tokens.detach().numpy(), arrays["tokens"], rtol=0, atol=1e-5)


def test_values_inside(encoder: MAMPEncoder, x: Tensor, arrays: Arrays) -> None:
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: found.update({f"{name}_in": inputs[0], f"{name}_out": output})

    blocks: Any = encoder.blocks
    encoder.joints_embed.register_forward_hook(keep("embed"))
    for number in (0, 1):
        blocks[number].register_forward_hook(keep(f"block{number}"))
    blocks[0].attn.register_forward_hook(keep("attn"))
    encoder(x)
    pairs = {
        "joints_embed": "embed_out", "block0_in": "block0_in", "block0_attn": "attn_out", "block0_out": "block0_out",
        "block1_out": "block1_out",
    }  # fmt: skip
    assert sum(f"tap/{name}" in arrays for name in pairs) >= 4
    for name, mine in pairs.items():
        if f"tap/{name}" not in arrays:  # the full golden data has one more
            continue
        golden = arrays[f"tap/{name}"]
        value = found[mine].detach().numpy()
        value = value if len(golden) == len(value) else value[[0, 3]]
        np.testing.assert_allclose(value, golden, rtol=0, atol=1e-5, err_msg=name)


def test_pooled(encoder: MAMPEncoder, x: Tensor, arrays: Arrays) -> None:
    pooled = encoder(x).mean(dim=(1, 2, 3)).detach().numpy()
    np.testing.assert_allclose(pooled, arrays["linprobe/pooled"], rtol=0, atol=1e-5)


def test_drop_path(arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    x, u, y = (torch.from_numpy(arrays[f"drop_path/{name}"]) for name in ("x", "u", "y"))
    layer = DropPath(float(arrays["drop_path/p"]))

    def draw(size: tuple[int, ...], **_: Any) -> Tensor:
        assert tuple(size) == tuple(u.shape)
        return u

    monkeypatch.setattr(torch, "rand", draw)
    torch.testing.assert_close(layer.train()(x), y, rtol=1e-6, atol=1e-6)
    assert (y == 0).flatten(1).all(dim=1).any(), "the golden draw drops a row"
    assert layer.eval()(x) is x


def test_drop_path_rates_of_blocks() -> None:
    encoder = MAMPEncoder(MAMPConfig(dim_feat=32, depth=3, num_heads=4, num_frames=16), drop_path_rate=0.3)
    blocks: Any = encoder.blocks
    assert [getattr(block.drop_path, "rate", 0) for block in blocks] == pytest.approx([0, 0.15, 0.3])


@pytest.mark.parametrize("steps", [16, 20, 45])
def test_resize_temp_embed(arrays: Arrays, steps: int) -> None:
    resized = resize_temp_embed(torch.from_numpy(arrays["interp/in"]), steps)
    np.testing.assert_allclose(resized.numpy(), arrays[f"interp/out{steps}"], rtol=0, atol=1e-6)


def test_resize_temp_embed_to_its_own_length() -> None:
    embed = torch.randn(1, 30, 1, 4)
    assert resize_temp_embed(embed, 30) is embed


# --- the published size ---------------------------------------------------------------------------------------------


def test_state_dict_is_the_published_one(full_size: dict[str, Any]) -> None:
    golden = full_size["models"]["linprobe60"]
    published = [(name, tuple(shape)) for name, shape in golden["state_dict"] if not name.startswith("head.")]
    encoder = MAMPEncoder()
    assert [(name, tuple(value.shape)) for name, value in encoder.state_dict().items()] == published
    order = [name for name in golden["named_parameters_order"] if not name.startswith("head.")]
    assert [name for name, _ in encoder.named_parameters()] == order
    assert sum(p.numel() for p in encoder.parameters()) == 6_336_000


@pytest.fixture(scope="module")
def published_size(full_size: dict[str, Any]) -> MAMPEncoder:
    """The encoder of the published size, with closed-form weights whose hashes are checked."""
    weights = closed_form_weights(full_size["models"]["linprobe60"]["state_dict"])
    for name, digest in full_size["closed_form"]["param_fill_sha256_example"].items():
        model, _, parameter = name.partition(":")
        if model == "linprobe60":
            assert sha256(weights[parameter].numpy()) == digest
    assert sha256(closed_form_clips()) == full_size["closed_form"]["input_sha256_f32_le"]
    encoder = MAMPEncoder(config_of(full_size["models"]["linprobe60"]["cfg"]))
    encoder.load_state_dict(weights)
    return encoder.eval()


def check_full_size(tokens: Tensor, expected: Mapping[str, Any], atol: float) -> None:
    assert list(tokens.shape) == expected["tokens_shape"]
    assert_fingerprint(tokens, expected["tokens"], atol)
    names = [name for name in expected if "[" in name]
    assert len(names) == 3
    for name in names:
        body = tuple(int(i) for i in name.removeprefix("tokens[").split(",")[:4])
        np.testing.assert_allclose(tokens[body][:16].numpy(), expected[name], rtol=0, atol=atol, err_msg=name)


@torch.no_grad()
def test_fingerprint_float32(published_size: MAMPEncoder, full_size: dict[str, Any]) -> None:
    tokens = published_size(to_ours(closed_form_clips()))
    check_full_size(tokens, full_size["models"]["linprobe60"]["fingerprint"]["f32"], 1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_fingerprint_float64(published_size: MAMPEncoder, full_size: dict[str, Any]) -> None:
    tokens = copy.deepcopy(published_size).double()(to_ours(closed_form_clips()).double())
    check_full_size(tokens, full_size["models"]["linprobe60"]["fingerprint"]["f64"], 1e-9)


# --- gradients, initialisation, input -------------------------------------------------------------------------------


def test_gradient_reaches_every_parameter(tiny: MAMPEncoder, pair: Tensor) -> None:
    x = pair.requires_grad_()
    tokens = tiny(x)
    (tokens * torch.randn_like(tokens)).sum().backward()
    without = [name for name, p in tiny.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not without
    assert x.grad is not None and (x.grad[0].abs().amax(dim=(1, 2, 3)) > 0).all()


def test_initialisation_is_the_published_one() -> None:
    torch.manual_seed(0)
    encoder = MAMPEncoder()
    for name, p in encoder.named_parameters():
        if "norm" in name:
            assert (p == (1 if name.endswith("weight") else 0)).all(), name
        elif name.endswith("_embed"):
            assert 0.018 < p.std() < 0.022, name
        elif name.startswith("joints_embed"):
            bound = 1 / 12**0.5
            assert p.abs().max() <= bound and p.abs().max() > 0.9 * bound, name
        elif name.endswith("bias"):
            assert (p == 0).all(), name
        else:
            bound = (6 / sum(p.shape)) ** 0.5
            assert p.abs().max() <= bound and p.abs().max() > 0.9 * bound, name


@pytest.mark.parametrize(
    "shape", [(2, 16, 25, 3), (1, 2, 17, 25, 3), (1, 2, 16, 24, 3), (1, 2, 16, 25, 2), (1, 3, 16, 25, 2)]
)
def test_wrong_shape_is_refused(tiny: MAMPEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(RecordingError, match=r"expected clips \[B, M, T, V, C\].*16, 25, 3.*found") as caught:
        tiny(torch.zeros(shape))
    assert str(list(shape)) in str(caught.value)
    assert isinstance(caught.value, MAMPError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("people", [1, 2, 5])
def test_bodies_do_not_see_each_other(tiny: MAMPEncoder, people: int) -> None:
    x = torch.randn(2, people, 16, 25, 3)
    together = tiny(x)
    alone = torch.stack([tiny(x[:, m : m + 1])[:, 0] for m in range(people)], dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_kept_tokens_are_encoded_in_their_order(tiny: MAMPEncoder) -> None:
    x = torch.randn(2, 16, 25, 3)
    ids = torch.stack([torch.randperm(100) for _ in range(2)])
    everything = tiny.encode_tokens(x)
    shuffled = tiny.encode_tokens(x, ids)
    expected = torch.stack([everything[n, ids[n]] for n in range(2)])
    torch.testing.assert_close(shuffled, expected, rtol=0, atol=1e-5)


# --- the absent person ----------------------------------------------------------------------------------------------


def plain(encoder: MAMPEncoder, x: Tensor) -> Tensor:
    """Tokens with every body run through the blocks."""
    with torch.enable_grad():
        return encoder(x).detach()


def count_bodies(encoder: MAMPEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many bodies go through the blocks in each pass."""
    passes: list[int] = []
    original = encoder.encode_tokens

    def counting(x: Tensor, *args: Any) -> Tensor:
        passes.append(len(x))
        return original(x, *args)

    monkeypatch.setattr(encoder, "encode_tokens", counting)
    return passes


@torch.no_grad()
def test_absent_person_equals_running_it(tiny: MAMPEncoder, pair: Tensor) -> None:
    torch.testing.assert_close(tiny(pair), plain(tiny, pair), rtol=0, atol=1e-5)
    double = copy.deepcopy(tiny).double()
    torch.testing.assert_close(double(pair.double()), plain(double, pair.double()), rtol=0, atol=1e-12)


@torch.no_grad()
def test_absent_person_is_computed_once(tiny: MAMPEncoder, pair: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = count_bodies(tiny, monkeypatch)
    first = tiny(pair)
    assert sorted(passes) == [1, 3]
    passes.clear()
    second = tiny(pair)
    assert passes == [3], "only the three bodies that are there"
    assert torch.equal(first, second)
    passes.clear()
    tiny(pair[2:])
    assert passes == []


@torch.no_grad()
def test_kept_tokens_of_the_absent_are_not_handed_out(tiny: MAMPEncoder, pair: Tensor) -> None:
    expected = tiny(pair)
    for clips in (pair, pair[2:]):
        tiny(clips).fill_(7.0)
    assert torch.equal(tiny(pair), expected)


def step(encoder: MAMPEncoder) -> MAMPEncoder:
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.5)
    with torch.enable_grad():
        encoder(torch.randn(1, 1, 16, 25, 3)).square().mean().backward()
        optimizer.step()
    return encoder


def load_other(encoder: MAMPEncoder) -> MAMPEncoder:
    encoder.load_state_dict(MAMPEncoder(encoder.config).state_dict())
    return encoder


def assign_other(encoder: MAMPEncoder) -> MAMPEncoder:
    encoder.load_state_dict(MAMPEncoder(encoder.config).state_dict(), assign=True)
    return encoder


def write_to_data(encoder: MAMPEncoder) -> MAMPEncoder:
    encoder.pos_embed.data.copy_(torch.randn_like(encoder.pos_embed))
    return encoder


def add_in_place(encoder: MAMPEncoder) -> MAMPEncoder:
    encoder.pos_embed.add_(torch.randn_like(encoder.pos_embed))
    return encoder


def round_trip(encoder: MAMPEncoder) -> MAMPEncoder:
    return encoder.to(torch.bfloat16).to(torch.float32)


def copy_and_change(encoder: MAMPEncoder) -> MAMPEncoder:
    encoder = copy.deepcopy(encoder)
    encoder.temp_embed.mul_(3)
    return encoder


def save_and_load(encoder: MAMPEncoder) -> MAMPEncoder:
    buffer = io.BytesIO()
    torch.save(encoder, buffer)
    buffer.seek(0)
    loaded: MAMPEncoder = torch.load(buffer, weights_only=False)
    loaded.norm.bias.add_(1)
    return loaded


@torch.no_grad()
@pytest.mark.parametrize(
    "change", [step, load_other, assign_other, add_in_place, write_to_data, round_trip, copy_and_change, save_and_load]
)
def test_absent_person_follows_the_weights(tiny: MAMPEncoder, pair: Tensor, change: Any) -> None:
    before = tiny(pair)[2]
    changed = change(tiny)
    after = changed(pair)
    torch.testing.assert_close(after, plain(changed, pair), rtol=0, atol=1e-5)
    assert not torch.equal(after[2], before)


@torch.no_grad()
def test_absent_person_follows_the_type(tiny: MAMPEncoder, pair: Tensor) -> None:
    tiny(pair)
    tokens = tiny.to(torch.float64)(pair.double())
    assert tokens.dtype == torch.float64
    torch.testing.assert_close(tokens, plain(tiny, pair.double()), rtol=0, atol=1e-12)


@torch.no_grad()
def test_absent_person_under_autocast(tiny: MAMPEncoder, pair: Tensor) -> None:
    exact = tiny(pair)
    with torch.autocast("cpu", torch.bfloat16):
        rough, expected = tiny(pair), plain(tiny, pair)
    assert rough.dtype == expected.dtype
    torch.testing.assert_close(rough, expected, rtol=0, atol=2e-2)
    torch.testing.assert_close(rough.float(), exact, rtol=0, atol=0.2)
    assert not torch.equal(rough[2].float(), exact[2]), "autocast has its own tokens of the absent"
    torch.testing.assert_close(tiny(pair), exact, rtol=0, atol=1e-6)


def test_absent_person_in_inference_mode(tiny: MAMPEncoder, pair: Tensor) -> None:
    expected = plain(tiny, pair)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(pair), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        after = tiny(pair)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)
    assert not after.is_inference()
    with torch.inference_mode():
        made_here = MAMPEncoder(tiny.config).eval()
        made_here(pair)
        made_here.pos_embed.add_(torch.randn_like(made_here.pos_embed))
        with_cache = made_here(pair)
        direct = made_here.encode_tokens(pair.flatten(0, 1)).reshape(with_cache.shape)
        torch.testing.assert_close(with_cache, direct, rtol=0, atol=1e-5)


def test_absent_person_takes_part_in_training(tiny: MAMPEncoder, pair: Tensor) -> None:
    tiny(pair[2:]).square().sum().backward()
    gradient = tiny.pos_embed.grad
    assert gradient is not None and gradient.abs().max() > 0


def test_export_with_a_dynamic_batch() -> None:
    """The ordinary call of torch.export, without strict mode or a smallest batch."""
    torch.manual_seed(0)
    encoder = MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=8)).eval()
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        exported = torch.export.export(encoder, (torch.randn(2, 2, 8, 25, 3),), dynamic_shapes=({0: batch},)).module()
        for clips in (2, 5, 32):
            x = torch.randn(clips, 2, 8, 25, 3)
            torch.testing.assert_close(exported(x), encoder(x), rtol=1e-5, atol=1e-5)
