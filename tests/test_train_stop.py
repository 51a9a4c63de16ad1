"""A step that is given up to stop leaves nothing behind, the running statistics of batch norm included."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluate_helpers import make_store, make_weights
from supervised_helpers import LINEAR, run
from train_helpers import assert_same

from mamp.data.augment import PackedBatch
from mamp.errors import TrainingError
from mamp.evaluate.linear import LinearConfig
from mamp.evaluate.supervised import Supervised
from mamp.train.checkpoint import load_checkpoint


def test_batch_norm_forgets_a_step_that_was_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, weights = make_store(tmp_path / "store"), make_weights(tmp_path / "weights")
    config = LinearConfig(**{**LINEAR, "epochs": 2, "per_device_batch": 3})
    run("linear", store, weights, tmp_path / "whole", config)
    losses, asked = Supervised.losses, []

    def stop(self: Supervised, part: PackedBatch, micro: int) -> dict[str, torch.Tensor]:
        if self.step == 1 and micro == 1 and not asked:
            asked.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(self, part, micro)

    monkeypatch.setattr(Supervised, "losses", stop)
    with pytest.raises(TrainingError):
        run("linear", store, weights, tmp_path / "stopped", config)
    run("linear", store, weights, tmp_path / "stopped", config)
    states: list[Any] = [load_checkpoint(tmp_path / name / "seed=0" / "checkpoints") for name in ("whole", "stopped")]
    assert any("running_mean" in name for name in states[0]["model"])
    assert_same(states[0]["model"], states[1]["model"])
