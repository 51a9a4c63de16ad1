"""A training step waits for its device once, and leaves nothing of it on the CPU.

Tensors on torch's device ``meta`` have no values: whatever would wait for the values of a GPU fails there, and so does
an operator between a tensor on the device and one that was forgotten on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import optimizer
from train_helpers import make_store, tiny

from mamp.data.augment import Augmentation
from mamp.data.crops import facing_on_device, map_of_joints, turn_first
from mamp.geometry import facing_angle, rotation_matrix
from mamp.train.config import TrainConfig
from mamp.train.distributed import World
from mamp.train.engine import Trainer

META = torch.device("meta")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Stand in for what ``meta`` lacks; how many numbers were read each time."""
    found: list[int] = []
    enabled, to_list = torch.is_autocast_enabled, Tensor.tolist

    def read(x: Tensor) -> Any:
        if x.device != META:
            return to_list(x)
        found.append(x.numel())
        return [1.0] * x.numel()

    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind=None: kind != "meta" and enabled(kind))
    monkeypatch.setattr(Tensor, "tolist", read)
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["meta"])
    monkeypatch.setattr(Trainer, "autocast", lambda self: nullcontext())
    yield found


def make(tmp_path: Path, config: TrainConfig) -> Trainer:
    return Trainer(config, make_store(tmp_path / "store"), tmp_path / "run", World(0, 1, META))


CONFIGS = {
    "published": {"augment": Augmentation(crop_min=16)},
    "everything": {
        "augment": Augmentation(
            crop_min=16,
            center=True,
            facing=True,
            view_rotation=1.0,
            mirror=0.5,
            scale=(0.9, 1.1),
            joint_dropout=0.1,
            person_dropout=0.5,
            noise=0.01,
            wobble=0.01,
            proportions=0.1,
        ),
        "objective__missing_parts": 0.3,
        "objective__mask_ratio_low": 0.3,
        "objective__joints_weight": 0.1,
        "objective__decoded_tokens": 20,
    },
}


@pytest.mark.skipif(not hasattr(torch, "accelerator"), reason="fused AdamW of older torch takes no meta tensors")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_waits_for_its_device_once(name: str, tmp_path: Path, reads: list[int]) -> None:
    changes = dict(CONFIGS[name])
    augment = changes.pop("augment")
    config = replace(tiny(optim__per_device_batch=4, optim__clip_grad=1.0, **changes), augment=augment)
    trainer = make(tmp_path, config)
    batch = trainer.batches(0)[0]
    assert len(batch) == 2, "micro-batches"
    values = trainer.train_step(batch)
    assert values is not None and values["grad_norm"] == 1.0
    losses = 1 + len({"loss", "motion", "joints"} & values.keys())
    assert reads == [2 * (losses - 1) + 1], "the losses of both micro-batches and the norm, together"


@pytest.mark.skipif(not hasattr(torch, "accelerator"), reason="fused AdamW of older torch takes no meta tensors")
def test_waiting_is_noticed(tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(tmp_path, tiny())
    predict = Trainer.predict

    def look(self: Trainer, *args: Any) -> dict[str, Tensor]:
        values = predict(self, *args)
        assert float(values["loss"]) >= 0
        return values

    monkeypatch.setattr(Trainer, "predict", look)
    with pytest.raises(RuntimeError, match="meta"):
        trainer.train_step(trainer.batches(0)[0])


@pytest.mark.parametrize("joints", [4, 25])
def test_turns_of_a_gpu_are_those_of_the_cpu(joints: int) -> None:
    rng = np.random.default_rng(0)
    right = rng.normal(size=(3, 10, 3)).astype(np.float32)
    angles = np.zeros((3, 3), np.float32)
    angles[:, 1] = facing_angle(right)
    rest, places = rotation_matrix(rng.normal(size=(3, 3)).astype(np.float32)), rng.permutation(joints)
    expected = map_of_joints(rest @ rotation_matrix(angles), places)
    found = turn_first(facing_on_device(torch.from_numpy(right)), torch.from_numpy(map_of_joints(rest, places)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)
