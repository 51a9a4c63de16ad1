"""TensorBoard, where it is installed: the numbers of ``metrics.jsonl``, and a picture at each checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mamp.train.pictures import draw_prediction, predict_clip

if TYPE_CHECKING:
    from mamp.train.engine import Trainer

logger = logging.getLogger(__name__)

NOT_SCALARS = ("step", "total_steps", "time")


class Board:
    """Writes what TensorBoard shows, or nothing where it is not installed.

    Args:
        folder: Where its files go, ``tensorboard/`` of a run.
        step: Step at which the run starts or goes on; what a killed run had written after it is no longer shown.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.writer: Any = None
        self.draws = True
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.info("TensorBoard is not installed (pip install 'mamp[train]'); metrics.jsonl has all numbers")
            return
        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def scalars(self, line: dict[str, float]) -> None:
        """Write the numbers of a line of ``metrics.jsonl``."""
        if self.writer is None:
            return
        for name, value in line.items():
            if name not in NOT_SCALARS:
                self.writer.add_scalar(name, value, int(line["step"]))
        self.writer.flush()

    def picture(self, trainer: Trainer) -> None:
        """Draw what the model predicts now. The run does not notice: its random numbers stay as they were."""
        if self.writer is None or not self.draws:
            return
        devices = [trainer.world.device] if trainer.world.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            try:
                figure = draw_prediction(predict_clip(trainer), trainer.store.layout)
            except ImportError:
                logger.info("matplotlib is not installed (pip install 'mamp[train]'); TensorBoard gets no pictures")
                self.draws = False
                return
        canvas: Any = figure.canvas
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[..., :3]
        self.writer.add_image("prediction", image, trainer.step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """Finish the file."""
        if self.writer is not None:
            self.writer.close()
