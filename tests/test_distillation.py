"""A small encoder learns the tokens and embeddings of a teacher, by the same loop, checkpoints and command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from train_helpers import assert_same, make_store, metrics, tiny, weights

from mamp import MAMPEncoder
from mamp.config import MAMPConfig
from mamp.distillation import Distillation
from mamp.errors import ConfigError, WeightsError
from mamp.pretraining import Objective
from mamp.train.cli import main
from mamp.train.config import TrainConfig
from mamp.train.engine import start_from, train
from mamp.view.weights import open_weights

TEACHER = tiny().encoder.replace(pooling="mean+max", readout_dim=8)
SEEN = Objective(masking="random", mask_ratio=0.5, mask_ratio_low=0.01, missing_parts=0.5)


def make_teacher(config: MAMPConfig = TEACHER) -> MAMPEncoder:
    torch.manual_seed(5)
    return MAMPEncoder(config).eval()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "teacher"
    make_teacher().save_pretrained(folder)
    return folder


def small(teacher: Path, epochs: int = 4) -> TrainConfig:
    config = tiny(optim__epochs=epochs, optim__lr=1e-2)
    encoder = TEACHER.replace(dim_feat=8, t_patch_size=8)
    return replace(config, teacher=str(teacher), encoder=encoder, objective=SEEN)


def test_a_pupil_that_is_its_teacher_has_nothing_to_learn() -> None:
    teacher = make_teacher()
    pupil = Distillation(TEACHER, SEEN, teacher)
    pupil.load_state_dict(pupil.state_dict() | teacher.state_dict())
    x = torch.randn(3, 2, 16, 25, 3)
    whole = pupil(x, mask_ratio=0.0)
    assert whole.loss < 1e-9 and whole.mask.sum() == 0
    half = pupil(x)
    assert half.losses["tokens"] > 1e-3 and half.losses["embeddings"] > 1e-3  # it sees less than its teacher
    assert torch.equal(half.mask.sum(dim=1), torch.full((6,), 50.0))


def test_the_teacher_sees_the_clip_without_its_noise() -> None:
    teacher = make_teacher()
    pupil = Distillation(TEACHER, SEEN, teacher)
    pupil.load_state_dict(pupil.state_dict() | teacher.state_dict())
    clean = torch.randn(3, 1, 16, 25, 3)
    noisy = clean + 0.1 * torch.randn_like(clean)
    assert pupil(noisy, mask_ratio=0.0).loss < 1e-9
    found = pupil(noisy, target_x=clean, mask_ratio=0.0).losses["embeddings"]
    apart = (pupil.taught(noisy[:, 0])[1] - pupil.taught(clean[:, 0])[1]).square().mean()
    assert found > 1e-4 and torch.isclose(found, apart, rtol=1e-4)


def test_still_keeps_what_moves_most() -> None:
    pupil = Distillation(TEACHER, replace(SEEN, masking="still", motion_aware_tau=1e-3), make_teacher())
    x = torch.randn(2, 1, 16, 25, 3)
    x[:, :, :, 5:] = x[:, :, :1, 5:]  # only five joints move
    mask = pupil(x, mask_ratio=0.7).mask.view(2, 4, 25)
    assert (mask[..., :5] == 0).all() and (mask[..., 5:] == 0).sum() == 2 * 10


def test_only_encode_places_people_apart() -> None:
    apart = TEACHER.replace(preprocessing=replace(TEACHER.preprocessing, absent_person="none", apart=True))
    teacher = make_teacher(TEACHER.replace(preprocessing=replace(apart.preprocessing, apart=False)))
    assert Distillation(apart, SEEN, teacher).config.preprocessing.apart
    with pytest.raises(ConfigError, match="preprocessing as the teacher has it"):
        Distillation(apart.replace(preprocessing=replace(apart.preprocessing, crop=0.5)), SEEN, teacher)


def test_a_longer_token_stands_for_the_tokens_of_the_teacher_in_their_order() -> None:
    teacher = make_teacher()
    pupil = Distillation(TEACHER.replace(t_patch_size=8), SEEN, teacher)
    x = torch.randn(2, 16, 25, 3)
    rows, embeddings = pupil.taught(x)
    tokens = torch.nn.functional.layer_norm(teacher(x[:, None]), (16,))  # [2, 1, 4, 25, 16]
    row = 1 * 25 + 7  # joint 7 in the second half
    assert torch.allclose(rows[:, row], torch.cat([tokens[:, 0, 2, 7], tokens[:, 0, 3, 7]], dim=-1), atol=1e-6)
    expected = teacher.read_out(
        torch.cat([f(teacher(x[:, None]).flatten(1, 3)) for f in (lambda t: t.mean(1), lambda t: t.amax(1))], dim=-1)
    )
    assert torch.allclose(embeddings, expected, atol=1e-5)


def test_a_pupil_starts_from_its_teacher_with_longer_tokens(store: Path, teacher: Path, tmp_path: Path) -> None:
    """A token is the mean of those it replaces."""
    config = small(teacher)
    encoder = TEACHER.replace(t_patch_size=8)
    train(
        replace(config, init=str(teacher), encoder=encoder, run=replace(config.run, stop_after=1)),
        store,
        tmp_path / "run",
    )
    model = Distillation(encoder, SEEN, make_teacher())
    start_from(model, str(teacher))
    x = torch.randn(2, 16, 25, 3)
    theirs = model.teacher.joints_embed(x) + model.teacher.pos_embed + model.teacher.temp_embed
    ours = model.joints_embed(x) + model.pos_embed + model.temp_embed
    assert torch.allclose(ours, (theirs[:, ::2] + theirs[:, 1::2]) / 2, atol=1e-6)
    assert torch.equal(model.blocks[0].attn.qkv.weight, model.teacher.blocks[0].attn.qkv.weight)
    with pytest.raises(ConfigError, match="tokens as long or several times as long"):
        start_from(Distillation(TEACHER.replace(dim_feat=8), SEEN, make_teacher()), str(teacher))


def test_the_pose_is_the_teachers_and_the_readout_that_of_the_start_if_it_fits(tmp_path: Path) -> None:
    """Only the readout of tokens is learnt; what poses add was fitted to clips, and holds for any tokens."""
    config = TEACHER.replace(readout_pose=True)
    teacher, start = make_teacher(config), MAMPEncoder(config)
    assert teacher.pose is not None and start.pose is not None
    teacher.pose.weight.normal_()
    start.pose.weight.normal_()
    start.save_pretrained(tmp_path / "whole")
    start.without_pose().save_pretrained(tmp_path / "without pose")
    start.without_readout().save_pretrained(tmp_path / "without readout")
    MAMPEncoder(config.replace(pooling="max+mean")).save_pretrained(tmp_path / "other pooling")
    for name, same in (("whole", True), ("without pose", True), ("without readout", False), ("other pooling", False)):
        pupil = Distillation(config, SEEN, teacher)
        before = pupil.readout.weight.clone()
        start_from(pupil, str(tmp_path / name))
        assert torch.equal(pupil.pose.weight, teacher.pose.weight), name
        assert torch.equal(pupil.readout.weight, start.readout.weight if same else before), name
        assert name == "other pooling" or torch.equal(pupil.norm.weight, start.norm.weight)


def test_of_more_blocks_those_at_even_distances_are_kept(tmp_path: Path) -> None:
    teacher = make_teacher(TEACHER.replace(depth=4))
    teacher.save_pretrained(tmp_path / "teacher")
    for depth, kept in ((4, [0, 1, 2, 3]), (3, [0, 1, 3]), (2, [0, 3]), (1, [0])):
        pupil = Distillation(TEACHER.replace(depth=depth), SEEN, teacher)
        start_from(pupil, str(tmp_path / "teacher"))
        for ours, theirs in zip(pupil.blocks, kept, strict=True):
            assert_same(dict(ours.state_dict()), dict(teacher.blocks[theirs].state_dict()))


def test_hidden_tokens_change_nothing() -> None:
    pupil = Distillation(TEACHER, SEEN, make_teacher())
    x, missing = torch.randn(1, 1, 16, 25, 3), torch.zeros(1, 100, dtype=torch.bool)
    missing[:, :50] = True
    noise = torch.rand(1, 100)
    output = pupil(x, noise=noise, missing=missing)
    assert torch.equal(output.mask[0], missing[0].float()) and (output.prediction[0, :50] == 0).all()


def test_training_lowers_both_errors_and_saves_an_encoder(store: Path, teacher: Path, tmp_path: Path) -> None:
    train(small(teacher, epochs=20), store, tmp_path / "run")
    lines = metrics(tmp_path / "run")
    for name in ("tokens", "embeddings"):
        first, last = (sum(line[name] for line in some) / 6 for some in (lines[:6], lines[-6:]))
        assert last < 0.9 * first, name
    state = torch.load(sorted((tmp_path / "run" / "checkpoints").glob("step-*.pt"))[-1], weights_only=True)
    assert not [name for name in state["model"] if "teacher" in name]
    encoder = MAMPEncoder.from_pretrained(tmp_path / "run")
    assert encoder.config == TEACHER.replace(dim_feat=8, t_patch_size=8)
    kept = {name: value for name, value in state["model"].items() if not name.startswith("to_tokens")}
    assert_same(dict(encoder.state_dict()), kept)
    assert open_weights(tmp_path / "run").backbone.config == encoder.config  # no decoder to show


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(store: Path, teacher: Path, tmp_path: Path) -> None:
    whole = small(teacher)
    train(whole, store, tmp_path / "whole")
    train(replace(whole, run=replace(whole.run, stop_after=5)), store, tmp_path / "stopped")
    train(whole, store, tmp_path / "stopped")
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "stopped")


def test_a_trial_names_size_and_time(store: Path, teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The recipe's own encoder and teacher, of which the small one is trained.
    arguments = ["openmocap-small", "--data", str(store), "--dry-run", "--json", "--run.precision", "float32"]
    assert main([*arguments, "--encoder.depth", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == 250 and found["tokens_decoded"] == found["tokens_kept"] == 175
    assert found["decoder_parameters"] == 257 * 3 * 256  # the map to the tokens of the teacher, which is no part


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"readout_dim": 16}, "readout_dim: expected that of the teacher, 8"),
        ({"readout_dim": None}, "found None"),
        ({"t_patch_size": 2}, "t_patch_size: expected a multiple of that of the teacher \\(4\\), found 2"),
        ({"num_frames": 32}, "expected num_frames as the teacher has it: 16"),
    ],
)
def test_encoders_that_do_not_fit(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Distillation(TEACHER.replace(**changes), SEEN, make_teacher())


def test_a_teacher_without_a_readout(store: Path, tmp_path: Path) -> None:
    make_teacher(TEACHER.replace(readout_dim=None)).save_pretrained(tmp_path / "plain")
    with pytest.raises(ConfigError, match="if None, first fit it one"):
        train(small(tmp_path / "plain"), store, tmp_path / "run")
    with pytest.raises(WeightsError, match="nobody"):
        train(small(tmp_path / "nobody"), store, tmp_path / "run")
    with pytest.raises(ConfigError, match="agreement_weight: expected 0 with a teacher"):
        replace(small(tmp_path / "plain"), objective=replace(SEEN, agreement_weight=1.0))
