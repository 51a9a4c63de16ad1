"""Published settings of the protocols for each data set and split, by the name of a recipe.

Settings that all sets share are the defaults of the protocols. A recipe adds the batch of the linear probe, batch norm
over the clips of one GPU, the split, the preprocessing of the set for transfer, and five subsets of labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mamp.config import suggest
from mamp.errors import ConfigError


@dataclass(frozen=True)
class EvaluationRecipe:
    """The protocols on one data set and split.

    Attributes:
        name: What the user types.
        dataset: Data set and split, in words.
        split: The split, as the columns of the store name it.
        settings: Fields that differ from the defaults of a protocol, as on the command line.
        seeds: Seeds of a protocol with several trials.
        notes: What a reader should know about the published runs of a protocol.
    """

    name: str
    dataset: str
    split: str
    settings: dict[str, dict[str, str]]
    seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


EPOCH_300 = (
    "the published runs start from the pre-training checkpoint of epoch index 300 of 400, that is after 301 epochs."
)
# Name, words, split, and of the linear probe the batch, its part on each of two GPUs, and the learning rate.
SETS = (
    ("ntu60-xsub", "NTU RGB+D 60, cross-subject", "xsub", 256, 128, 0.1),
    ("ntu60-xview", "NTU RGB+D 60, cross-view", "xview", 256, 128, 0.1),
    ("ntu120-xsub", "NTU RGB+D 120, cross-subject", "xsub", 256, 128, 0.1),
    ("ntu120-xset", "NTU RGB+D 120, cross-setup", "xset", 256, 128, 0.1),
    ("pku1-xsub", "PKU-MMD phase 1, cross-subject", "xsub", 128, 64, 0.1),
    ("pku2-xsub", "PKU-MMD phase 2, cross-subject", "xsub", 32, 16, 0.01),
)
FINETUNE_CLIPS_OF_A_GPU = 24
SUBSETS = (0, 1, 2, 3, 4)


def _recipe(name: str, dataset: str, split: str, batch: int, per_gpu: int, lr: float) -> EvaluationRecipe:
    trained = {"norm_clips": str(FINETUNE_CLIPS_OF_A_GPU)}
    settings = {
        "linear": {"batch_size": str(batch), "lr": f"{lr:g}", "norm_clips": str(per_gpu)},
        "transfer": {**trained, "preprocessing": name},
        **dict.fromkeys(("finetune", "scratch", "semi"), trained),
    }
    notes = {"linear": f"On PKU-MMD {EPOCH_300}"} if name.startswith("pku") else {}
    notes |= {"transfer": f"From phase 1: {EPOCH_300}"} if name.startswith("pku2") else {}
    return EvaluationRecipe(name, dataset, split, settings, {"semi": SUBSETS}, notes)


RECIPES = {row[0]: _recipe(*row) for row in SETS}
ALIASES = {"ntu60": "ntu60-xsub", "ntu120": "ntu120-xsub", "pku1": "pku1-xsub", "pku2": "pku2-xsub"}


def get_evaluation_recipe(name: str, protocol: str) -> EvaluationRecipe:
    """The recipe of a name.

    Raises:
        ConfigError: There is none, or nothing was published of the protocol.
    """
    found = RECIPES.get(ALIASES.get(name, name))
    if found is None:
        raise ConfigError(
            f"unknown recipe {name!r}.{suggest(name, list(RECIPES))} The recipes are {', '.join(RECIPES)}."
        )
    if protocol not in found.settings:
        raise ConfigError(f"recipe {name}: expected one of {', '.join(found.settings)}, found {protocol}.")
    return found
