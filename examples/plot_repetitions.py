"""Count repetitions, and see them
================================

Squats are counted from the embeddings of the frames: a repetition is a stretch of time that is like the one before or
after it. Nothing is trained, and no period has to be known.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from mamp import MAMPEncoder, load
from mamp.repetitions import count_repetitions
from mamp.synthetic import synthesize

# %%
# Twelve seconds of squats, made by formula.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "squats.bvh"
    path.write_text(synthesize("squat", seconds=12))
    recording = load(path, unit="cm", up="y")

found = count_repetitions(recording, MAMPEncoder.from_pretrained())
print(f"{found.count} repetitions of about {found.period:.1f} s")
for number, (start, end) in enumerate(zip(found.starts, found.ends, strict=True), 1):
    print(f"{number}: {start:.1f} to {end:.1f} s")

# %%
# The height of the pelvis shows whether that is right.

body = recording.to_layout("ntu25")
height = body.positions[0, :, body.layout.joints.index("spine_base"), 1]
figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
axis.plot(np.arange(len(height)) / recording.fps, height, color="#5b2bb5")
for number, (start, end) in enumerate(zip(found.starts, found.ends, strict=True), 1):
    axis.axvspan(start, end, color="#5b2bb5", alpha=0.08 if number % 2 else 0.2, linewidth=0)
    axis.text((start + end) / 2, height.max() + 0.02, str(number), ha="center")
axis.set(xlabel="seconds", ylabel="height of the pelvis, m", ylim=(height.min() - 0.05, height.max() + 0.1))
