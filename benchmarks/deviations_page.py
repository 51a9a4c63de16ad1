"""Write the table of settings in docs/deviations.md: where the defaults differ from the published runs.

    python benchmarks/deviations_page.py

It is read off the protocols and their recipes. One test checks that the page is up to date, another that the recipes
are what was published. Everything else on the page is edited there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mamp.evaluate.page import markdown_table
from mamp.evaluate.recipes import RECIPES
from mamp.evaluate.registry import PROTOCOLS
from mamp.options import override, settings, show

PAGE = Path(__file__).parents[1] / "docs" / "deviations.md"
TABLE = re.compile(r"(<!-- settings: [^>]*-->\n).*?(<!-- end of settings -->)", re.DOTALL)
WHY = {
    "batch_size": "one default for all sets; the published scripts take smaller batches on the smaller set PKU-MMD",
    "lr": "one default for all sets; PKU-MMD phase 2 is published with a tenth of it",
    "norm_clips": "batch norm over the whole batch does not depend on the number of devices; the published runs had "
    "two GPUs, each with batch norm of its own",
    "preprocessing": "weights come with the preprocessing they were trained with; the published transfer feeds the raw "
    "coordinates of the target set, and zeros for an absent person",
    "seeds": "one trial is the default of all protocols; the paper has five subsets",
}


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
    """The page, with the table of settings as it should be."""
    header = ["protocol", "setting", "default", "published", "why", "published one by"]
    table = "\n".join(markdown_table(header, setting_rows(), text=6))
    return TABLE.sub(lambda match: f"{match[1]}{table}\n{match[2]}", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
