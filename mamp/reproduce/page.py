"""The page of a reproduction: the numbers of the paper beside those of this run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mamp.evaluate.page import markdown_table
from mamp.reproduce.paper import PAPER, RELEASED
from mamp.reproduce.plan import SMALL, Plan
from mamp.train.estimate import show_time

NOTES = """\
- **paper**: Mao et al., ICCV 2023, joint stream, as quoted by later papers (1-NN by one of them). The paper reports the
  best epoch on the test clips.
- **released**: the checkpoints that its authors published, as their repository reports them.
- **final epoch**: this run, with a 95 % bootstrap interval over the test clips. This is the result.
- **best epoch**: this run, the best epoch on the test clips. It is biased, but comparable with the paper;
  **difference** is best epoch minus paper (for 1-NN, which has no epochs, the result minus paper).
- In the published scripts the labelled subset of a semi-supervised run depends on the GPU, so that two GPUs use up to
  twice as many labels. We don't know whether the paper's numbers were obtained this way. Here all GPUs use one subset.
"""


def page(plan: Plan, results: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]) -> str:
    """Markdown.

    Args:
        plan: What is reproduced.
        results: ``results.json`` of each finished evaluation, by the name of its stage.
        seconds: Time of each finished stage, by its name.
    """
    rows = []
    for split in plan.splits:
        for one in plan.evaluations(split):
            name, key = f"{split}/{one.name}", (plan.name, split)
            paper, released = PAPER.get(key, {}).get(one.name), RELEASED.get(key, {}).get(one.name)
            ours = _ours(results.get(name), paper, plan.budget == 1)
            time = show_time(seconds[name]) if name in seconds else ""
            rows.append([split, one.title, _number(paper), _number(released), *ours, time])
    others = {name: value for name, value in seconds.items() if name not in results}
    parts = [f"# {plan.benchmark.title}: the paper and this run", "Top-1 accuracy in %."]
    if plan.budget < 1:
        parts.append(_warning(plan))
    header = ["split", "protocol", "paper", "released", "final epoch", "best epoch", "difference", "time"]
    parts += ["\n".join(markdown_table(header, rows, text=2)), NOTES.rstrip()]
    parts.append("Other stages: " + ", ".join(f"{name} {show_time(value)}" for name, value in others.items()) + ".")
    if results:
        parts.append(_environment(list(results.values())[-1]))
    parts.append("The same by hand:\n\n```text\n" + "\n".join(map(plan.command, plan.stages())) + "\n```")
    return "\n\n".join(parts) + "\n"


def _ours(found: Mapping[str, Any] | None, paper: float | None, whole: bool) -> list[str]:
    if found is None:
        return ["", "", ""]
    head, best = found["headline"], found.get("best")
    interval = head.get("interval")
    final = _number(head["mean"]) + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")
    compared = best["mean"] if best else head["mean"]
    difference = "" if paper is None or not whole else f"{compared - paper:+.1f}"
    return [final, _number(best["mean"] if best else None), difference]


def _warning(plan: Plan) -> str:
    small = " and a small encoder in place of the published one" if plan.budget < SMALL else ""
    return (
        f"**Budget {plan.budget:g}**: schedules of {100 * plan.budget:g} % of the published length{small}. This page "
        "shows that every stage runs; its numbers say nothing about the method."
    )


def _environment(found: Mapping[str, Any]) -> str:
    known = found.get("environment") or {}
    told = ", ".join(f"{name} {value}" for name, value in known.items() if isinstance(value, str | int | float))
    return f"Device: {found.get('device', 'unknown')}. {told}".strip()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
