"""What frozen embeddings bear: missing joints and frames, noise, other frame rates, directions and sizes.

    python benchmarks/robustness.py missing DATA_DIR     accuracy as joints, frames and limbs go missing
    python benchmarks/robustness.py change DATA_DIR      how much noise, lost and repeated frames move an embedding
    python benchmarks/robustness.py placing DATA_DIR     accuracy with other facing and body height than the weights say
    python benchmarks/robustness.py rates RAW_DIR        the same motion at 15, 30, 60 and 120 frames a second
    python benchmarks/robustness.py table RESULTS        the lines of --output as the tables of docs/recordings.md

DATA_DIR holds ``nw-ucla.npz`` and ``msr-action3d.npz`` as packed corpora, with the splits of
``probe.py``; RAW_DIR holds ``.bvh`` and ``.amc`` files of 120 frames a second in any folders.
Prints JSON lines, each as soon as it is measured; ``--output`` also appends them to a file.

The probe (logistic regression, standardised) is trained on the complete clips of the training half, and tested on those
of the test half of which something was taken away. A cosine is that of an embedding with that of the untouched clip,
plain and with the mean of the set subtracted from both, which is the harder comparison.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from probe import KINECT, Probe, halves, read_set, with_interval

from mamp import MAMPEncoder, Skeleton, load
from mamp.evaluate.page import markdown_table
from mamp.layouts import MODEL_LAYOUT

Change = Callable[[Skeleton, np.random.Generator], Skeleton]
Shape = tuple[int, ...]  # people, frames, joints
Where = Callable[[Shape, np.random.Generator, Any], Any]  # what is lost of [M, T, V, 3]

ARM = ("shoulder_left", "elbow_left", "wrist_left", "hand_left", "hand_tip_left", "thumb_left")
LEGS = tuple(f"{joint}_{side}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot"))


def lose(recording: Skeleton, rng: np.random.Generator, where: Where, amount: Any) -> Skeleton:
    """Lose some points, unless nothing would be left."""
    x = recording.positions.copy()
    x[where(x.shape[:3], rng, amount)] = np.nan
    return recording.replace(positions=x) if np.isfinite(x).all(axis=-1).any() else recording


def named_joints(shape: Shape, rng: np.random.Generator, names: tuple[str, ...]) -> Any:
    """Joints that are never tracked."""
    return np.s_[:, :, [MODEL_LAYOUT.joints.index(name) for name in names]]


def joints(shape: Shape, rng: np.random.Generator, share: float) -> Any:
    """Some joints, others in each clip, are never tracked."""
    return np.s_[:, :, rng.permutation(shape[2])[: round(share * shape[2])]]


def points(shape: Shape, rng: np.random.Generator, share: float) -> Any:
    """Any joint is lost in any frame."""
    return rng.random(shape) < share


def frames(shape: Shape, rng: np.random.Generator, share: float) -> Any:
    """In some frames nobody is tracked."""
    return np.s_[:, rng.permutation(shape[1])[: round(share * shape[1])]]


def stretch(shape: Shape, rng: np.random.Generator, share: float) -> Any:
    """For one stretch of time nobody is tracked."""
    length = round(share * shape[1])
    start = rng.integers(0, shape[1] - length + 1)
    return np.s_[:, start : start + length]


def stretches(shape: Shape, rng: np.random.Generator, share: float) -> Any:
    """Each joint is lost for one stretch of time, its own."""
    lost = np.zeros(shape, bool)
    for joint in range(shape[2]):
        lost[:, stretch(shape, rng, share)[1], joint] = True
    return lost


def jitter(recording: Skeleton, rng: np.random.Generator, metres: float) -> Skeleton:
    """Normal noise on every coordinate."""
    x = recording.positions
    return recording.replace(positions=x + rng.normal(scale=metres, size=x.shape).astype(np.float32))


def dropped(recording: Skeleton, rng: np.random.Generator, share: float) -> Skeleton:
    """Frames that are not in the file at all, so that time jumps."""
    count = recording.num_frames
    kept = np.sort(rng.permutation(count)[: max(count - round(share * count), 1)])
    return recording.replace(positions=recording.positions[:, kept], confidence=None)


def repeated(recording: Skeleton, rng: np.random.Generator, share: float) -> Skeleton:
    """Frames that are in the file twice."""
    count = recording.num_frames
    again = np.sort(np.concatenate([np.arange(count), rng.permutation(count)[: round(share * count)]]))
    return recording.replace(positions=recording.positions[:, again], confidence=None)


def turned(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Turn by any angle about the vertical."""
    cos, sin = np.cos(angle := rng.uniform(-np.pi, np.pi)), np.sin(angle)
    matrix = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)
    return recording.replace(positions=recording.positions @ matrix)


