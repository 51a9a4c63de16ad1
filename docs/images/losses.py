"""Draw docs/images/losses.png: the losses of the runs that the weights in the package came of.

    python docs/images/losses.py

The logs are those beside the weights; the run in stages is that of docs/openmocap.md, seed 0.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from matplotlib.axes import Axes
from PIL import Image

from mamp.figures import new_figure

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "weights"
CHAIN = ("openmocap-v1", "openmocap-v2", "openmocap-v3", "openmocap-v4")
STAGES = ("openmocap-prediction", "openmocap-agreement")
DISTILLED = ("openmocap-v5", "openmocap-once", "openmocap-small")


def read(name: str) -> list[dict[str, float]]:
    """The lines of the log of a run."""
    text = (WEIGHTS / f"{name}-metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def draw(panel: Axes, names: tuple[str, ...], losses: tuple[str, ...], one_by_one: bool) -> None:
    """The losses of some runs, each in a style of its own; one after another, if each goes on from the one before."""
    seen = 0.0
    for place, name in enumerate(names):
        lines = read(name)
        clips = [(seen + line["clips"]) / 1000 for line in lines]
        for loss, style in zip(losses, ("-", "--", ":"), strict=False):
            if loss in lines[0]:
                label = name.removeprefix("openmocap-") if style == "-" else None
                panel.plot(clips, [line[loss] for line in lines], style, color=f"C{place}", label=label)
        seen += lines[-1]["clips"] if one_by_one else 0


def main() -> None:
    """Draw."""
    figure = new_figure(figsize=(13, 3.2))
    left, middle, right = figure.subplots(1, 3)
    draw(left, CHAIN, ("motion", "joints", "agreement"), True)
    draw(middle, STAGES, ("motion", "joints", "agreement"), True)
    draw(right, DISTILLED, ("embeddings", "tokens"), False)
    predicted = "motion (-), joints (--), agreement (..)"
    titles = predicted, f"in stages: {predicted}", "distillation: embeddings (-), tokens (--)"
    for panel, title in zip((left, middle, right), titles, strict=True):
        panel.set_title(title, fontsize="medium")
        panel.set_xlabel("thousand clips")
        panel.set_ylabel("loss")
        panel.set_yscale("log")
        panel.legend(fontsize="small", ncols=4 if panel is left else 2, loc="upper right")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    Image.open(buffer).convert("RGB").quantize(64).save(HERE / "losses.png", optimize=True)


if __name__ == "__main__":
    main()
