"""Metrics of a run: ``metrics.jsonl``, the progress bar, and TensorBoard if installed."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mamp.errors import TrainingError
from mamp.outputs import write_whole

logger = logging.getLogger(__name__)

FILE = "metrics.jsonl"
NOT_SCALARS = ("step", "total_steps", "time")


class TensorBoard:
    """Write TensorBoard logs; does nothing if TensorBoard is not installed or its files cannot be written.

    Args:
        folder: Folder of the logs.
        step: First step; later entries of a killed run are hidden.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.writer: Any = None
        self.draws = True
        self._hook: Any = None  # of failing threads, as it was
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.info("TensorBoard is not installed (pip install 'mamp[train]'); metrics.jsonl has all numbers")
            return
        self._hook, threading.excepthook = threading.excepthook, self._thread_failed
        with self._guarded():
            self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def scalars(self, line: dict[str, float]) -> None:
        """Write a line of ``metrics.jsonl``."""
        with self._guarded():
            if self.writer is not None:
                for name, value in line.items():
                    if name not in NOT_SCALARS:
                        self.writer.add_scalar(name, value, int(line["step"]))
                self.writer.flush()

    def picture(self, name: str, draw: Callable[[], Any], step: int) -> None:
        """Write the matplotlib figure returned by ``draw``, if possible."""
        if self.writer is None or not self.draws:
            return
        try:
            figure = draw()
        except ImportError:
            logger.info("matplotlib is not installed (pip install 'mamp[train]'); TensorBoard gets no pictures")
            self.draws = False
            return
        figure.canvas.draw()
        image = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        with self._guarded():
            self.writer.add_image(name, image, step, dataformats="HWC")
            self.writer.flush()

    def close(self) -> None:
        """Finish the file."""
        with self._guarded():
            if self.writer is not None:
                self.writer.close()
        if self._hook is not None:
            self._hook, threading.excepthook = None, self._hook

    def _thread_failed(self, failure: Any) -> None:
        """Hide the traceback of TensorBoard's writer thread; the next call raises its error."""
        if self._hook is not None and not isinstance(failure.exc_value, OSError):
            self._hook(failure)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Stop writing after an error: ``metrics.jsonl`` has all values."""
        try:
            yield
        except OSError as error:
            logger.warning("TensorBoard's files cannot be written (%s); the run continues without them", error)
            self.writer = None


class Metrics:
    """Average the values of steps, and write a line of ``metrics.jsonl`` every few steps.

    Args:
        folder: Folder of the run; ``None`` writes no file.
        log_every: Steps per line.
        clips: Clips per step.
        bar: Progress bar to update.
        board: TensorBoard logs to write too.
    """

    def __init__(
        self, folder: Path | None, log_every: int, clips: int, bar: tqdm[Any], board: TensorBoard | None = None
    ) -> None:
        self.folder, self.log_every, self.clips, self.bar, self.board = folder, log_every, clips, bar, board
        self.sums: dict[str, float] = {}
        self.count, self.since, self.lr = 0, time.perf_counter(), 0.0

    def add(self, step: int, total_steps: int, epoch: float, values: dict[str, float], last: bool = False) -> None:
        """Add the values of one step; :class:`TrainingError` if the file cannot be written."""
        self.bar.update(1)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count, self.lr = self.count + 1, values["lr"]
        if step % self.log_every == 0 or last:
            self.write_line(step, total_steps, epoch)

    def write_line(self, step: int, total_steps: int, epoch: float) -> None:
        """Write the means since the last line, if there were steps."""
        if not self.count:
            return
        now = time.perf_counter()
        speed = self.clips * self.count / (now - self.since)
        line = {
            "step": step,
            "total_steps": total_steps,
            "epoch": round(epoch, 4),
            "clips": step * self.clips,
            **{name: value / self.count for name, value in self.sums.items()},
            "lr": self.lr,
            "clips_per_second": round(speed, 2),
            "time": round(time.time(), 1),
        }
        self.bar.set_postfix(loss=f"{line['loss']:.4f}", clips_s=f"{speed:.0f}")
        if self.folder is not None:
            self._write(self.folder, line)
        if self.board is not None:
            self.board.scalars(line)
        self.sums, self.count, self.since = {}, 0, now

    @staticmethod
    def _write(folder: Path, line: dict[str, Any]) -> None:
        try:
            with (folder / FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{folder}: cannot write the metrics ({error}). Free some space; the run resumes from the last "
                "checkpoint when it is started again."
            ) from None

    def picture(self, name: str, draw: Callable[[], Any], step: int) -> None:
        """Show a figure in TensorBoard; after a new line, its time does not count towards the speed."""
        if self.board is not None:
            self.board.picture(name, draw, step)
            self.since = time.perf_counter() if self.count == 0 else self.since

    def close(self) -> None:
        """Close the logs."""
        if self.board is not None:
            self.board.close()


def drop_later_metrics(folder: Path, step: int) -> None:
    """Remove lines after the checkpoint from which a run resumes."""
    path = folder / FILE
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        write_whole(path, "".join(line + "\n" for line in lines if json.loads(line)["step"] <= step))
