"""Write docs/deviations.md: where the defaults differ from the published runs, and how to get the published ones.

    python benchmarks/deviations_page.py

The tables of settings are read off the protocols and their recipes; a test checks that the page is up to date, and
another one that the recipes are what was published.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mamp.evaluate.page import markdown_table
from mamp.evaluate.recipes import RECIPES
from mamp.evaluate.registry import PROTOCOLS
from mamp.options import override, settings, show

PAGE = Path(__file__).parents[1] / "docs" / "deviations.md"
WHY = {
    "batch_size": "one default for all sets; the published scripts take smaller batches on the smaller set PKU-MMD",
    "lr": "one default for all sets; PKU-MMD phase 2 is published with a tenth of it",
    "norm_clips": "batch norm over the whole batch does not depend on the number of devices; the published runs had "
    "two GPUs, each with batch norm of its own",
    "preprocessing": "weights come with the preprocessing they were trained with; the published transfer feeds the raw "
    "coordinates of the target set, and zeros for an absent person",
    "seeds": "one trial is the default of all protocols; the paper has five subsets",
}
# Measured with the command below; not generated.
MEASURED = """\
What `norm_clips` changes, measured once: `linear --augment none --batch_size 32` with openmocap v1 on MSR-Action3D (291
training clips, 275 test clips, 20 classes), five seeds, top-1 % ± standard deviation over seeds. Each number has an
interval of about ± 5 points over test clips.

| clips that batch norm sees | 32 (all) | 16 | 8 | 4 |
|---|---:|---:|---:|---:|
| top-1 | 72.7 ± 1.1 | 73.5 ± 1.1 | 74.0 ± 0.6 | 74.8 ± 1.0 |

Fewer clips are a little better on this small set (the noise of their statistics may regularise the probe); half of the
batch, as published, is within the spread of the seeds.""".splitlines()
# What is not a setting: where, ours, published, why, and how to get the published behaviour.
BEHAVIOUR = [
    (
        "semi",
        "the labelled subset is drawn from the seed, the same on every process",
        "drawn from seed + rank: two GPUs train on the union of two subsets, up to twice the labels; the seed is 0 in "
        "all runs as shipped",
        "a share of 1 % is then 1 %",
        "not offered; `--share 0.02` has as many labels",
    ),
    (
        "all that train",
        "the final epoch is the result, the best one is beside it, labelled",
        "the best epoch, chosen on the test clips",
        "a number that is chosen by what it is measured with is biased",
        "`best` in `results.json`",
    ),
    (
        "linear, transfer from PKU-MMD",
        "the weights that `--weights` names",
        "the pre-training checkpoint of epoch index 300 of 400 on PKU-MMD",
        "a finished run leaves its last weights",
        "pre-train with `--run.stop_after` at the step that ends epoch 301, and evaluate the encoder that is there",
    ),
    (
        "all that train",
        "as many outputs as the set has classes",
        "120 outputs in the linear probe on NTU RGB+D 60 cross-view, 60 on PKU-MMD (51 classes)",
        "surplus outputs do nothing",
        "not offered; `mamp convert` keeps such heads as they are",
    ),
    (
        "all",
        "each test clip counts once",
        "several GPUs pad the test clips with duplicates, which may count twice",
        "the number does not depend on the number of devices",
        "not offered",
    ),
    (
        "all that train",
        "order of the clips, crops, rotations and dropout follow from the seed alone",
        "they follow from seed and GPU",
        "a run is the same on any number of devices",
        "not offered; runs agree in distribution",
    ),
    (
        "all that train",
        "a loss that is not finite ends the run; no loss scaling",
        "in float32 on a GPU a gradient scaler skips steps whose gradients overflow",
        "scaling is for float16",
        "not offered",
    ),
    (
        "preparation",
        "a recording whose tracks are all too short keeps its longest one",
        "the published preparation stops",
        "one recording should not end the preparation of all",
        "nothing to do",
    ),
    (
        "preparation of PKU-MMD",
        "files are sorted",
        "the order in which the file system lists them",
        "the same store on every machine",
        "nothing to do; the order has no meaning",
    ),
]


def setting_rows() -> list[list[str]]:
    """Protocol, field, value of ours and of the published runs, reason, and how to get the published one."""
    rows = []
    for name, protocol in PROTOCOLS.items():
        found: dict[tuple[str, str, str], list[str]] = {}
        for recipe in RECIPES.values():
            if name not in recipe.settings:
                continue
            config = override(protocol.config, recipe.settings[name])
            for setting in settings(protocol.config):
                ours, published = value(protocol.config, setting.name), value(config, setting.name)
                if ours != published:
                    given = "that of the weights" if setting.name == "preprocessing" else show(ours)
                    key = (setting.name, given, "that of the set" if published == recipe.name else show(published))
                    found.setdefault(key, []).append(recipe.name)
            if name in recipe.seeds:
                key = ("seeds", "0", ", ".join(map(str, recipe.seeds[name])))
                found.setdefault(key, []).append(recipe.name)
        for (field, ours, published), names in found.items():
            where = "all sets" if len(names) == len(RECIPES) else ", ".join(names)
            rows.append([f"`{name}`", f"`{field}`", ours, f"{published} ({where})", WHY[field], "`--recipe NAME`"])
    return rows


def value(config: Any, name: str) -> Any:
    """A field by its dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def page() -> str:
    """The page."""
    trained = dataclasses.fields(next(iter(PROTOCOLS.values())).config)
    lines = [
        "# Deviations from the published runs",
        "",
        "<!-- Written by benchmarks/deviations_page.py; change that file, not this one. -->",
        "",
        "`python -m mamp.evaluate PROTOCOL --recipe NAME` takes the published settings of a data set and split: "
        + ", ".join(f"`{name}`" for name in RECIPES)
        + ". Without a recipe, the defaults differ from them as follows; every other setting of the protocols (the "
        f"linear probe has {len(trained)}) is the published one, key by key in the tests.",
        "",
        "## Settings",
        "",
        *markdown_table(["protocol", "setting", "default", "published", "why", "published one by"], setting_rows(), 6),
        "",
        "Pre-training has no such row: the recipes of `python -m mamp.train` are the published ones.",
        "",
        *MEASURED,
        "",
        "## Behaviour",
        "",
        *markdown_table(["where", "ours", "published", "why", "published one by"], BEHAVIOUR, 5),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
