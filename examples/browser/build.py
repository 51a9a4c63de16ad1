"""Build the page that embeds movement in a browser, without a server.

    python examples/browser/build.py build/browser
    python -m http.server --directory build/browser  # or any other way to show static files

Needs the extra ``export``, and Node.js with npm. Exports the encoder to ONNX, writes what the page has to know beside
it (``model.json``: joints, names that rigs give them, units, embeddings of synthetic actions to compare with), and
bundles the parts that come from npm, so that the page loads nothing from elsewhere.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mamp import MAMPEncoder, get_layout, load
from mamp.errors import ConfigError
from mamp.export import export
from mamp.layouts import names, rigs
from mamp.layouts.layout import Layout
from mamp.readers import infer
from mamp.readers.units import UNITS
from mamp.synthetic import write_recordings

HERE = Path(__file__).parent
# What src/clip.js does; other settings would need another one.
SETTINGS = {
    "up": "y",
    "unit": "m",
    "center": "clip",
    "facing": True,
    "height": None,
    "missing": "drop",
    "stream": "joint",
}


def layout(one: Layout) -> dict[str, Any]:
    """A layout as the page reads it."""
    return {"name": one.name, "joints": one.joints, "parents": one.parents, "mapping": dict(one.mapping)}


def describe(encoder: MAMPEncoder, folder: Path) -> dict[str, Any]:
    """Content of ``model.json``; ``folder`` holds recordings ``ACTION-N.bvh`` of the known actions."""
    config, expected = encoder.config, encoder.config.preprocessing
    other = {name: found for name, value in SETTINGS.items() if (found := getattr(expected, name)) != value}
    if other or expected.absent_person != "none" or expected.max_people is not None:
        raise ConfigError(f"the page prepares clips as the openmocap weights expect them; these expect {other}.")
    model = get_layout(expected.layout)
    paths = sorted(folder.glob("*.bvh"))
    vectors = encoder.encode([load(path) for path in paths])
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    known = [
        {"label": path.stem.rpartition("-")[0], "vector": vector.round(5).tolist()}
        for path, vector in zip(paths, centred, strict=True)
    ]
    return {
        "joints": model.joints,
        "parents": model.parents,
        "frames": config.num_frames,
        "t_patch_size": config.t_patch_size,
        "crop": expected.crop,
        "center_joint": expected.center_joint,
        "layouts": [layout(get_layout(name)) for name in ("mediapipe33",)],
        "rigs": {
            "centre": rigs.CENTRE_ROLES,
            "side": rigs.SIDE_ROLES,
            "sides": rigs.SIDES,
            "before": sorted(rigs.BEFORE),
            "after": sorted(rigs.AFTER),
            "centreMarks": sorted(rigs.CENTRE_MARKS),
            "bodyWords": sorted(names.BODY_WORDS),
            "japanese": rigs.JAPANESE,
        },
        "units": [{"metres": UNITS[name], "low": low, "high": high} for name, (low, high) in infer.GUESSES],
        "library": {"mean": mean.tolist(), "known": known},
    }


def main() -> None:
    """Build into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="openmocap-small", help="name or folder of the weights [openmocap-small]")
    parser.add_argument("--bits", type=int, default=32, choices=(8, 32), help="of the weights in the page [32]")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights)
    args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        recordings = Path(name) / "recordings"
        write_recordings(recordings, variations=4)
        content = describe(encoder, recordings)
        (args.folder / "model.json").write_text(json.dumps(content))
        shutil.copy(recordings / "walk-0.bvh", args.folder / "sample.bvh")
        export(encoder, Path(name) / "exported", "onnx", bits=args.bits)
        shutil.copy(Path(name) / "exported" / "model.onnx", args.folder / "model.onnx")
    if not (HERE / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=HERE, check=True)
    subprocess.run(["node", "bundle.js", str(args.folder.resolve())], cwd=HERE, check=True)
    print(f"built in {args.folder}: python -m http.server --directory {args.folder}")


if __name__ == "__main__":
    main()
