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
from pathlib import Path
from typing import Any

import numpy as np
from probe import KINECT, Probe, halves, read_set, with_interval

from mamp import MAMPEncoder, Skeleton, load

Change = Callable[[Skeleton, np.random.Generator], Skeleton]

ARM = ("shoulder_left", "elbow_left", "wrist_left", "hand_left", "hand_tip_left", "thumb_left")
LEGS = tuple(f"{joint}_{side}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot"))


def without_joints(names: tuple[str, ...]) -> Change:
    """Joints that are never tracked."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        x[:, :, [recording.layout.joints.index(name) for name in names]] = np.nan
        return _keep(recording, x)

    return change


def random_joints(share: float) -> Change:
    """Some joints, others in each clip, are never tracked."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        x[:, :, rng.permutation(x.shape[2])[: round(share * x.shape[2])]] = np.nan
        return _keep(recording, x)

    return change


def random_points(share: float) -> Change:
    """Any joint is lost in any frame."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        x[rng.random(x.shape[:3]) < share] = np.nan
        return _keep(recording, x)

    return change


def random_frames(share: float) -> Change:
    """In some frames nobody is tracked."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        x[:, rng.permutation(x.shape[1])[: round(share * x.shape[1])]] = np.nan
        return _keep(recording, x)

    return change


def joint_gaps(share: float) -> Change:
    """Each joint is lost for one stretch of time, its own."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        length = round(share * x.shape[1])
        for joint in range(x.shape[2]):
            start = rng.integers(0, x.shape[1] - length + 1)
            x[:, start : start + length, joint] = np.nan
        return _keep(recording, x)

    return change


def frame_gap(share: float) -> Change:
    """For one stretch of time nobody is tracked."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions.copy()
        length = round(share * x.shape[1])
        start = rng.integers(0, x.shape[1] - length + 1)
        x[:, start : start + length] = np.nan
        return _keep(recording, x)

    return change


def jitter(metres: float) -> Change:
    """Normal noise on every coordinate."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        x = recording.positions
        return recording.replace(positions=x + rng.normal(scale=metres, size=x.shape).astype(np.float32))

    return change


def dropped(share: float) -> Change:
    """Frames that are not in the file at all, so that time jumps."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        frames = recording.num_frames
        kept = np.sort(rng.permutation(frames)[: max(frames - round(share * frames), 1)])
        return recording.replace(positions=recording.positions[:, kept], confidence=None)

    return change


def repeated(share: float) -> Change:
    """Frames that are in the file twice."""

    def change(recording: Skeleton, rng: np.random.Generator) -> Skeleton:
        frames = recording.num_frames
        again = np.sort(np.concatenate([np.arange(frames), rng.permutation(frames)[: round(share * frames)]]))
        return recording.replace(positions=recording.positions[:, again], confidence=None)

    return change


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


MISSING: dict[str, Change] = {
    "nothing": nothing,
    **{f"{round(100 * s)} % of joints": random_joints(s) for s in (0.1, 0.3, 0.5)},
    "left arm": without_joints(ARM),
    "both legs": without_joints(LEGS),
    **{f"{round(100 * s)} % of frames": random_frames(s) for s in (0.1, 0.3, 0.5)},
    **{f"one stretch of {round(100 * s)} % of the time": frame_gap(s) for s in (0.1, 0.3, 0.5)},
    **{f"each joint for {round(100 * s)} % of the time": joint_gaps(s) for s in (0.1, 0.3, 0.5)},
    "30 % of points": random_points(0.3),
}
CHANGES: dict[str, Change] = {
    "jitter 5 mm": jitter(0.005),
    "jitter 20 mm": jitter(0.02),
    "10 % of frames dropped": dropped(0.1),
    "10 % of frames repeated": repeated(0.1),
    "10 % of points lost": random_points(0.1),
}


def _keep(recording: Skeleton, positions: np.ndarray) -> Skeleton:
    """The recording with other positions, unless nothing would be left of it."""
    return recording.replace(positions=positions) if np.isfinite(positions).all(axis=-1).any() else recording


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
            found += [f"| {measured} | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 1)}"]
            found += [f"| {name} | {' | '.join(row.get(head, '') for head in heads)} |" for name, row in rows.items()]
            found += [""]
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
