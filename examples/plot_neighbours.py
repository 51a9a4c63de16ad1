"""Which movements are alike
===========================

Eighteen synthetic recordings of nine actions are embedded, each by one vector, and all vectors are compared by their
cosine. Recordings of one action should be most alike.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from mamp import MAMPEncoder, load
from mamp.synthetic import write_recordings

# %%
# Recordings
# ----------
#
# Two variations of each action: another body, tempo, direction and place in the room. In place of these files, take any
# that :func:`mamp.load` can read.

with tempfile.TemporaryDirectory() as folder:
    paths = write_recordings(Path(folder), variations=2)
    recordings = [load(path, unit="cm", up="y") for path in paths]
print(recordings[0])

# %%
# Embeddings
# ----------
#
# One vector for each recording.

encoder = MAMPEncoder.from_pretrained()
embeddings = encoder.encode(recordings)
print(embeddings.shape, embeddings.dtype)

# %%
# Likeness
# --------
#
# The mean says only what all recordings have in common, so subtract it before comparing.

centred = embeddings - embeddings.mean(axis=0)
unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
cosine = unit @ unit.T

names = [path.stem for path in paths]
figure, axis = plt.subplots(figsize=(7, 6), layout="constrained")
image = axis.imshow(cosine, cmap="RdBu_r", vmin=-1, vmax=1)
axis.set_xticks(range(len(names)), names, rotation=90)
axis.set_yticks(range(len(names)), names)
figure.colorbar(image, label="cosine")
figure.suptitle("Blocks on the diagonal are the two recordings of an action")

# %%
# Neighbours
# ----------
#
# The nearest other recording of each:

np.fill_diagonal(cosine, -1)
for name, row in zip(names, cosine, strict=True):
    print(f"{name:8} {names[row.argmax()]:8} {row.max():+.2f}")
