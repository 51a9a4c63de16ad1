"""What is done for speed changes no result: oneDNN's products, attention by head, few bodies at a time, bfloat16."""

from __future__ import annotations

import copy
import platform
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamp import MAMPConfig, MAMPEncoder, kernels
from mamp.kernels import Linear
from mamp.transformer import Attention

on_x86 = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or platform.machine() not in ("x86_64", "AMD64"),
    reason="oneDNN is taken on x86 only",
)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """One thread, then two: torch takes other kernels."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def make(**changes: int) -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(MAMPConfig(dim_feat=32, depth=2, num_heads=4, **{"num_frames": 16, **changes})).eval()


def heads(length: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [2, 4, L, 8] as the encoder makes them: parts of one tensor."""
    qkv = torch.randn(2, length, 3, 4, 8, generator=torch.Generator().manual_seed(0)) * scale
    q, k, v = qkv.to(dtype).permute(2, 0, 3, 1, 4)
    return q, k, v


def explicit(q: Tensor, k: Tensor, v: Tensor, pairs: Tensor | None = None) -> Tensor:
    scores = q.double() @ k.double().transpose(-1, -2) * q.shape[-1] ** -0.5
    if pairs is not None:
        scores = scores.masked_fill(~pairs, -torch.inf)
    return scores.softmax(-1) @ v.double()


