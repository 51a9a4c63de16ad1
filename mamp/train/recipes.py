"""The recipes that ``python -m mamp.train`` knows by name."""

from __future__ import annotations

from mamp.config import MAMPConfig, Preprocessing
from mamp.data.augment import Augmentation
from mamp.train.config import Objective, Optimization, Run, Sampling, TrainConfig

# Licence-clean motion capture and rehabilitation recordings, one person each. Windows are short, seen from anywhere
# near the front; UI-PRMD has ten movements only and is weighed down. Motion is predicted, coordinates beside it.
OPENMOCAP = TrainConfig(
    encoder=MAMPConfig(preprocessing=Preprocessing(facing=True, max_people=None, absent_person="none")),
    objective=Objective(decoder_depth=2, decoded_tokens=150, joints_weight=1.0),
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
        batch_size=32, epochs=44, warmup_epochs=2, lr=1e-3, min_lr=1e-5, weight_decay=0.05, clip_grad=1.0
    ),
    data=Sampling(split=None, samples_per_epoch=4096, weight_by="corpus", weights=("ui-prmd=0.3", "cmu-salsa=0.3")),
    run=Run(precision="bfloat16", checkpoint_every=250, storage="float16"),
)
