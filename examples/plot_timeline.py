"""What happens when in a long recording
=======================================

A long recording is cut into overlapping windows, which are embedded and compared with one example of each action.
Nothing is trained.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from mamp import MAMPEncoder, Skeleton, load
from mamp.synthetic import write_recordings

ACTIONS = ("walk", "wave", "squat", "punch")

# %%
# A long recording
# ----------------
#
# Four recordings, one after another, are the long recording; four others, of other bodies, are the examples.

with tempfile.TemporaryDirectory() as folder:
    write_recordings(Path(folder), variations=2, seconds=5, actions=ACTIONS)
    takes = {
        (action, number): load(Path(folder) / f"{action}-{number}.bvh", unit="cm", up="y")
        for action in ACTIONS
        for number in (0, 1)
    }
examples = [takes[action, 0] for action in ACTIONS]
positions = np.concatenate([takes[action, 1].positions for action in ACTIONS], axis=1)
fps = examples[0].fps
recording = Skeleton(positions, examples[0].layout, fps, name="long")
print(recording)

# %%
# Windows and examples
# --------------------
#
# Windows of two seconds, twice a second; parts of the examples that are as long.

encoder = MAMPEncoder.from_pretrained()
window, stride = round(2 * fps), round(0.5 * fps)
windows = encoder.encode(recording, window=window, stride=stride)
references = np.stack([parts.mean(axis=0) for parts in encoder.encode(examples, window=window)])

common = references.mean(axis=0)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one, without what all examples have in common."""
    return (x - common) / np.linalg.norm(x - common, axis=-1, keepdims=True)


likeness = unit(windows) @ unit(references).T

# %%
# Likeness over time
# ------------------
#
# The curve of an action is high while it happens.

starts = np.minimum(np.arange(len(windows)) * stride, recording.num_frames - window)
middle = (starts + window / 2) / fps
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
for action, curve in zip(ACTIONS, likeness.T, strict=True):
    axis.plot(middle, curve, label=action, linewidth=2)
ends = np.cumsum([takes[action, 1].num_frames for action in ACTIONS]) / fps
for action, start, end in zip(ACTIONS, [0, *ends], ends, strict=False):
    axis.axvline(end, color="0.8", zorder=0)
    axis.text((start + end) / 2, 1.08, action, ha="center", color="0.4")
axis.set(xlabel="seconds (middle of the window)", ylabel="cosine with the example", ylim=(-1, 1.2))
axis.legend(loc="lower right", ncols=4)

# %%
# In numbers
# ----------
#
# The example that each window is most like:

for second, row in zip(middle, likeness, strict=True):
    print(f"{second:5.1f} s  {ACTIONS[row.argmax()]:6} {row.max():+.2f}")
