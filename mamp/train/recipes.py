"""The recipes of ``python -m mamp.train``: the published runs, and our own.

Common to the published runs: the published encoder, 400 epochs at an effective batch of 128, 20 epochs of warm-up,
AdamW with betas (0.9, 0.95) and weight decay 0.05, learning rate 1e-3 down to 5e-4, 90 % of the tokens masked, crops of
half to the whole clip and at least 64 frames, rotations by up to 0.3 rad. The rest is in the table :data:`PUBLISHED`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mamp.config import MAMPConfig, Preprocessing, suggest
from mamp.data.augment import Augmentation
from mamp.errors import ConfigError
from mamp.options import override
from mamp.pretraining import Objective
from mamp.train.config import Optimization, Run, Sampling, TrainConfig
from mamp.train.grids import get_arm


@dataclass(frozen=True)
class Recipe:
    """A named pre-training run.

    Attributes:
        name: Name on the command line.
        description: One line.
        source: Origin of the settings.
        config: The run.
        clips: Training clips of the official split, if known.
        after: Name of the recipe that is trained first, unless ``init`` is given. This one starts from its result,
            which is also its teacher if it has one.
        result: What the run makes of its encoder in the end, in a folder of that name: ``readout`` adds one (see
            :mod:`mamp.train.readout`), ``mean`` averages it with the weights that the run started from.
    """

    name: str
    description: str
    source: str
    config: TrainConfig
    clips: int | None = None
    after: str | None = None
    result: Literal["encoder", "readout", "mean"] = "encoder"

    @property
    def published(self) -> bool:
        """Whether it is a run of the paper, on its data set."""
        return self.name.partition("/")[0].removesuffix("-mae") in PUBLISHED


@dataclass(frozen=True)
class Published:
    """Differences between the published runs."""

    dataset: str
    protocol: str  # of the split
    decoder_depth: int
    tau: float  # temperature of motion-aware masking
    center: Literal["clip", "none"]  # PKU-MMD keeps camera coordinates
    absent: Literal["zeros", "copy"]  # replaces an absent second person
    clips: int | None = None  # of the training split


PUBLISHED = {
    "ntu60-xsub": Published("NTU RGB+D 60, cross-subject", "xsub", 3, 0.80, "clip", "zeros", 40091),
    "ntu60-xview": Published("NTU RGB+D 60, cross-view", "xview", 3, 0.80, "clip", "zeros", 37646),
    "ntu120-xsub": Published("NTU RGB+D 120, cross-subject", "xsub", 5, 0.75, "clip", "copy", 63026),
    "ntu120-xset": Published("NTU RGB+D 120, cross-setup", "xset", 5, 0.75, "clip", "copy", 54468),
    "pku1-xsub": Published("PKU-MMD phase 1, cross-subject", "xsub", 5, 0.80, "none", "zeros"),
    "pku2-xsub": Published("PKU-MMD phase 2, cross-subject", "xsub", 5, 0.80, "none", "zeros"),
}

ALIASES = {"ntu60": "ntu60-xsub", "ntu120": "ntu120-xsub", "pku1": "pku1-xsub", "pku2": "pku2-xsub"}


def published_config(run: Published) -> TrainConfig:
    """The configuration of a published MAMP run."""
    return TrainConfig(
        encoder=MAMPConfig(preprocessing=Preprocessing(center=run.center, max_people=2, absent_person=run.absent)),
        objective=Objective(decoder_depth=run.decoder_depth, motion_aware_tau=run.tau),
        data=Sampling(protocol=run.protocol),
    )


def published_recipes() -> list[Recipe]:
    """Recipes of each published run and of its baseline, masked reconstruction of the joints."""
    recipes = []
    for name, run in PUBLISHED.items():
        config = published_config(run)
        about = f"{run.dataset}: masked motion prediction (MAMP), as published"
        source = "Mao et al., ICCV 2023; published pre-training script of this set"
        recipes.append(Recipe(name, about, source, config, run.clips))
        joints = replace(config.objective, target="joints", masking="random", motion_aware_tau=0.0)
        about = f"{run.dataset}: masked joint reconstruction with random masks (MAE baseline), as published"
        source = "Mao et al., ICCV 2023, the baseline of the paper; published MAE configuration of this set"
        recipes.append(Recipe(f"{name}-mae", about, source, replace(config, objective=joints), run.clips))
    return recipes


# Licence-clean motion capture and rehabilitation recordings of one person. Short windows, from frontal views; UI-PRMD
# is down-weighted since it has only ten movements. Predicts motion and coordinates.
OPENMOCAP_V1 = TrainConfig(
    encoder=MAMPConfig(preprocessing=Preprocessing(facing=True, max_people=None, absent_person="none")),
    objective=Objective(decoder_depth=2, motion_aware_tau=0.8, decoded_tokens=150, joints_weight=1.0),
    augment=Augmentation(
        window=(30, 150),
        center=True,
        facing=True,
        view_rotation=1.0,
        rotation=0.3,
        mirror=0.5,
        scale=(0.85, 1.15),
        noise=0.005,
    ),
    optim=Optimization(
        batch_size=32, epochs=36, warmup_epochs=2, lr=1e-3, min_lr=1e-5, weight_decay=0.05, clip_grad=1.0
    ),
    data=Sampling(split=None, samples_per_epoch=4096, weight_by="corpus", weights=("ui-prmd=0.3", "cmu-salsa=0.3")),
    run=Run(precision="bfloat16", checkpoint_every=250, storage="float16"),
)

# Continues from the first half of the blocks of v1, after which embeddings do not improve, with a lighter decoder, and
# augments body proportions and tracking errors.
OPENMOCAP_V2 = replace(
    OPENMOCAP_V1,
    init="openmocap@v1",
    encoder=OPENMOCAP_V1.encoder.replace(depth=4, pooling="std"),
    objective=replace(
        OPENMOCAP_V1.objective, decoder_dim_feat=128, decoder_depth=1, decoded_tokens=75, agreement_weight=1.0
    ),
    augment=replace(OPENMOCAP_V1.augment, speed=(0.8, 1.25), joint_dropout=0.05, wobble=0.02, proportions=0.15),
    optim=replace(OPENMOCAP_V1.optim, batch_size=64, epochs=12, warmup_epochs=0.5, lr=5e-4),
    run=Run(checkpoint_every=64, storage="float16"),
)

# Continues from v2 for twice as many clips, with less weight on agreement.
OPENMOCAP_V3 = replace(
    OPENMOCAP_V2,
    init="openmocap@v2",
    objective=replace(OPENMOCAP_V2.objective, agreement_weight=0.5),
    optim=replace(OPENMOCAP_V2.optim, epochs=24, warmup_epochs=1),
)

# Continues from v3 with twice as many visible tokens: a tenth of them shows little of small, quick movements, and views
# can agree without it.
OPENMOCAP = replace(
    OPENMOCAP_V3,
    init="openmocap@v3",
    objective=replace(OPENMOCAP_V3.objective, mask_ratio=0.8),
    optim=replace(OPENMOCAP_V3.optim, epochs=12),
)

# Learns to embed what is noisy or not there as v4 embeds the whole clip: a fifth to nearly all of the tokens, mostly of
# what moves, half of the bodies without one or two parts or a period of time.
OPENMOCAP_V5 = replace(
    OPENMOCAP,
    init="openmocap@v4",
    teacher="openmocap@v4",
    encoder=OPENMOCAP.encoder.replace(
        pooling="mean+max+std",
        readout_dim=256,
        preprocessing=replace(OPENMOCAP.encoder.preprocessing, apart=True),
    ),
    objective=Objective(
        masking="still",
        motion_aware_tau=0.15,
        mask_ratio=0.8,
        mask_ratio_low=0.05,
        missing_parts=0.5,
        decoder_depth=0,
    ),
    augment=replace(OPENMOCAP.augment, wobble=0.04, noise=0.008),
    optim=replace(OPENMOCAP_V1.optim, batch_size=32, epochs=8, warmup_epochs=0.25, lr=3e-4),
    data=replace(
        OPENMOCAP_V1.data,
        weights=(*OPENMOCAP_V1.data.weights, "mhad-mocap=0.4", "irds-part=0.5", "cmu-expmap=2", "aistpp-4=2"),
    ),
    run=Run(precision="bfloat16", checkpoint_every=64, storage="float16"),
)

# From nothing in one run of three stages, on nine corpora. A deep encoder first learns to predict, from a tenth of the
# tokens; its upper half serves the prediction and is dropped. What is left then learns that views of a clip agree, too,
# and last, from itself, what v5 learnt from v4. Factorised attention learns to predict much faster than joint.
OPENMOCAP_PREDICTION = replace(
    OPENMOCAP_V1,
    encoder=OPENMOCAP_V1.encoder.replace(attention="factorised"),
    objective=replace(OPENMOCAP_V1.objective, decoder_dim_feat=128, decoder_depth=1, decoded_tokens=75),
    optim=replace(OPENMOCAP_V1.optim, epochs=24),
    data=OPENMOCAP_V5.data,
    run=OPENMOCAP_V5.run,
)
OPENMOCAP_AGREEMENT = replace(
    OPENMOCAP,
    init=None,
    encoder=OPENMOCAP.encoder.replace(attention="factorised"),
    optim=replace(OPENMOCAP.optim, epochs=24),
    data=OPENMOCAP_V5.data,
    run=OPENMOCAP_V5.run,
)
OPENMOCAP_ONCE = replace(OPENMOCAP_V5, encoder=OPENMOCAP_V5.encoder.replace(attention="factorised"))

# A fast encoder for phones, browsers and large archives, which learns to embed as openmocap does: three of its blocks,
# on tokens three times as long. In training, it sees most of them.
OPENMOCAP_SMALL = replace(
    OPENMOCAP_V5,
    encoder=OPENMOCAP.encoder.replace(depth=3, t_patch_size=12, pooling="mean+max+std", readout_dim=256),
    objective=Objective(masking="random", mask_ratio=0.3, mask_ratio_low=0.01, missing_parts=0.1, decoder_depth=0),
    augment=OPENMOCAP.augment,
    optim=replace(OPENMOCAP_V5.optim, epochs=7, lr=1e-3),
)

# A complete run in two minutes on two cores. Takes any store of ntu25 joints, however small: clips are drawn with
# replacement, in proportion to their length.
SMOKE = TrainConfig(
    encoder=MAMPConfig(
        dim_feat=64,
        depth=3,
        num_heads=4,
        preprocessing=Preprocessing(max_people=None, absent_person="none"),
    ),
    objective=Objective(decoder_dim_feat=64, decoder_depth=1, motion_aware_tau=0.8),
    augment=Augmentation(window=(30, 120), center=True),
    optim=Optimization(batch_size=16, epochs=20, warmup_epochs=2, lr=1e-3, min_lr=1e-4, clip_grad=1.0),
    data=Sampling(split=None, samples_per_epoch=320, weight_by="name"),
    run=Run(log_every=10, checkpoint_every=100),
)

# Forecasting: clips of 64 frames at 30 frames a second, of which the second half is to come. The first half of the
# blocks of the weights in the package, a light decoder, and crops that are not resampled except for speed: some five
# minutes of a core.
FORECAST = TrainConfig(
    init="openmocap@v4",
    encoder=MAMPConfig(
        depth=2,
        num_frames=64,
        preprocessing=Preprocessing(facing=True, max_people=None, absent_person="none", crop=1.0),
    ),
    objective=Objective(
        target="displacement",
        masking="future",
        mask_ratio=0.5,
        norm_target=False,
        decoder_dim_feat=128,
        decoder_depth=2,
    ),
    augment=Augmentation(
        window=(64, 64),
        center=True,
        facing=True,
        view_rotation=1.0,
        rotation=0.0,
        mirror=0.5,
        scale=(0.9, 1.1),
        speed=(0.8, 1.25),
    ),
    optim=Optimization(
        batch_size=8, epochs=6, warmup_epochs=0.25, lr=5e-4, min_lr=1e-5, weight_decay=0.05, clip_grad=1.0
    ),
    data=Sampling(samples_per_epoch=1024, weight_by="name"),
    run=Run(precision="bfloat16", checkpoint_every=64),
)

_OURS = "this project; the card of the weights describes the data"
_RELEASES = (
    Recipe(
        "openmocap",
        "open motion capture and rehabilitation recordings, one person: the fourth release, openmocap@v4",
        _OURS,
        OPENMOCAP,
    ),
    Recipe(
        "openmocap-v5",
        "continues from it, taught to bear what is missing or noisy: openmocap@v5; a readout with the pose makes v6",
        _OURS,
        OPENMOCAP_V5,
        result="mean",
    ),
    Recipe(
        "openmocap-small",
        "five times as fast as openmocap, whose embeddings it learns: openmocap-small before its last readout",
        _OURS,
        OPENMOCAP_SMALL,
    ),
    Recipe("openmocap-v3", "the same, the third release of the weights: openmocap@v3", _OURS, OPENMOCAP_V3),
    Recipe("openmocap-v2", "the same, the second release of the weights: openmocap@v2", _OURS, OPENMOCAP_V2),
    Recipe("openmocap-v1", "the same, the first release of the weights: openmocap@v1", _OURS, OPENMOCAP_V1),
)
_ONCE = (
    Recipe(
        "openmocap-once",
        "from nothing in one run of three stages, of which this one comes last",
        "this project; the recipe of openmocap@v5, with factorised attention",
        OPENMOCAP_ONCE,
        after="openmocap-agreement",
        result="mean",
    ),
    Recipe(
        "openmocap-agreement",
        "its second stage: half of the blocks of the first one, which also learn that views of a clip agree",
        "this project; the recipe of openmocap@v4 on nine corpora, for longer",
        OPENMOCAP_AGREEMENT,
        after="openmocap-prediction",
        result="readout",
    ),
    Recipe(
        "openmocap-prediction",
        "its first stage: masked prediction by eight blocks",
        "this project; the recipe of openmocap@v1 on nine corpora, with a light decoder",
        OPENMOCAP_PREDICTION,
    ),
)
OUR_RECIPES = [
    *_RELEASES,
    *_ONCE,
    Recipe(
        "forecast",
        "forecasting: the coming second of a movement, on any store of 30 frames a second",
        "this project; after the pre-training of the paper, with the future masked",
        FORECAST,
    ),
    Recipe(
        "smoke",
        "a small encoder on any store: a whole run, end to end, in about two minutes on two cores",
        "this project; to see that everything works, not for good weights",
        SMOKE,
    ),
]

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in published_recipes() + OUR_RECIPES}


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name or alias; ``BASE/ARM`` applies an arm of a grid. :class:`ConfigError` if unknown."""
    base, slash, arm = name.partition("/")
    if slash:
        found = get_recipe(base)
        config = override(found.config, get_arm(arm))
        after = None if found.after is None else f"{found.after}/{arm}"
        about = f"{found.description}; {arm}"
        return replace(found, name=f"{found.name}/{arm}", description=about, config=config, after=after)
    recipe = RECIPES.get(ALIASES.get(name, name))
    if recipe is None:
        known = [*RECIPES, *ALIASES]
        raise ConfigError(f"unknown recipe {name!r}.{suggest(name, known)} Known recipes: {', '.join(known)}.")
    return recipe
