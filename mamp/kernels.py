"""Linear layers and attention the fast way on a CPU; everywhere else, what torch does.

torch hands float32 matrix products to MKL, which reaches less than half of the speed of some processors (AMD's) that
oneDNN, also inside torch, gets out of them. The functions here take oneDNN where that is exact: float32 on an x86 CPU,
outside of autocast, tracing and compilation. Everything else, and every torch without the operators, goes the ordinary
way with the same result up to rounding.
"""

from __future__ import annotations

import functools
import logging
import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from mamp.threads import share

logger = logging.getLogger(__name__)

# Fewer tokens than this: one call for all heads costs less than one for each.
_LONG = 512
# Scores of so many pairs of tokens stay in the cache.
_SCORES = 1_500_000

_Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@functools.cache
def warn_if_bfloat16_is_slow(device: str) -> None:
    """Say so, once, where a processor has no instructions for bfloat16: it is emulated then, several times slower."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    if torch.device(device).type == "cpu" and supported is not None and not supported():
        logger.warning(
            "this processor has no instructions for bfloat16, which makes it much slower than float32; leave the "
            "precision at float32"
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As ``torch.nn.functional.linear``: [..., D] -> [..., D']."""
    if not _plain_float32(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _linear_as_convolution(x, weight, bias)
    onednn = _onednn_linear()
    return onednn(x, weight, bias) if onednn else F.linear(x, weight, bias)


class Linear(nn.Linear):
    """``torch.nn.Linear``, computed by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map [..., D] to [..., D']."""
        return linear(input, self.weight, self.bias)


def attention(q: Tensor, k: Tensor, v: Tensor, pairs: Tensor | None = None) -> Tensor:
    """Softmax attention: queries, keys and values [N, H, L, d] -> [N, H, L, d], laid out as [N, L, H, d] in memory.

    Of ``pairs``, bool [N, H or 1, L, L], a token attends only to those that are true.
    """
    if q.device.type == "cpu" and not _transformed(q):
        gradient = torch.is_grad_enabled()
        if q.dtype == torch.bfloat16:
            if gradient:
                y: Tensor = _AttentionBfloat16.apply(q, k, v, pairs)
                return y
            if pairs is None:
                return _attention_bfloat16(q, k, v)
        plain = not gradient and pairs is None and _plain_float32(q, k)
        onednn = _onednn_linear() if plain and not _mkl_is_quick() else None
        if onednn and q.shape[2] >= _LONG:
            return _attention_by_head(onednn, q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=pairs)


def _attention_by_head(onednn: _Linear, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head after another on each thread, so that its scores [L, L] stay in the cache and only they take memory."""
    n, h, length, d = q.shape
    out = q.new_empty(n, length, h, d)
    for body in range(n):
        queries, keys = q[body].contiguous(), k[body] * d**-0.5
        values = rearrange(v[body], "h l d -> h d l").contiguous()

        def attend(head: int, queries: Tensor = queries, keys: Tensor = keys, values: Tensor = values) -> Tensor:
            scores = onednn(queries[head], keys[head], None)
            torch.softmax(scores, dim=-1, out=scores)
            return onednn(scores, values[head], None)

        for head, found in enumerate(share(attend, range(h))):
            out[body, :, head] = found
    return rearrange(out, "n l h d -> n h l d")


def _attention_bfloat16(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Two heads of one body at a time; torch's own kernel is no faster in bfloat16 than in float32.

    The scores of all heads together are so large that the allocator would fetch them from the system each time.
    """
    n, h, length, d = q.shape
    out = q.new_empty(n, length, h, d)
    for body in range(n):
        for first in range(0, h, 2):
            two = slice(first, first + 2)
            scores = q[body, two].contiguous() @ rearrange(k[body, two] * d**-0.5, "h l d -> h d l")
            torch.softmax(scores, dim=-1, out=scores)
            out[body, :, two] = rearrange(scores @ v[body, two].contiguous(), "h l d -> l h d")
    return rearrange(out, "n l h d -> n h l d")


class _AttentionBfloat16(torch.autograd.Function):
    """Attention with a gradient of large matrix products: with AMX, torch's own kernel takes over twice as long.

    Scores are computed again, of a few bodies at a time, so that none are kept between the passes.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, pairs: Tensor | None) -> Tensor:
        ctx.save_for_backward(q, k, v, *(() if pairs is None else (pairs,)))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        *inputs, pairs = (*ctx.saved_tensors, None)[:4]
        n, h, length, d = gradient.shape
        grads = [rearrange(gradient.new_empty(n, length, h, d), "n l h d -> n h l d") for _ in range(3)]
        scaled = functools.partial(torch.baddbmm, gradient.new_zeros(()), beta=0, alpha=d**-0.5)
        bodies = max(1, _SCORES // (h * length**2))
        for first in range(0, n, bodies):
            part = slice(first, first + bodies)
            q, k, v, y_grad = (rearrange(x[part], "n h l d -> (n h) l d") for x in (*inputs, gradient))
            scores = scaled(q, k.mT)
            if pairs is not None:
                scores.view(-1, h, length, length).masked_fill_(~pairs[part], -math.inf)
            weights = torch.softmax(scores, dim=-1)
            scores_grad = torch._softmax_backward_data(y_grad @ v.mT, weights, -1, weights.dtype)
            found = scaled(scores_grad, k), scaled(scores_grad.mT, q), weights.mT @ y_grad
            for grad, rows in zip(grads, found, strict=True):
                grad[part] = rearrange(rows, "(n h) l d -> n h l d", h=h)
        q_grad, k_grad, v_grad = grads
        return q_grad, k_grad, v_grad, None


def _linear_as_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer as a convolution of width one, channels last: oneDNN forwards and backwards.

    torch gives such a convolution to oneDNN when it runs on several threads, or has 16 images or more.
    """
    small = x.ndim != 3 or x.numel() == 0 or (x.shape[0] < 16 and torch.get_num_threads() == 1)
    if small or not torch.backends.mkldnn.is_available():
        return F.linear(x, weight, bias)
    y = F.conv2d(rearrange(x[:, :, None], "n l w d -> n d l w"), weight[:, :, None, None], bias)
    return rearrange(y, "n d l 1 -> n l d")


def _plain_float32(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not _transformed(x)
    )


def _transformed(x: Tensor) -> bool:
    """Whether something other than eager torch looks at the computation: a compiler, a tracer, vmap, a subclass."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or type(x) is not Tensor
        or torch._C._are_functorch_transforms_active()
    )


@functools.cache
def _mkl_is_quick() -> bool:
    """Whether the processor is Intel's: there torch's own attention takes half the time of one head after another."""
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        about = platform.processor()
    return "GenuineIntel" in about


@functools.cache
def _onednn_linear() -> _Linear | None:
    """oneDNN's linear layer, or None where this torch or machine has none, or not in float32."""
    if not torch.backends.mkldnn.is_available() or platform.machine() not in ("x86_64", "AMD64"):
        return None
    try:
        operator = torch.ops.mkldnn._linear_pointwise.default
    except AttributeError:
        return None

    def onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = operator(x.contiguous(), weight.contiguous(), bias, "none", [], "")
        return y

    # An operator without a promise: whether it computes what is expected, in full precision, is tried once.
    generator = torch.Generator("cpu").manual_seed(0)
    x, weight = (torch.randn(rows, 64, generator=generator, dtype=torch.float32, device="cpu") for rows in (32, 48))
    try:
        found = onednn(x, weight, weight[:, 0].clone())
    except RuntimeError:
        return None
    exact = F.linear(x.double(), weight.double(), weight[:, 0].double())
    return onednn if torch.allclose(found.double(), exact, rtol=0, atol=1e-5) else None
