"""A light head on the features of steps: dilated convolutions over time, and the cheapest way through what they say.

The network is one stage of Farha and Gall, "MS-TCN: Multi-Stage Temporal Convolutional Network for Action
Segmentation", CVPR 2019 (section 3.1), trained with their loss (section 3.3): cross-entropy, and a penalty on
logarithms of probabilities that jump from one step to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from mamp.errors import ConfigError, DataError

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

JUMP = 4.0  # largest jump of a logarithm of a probability that is penalised more than a smaller one (MS-TCN)
PIECE = 1200  # longest piece of a recording that is trained on, in steps
UNLABELLED = -100  # of padding: ignored by cross_entropy


@dataclass(frozen=True)
class HeadConfig:
    """Settings of a head and of its training.

    Attributes:
        window: Seconds that the encoder sees at a time.
        stride: Seconds from one window to the next.
        poses: Also give the head the poses of the steps: body-centred joints of whoever moves most.
        layers: Dilated convolutions, each of which sees twice as far as the one before; 0 is a linear layer for each
            step.
        width: Channels of the convolutions.
        dropout: Share of channels that are dropped in training.
        epochs: Passes over the training recordings.
        batch_size: Pieces of recordings in a step of training.
        learning_rate: Of Adam; it falls to zero along half a cosine.
        weight_decay: Of Adam.
        smoothing: Weight of the penalty on jumps.
        change: What it costs to begin a new segment, in logarithms of probabilities: higher gives fewer segments.
    """

    window: float = 2.0
    stride: float = 1.0
    poses: bool = False
    layers: int = 4
    width: int = 64
    dropout: float = 0.3
    epochs: int = 40
    batch_size: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    smoothing: float = 0.15
    change: float = 3.0

    def __post_init__(self) -> None:
        for name in ("window", "stride", "learning_rate"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(f"{name}: expected a number above zero, found {getattr(self, name)!r}.")
        for name in ("width", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, found {getattr(self, name)!r}.")
        for name in ("layers", "weight_decay", "smoothing", "change"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"{name}: expected 0 or more, found {getattr(self, name)!r}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: expected at least 0 and less than 1, found {self.dropout!r}.")


class TemporalHead(nn.Module):
    """Features of steps to logarithms of probabilities: [B, N, D] to [B, N, K + 1], the background first.

    Args:
        features: D.
        classes: K.
        config: Sizes.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, classes: int, config: HeadConfig) -> None:
        super().__init__()
        width = config.width if config.layers else features
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.dropout = nn.Dropout1d(config.dropout)
        self.narrow = nn.Conv1d(features, width, 1) if config.layers else nn.Identity()
        self.layers = nn.ModuleList(Dilated(width, 2**layer, config.dropout) for layer in range(config.layers))
        self.classes = nn.Conv1d(width, classes + 1, 1)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """Classify each step; steps that are not ``there`` [B, N] are seen as nothing."""
        mask = 1.0 if there is None else rearrange(there.float(), "b n -> b 1 n")
        h = rearrange((x - self.mean) / self.deviation, "b n d -> b d n")
        h = self.narrow(self.dropout(h)) * mask
        for layer in self.layers:
            h = layer(h, mask)
        return rearrange(self.classes(h), "b k n -> b n k").log_softmax(dim=-1)


class Dilated(nn.Module):
    """A residual layer: a convolution over steps that lie ``dilation`` apart, and one over channels."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.over_time = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.over_channels = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, mask: Tensor | float) -> Tensor:
        """[B, W, N] to the same."""
        out: Tensor = (h + self.dropout(self.over_channels(F.relu(self.over_time(h))))) * mask
        return out


def train_head(
    steps: Sequence[FloatArray],
    labels: Sequence[IntArray],
    classes: int,
    config: HeadConfig,
    seed: int = 0,
    progress: bool = False,
) -> TemporalHead:
    """Train a head on the steps [N, D] of recordings and their labels [N], 0 for the background and 1 to K.

    Equal seeds give equal heads.

    Raises:
        DataError: There are no steps.
    """
    if not steps or not all(len(x) == len(y) > 0 for x, y in zip(steps, labels, strict=True)):
        raise DataError("expected recordings to learn from, with a label for each step; found none.")
    pieces = [
        (torch.from_numpy(np.array(x[first : first + PIECE])), torch.from_numpy(y[first : first + PIECE]))
        for x, y in zip(steps, labels, strict=True)
        for first in range(0, len(x), PIECE)
    ]
    count = sum(len(x) for x, _ in pieces)
    mean = torch.stack([x.double().sum(dim=0) for x, _ in pieces]).sum(dim=0) / count
    variance = torch.stack([(x.double() - mean).square().sum(dim=0) for x, _ in pieces]).sum(dim=0) / count
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = TemporalHead(len(mean), classes, config)
        head.mean.copy_(mean)
        head.deviation.copy_(variance.sqrt().clamp_min(1e-4))
        optimizer = torch.optim.AdamW(head.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        total = config.epochs * -(-len(pieces) // config.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        for _ in tqdm(range(config.epochs), unit="epoch", delay=2, disable=None if progress else True, desc="head"):
            for some in torch.randperm(len(pieces)).split(config.batch_size):
                loss = _loss(head, [pieces[number] for number in some.tolist()], config.smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return head.eval()


def _loss(head: TemporalHead, pieces: list[tuple[Tensor, Tensor]], smoothing: float) -> Tensor:
    x = nn.utils.rnn.pad_sequence([x for x, _ in pieces], batch_first=True)
    y = nn.utils.rnn.pad_sequence([y for _, y in pieces], batch_first=True, padding_value=UNLABELLED)
    there = y != UNLABELLED
    logs = head(x, there)
    both = there[:, 1:] & there[:, :-1]
    jump = (logs[:, 1:] - logs[:, :-1].detach()).clamp(-JUMP, JUMP).square()[both]
    right = F.cross_entropy(rearrange(logs, "b n k -> (b n) k"), rearrange(y, "b n -> (b n)"))
    return right + smoothing * jump.mean() if len(jump) else right


@torch.inference_mode()
def step_logs(head: TemporalHead, steps: FloatArray) -> FloatArray:
    """Logarithms of probabilities [N, K + 1] of the steps [N, D] of a recording."""
    found = head(torch.from_numpy(np.array(steps))[None])[0]
    return np.asarray(found.numpy())


def cheapest_path(logs: NDArray[np.floating], change: float) -> IntArray:
    """Classes [N] with the largest sum of ``logs`` [N, K], less ``change`` wherever the class changes."""
    value = np.zeros(logs.shape[1])
    before = np.zeros(logs.shape, np.int64)
    for step, gain in enumerate(np.asarray(logs, np.float64)):
        best = int(value.argmax())
        stays = value >= value[best] - change
        before[step] = np.where(stays, np.arange(len(value)), best)
        value = np.where(stays, value, value[best] - change) + gain
    path = np.empty(len(logs), np.int64)
    current = int(value.argmax())
    for step in range(len(logs) - 1, -1, -1):
        path[step] = current
        current = int(before[step, current])
    return path
