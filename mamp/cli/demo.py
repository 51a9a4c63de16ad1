"""``mamp demo``: synthetic recordings, their embeddings and nearest neighbours, without data or network."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mamp.cli.command import add_weights_options, open_encoder
from mamp.console import positive, say_result
from mamp.hub import fingerprint
from mamp.readers import load
from mamp.synthetic import ACTIONS, write_recordings

DESCRIPTION = f"""\
Synthesise BVH recordings of {len(ACTIONS)} actions with variations (speed, amplitude, body
height, heading, side, phase), embed them, and show the nearest neighbours of
each. Needs no network and no data."""
EXAMPLE = "mamp demo --keep recordings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--variations", type=positive, default=4, metavar="N", help="recordings of each action [4]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the variations [0]")
    parser.add_argument("--keep", metavar="DIR", help="keep the recordings in this folder")
    add_weights_options(parser)


def nearest_neighbours(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Rank the other rows by cosine similarity after centring.

    Args:
        embeddings: [N, D].

    Returns:
        order [N, N - 1], nearest first, and their similarities [N, N - 1].
    """
    centred = embeddings - embeddings.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
    return order, np.take_along_axis(similarity, order, axis=1)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    encoder = open_encoder(args)
    with ExitStack() as stack:
        folder = args.keep or stack.enter_context(tempfile.TemporaryDirectory())
        paths = write_recordings(folder, variations=args.variations, seed=args.seed)
        recordings = [load(path, unit="cm", up="y") for path in paths]
    bar = tqdm(recordings, unit="clip", delay=2, disable=None, file=sys.stderr)
    embeddings = np.stack([encoder.encode(recording) for recording in bar])
    order, similarity = nearest_neighbours(embeddings)
    names = [path.stem for path in paths]
    actions = [name.rsplit("-", 1)[0] for name in names]
    rows: list[dict[str, Any]] = []
    for name, action, others, cosines in zip(names, actions, order[:, :3].tolist(), similarity.tolist(), strict=True):
        pairs = zip(others, cosines, strict=False)
        nearest = [{"recording": names[other], "cosine": round(cosine, 4)} for other, cosine in pairs]
        rows.append({"recording": name, "nearest": nearest, "same_action": action == actions[others[0]]})
    data = {
        "weights": args.weights,
        "fingerprint": fingerprint(encoder),
        "shape": list(embeddings.shape),
        "recordings": rows,
        "nearest_of_same_action": sum(row["same_action"] for row in rows),
        "chance": round((args.variations - 1) / (len(names) - 1), 4),
        "folder": args.keep and str(Path(args.keep)),
    }
    say_result(args.json, data, _table(data))
    return 0


def _table(data: dict[str, Any]) -> str:
    """The result as text."""
    count, width = data["shape"]
    lines = [f"{count} recordings, embeddings [{count}, {width}], weights {data['weights']}", ""]
    lines.append(f"{'recording':<10}  nearest, by cosine of the centred embeddings")
    for row in data["recordings"]:
        near = "   ".join(f"{other['recording']:<8} {other['cosine']:+.2f}" for other in row["nearest"])
        lines.append(f"{row['recording']:<10}  {near}   {'' if row['same_action'] else 'other action'}".rstrip())
    same, chance = data["nearest_of_same_action"], data["chance"]
    lines += ["", f"{same} of {count} are nearest to a recording of the same action (by chance: {chance * count:.0f})."]
    if data["folder"]:
        lines.append(f"The recordings are in {data['folder']}.")
    return "\n".join(lines)
