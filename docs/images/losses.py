"""Draw docs/images/losses.png: the losses of the runs that the weights in the package came of.

    python docs/images/losses.py

The logs are those beside the weights.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image

from mamp.figures import new_figure

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "weights"
CHAIN = ("openmocap-v1", "openmocap-v2", "openmocap-v3", "openmocap-v4")
DISTILLED = ("openmocap-v5", "openmocap-small")


def read(name: str) -> list[dict[str, float]]:
    """The lines of the log of a run."""
    text = (WEIGHTS / f"{name}-metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def main() -> None:
    """Draw."""
    figure = new_figure(figsize=(9, 3.2))
    left, right = figure.subplots(1, 2)
    seen = 0.0
    for place, name in enumerate(CHAIN):
        lines = read(name)
        clips = [(seen + line["clips"]) / 1000 for line in lines]
        for loss, style in (("motion", "-"), ("joints", "--"), ("agreement", ":")):
            if loss in lines[0]:
                left.plot(
                    clips,
                    [line[loss] for line in lines],
                    style,
                    color=f"C{place}",
                    label=name[10:] if style == "-" else None,
                )
        seen += lines[-1]["clips"]
    for place, name in enumerate(DISTILLED):
        lines = read(name)
        clips = [line["clips"] / 1000 for line in lines]
        for loss, style in (("embeddings", "-"), ("tokens", "--")):
            right.plot(
                clips,
                [line[loss] for line in lines],
                style,
                color=f"C{place}",
                label=name[10:] if style == "-" else None,
            )
    titles = "motion (-), joints (--), agreement (..)", "distillation: embeddings (-), tokens (--)"
    for panel, title in zip((left, right), titles, strict=True):
        panel.set_title(title)
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
