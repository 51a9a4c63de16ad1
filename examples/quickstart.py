"""One recording, every kind of embedding
======================================

One recording to embeddings of every kind.

Run it with::

    python examples/quickstart.py walk.bvh

Without a file it takes a recording made by formula.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from mamp import MAMPEncoder, load
from mamp.synthetic import synthesize


def main() -> None:
    """Load, embed, print shapes."""
    if len(sys.argv) > 1:
        recording = load(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "walk.bvh"
            path.write_text(synthesize("walk"))
            recording = load(path)
    print(recording)

    encoder = MAMPEncoder.from_pretrained()
    for pool in ("clip", "person", "frame", "joint", "tokens"):
        print(f"{pool:<7} {encoder.encode(recording, pool=pool).shape}")

    # Under encode there is an ordinary torch module: clips [B, M, T, V, C] in, tokens [B, M, T / 4, V, D] out.
    config = encoder.config
    clips = torch.randn(1, 1, config.num_frames, config.num_joints, config.dim_in, requires_grad=True)
    tokens = encoder(clips)
    tokens.square().mean().backward()
    print(f"tensor  {tuple(tokens.shape)}, gradient of the input {tuple(clips.grad.shape)}")


if __name__ == "__main__":
    main()
