"""Training is bit-equal at a fixed number of threads, also at more than one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mamp.config import MAMPConfig
from mamp.pretraining import MAMPForPretraining


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_gradients_are_bit_equal_on_two_threads(two_threads: None) -> None:
    """Each position of the decoder sums the gradients of all bodies; on threads they must not race for it."""
    torch.manual_seed(0)
    config = MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=40)
    model = MAMPForPretraining(config, decoder_dim_feat=64, decoder_depth=1)
    x, noise = torch.randn(8, 2, 40, 25, 3), torch.rand(16, config.num_tokens)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(x, noise).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    first = gradients()
    for _ in range(10):
        for (name, _), one, other in zip(model.named_parameters(), first, gradients(), strict=True):
            assert torch.equal(one, other), name
