"""Signals of a phone as tokens
============================

The method on other series than skeletons: accelerometer and gyroscope of a phone, 6 channels in the place of joints.

Run it with::

    python examples/time_series.py [TRAIN.ts TEST.ts]

Without files, signals of five activities are made by :func:`make`. The files are those of the UEA archive, such as
BasicMotions (in the wheel of ``aeon``). Pre-trains on the training series without their labels, and prints the accuracy
of the nearest neighbour on the test series: of the embeddings before and after training, and of three plain baselines.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from mamp import MAMPConfig, MAMPEncoder
from mamp.pretraining import MAMPForPretraining

FRAMES, CHANNELS, STEPS, BATCH = 100, 6, 200, 32


def make(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Series [N, 100, 6] at 25 Hz: gait of another tempo, harmonics and gravity for each activity and person, noise."""
    tempo = np.array([0.2, 1.6, 1.9, 2.6, 1.2])  # still, stairs, walking, running, cycling, in Hz
    size = np.array([0.05, 0.9, 1.0, 2.5, 0.7])
    labels, time = rng.integers(5, size=count), np.arange(FRAMES) / 25
    phase = tempo[labels, None] * rng.uniform(0.8, 1.25, (count, 1)) * time + rng.uniform(size=(count, 1))
    waves = np.stack([np.sin(2 * np.pi * k * phase) for k in (1, 2, 3)], axis=-1)
    held = rng.normal(size=(count, 3, CHANNELS)) / np.array([1, 2, 4])[:, None]  # how the phone is held
    x = size[labels, None, None] * (waves @ held) + rng.normal(size=(count, 1, CHANNELS))
    return x + rng.normal(0, 0.3, x.shape), labels


def read(path: str) -> tuple[np.ndarray, np.ndarray]:
    """A file of the UEA archive: a line for each series, its channels and label separated by colons."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = [line.split(":") for line in lines if line and line[0] not in "@#"]
    series = np.array([[channel.split(",") for channel in row[:-1]] for row in rows], float)
    return series.transpose(0, 2, 1), np.array([row[-1] for row in rows])


def accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> float:
    """Share of test rows whose nearest training row, of standardised columns, has their label."""
    mean, std = train.mean(0), train.std(0) + 1e-9
    apart = np.linalg.norm((test - mean)[:, None] / std - (train - mean)[None] / std, axis=-1)
    return float(np.mean(labels[apart.argmin(1)] == truth))


def main() -> None:
    """Pre-train and compare."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    (x, y), (x_test, y_test) = [read(path) for path in sys.argv[1:3]] or [make(200, rng), make(200, rng)]
    unit = x.std((0, 1))
    clips, test = (torch.tensor(part / unit, dtype=torch.float32)[:, None, :, :, None] for part in (x, x_test))
    config = MAMPConfig(
        dim_in=1, num_joints=CHANNELS, num_frames=FRAMES, dim_feat=32, depth=2, num_heads=4, pooling="mean+std"
    )
    model = MAMPForPretraining(config, decoder_dim_feat=32, decoder_depth=1, mask_ratio=0.8)

    def embed(series: torch.Tensor) -> np.ndarray:
        encoder = MAMPEncoder(config).eval()
        encoder.load_state_dict({name: model.state_dict()[name] for name in encoder.state_dict()})
        with torch.no_grad():
            tokens = encoder(series).flatten(1, 3)
        return torch.cat([tokens.mean(1), tokens.std(1)], dim=-1).numpy()

    def report(name: str, train: np.ndarray, test: np.ndarray) -> None:
        print(f"{name:<20}{accuracy(train, y, test, y_test):.1%}")

    report("raw series", x.reshape(len(x), -1), x_test.reshape(len(x_test), -1))
    report("mean and deviation", *(np.concatenate([part.mean(1), part.std(1)], axis=1) for part in (x, x_test)))
    report("power spectrum", *(np.abs(np.fft.rfft(part, axis=1)).reshape(len(part), -1) for part in (x, x_test)))
    report("untrained encoder", embed(clips), embed(test))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    for _ in range(STEPS):
        batch = clips[torch.randint(len(clips), (BATCH,))]
        batch = batch.roll(int(torch.randint(FRAMES, ())), dims=2) * torch.empty(BATCH, 1, 1, 1, 1).uniform_(0.8, 1.2)
        model(batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    report("trained encoder", embed(clips), embed(test))


if __name__ == "__main__":
    main()
