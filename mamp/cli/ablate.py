"""``mamp ablate``: a grid of pre-training runs, evaluated and put into one table."""

from __future__ import annotations

from collections.abc import Sequence

from mamp.cli.command import Command


def _main(argv: Sequence[str]) -> int:
    """Run the command; imported when it is used, since it needs all of training."""
    from mamp.cli.ablation import main

    return main(argv)


COMMAND = Command(
    name="ablate",
    help="train and evaluate a grid of runs, and tabulate them",
    example="mamp ablate smoke --data store --output ablation --vary objective.target=motion,joints --seeds 0,1,2",
    run=lambda args: _main([]),
    main=_main,
)
