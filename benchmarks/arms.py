"""What each change of the recipe is worth: many small pre-training runs, each with a readout, probed frozen.

    python benchmarks/arms.py STORE --sets nw-ucla=PATH msr=PATH bandai=PATH --every nw-ucla=2 bandai=4 --output arms
    python benchmarks/arms.py STORE --sets ... --output arms --arms motion joints both --seeds 0 1 2
    python benchmarks/arms.py --sets ... --output arms --weights openmocap openmocap@v1    probes only
    python benchmarks/arms.py --table arms/results.jsonl

STORE is that of the recipe ``openmocap``. The sets were seen by no arm; they have a column ``split`` (``python -m
mamp.prepare packed ... --test view=3``) and their labels in ``label`` or else ``content``, of which classes with fewer
than five training clips are left out. Of a set, each N-th clip is taken (``--every``).

An arm is an encoder of 3 blocks of width 128, from nothing, over 32,768 clips: some six minutes of a core; "untrained"
is the same encoder before the first of them. Then a readout to 256 numbers is fitted to 2,048 crops, and what
``encode`` gives is probed: ``linear`` as in ``python -m mamp.evaluate logistic``, ``1-NN`` as in ``knn``, ``raw`` the
same by cosine of what is not standardised, ``5-shot`` as in ``fewshot`` with 100 draws. Runs that are there are gone on
with, results that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pooling import probe
from tqdm import tqdm

from mamp import MAMPEncoder
from mamp.data import ClipStore
from mamp.evaluate.fewshot import Draw, episode
from mamp.evaluate.frozen import standardise
from mamp.evaluate.knn import similarity
from mamp.options import override
from mamp.train.engine import train
from mamp.train.readout import ReadoutSettings, add_readout
from mamp.train.recipes import get_recipe

SHOTS, EPISODES = 5, 100
BATCH = 32
SMALL = {
    "init": "none",
    "encoder.depth": "3",
    "encoder.dim_feat": "128",
    "encoder.num_heads": "4",
    "objective.decoder_dim_feat": "64",
    "objective.decoder_depth": "1",
    "objective.decoded_tokens": "75",
    "optim.batch_size": "64",
    "optim.epochs": "8",
    "optim.warmup_epochs": "0.5",
    "optim.lr": "1e-3",
    "data.workers": "0",
    "run.precision": "float32",
    "run.storage": "float32",
}
UNTRAINED = "untrained"
# Recipe of each arm, made small, and what the arm changes of it; "recipe" is that of v2.
ARMS: dict[str, tuple[str, dict[str, str | list[str]]]] = {
    UNTRAINED: ("openmocap-v2", {}),
    "motion": ("openmocap-v1", {"objective.joints_weight": "0"}),
    "joints": ("openmocap-v1", {"objective.joints_weight": "0", "objective.target": "joints"}),
    "both": ("openmocap-v1", {}),
    "recipe": ("openmocap-v2", {}),
    "recipe, motion": ("openmocap-v2", {"objective.joints_weight": "0"}),
    "recipe, joints": ("openmocap-v2", {"objective.joints_weight": "0", "objective.target": "joints"}),
    "recipe, random masks": ("openmocap-v2", {"objective.masking": "random"}),
    "recipe, 80 % masked": ("openmocap-v2", {"objective.mask_ratio": "0.8"}),
    "recipe, corpora by length": ("openmocap-v2", {"data.weights": ["ui-prmd=1", "cmu-salsa=1"]}),
    "recipe, windows of 60 to 120": ("openmocap-v2", {"augment.window": ["60", "120"]}),
    "recipe, temperature 0.4": ("openmocap-v2", {"objective.motion_aware_tau": "0.4"}),
    "recipe, decoder of 2 x 128": (
        "openmocap-v2",
        {"objective.decoder_dim_feat": "128", "objective.decoder_depth": "2"},
    ),
}


def run_arm(arm: str, seed: int, store: Path, output: Path) -> MAMPEncoder:
    """Train an arm, or go on with it, and fit its readout."""
    recipe, changes = ARMS[arm]
    config = override(get_recipe(recipe).config, {**SMALL, **changes, "run.seed": str(seed)})
    if arm == UNTRAINED:
        torch.manual_seed(seed)
        encoder = MAMPEncoder(config.encoder).eval()
    else:
        train(config, store, output)
        encoder = MAMPEncoder.from_pretrained(output / "encoder")
    settings = ReadoutSettings(weight_by="corpus", weights=get_recipe("openmocap-v1").config.data.weights)
    return add_readout(encoder, ClipStore(store), settings, progress=True)


def embed(encoder: MAMPEncoder, path: Path, every: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings [N, E], labels [N], and whether each clip is for training, of the classes that can be probed."""
    store = ClipStore(path)
    clips = np.arange(0, len(store), every)
    labels = store.columns["label" if "label" in store.columns else "content"][clips]
    train_clips = store.columns["split"].astype(str)[clips] == "train"
    names, numbers = np.unique(labels, return_inverse=True)
    enough = np.bincount(numbers[train_clips], minlength=len(names)) >= SHOTS
    clips, numbers, train_clips = (x[enough[numbers]] for x in (clips, numbers, train_clips))
    parts = range(0, len(clips), BATCH)
    x = [encoder.encode([store.recording(int(i)) for i in clips[first : first + BATCH]]) for first in tqdm(parts)]
    return np.concatenate(x), numbers, train_clips


