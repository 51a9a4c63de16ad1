"""What each change of the recipe contributes: small pre-training runs, each with a readout, evaluated frozen.

    python benchmarks/arms.py STORE --sets nw-ucla=PATH msr=PATH bandai=PATH --every nw-ucla=2 bandai=4 --output arms
    python benchmarks/arms.py STORE --sets ... --output arms --arms motion joints both --seeds 0 1 2
    python benchmarks/arms.py --sets ... --output arms --weights openmocap openmocap@v1    evaluate only
    python benchmarks/arms.py --table arms/ablation.json

STORE is that of the recipe ``openmocap``. The sets were seen by no arm; they have a column ``split`` (``python -m
mamp.prepare packed ... --test view=3``) and their labels in ``label`` or else ``content``, of which classes with fewer
than five training clips are left out. Of a set, each N-th clip is taken (``--every``).

An arm is an encoder of 3 blocks of width 128, from nothing, over 32,768 clips (``--epochs 8`` of 4,096): some six
minutes of a core; "untrained" is the same encoder before the first of them. Then a readout to 256 numbers is fitted to
2,048 crops. ``linear`` is ``python -m mamp.evaluate logistic``, ``1-NN`` is ``knn``, ``raw`` the same of what is not
standardised, ``5-shot`` is ``fewshot`` with 100 draws. It is an ablation as ``mamp ablate`` makes it: the same command
resumes.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from mamp.ablate import Arm, Column, Plan, run_plan, tabulate
from mamp.ablate.plan import UNFIT, UNTRAINED
from mamp.data import ClipStore, StoreWriter
from mamp.evaluate.comparison import write_ablation
from mamp.evaluate.page import markdown_table
from mamp.options import override
from mamp.train.readout import ReadoutSettings
from mamp.train.recipes import get_recipe

SHOTS = 5
PROBES: dict[str, tuple[str, dict[str, str]]] = {
    "linear": ("logistic", {}),
    "1-NN": ("knn", {}),
    "raw": ("knn", {"standardise": "false"}),
    f"{SHOTS}-shot": ("fewshot", {"shots": str(SHOTS), "episodes": "100"}),
}
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
# What masks by learned importance needs, and the rules that it is compared with have too.
AVERAGED: dict[str, str | list[str]] = {"optim.ema": "0.95"}
# Recipe of each arm, made small, and what the arm changes of it; "recipe" is that of v2.
ARMS: dict[str, tuple[str, dict[str, str | list[str]]]] = {
    UNTRAINED: ("openmocap-v2", {}),
    "motion": ("openmocap-v1", {"objective.joints_weight": "0"}),
    "joints": ("openmocap-v1", {"objective.joints_weight": "0", "objective.target": "joints"}),
    "motion, random masks": ("openmocap-v1", {"objective.joints_weight": "0", "objective.masking": "random"}),
    "joints, random masks": (
        "openmocap-v1",
        {"objective.joints_weight": "0", "objective.target": "joints", "objective.masking": "random"},
    ),
    "motion, factorised": ("openmocap-v1", {"objective.joints_weight": "0", "encoder.attention": "factorised"}),
    "joints, factorised": (
        "openmocap-v1",
        {"objective.joints_weight": "0", "objective.target": "joints", "encoder.attention": "factorised"},
    ),
    "motion, random masks, factorised": (
        "openmocap-v1",
        {"objective.joints_weight": "0", "objective.masking": "random", "encoder.attention": "factorised"},
    ),
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
    "averaged, motion": ("openmocap-v2", AVERAGED),
    "averaged, random": ("openmocap-v2", {**AVERAGED, "objective.masking": "random"}),
    "averaged, learned": ("openmocap-v2", {**AVERAGED, "objective.masking": "learned"}),
    "recipe, factorised attention": ("openmocap-v2", {"encoder.attention": "factorised"}),
    "recipe, local attention": ("openmocap-v2", {"encoder.attention": "local"}),
}


def make_arm(name: str, epochs: str = SMALL["optim.epochs"], precision: str = SMALL["run.precision"]) -> Arm:
    """An arm by its name."""
    recipe, changes = ARMS[name]
    given = {"optim.epochs": epochs, "run.precision": precision}
    config = override(get_recipe(recipe).config, {**SMALL, **given, **changes})
    values = {field: value if isinstance(value, str) else " ".join(value) for field, value in changes.items()}
    return Arm(name, values, config, recipe, UNTRAINED if name == UNTRAINED else None)


def labelled(path: Path, every: int, output: Path) -> Path:
    """A store of each N-th clip of a set, of the classes that can be evaluated; made once."""
    if (output / "meta.json").exists():
        return output
    store = ClipStore(path)
    clips = np.arange(0, len(store), every)
    labels = store.columns["label" if "label" in store.columns else "content"][clips]
    splits = store.columns["split"].astype(str)[clips]
    names, numbers = np.unique(labels, return_inverse=True)
    enough = np.bincount(numbers[splits == "train"], minlength=len(names)) >= SHOTS
    known = {key: value for key, value in store.info.items() if key in ("source", "preprocessing")}
    output.parent.mkdir(parents=True, exist_ok=True)
    with StoreWriter(output, store.layout, {**known, "classes": [str(name) for name in names[enough]]}) as writer:
        for clip, number, split in zip(clips, numbers, splits, strict=True):
            if enough[number]:
                name, fps = str(store.columns["name"][clip]), float(store.columns["fps"][clip])
                label = int(enough[:number].sum())
                confidence = store.read_confidence(int(clip)) if store.has_confidence else None
                writer.add(name, store.read(int(clip)), fps, confidence, label=label, split=split)
    return output


def table(found: dict[str, Any]) -> str:
    """Mean over seeds, and the largest distance from it, as a table in Markdown."""
    rows, columns = [], found["evaluations"]
    for number, arm in enumerate(found["arms"]):
        values = [np.array(column["arms"][number]["values"]) for column in columns]
        rows.append([arm["name"], max(map(len, values)), *map(spread, values)])
    return "\n".join(markdown_table(["arm", "seeds", *(column["name"] for column in columns)], rows))


def spread(values: np.ndarray) -> str:
    """Mean, and the largest distance from it."""
    if len(values) < 2:
        return f"{values[0]:.1f}" if len(values) else "-"
    return f"{values.mean():.1f} ± {np.abs(values - values.mean()).max():.1f}"


def pairs(words: list[str]) -> dict[str, str]:
    """``name=value`` words by name."""
    return dict(word.split("=", 1) for word in words)


def main() -> None:
    """Run the arms, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", type=Path, metavar="STORE")
    parser.add_argument("--sets", nargs="+", default=[], metavar="NAME=STORE")
    parser.add_argument("--every", nargs="+", default=[], metavar="NAME=N")
    names = ", ".join(ARMS).replace("%", "%%")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=names)
    parser.add_argument("--weights", nargs="+", default=[], help="evaluate these, as they are, in place of arms")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--probes", nargs="+", choices=PROBES, default=list(PROBES), help="[all]")
    parser.add_argument("--epochs", default=SMALL["optim.epochs"], help="of 4,096 clips [%(default)s]")
    parser.add_argument("--precision", default=SMALL["run.precision"], help="of training [%(default)s]")
    parser.add_argument("--output", type=Path, default=Path("arms"), help="folder of the runs [%(default)s]")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print the table of an ablation that is there")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(args.table.read_text(encoding="utf-8"))))
        return
    if not args.sets or not (args.store or args.weights):
        parser.error("expected --sets and STORE, --sets and --weights, or --table")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    every = pairs(args.every)
    sets = {
        name: labelled(Path(path), int(every.get(name, 1)), args.output / "sets" / name)
        for name, path in pairs(args.sets).items()
    }
    columns = [
        Column(f"{name} {probe}", protocol, store, settings)
        for name, store in sets.items()
        for probe, (protocol, settings) in PROBES.items()
        if probe in args.probes
    ]
    plain = get_recipe("openmocap")
    arms = [Arm(UNFIT.sub("-", name), {}, plain.config, plain.name, name) for name in args.weights]
    arms = arms or [make_arm(name, args.epochs, args.precision) for name in args.arms]
    corpora = get_recipe("openmocap-v1").config.data.weights
    readout = None if args.weights else ReadoutSettings(weight_by="corpus", weights=corpora)
    data = None if args.weights else args.store
    plan = Plan("openmocap", data, args.output, tuple(arms), tuple(args.seeds), tuple(columns), readout=readout)
    outcomes, _ = run_plan(plan)
    found = tabulate(plan, outcomes)
    write_ablation(found, args.output)
    print(table(found))


if __name__ == "__main__":
    main()
