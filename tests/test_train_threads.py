"""Training is bit-equal at a fixed number of threads, also at more than one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from train_helpers import make_store, tiny

from mamp.config import MAMPConfig
from mamp.pretraining import MAMPForPretraining
from mamp.train.distributed import World
from mamp.train.engine import Trainer
from mamp.train.loop import Share


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


@pytest.mark.parametrize("changes", [{}, {"optim__per_device_batch": 10}, {"objective__agreement_weight": 0.1}])
def test_steps_are_bit_equal_on_any_number_of_threads(
    changes: dict[str, Any], tmp_path: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads take a few clips at a time; their gradients are added up in the order of the clips."""
    store, config = (
        make_store(tmp_path / "store"),
        tiny(**{"optim__batch_size": 10, "optim__clip_grad": 1.0, **changes}),
    )
    shares: list[int] = []
    share = Trainer.add_shares

    def add_shares(self: Trainer, parts: list[Share], count: int) -> dict[str, torch.Tensor]:
        shares.append(len(parts))
        return share(self, parts, count)

    monkeypatch.setattr(Trainer, "add_shares", add_shares)

    def run(threads: int) -> tuple[list[dict[str, float] | None], dict[str, torch.Tensor]]:
        torch.set_num_threads(threads)
        trainer = Trainer(config, store, tmp_path / f"run-{threads}", World(0, 1, torch.device("cpu")))
        steps = [trainer.train_step(batch) for batch in trainer.batches(0).load(0)]
        return steps, {name: value.clone() for name, value in trainer.model.state_dict().items()}

    expected, weights = run(1)
    together = "objective__agreement_weight" in changes
    assert set(shares) == (set() if together else {3})  # 4, 4 and 2 clips
    for threads in () if together else (2, 3):
        found, others = run(threads)
        assert found == expected
        assert all(torch.equal(others[name], value) for name, value in weights.items())
    monkeypatch.setattr("mamp.train.engine.CLIPS_AT_ONCE", 10)
    whole, others = run(1)
    for one, other in zip(whole, expected, strict=True):
        assert one is not None and other is not None
        assert one == pytest.approx(other, rel=1e-5)