# --- linear layers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [(1,), (3, 5), (16, 7), (1, 75), (0, 4)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("strided", [True, False])
def test_linear_without_gradient(rows: tuple[int, ...], bias: bool, strided: bool, threads: int) -> None:
    layer = Linear(24, 40, bias=bias)
    x = torch.randn(*rows, 48)[..., ::2] if strided else torch.randn(*rows, 24)
    with torch.no_grad():
        found = layer(x)
    expected = F.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    torch.testing.assert_close(found.double(), expected.detach(), rtol=0, atol=2e-6)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("rows", [(5,), (3, 5), (16, 7), (20, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_with_gradient(rows: tuple[int, ...], bias: bool, threads: int) -> None:
    layer = Linear(24, 40, bias=bias)
    double = copy.deepcopy(layer).double()
    x = torch.randn(*rows, 24, requires_grad=True)
    y = x.detach().double().requires_grad_()
    weights = torch.randn(*rows, 40)
    (layer(x) * weights).sum().backward()
    (F.linear(y, double.weight, double.bias) * weights).sum().backward()
    for mine, theirs in ((x, y), *zip(layer.parameters(), double.parameters(), strict=True)):
        assert mine.grad is not None and theirs.grad is not None
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=0, atol=2e-5)


@on_x86
def test_onednn_is_used_without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast way must not be lost without anybody noticing."""
    assert kernels._onednn_linear() is not None

    def refuse(*_: Tensor) -> Tensor:
        raise AssertionError("the ordinary way")

    monkeypatch.setattr(F, "linear", refuse)
    with torch.no_grad():
        Linear(8, 8)(torch.randn(2, 3, 8))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_go_the_ordinary_way(dtype: torch.dtype) -> None:
    layer, x = Linear(24, 40).to(dtype), torch.randn(3, 5, 24).to(dtype)
    with torch.no_grad():
        found = layer(x)
    assert found.dtype == dtype
    assert torch.equal(found, F.linear(x, layer.weight, layer.bias))


def test_hooks_of_linear_layers_are_called() -> None:
    """Adapters and profilers hang on them."""
    encoder, seen = make(), []
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        encoder(torch.randn(1, 1, 16, 25, 3))
    assert len(seen) == 2 * 4


def test_vmap_and_grad_transforms() -> None:
    layer, x = Linear(24, 40), torch.randn(4, 3, 24)
    with torch.no_grad():
        found = torch.func.vmap(layer)(x)
    torch.testing.assert_close(found, F.linear(x, layer.weight, layer.bias).detach(), rtol=0, atol=2e-6)


# --- attention ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 75, 511, 512, 600])
@pytest.mark.parametrize("scale, atol", [(1.0, 2e-6), (10.0, 2e-3)])
@pytest.mark.parametrize("intel", [True, False])
def test_attention(
    length: int, scale: float, atol: float, intel: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_mkl_is_quick", lambda: intel)
    q, k, v = heads(length, scale)
    with torch.no_grad():
        found = kernels.attention(q, k, v)
    torch.testing.assert_close(found.double(), explicit(q, k, v), rtol=0, atol=atol)


@on_x86
def test_attention_by_head_is_used_for_long_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    called: list[int] = []
    monkeypatch.setattr(kernels, "_mkl_is_quick", lambda: False)
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, attn_mask: called.append(q.shape[2]))
    with torch.no_grad():
        torch.set_num_threads(1)
        try:
            kernels.attention(*heads(600))
            kernels.attention(*heads(75))
        finally:
            torch.set_num_threads(before)
    assert called == [75]


@pytest.mark.parametrize("length", [1, 75, 600])
def test_attention_in_bfloat16(length: int) -> None:
    q, k, v = heads(length, dtype=torch.bfloat16)
    with torch.no_grad():
        found = kernels.attention(q, k, v)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), explicit(q, k, v), rtol=0, atol=0.03)


@pytest.mark.parametrize("dtype, error", [(torch.float32, 1e-6), (torch.bfloat16, 0.015)])
@pytest.mark.parametrize("length", [1, 75, 600])
@pytest.mark.parametrize("bodies", [1, 2])
def test_gradient_of_attention(
    dtype: torch.dtype, error: float, length: int, bodies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_SCORES", bodies * 4 * length**2)  # one body at a time, or both
    found, expected = (tuple(x.to(dtype).detach().requires_grad_() for x in heads(length)) for _ in range(2))
    weight = torch.randn(2, 4, length, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    (kernels.attention(*found) * weight).sum().backward()
    (explicit(*expected) * weight.double()).sum().backward()
    for one, other in zip(found, expected, strict=True):
        assert one.grad is not None and other.grad is not None
        assert one.grad.dtype == dtype
        assert (one.grad.double() - other.grad.double()).norm() <= error * other.grad.double().norm() + 1e-5


@pytest.mark.parametrize("dtype, error", [(torch.float32, 1e-6), (torch.bfloat16, 0.015)])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("gradient", [True, False])
def test_attention_among_some_pairs(
    dtype: torch.dtype, error: float, shared: bool, gradient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_SCORES", 1)
    found, expected = (tuple(x.to(dtype).detach().requires_grad_(gradient) for x in heads(75)) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    pairs = torch.rand(2, 1 if shared else 4, 75, 75, generator=generator) < 0.2
    pairs |= torch.eye(75, dtype=torch.bool)
    weight = torch.randn(2, 4, 75, 8, generator=generator).to(dtype)
    y, wanted = kernels.attention(*found, pairs), explicit(*expected, pairs)
    assert (y.double() - wanted).norm() <= error * wanted.norm()
    if gradient:
        (y * weight).sum().backward()
        (wanted * weight.double()).sum().backward()
        for one, other in zip(found, expected, strict=True):
            assert one.grad is not None and other.grad is not None
            assert (one.grad.double() - other.grad.double()).norm() <= error * other.grad.double().norm()


def test_second_gradient_of_attention_in_bfloat16_is_refused() -> None:
    q, k, v = (x.detach().requires_grad_() for x in heads(20, dtype=torch.bfloat16))
    (grad,) = torch.autograd.grad(kernels.attention(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_attention_layer_of_long_clips() -> None:
    torch.manual_seed(0)
    layer = Attention(32, 4, qkv_bias=True)
    x = torch.randn(2, 600, 32)
    with_gradient = layer(x)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), with_gradient.detach(), rtol=0, atol=2e-6)


# --- the encoder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bodies", [1, 2, 3, 7])
def test_few_bodies_at_a_time_are_as_all_at_once(bodies: int, threads: int) -> None:
    encoder, x = make(), torch.randn(bodies, 16, 25, 3)
    ids = torch.stack([torch.randperm(100)[:30] for _ in range(bodies)])
    with torch.no_grad():
        assert encoder.bodies_at_once(x.device) == 1
    for ids_keep in (None, ids):
        together = encoder.encode_tokens(x, ids_keep).detach()
        with torch.no_grad():
            found = encoder.encode_tokens(x, ids_keep)
        torch.testing.assert_close(found, together, rtol=0, atol=2e-6)


@pytest.mark.parametrize("write", ["in place", "data"])
def test_weights_changed_in_place_are_noticed(write: str) -> None:
    encoder, x = make(), torch.randn(1, 1, 16, 25, 3)
    with torch.no_grad():
        before = encoder(x)
        weight: Tensor = encoder.get_parameter("blocks.0.mlp.fc1.weight")
        (weight if write == "in place" else weight.data).mul_(2)
        after = encoder(x)
    assert abs(after - before).max() > 1e-3
    torch.testing.assert_close(after, encoder(x).detach(), rtol=0, atol=2e-6)


def test_several_threads_at_once() -> None:
    """Servers encode from a pool of threads."""
    encoder, x = make(num_frames=96), torch.randn(6, 2, 96, 25, 3)
    with torch.no_grad():
        expected = [encoder(clip[None]) for clip in x]
    found: dict[int, Tensor] = {}

    def work(number: int) -> None:
        with torch.no_grad():
            for _ in range(3):
                found[number] = encoder(x[number : number + 1])

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for number in range(6):
        torch.testing.assert_close(found[number], expected[number], rtol=0, atol=2e-6)


def test_global_settings_are_left_alone() -> None:
    def settings() -> list[object]:
        found: list[object] = [torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_default_dtype()]
        return [*found, torch.backends.mkldnn.is_available(), torch.is_grad_enabled(), torch.get_rng_state().tolist()]

    encoder, before = make(), settings()
    with torch.no_grad():
        kernels._onednn_linear.cache_clear()
        encoder(torch.ones(1, 2, 16, 25, 3))
    assert settings() == before


def test_embedding_of_joints_keeps_its_digits_under_autocast() -> None:
    """A millimetre at two metres is lost in bfloat16."""
    layer, x = make().joints_embed, torch.full((1, 16, 25, 3), 2.0)
    x[:, 1] += 0.001
    with torch.no_grad():
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(layer(x), exact)
            assert layer(x.bfloat16()).dtype == torch.float32


@pytest.mark.slow
def test_exported_encoder_has_no_private_operators() -> None:
    """A compiler must see operators that it knows, and the rest of the graph does not depend on the machine."""
    encoder, x = make(), torch.randn(2, 16, 25, 3)

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder.encode_tokens(x)

    with torch.no_grad():
        program = torch.export.export(Tokens().eval(), (x,))
        assert "mkldnn" not in str(program.graph)
        torch.testing.assert_close(program.module()(x), encoder.encode_tokens(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("supported", [True, False])
def test_bfloat16_without_instructions_for_it_is_said_once(
    supported: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kernels.warn_if_bfloat16_is_slow.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported, raising=False)
    for _ in range(2):
        kernels.warn_if_bfloat16_is_slow("cpu")
    kernels.warn_if_bfloat16_is_slow("cuda")
    assert [record.levelname for record in caplog.records] == ([] if supported else ["WARNING"])
    assert supported or "much slower than float32" in caplog.text
    kernels.warn_if_bfloat16_is_slow.cache_clear()
