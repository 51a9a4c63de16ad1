"""Ablations: a grid of pre-training runs, evaluated and put into one table."""

from mamp.ablate.plan import Arm, Column, Plan, make_plan
from mamp.ablate.run import Outcome, run_plan, tabulate

__all__ = ["Arm", "Column", "Outcome", "Plan", "make_plan", "run_plan", "tabulate"]