def few_shots(x: np.ndarray, labels: np.ndarray, train_clips: np.ndarray) -> float:
    """Accuracy of nearest centroids of five labelled clips a class, per cent."""
    x = standardise(x, x[train_clips])
    x = x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)
    classes, found = np.unique(labels), np.flatnonzero(train_clips)
    support = [found[labels[found] == one] for one in classes]
    queries = [np.flatnonzero(~train_clips & (labels == one)) for one in classes]
    draw = Draw(classes, support, queries, found)
    rng = np.random.default_rng(0)
    return 100 * float(np.mean([episode(x, draw, SHOTS, None, rng)[0].mean() for _ in range(EPISODES)]))


def score(x: np.ndarray, labels: np.ndarray, train_clips: np.ndarray) -> dict[str, float]:
    """All probes of a set, per cent."""
    nearest = labels[train_clips][similarity(x[~train_clips], x[train_clips], "cosine").argmax(axis=1)]
    return {
        **probe(x, labels, train_clips),
        "raw": round(100 * float((nearest == labels[~train_clips]).mean()), 1),
        f"{SHOTS}-shot": round(few_shots(x, labels, train_clips), 1),
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Mean over seeds, and the largest distance from it, as a table in Markdown."""
    sets = list(lines[0]["sets"])
    probes = list(lines[0]["sets"][sets[0]])
    rows = [
        "| arm | seeds | " + " | ".join(f"{name} {kind}" for name in sets for kind in probes) + " |",
        "|---|---:|" + "---:|" * (len(sets) * len(probes)),
    ]
    for arm in dict.fromkeys(line["arm"] for line in lines):
        seeds = [line["sets"] for line in lines if line["arm"] == arm]
        cells = []
        for name in sets:
            for kind in probes:
                values = np.array([one[name][kind] for one in seeds])
                spread = f" ± {np.abs(values - values.mean()).max():.1f}" if len(values) > 1 else ""
                cells.append(f"{values.mean():.1f}{spread}")
        rows.append(f"| {arm} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def read(path: Path) -> list[dict[str, Any]]:
    """The results in a file, if there is one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def pairs(words: list[str]) -> dict[str, str]:
    """``name=value`` words by name."""
    return dict(word.split("=", 1) for word in words)


def main() -> None:
    """Run the arms, one line each to ``results.jsonl``, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", type=Path, metavar="STORE")
    parser.add_argument("--sets", nargs="+", default=[], metavar="NAME=STORE")
    parser.add_argument("--every", nargs="+", default=[], metavar="NAME=N")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--weights", nargs="+", default=[], help="probe these, as they are, instead of training arms")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, default=Path("arms"), help="folder of the runs [%(default)s]")
    parser.add_argument("--table", type=Path, metavar="RESULTS", help="print the table of results that are there")
    args = parser.parse_args()
    if args.table:
        print(table(read(args.table)))
        return
    if not args.sets or not (args.store or args.weights):
        parser.error("expected --sets and STORE, --sets and --weights, or --table")
    results, sets, every = args.output / "results.jsonl", pairs(args.sets), pairs(args.every)
    args.output.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for name in args.weights or args.arms:
            if any((line["arm"], line["seed"]) == (name, seed) for line in read(results)):
                continue
            if args.weights:
                encoder = MAMPEncoder.from_pretrained(name)
            else:
                encoder = run_arm(name, seed, args.store, args.output / f"{name}, seed {seed}")
            found = {which: embed(encoder, Path(path), int(every.get(which, 1))) for which, path in sets.items()}
            line = {"arm": name, "seed": seed, "sets": {which: score(*one) for which, one in found.items()}}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    print(table(read(results)))


if __name__ == "__main__":
    main()
