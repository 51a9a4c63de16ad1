"""Fine-tune on your own labels
============================

Fine-tune the encoder and the published head on your own labels.

Run it with::

    python examples/finetune.py labels.csv my-classifier --epochs 20

labels.csv has the columns file and label. The folder then holds encoder, head and class names: ``mamp predict FILES
--weights my-classifier`` and ``MAMPClassifier.from_pretrained("my-classifier")`` use it. All clips are held in memory;
for large sets, augmentation and test splits there is ``python -m mamp.evaluate finetune``.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from mamp import MAMPClassifier, MAMPEncoder, load
from mamp.classifier import prepare_batch
from mamp.heads import ActionHead


def finetune(files: Sequence[str], labels: Sequence[str], weights: str, epochs: int, lr: float) -> MAMPClassifier:
    """Train on files and their labels."""
    encoder, classes = MAMPEncoder.from_pretrained(weights).without_readout(), sorted(set(labels))
    config = encoder.config
    model = MAMPClassifier(config, ActionHead(config.dim_feat, config.grid[1], len(classes), hidden=512), classes)
    model.load_state_dict(encoder.state_dict(), strict=False)  # the head stays as it was drawn
    x, present = prepare_batch([load(file) for file in files], config)
    y = torch.tensor([classes.index(label) for label in labels])
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    for epoch in range(epochs):
        losses = []
        for rows in torch.randperm(len(y)).chunk(-(-len(y) // 16)):  # at most 16 clips, about as many in each
            scores = model.train()(x[rows], None if present is None else present[rows])
            loss = cross_entropy(scores, y[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}")
    return model.eval()


def main() -> None:
    """Read the labels, train, save, and load what was saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="CSV with the columns file and label")
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--weights", default="openmocap")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=3e-4)
    args = parser.parse_args()
    with args.labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    files, labels = [row["file"] for row in rows], [row["label"] for row in rows]
    torch.manual_seed(0)
    finetune(files, labels, args.weights, args.epochs, args.lr).save_pretrained(args.output)
    found = MAMPClassifier.from_pretrained(args.output).predict(load(file) for file in files).labels
    right = sum(one == label for one, label in zip(found, labels, strict=True))
    print(f"{args.output}: right about {right} of the {len(labels)} recordings that it was trained on")


if __name__ == "__main__":
    main()