def resized(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Scale by 0.7 to 1.3, as children and others do."""
    return recording.replace(positions=recording.positions * np.float32(rng.uniform(0.7, 1.3)))


def nothing(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Change nothing."""
    return recording


def losing(where: Where, text: str, *shares: float) -> dict[str, Change]:
    """Changes by name, of which ``text`` gives that of a share."""
    return {text.format(round(100 * share)): partial(lose, where=where, amount=share) for share in shares}


MISSING: dict[str, Change] = {
    "nothing": nothing,
    **losing(joints, "{} % of joints", 0.1, 0.3, 0.5),
    "left arm": partial(lose, where=named_joints, amount=ARM),
    "both legs": partial(lose, where=named_joints, amount=LEGS),
    **losing(frames, "{} % of frames", 0.1, 0.3, 0.5),
    **losing(stretch, "one stretch of {} % of the time", 0.1, 0.3, 0.5),
    **losing(stretches, "each joint for {} % of the time", 0.1, 0.3, 0.5),
    **losing(points, "{} % of points", 0.3),
}
CHANGES: dict[str, Change] = {
    "jitter 5 mm": partial(jitter, metres=0.005),
    "jitter 20 mm": partial(jitter, metres=0.02),
    "10 % of frames dropped": partial(dropped, share=0.1),
    "10 % of frames repeated": partial(repeated, share=0.1),
    **losing(points, "{} % of points lost", 0.1),
}
COSINES = ("cosine", "centred_cosine")


class ActionSet:
    """Clips in the model's joints, labels, and which half is for training."""

    def __init__(self, path: Path, limit: int | None) -> None:
        recordings = [recording.to_layout("ntu25") for recording in read_set(path)]
        self.name = path.stem
        labels, train = halves(path.stem, recordings)
        self.train = [recording for recording, here in zip(recordings, train, strict=True) if here]
        self.test = [recording for recording, here in zip(recordings, train, strict=True) if not here]
        self.train_labels, self.test_labels = labels[train], labels[~train]
        step = -(-len(self.test) // limit) if limit else 1
        self.test, self.test_labels = self.test[::step], self.test_labels[::step]

    def changed(self, name: str, change: Change) -> list[Skeleton]:
        """The test half, each clip changed in a way of its own that is always the same."""
        seed = zlib.crc32(name.encode())
        return [change(clip, np.random.default_rng([seed, i])) for i, clip in enumerate(self.test)]


def linear(probe: Probe, x: np.ndarray, actions: ActionSet) -> dict[str, Any]:
    """Top-1 of the linear probe in per cent, with its interval."""
    return with_interval(probe.hits(x, actions.test_labels)["linear"])


def cosines(x: np.ndarray, y: np.ndarray, common: np.ndarray) -> dict[str, float]:
    """Mean cosine of rows, plain and without what all clips have in common."""

    def mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return round(float(((a * b).sum(axis=1) / norms).mean()), 4)

    return {"cosine": mean_cosine(x, y), "centred_cosine": mean_cosine(x - common, y - common)}


def measure_missing(encoder: MAMPEncoder, actions: ActionSet, share: float) -> Iterator[dict[str, Any]]:
    """Accuracy on what is left, absent tokens dropped against filled in."""
    probe = Probe(np.asarray(encoder.encode(actions.train, token_share=share)), actions.train_labels)
    for name, change in MISSING.items():
        clips = actions.changed(name, change)
        for missing in ("drop", "fill"):
            x = np.asarray(encoder.encode(clips, preprocessing={"missing": missing}, token_share=share))
            yield {"lost": name, "missing": missing, **linear(probe, x, actions)}


def measure_change(encoder: MAMPEncoder, actions: ActionSet, share: float) -> Iterator[dict[str, Any]]:
    """How far embeddings move."""
    before = np.asarray(encoder.encode(actions.test, token_share=share))
    others = before[np.roll(np.arange(len(before)), len(before) // 2)]
    yield {"change": "another clip", **cosines(before, others, before.mean(axis=0))}
    for name, change in CHANGES.items():
        after = np.asarray(encoder.encode(actions.changed(name, change), token_share=share))
        yield {"change": name, **cosines(before, after, before.mean(axis=0))}


def measure_placing(encoder: MAMPEncoder, actions: ActionSet, share: float) -> Iterator[dict[str, Any]]:
    """Accuracy on test clips as they are, turned, and scaled, by what is done about direction and size."""
    for facing in (True, False):
        for height in (None, 1.7):
            how = {"facing": facing, "height": height}
            options: dict[str, Any] = {"preprocessing": how, "token_share": share}
            probe = Probe(np.asarray(encoder.encode(actions.train, **options)), actions.train_labels)
            for name, change in {"nothing": nothing, "turned": turned, "scaled": resized}.items():
                x = np.asarray(encoder.encode(actions.changed(name, change), **options))
                yield {**how, "test": name, **linear(probe, x, actions)}


def measure_rates(encoder: MAMPEncoder, folder: Path) -> Iterator[dict[str, Any]]:
    """Embeddings of windows of four seconds at 15, 30 and 60 frames a second against those at 120."""
    files = [path for pattern in ("*.bvh", "*.amc") for path in sorted(folder.rglob(pattern))]
    recordings = [recording for recording in map(load, files) if recording.fps and round(recording.fps) == 120]
    found: dict[int, list[np.ndarray]] = {}
    for rate in (120, 60, 30, 15):
        for recording in recordings:
            thin = recording.replace(
                positions=recording.positions[:, : recording.num_frames // 8 * 8 : 120 // rate], fps=rate
            )
            found.setdefault(rate, []).append(encoder.encode(thin, window=4 * rate, stride=2 * rate))
    rows = {rate: np.concatenate(windows) for rate, windows in found.items()}
    common = rows[120].mean(axis=0)
    for rate in (60, 30, 15):
        line = {"rate": rate, "against": 120, "recordings": len(recordings), "windows": len(rows[rate])}
        yield {**line, **cosines(rows[rate], rows[120], common)}
    yield {"rate": 120, "against": "another window", **cosines(rows[120], np.roll(rows[120], 7, axis=0), common)}


def tables(lines: list[dict[str, Any]]) -> str:
    """Markdown tables of what was measured: a row for each condition, a column for each set and way."""
    columns: dict[str, Callable[[dict[str, Any]], tuple[str, dict[str, str]]]] = {
        "missing": lambda x: (x["lost"], {f"{x['set']}, {x['missing']}": shown(x)}),
        "change": lambda x: (x["change"], {f"{x['set']}, {key}": f"{x[key]:.3f}" for key in COSINES}),
        "placing": lambda x: (
            f"facing {x['facing']}, height {x['height']}",
            {f"{x['set']}, test clips {x['test'].replace('nothing', 'as they are')}": shown(x)},
        ),
        "rates": lambda x: (f"{x['rate']} against {x['against']}", {key: f"{x[key]:.4f}" for key in COSINES}),
    }
    found = []
    for measured, cells in columns.items():
        rows: dict[str, dict[str, str]] = {}
        for line in lines:
            if line["measured"] == measured:
                name, values = cells(line)
                rows.setdefault(name, {}).update(values)
        heads = list(dict.fromkeys(head for row in rows.values() for head in row))
        if rows:
            body = [[name, *(row.get(head, "") for head in heads)] for name, row in rows.items()]
            found += [*markdown_table([measured, *heads], body), ""]
    return "\n".join(found)


def shown(line: dict[str, Any]) -> str:
    """An accuracy with its interval."""
    low, high = line["interval"]
    return f"{line['accuracy']:.1f} ({low:.1f}-{high:.1f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("missing", "change", "placing", "rates", "table"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="openmocap", help="[%(default)s]")
    parser.add_argument("--sets", nargs="+", choices=KINECT, default=list(KINECT), help="[both]")
    parser.add_argument("--limit", type=int, help="take at most so many clips of each test half")
    parser.add_argument("--token-share", type=float, default=1.0, help="look at that share of the tokens [%(default)s]")
    parser.add_argument("--output", type=Path, help="a file to append the lines to")
    args = parser.parse_args()
    if args.what == "table":
        print(tables([json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]))
        return
    encoder = MAMPEncoder.from_pretrained(args.weights)

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)
        if args.output:
            with args.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    if args.what == "rates":
        for line in measure_rates(encoder, args.data):
            say({"measured": "rates", **line})
        return
    measure = {"missing": measure_missing, "change": measure_change, "placing": measure_placing}[args.what]
    for name in args.sets:
        for line in measure(encoder, ActionSet(args.data / f"{name}.npz", args.limit), args.token_share):
            say({"measured": args.what, "set": name, "token_share": args.token_share, **line})


if __name__ == "__main__":
    main()
