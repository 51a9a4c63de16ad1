"""The masked-motion objective against the published one: losses, gradients, training steps, schedule."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from closed_form import (
    assert_fingerprint,
    closed_form_clips,
    closed_form_noise,
    closed_form_weights,
    config_of,
    sha256,
    state_dict,
    to_ours,
)
from torch import Tensor

from mamp import MAMPConfig, MAMPEncoder
from mamp.errors import ConfigError, RecordingError
from mamp.masking import Masking, mask_tokens, motion_aware_key, motion_intensity, patchify
from mamp.pretraining import MAMPForPretraining, Objective, agreement, normalize_target, temporal_motion
from mamp.train.config import TrainConfig
from mamp.train.engine import weight_decay_groups
from mamp.train.loop import learning_rate

Arrays = Mapping[str, Any]
TINY = MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16)


@pytest.fixture(scope="module", params=["cut", "full"])
def folder(request: pytest.FixtureRequest, golden: Path) -> Path:
    """Golden data kept with the tests, then the full set where it is at hand."""
    if request.param == "cut":
        return golden
    shared: Path = request.getfixturevalue("shared")
    return shared / "reference" / "golden"


@pytest.fixture(scope="module")
def arrays(folder: Path) -> Arrays:
    with np.load(folder / "mamp.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def full_size(golden: Path) -> dict[str, Any]:
    return dict(json.loads((golden / "mamp_full.json").read_text()))


def build(arrays: Arrays, weights: str = "sd/", **options: Any) -> MAMPForPretraining:
    model = MAMPForPretraining(
        config_of(str(arrays["cfg"])),
        **{"decoder_dim_feat": 32, "decoder_depth": 2, "motion_aware_tau": 0.8, **options},
    )
    model.load_state_dict(state_dict(arrays, weights))
    return model


def options_of(case: str) -> dict[str, Any]:
    """Arguments of a golden case such as ``fwd/norm1/tau0.80/stride2/ratio0.9``."""
    if case.startswith("mae"):
        return {"target": "joints", "motion_aware_tau": 0.0, "norm_target": case == "mae_norm1"}
    _, norm, *rest = case.split("/")
    options: dict[str, Any] = {"norm_target": norm == "norm1"}
    if rest == ["defaults"]:
        return {**options, "mask_ratio": 0.8, "motion_aware_tau": 0.75, "motion_stride": 1}
    tau, stride, ratio = rest
    return {
        **options,
        "motion_aware_tau": float(tau.removeprefix("tau")),
        "motion_stride": int(stride.removeprefix("stride")),
        "mask_ratio": float(ratio.removeprefix("ratio")),
    }


CASES = [
    f"fwd/norm{norm}/{rest}"
    for norm in (0, 1)
    for rest in (
        "tau0.75/stride1/ratio0.9", "tau0.80/stride1/ratio0.9", "tau0.00/stride1/ratio0.9", "tau0.75/stride2/ratio0.9",
        "tau0.75/stride1/ratio0.5", "defaults",
    )
] + ["mae_norm0", "mae_norm1"]  # fmt: skip


def test_every_golden_case_is_run(arrays: Arrays) -> None:
    found = {
        name.removesuffix("/loss") for name in arrays if name.startswith(("fwd", "mae_")) and name.endswith("loss")
    }
    assert found == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_loss_prediction_and_gradients(arrays: Arrays, case: str) -> None:
    model = build(arrays, **options_of(case))
    output = model(to_ours(arrays["x"]), torch.from_numpy(arrays["u"]))
    output.loss.backward()
    np.testing.assert_array_equal(output.mask.numpy(), arrays[f"{case}/mask"])
    np.testing.assert_allclose(output.loss.item(), arrays[f"{case}/loss"], rtol=1e-6)
    assert torch.equal(output.losses[model.objective.target], output.loss)
    if f"{case}/pred" in arrays:
        np.testing.assert_allclose(output.prediction.detach().numpy(), arrays[f"{case}/pred"], rtol=0, atol=1e-5)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert list(gradients) == json.loads(str(arrays["param_names"])), "every parameter, in the published order"
    norms = [g.double().norm().item() for g in gradients.values()]
    np.testing.assert_allclose(norms, arrays[f"{case}/grad_norms"], rtol=2e-5, atol=1e-7)
    stored = [name for name in arrays if name.startswith(f"{case}/grad/")]
    assert len(stored) == 5
    for name in stored:
        mine = gradients[name.removeprefix(f"{case}/grad/")].numpy()
        np.testing.assert_allclose(mine, arrays[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["mamp", "mae"])
def test_float64(arrays: Arrays, kind: str) -> None:
    options = options_of("mae_norm1") if kind == "mae" else {}
    model = build(arrays, **options).double()
    output = model(to_ours(arrays["x"]).double(), torch.from_numpy(arrays["u"]).double())
    np.testing.assert_allclose(output.loss.item(), arrays[f"f64/{kind}/loss"], rtol=1e-12)
    if f"f64/{kind}/pred" in arrays:
        np.testing.assert_allclose(output.prediction.detach().numpy(), arrays[f"f64/{kind}/pred"], rtol=0, atol=1e-10)


def test_narrow_decoder(arrays: Arrays) -> None:
    if "dd16/loss" not in arrays:
        pytest.skip("in the full golden data only")
    output = build(arrays, "dd16/sd/", decoder_dim_feat=16)(to_ours(arrays["x"]), torch.from_numpy(arrays["u"]))
    np.testing.assert_allclose(output.loss.item(), arrays["dd16/loss"], rtol=1e-6)
    np.testing.assert_allclose(output.prediction.detach().numpy(), arrays["dd16/pred"], rtol=0, atol=1e-5)


def test_nobody(arrays: Arrays) -> None:
    output = build(arrays)(torch.zeros(1, 2, 16, 25, 3), torch.from_numpy(arrays["u"][:2]))
    np.testing.assert_array_equal(output.mask.numpy(), arrays["zero_input/mask"])
    np.testing.assert_allclose(output.loss.item(), arrays["zero_input/loss"], rtol=1e-6)


def test_five_training_steps(arrays: Arrays) -> None:
    model = build(arrays)
    groups = weight_decay_groups(model, 0.05)
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    losses = []
    for noise in torch.from_numpy(arrays["traj/u"]):
        loss = model(to_ours(arrays["x"]), noise).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, arrays["traj/losses"], rtol=1e-5)
    golden_norms = dict(zip(json.loads(str(arrays["param_names"])), arrays["traj/param_norms"].tolist(), strict=True))
    for name, parameter in model.named_parameters():
        # The bias of the keys has no gradient but rounding, which Adam scales up to whole steps.
        tolerance = 1e-3 if name.endswith("qkv.bias") else 1e-5
        assert parameter.detach().double().norm().item() == pytest.approx(golden_norms[name], rel=tolerance), name
    assert losses[-1] != pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_temporal_motion(arrays: Arrays, stride: int) -> None:
    x = to_ours(arrays["x"]).flatten(0, 1)
    motion = temporal_motion(x, stride).numpy()
    assert (motion[:, -stride:] == 0).all() and (motion[:, :-stride] != 0).any()
    np.testing.assert_array_equal(motion[:, :-stride], (x[:, stride:] - x[:, :-stride]).numpy())
    if f"extract_motion/stride{stride}" in arrays:
        np.testing.assert_array_equal(motion, arrays[f"extract_motion/stride{stride}"])


def test_normalized_target() -> None:
    target = torch.randn(2, 5, 12) * 3 + 1
    target[0, 0] = 0.7
    normal = normalize_target(target)
    expected = (target - target.mean(-1, keepdim=True)) / torch.sqrt(target.var(-1, keepdim=True, correction=1) + 1e-6)
    torch.testing.assert_close(normal, expected)
    assert normal[0, 0].abs().max() < 1e-3, "a constant token gives zeros, not NaN"


# --- schedule and weight decay --------------------------------------------------------------------------------------


def test_learning_rate(folder: Path) -> None:
    tables = json.loads((folder / "sched.json").read_text())["adjust_learning_rate"]
    assert {"pretrain", "finetune", "linprobe"} <= set(tables)
    for name, table in tables.items():
        for epoch, rate, *_ in table["rows"]:
            found = learning_rate(epoch, **table["args"])
            assert found == pytest.approx(rate, rel=1e-9, abs=1e-15), (name, epoch)


def check_groups(model: MAMPForPretraining, golden: list[dict[str, Any]]) -> None:
    names = {id(p): name for name, p in model.named_parameters()}
    groups: Any = weight_decay_groups(model, 0.05)
    mine = [{**group, "params": [names[id(p)] for p in group["params"]]} for group in groups]
    assert mine == golden


def test_weight_decay_groups(folder: Path) -> None:
    golden = json.loads((folder / "sched.json").read_text())["timm_0.3.2_add_weight_decay"]
    check_groups(MAMPForPretraining(TINY, decoder_dim_feat=32, decoder_depth=2), golden["small_mamp"])
    if "real_mamp_8+5" in golden:
        check_groups(MAMPForPretraining(MAMPConfig(), decoder_depth=5), golden["real_mamp_8+5"])


def test_frozen_parameters_are_in_no_group() -> None:
    model = MAMPForPretraining(TINY, decoder_dim_feat=32, decoder_depth=1)
    model.pos_embed.requires_grad_(False)
    groups: Any = weight_decay_groups(model, 0.05)
    everything = [p for group in groups for p in group["params"]]
    assert len(everything) == len(list(model.parameters())) - 1
    assert all(p is not model.pos_embed for p in everything)


# --- the published size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth, parameters", [(3, 8_789_004), (5, 10_368_524)])
def test_state_dict_is_the_published_one(full_size: dict[str, Any], depth: int, parameters: int) -> None:
    golden = full_size["models"][f"mamp_8+{depth}"]
    model = MAMPForPretraining(MAMPConfig(), decoder_depth=depth)
    found = [[name, list(value.shape)] for name, value in model.state_dict().items()]
    assert found == golden["state_dict"]
    assert sum(p.numel() for p in model.parameters()) == parameters == golden["n_parameters"]
    encoder = MAMPEncoder()
    assert [name for name in model.state_dict() if name in encoder.state_dict()] == list(encoder.state_dict())


def published_size(full_size: dict[str, Any], depth: int, **options: Any) -> MAMPForPretraining:
    weights = closed_form_weights(full_size["models"][f"mamp_8+{depth}"]["state_dict"])
    for name, digest in full_size["closed_form"]["param_fill_sha256_example"].items():
        if name.startswith(f"mamp_8+{depth}:"):
            assert sha256(weights[name.split(":")[1]].numpy()) == digest
    model = MAMPForPretraining(MAMPConfig(), decoder_depth=depth, **options)
    model.load_state_dict(weights)
    return model


def check_full_size(full_size: dict[str, Any], name: str, tau: str, kind: str) -> None:
    clips, noise = closed_form_clips(), closed_form_noise()
    assert sha256(clips) == full_size["closed_form"]["input_sha256_f32_le"]
    assert sha256(noise) == full_size["closed_form"]["noise_sha256_f32_le"]
    family, depth = name.split("_8+")
    options: dict[str, Any] = {"motion_aware_tau": float(tau.removeprefix("tau"))} if family == "mamp" else {}
    if family == "mae":
        options = {"target": "joints", "motion_aware_tau": 0.0}
    dtype = torch.float64 if kind == "f64" else torch.float32
    model = published_size(full_size, int(depth), **options).to(dtype)
    with torch.no_grad():
        output = model(to_ours(clips).to(dtype), torch.from_numpy(noise).to(dtype))
    golden = full_size["models"][name]["fingerprint"][tau]
    mask = output.mask.numpy()
    assert mask.sum(1).tolist() == golden["masked_per_body"]
    assert sha256(mask.astype(np.uint8)) == golden["mask_sha256_u8" + ("_f64" if kind == "f64" else "")]
    assert np.flatnonzero(mask[0] == 0)[:20].tolist() == golden["kept_idx_body0_first20"]
    tolerance = 1e-9 if kind == "f64" else 1e-5
    np.testing.assert_allclose(output.loss.item(), golden[kind]["loss"], rtol=tolerance)
    assert_fingerprint(output.prediction, golden[kind]["pred"], tolerance)
    for body, token in ((0, 0), (3, 749)):
        mine = output.prediction[body, token, :12].numpy()
        np.testing.assert_allclose(mine, golden[kind][f"pred[{body},{token},:12]"], rtol=0, atol=10 * tolerance)


FULL = [("mamp_8+3", "tau0.80"), ("mae_8+5", "mae")]
MORE = [
    ("mamp_8+3", "tau0.75"), ("mamp_8+3", "tau0.00"), ("mae_8+3", "mae"),
    ("mamp_8+5", "tau0.75"), ("mamp_8+5", "tau0.80"), ("mamp_8+5", "tau0.00"),
]  # fmt: skip


@pytest.mark.parametrize("name, tau", FULL)
def test_fingerprint_float32(full_size: dict[str, Any], name: str, tau: str) -> None:
    check_full_size(full_size, name, tau, "f32")


@pytest.mark.slow
@pytest.mark.parametrize("name, tau", MORE)
def test_more_fingerprints_float32(full_size: dict[str, Any], name: str, tau: str) -> None:
    check_full_size(full_size, name, tau, "f32")


@pytest.mark.slow
@pytest.mark.parametrize("name, tau", FULL + MORE)
def test_fingerprint_float64(full_size: dict[str, Any], name: str, tau: str) -> None:
    check_full_size(full_size, name, tau, "f64")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mamp_8+3", "mamp_8+5", "mae_8+3", "mae_8+5"])
def test_loss_without_normalised_target(full_size: dict[str, Any], name: str) -> None:
    family, depth = name.split("_8+")
    options: dict[str, Any] = {"target": "joints", "motion_aware_tau": 0.0} if family == "mae" else {}
    model = published_size(full_size, int(depth), norm_target=False, **{"motion_aware_tau": 0.8, **options})
    with torch.no_grad():
        loss = model(to_ours(closed_form_clips()), torch.from_numpy(closed_form_noise())).loss
    golden = full_size["models"][name]["fingerprint"]["loss_norm_skes_loss_False_(tau0.8)"]
    np.testing.assert_allclose(loss.item(), golden, rtol=1e-5)


# --- what the paper does not have -----------------------------------------------------------------------------------


@pytest.fixture
def clips() -> Tensor:
    x = torch.randn(3, 2, 16, 25, 3, generator=torch.Generator().manual_seed(2))
    x[1, 1] = 0
    return x


@pytest.fixture
def noise() -> Tensor:
    return torch.rand(6, 100, generator=torch.Generator().manual_seed(3))


def tiny(seed: int = 0, **options: Any) -> MAMPForPretraining:
    torch.manual_seed(seed)
    return MAMPForPretraining(TINY, **{"decoder_dim_feat": 32, "decoder_depth": 2, **options})


def test_decoding_all_masked_tokens_is_the_plain_loss(clips: Tensor, noise: Tensor) -> None:
    model = tiny()
    expected = model(clips, noise)
    for count in (91, 1000):
        model.objective = replace(model.objective, decoded_tokens=count)
        found = model(clips, noise)
        torch.testing.assert_close(found.loss, expected.loss)
        torch.testing.assert_close(found.prediction, expected.prediction)


def mean_loss(model: MAMPForPretraining, clips: Tensor, noise: Tensor, decoded: int, draws: int) -> tuple[float, float]:
    """Mean of the loss over draws of the decoded tokens, and its standard error."""
    model.objective = replace(model.objective, decoded_tokens=decoded)
    generator = torch.Generator().manual_seed(4)
    losses = [
        model(clips, noise, decoded_noise=torch.rand(6, 91, generator=generator)).loss.item() for _ in range(draws)
    ]
    assert np.std(losses) > 0, "the draws differ"
    return float(np.mean(losses)), float(np.std(losses) / np.sqrt(draws))


@torch.no_grad()
def test_decoding_a_part_is_unbiased_token_by_token(clips: Tensor, noise: Tensor) -> None:
    """Without decoder blocks each token is predicted on its own: the mean over draws is the plain loss."""
    model = tiny(decoder_depth=0)
    expected = model(clips, noise).loss.item()
    mean, error = mean_loss(model, clips, noise, decoded=10, draws=150)
    assert abs(mean - expected) < 4 * error


def change(model: MAMPForPretraining, clips: Tensor, noise: Tensor, decoded: int, draws: int = 20) -> float:
    """How far the predictions for the decoded tokens are from those of a plain step, in shares of these."""
    plain = replace(model.objective, decoded_tokens=None)
    generator = torch.Generator().manual_seed(4)
    found, expected = [], []
    for _ in range(draws):
        drawn = torch.rand(6, 91, generator=generator)
        model.objective = replace(plain, decoded_tokens=decoded)
        part = model(clips, noise, decoded_noise=drawn)
        model.objective = plain
        there = (part.prediction != 0).any(dim=-1) & (part.mask == 1)
        assert (there.sum(1) == decoded).all()
        found.append(part.prediction[there])
        expected.append(model(clips, noise).prediction[there])
    return float((torch.cat(found) - torch.cat(expected)).norm() / torch.cat(expected).norm())


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_decoding_a_part_approaches_the_plain_loss(clips: Tensor, noise: Tensor, seed: int) -> None:
    """Decoded tokens attend to each other, so that leaving some out changes the others; ever less, the more stay.

    Of the loss, a mean over tokens, only the last gap is sure to be small: the changes of the tokens cancel out.
    """
    model = tiny(seed=seed, norm_target=False)
    expected = model(clips, noise).loss.item()
    changes = [change(model, clips, noise, decoded) for decoded in (10, 45, 85, 91)]
    assert changes[0] > 2 * changes[1] > 4 * changes[2] > 0 and changes[3] < 1e-6
    assert changes[2] < 0.1
    assert abs(mean_loss(model, clips, noise, decoded=85, draws=60)[0] - expected) < 0.01 * expected


def test_tokens_that_are_not_decoded_have_no_prediction(clips: Tensor, noise: Tensor) -> None:
    output = tiny(decoded_tokens=10)(clips, noise)
    predicted = (output.prediction != 0).any(dim=-1)
    assert (predicted.sum(1) == 9 + 10).all()
    assert predicted[output.mask == 0].all(), "the kept ones are predicted too"


def test_full_mask_runs(clips: Tensor, noise: Tensor) -> None:
    model = tiny(mask_ratio=1.0)
    output = model(clips, noise)
    assert model.num_kept == 0 and (output.mask == 1).all() and output.loss.isfinite()
    output.loss.backward()


def test_second_objective(clips: Tensor, noise: Tensor) -> None:
    model = tiny(joints_weight=0.5)
    output = model(clips, noise)
    assert set(output.losses) == {"motion", "joints"}
    torch.testing.assert_close(output.loss, output.losses["motion"] + 0.5 * output.losses["joints"])
    output.loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_agreement_is_lower_for_views_that_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 8, generator=generator)
    pairs = z.repeat_interleave(2, dim=0)
    close = pairs + 0.01 * torch.randn(pairs.shape, generator=generator)
    assert agreement(close, 0.1) < 0.2 * agreement(torch.randn(12, 8, generator=generator), 0.1)
    a, b = torch.randn(2, 8, generator=generator)
    torch.testing.assert_close(agreement(torch.stack([a, b]), 0.1), torch.tensor(0.0), msg="there is nobody else")
    by_hand = []
    unit = close / close.norm(dim=1, keepdim=True)
    for i in range(12):
        scores = {j: math.exp(float(unit[i] @ unit[j]) / 0.5) for j in range(12) if j != i}
        by_hand.append(-math.log(scores[i + 1 if i % 2 == 0 else i - 1] / sum(scores.values())))
    torch.testing.assert_close(agreement(close, 0.5), torch.tensor(by_hand).mean())
    with pytest.raises(ConfigError, match="pairs of views; found a batch of 3"):
        agreement(z[:3], 0.1)


@pytest.mark.parametrize("pooling", ["mean", "max", "std"])
def test_third_objective(clips: Tensor, noise: Tensor, pooling: Any) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "decoder_dim_feat": 32,
        "decoder_depth": 2,
        "joints_weight": 0.5,
        "agreement_weight": 0.25,
    }
    model = MAMPForPretraining(TINY.replace(pooling=pooling), **options)
    pairs = clips[[0, 0, 1, 1]]
    output = model(pairs, torch.cat([noise, noise[:2]]))
    parts = output.losses
    assert list(parts) == ["motion", "joints", "agreement"]
    torch.testing.assert_close(output.loss, parts["motion"] + 0.5 * parts["joints"] + 0.25 * parts["agreement"])
    output.loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    assert "agreement" not in model(pairs[:1]).losses, "a clip alone has no other to be told from"


def test_target_from_other_clips(clips: Tensor, noise: Tensor) -> None:
    model = tiny()
    jittered = clips + 0.1 * torch.randn_like(clips)
    output = model(jittered, noise, target_x=clips)
    own = model(jittered, noise)
    torch.testing.assert_close(output.prediction, own.prediction)
    assert not torch.isclose(output.loss, own.loss)


def test_noise_is_drawn_when_not_given(clips: Tensor) -> None:
    model = tiny()
    torch.manual_seed(1)
    first = model(clips).mask
    again = model(clips).mask
    torch.manual_seed(1)
    assert torch.equal(model(clips).mask, first) and not torch.equal(first, again)


def test_decoder_deeper_than_the_encoder(clips: Tensor, noise: Tensor) -> None:
    model = tiny(decoder_depth=4, drop_path_rate=0.2)
    blocks: Any = model.decoder_blocks
    assert [getattr(block.drop_path, "rate", 0) for block in blocks] == pytest.approx([0, 0.2, 0.2, 0.2])
    assert model(clips, noise).loss.isfinite()


def test_masking_rules(clips: Tensor, noise: Tensor) -> None:
    """Each rule has its own mask; all keep the same number of tokens and give a loss."""
    confidence = torch.rand(3, 2, 16, 25, generator=torch.Generator().manual_seed(5))
    masks = {}
    for rule in get_args(Masking):
        output = tiny(masking=rule)(clips, noise, confidence=confidence)
        assert output.loss.isfinite() and (output.mask.sum(1) == 91).all()
        masks[rule] = output.mask
    assert len({tuple(mask.flatten().tolist()) for mask in masks.values()}) == len(masks)
    assert torch.equal(masks["random"], tiny(motion_aware_tau=0.0)(clips, noise).mask)
    full_trust = tiny(masking="confidence")(clips, noise, confidence=torch.ones(3, 2, 16, 25)).mask
    assert torch.equal(full_trust, masks["motion"])


def test_learned_importance_is_the_loss_of_each_token(clips: Tensor, noise: Tensor) -> None:
    """The loss of a random mask with all tokens decoded, and the mean of a body where a token was visible."""
    teacher, random = tiny(masking="learned").eval(), tiny(masking="random").eval()
    found = teacher.importance(clips, clips, noise)
    assert found.shape == noise.shape and not found.requires_grad
    with torch.no_grad():
        output = random(clips, noise)
    target = normalize_target(patchify(temporal_motion(clips.flatten(0, 1), 1), 4))
    losses = (output.prediction - target).square().mean(-1)
    hidden = output.mask.bool()
    torch.testing.assert_close(found[hidden], losses[hidden], rtol=1e-5, atol=1e-6)
    assert found[hidden].mean().item() == pytest.approx(output.loss.item(), rel=1e-5)
    for body, seen in zip(found, ~hidden, strict=True):
        torch.testing.assert_close(body[seen], body[~seen].mean().expand(int(seen.sum())))


def test_still_masks_hide_what_moves_least(clips: Tensor) -> None:
    """Hidden tokens move less than visible ones, on average."""
    model = tiny(masking="still", mask_ratio=0.5, motion_aware_tau=0.1)
    hidden = model(clips).mask.bool()
    cfg = model.config
    intensity = motion_intensity(clips.flatten(0, 1), cfg.t_patch_size, cfg.patch_size)
    assert intensity[hidden].mean() < 0.8 * intensity[~hidden].mean()


def test_learned_masks_hide_what_is_important(clips: Tensor) -> None:
    """A given importance takes the place of motion, with the same draw."""
    model = tiny(masking="learned", mask_ratio=0.5)
    important = torch.zeros(6, 100)
    important[:, ::2] = 50.0
    hidden = torch.zeros(100)
    for seed in range(8):
        draw = torch.rand(6, 100, generator=torch.Generator().manual_seed(seed))
        hidden += model(clips, draw, importance=important).mask.sum(0)
    assert hidden[::2].mean() > 1.2 * hidden[1::2].mean()
    draw = torch.rand(6, 100, generator=torch.Generator().manual_seed(0))
    key = motion_aware_key(important, draw, model.objective.motion_aware_tau)
    assert torch.equal(model(clips, draw, importance=important).mask, mask_tokens(key, 0.5).mask)


def test_confidence_is_needed(clips: Tensor, noise: Tensor) -> None:
    with pytest.raises(
        ConfigError, match="masking 'confidence' needs the tracking confidence of the clips; found none"
    ):
        tiny(masking="confidence")(clips, noise)


def test_body_parts_of_other_joints() -> None:
    with pytest.raises(ConfigError, match="masking 'parts' knows the body parts of the 25 joints"):
        MAMPForPretraining(TINY.replace(num_joints=20), decoder_dim_feat=32, masking="parts")


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"masking": "blocks"},
            r"masking: expected one of motion, random, confidence, tube, parts, future, learned, still; found 'blocks'",
        ),
        ({"mask_ratio": 1.5}, r"mask_ratio: expected a share in \[0, 1\], found 1.5"),
        ({"mask_ratio": -0.1}, r"mask_ratio: .*found -0.1"),
        ({"motion_stride": 0}, r"motion_stride: expected 1 to 15 \(num_frames - 1\), found 0"),
        ({"motion_stride": 16}, r"motion_stride: expected 1 to 15 .*found 16"),
        ({"target": "bones"}, r"target: expected one of motion, joints, displacement; found 'bones'"),
        ({"decoder_dim_feat": 30}, r"decoder_dim_feat: expected a multiple of num_heads \(4\), found 30"),
        ({"decoded_tokens": 0}, r"decoded_tokens: expected at least 1, or None for all, found 0"),
        ({"target": "joints", "joints_weight": 1.0}, r"joints_weight: expected 0 when target is 'joints'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**options)


def test_bad_input(clips: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"noise: expected shape \(6, 100\), found \(6, 99\)"):
        tiny()(clips, torch.rand(6, 99))
    with pytest.raises(RecordingError, match=r"expected clips \[B, M, T, V, C\]"):
        tiny()(clips[:, :, :8])


# --- drawn visibility ------------------------------------------------------------------------------------------------


def test_what_is_missing_is_masked_first(clips: Tensor, noise: Tensor) -> None:
    model = tiny()
    missing = torch.zeros_like(noise, dtype=torch.bool)
    missing[::2, ::5] = True
    output = model(clips, noise, missing=missing, mask_ratio=0.5)
    assert (output.mask[missing] == 1).all() and (output.mask.sum(1) == TINY.num_tokens - TINY.num_tokens // 2).all()
    plain = model(clips, noise, mask_ratio=0.5)
    assert plain.mask[1].equal(output.mask[1]) and not plain.mask[0].equal(output.mask[0])


def test_the_objective_is_declared_once() -> None:
    """The constructor takes fields of the objective by name, with the published defaults."""
    model = MAMPForPretraining(TINY, Objective(decoder_dim_feat=32, mask_ratio=0.8), decoder_depth=1)
    assert model.objective == Objective(decoder_dim_feat=32, decoder_depth=1, mask_ratio=0.8)
    found = MAMPForPretraining(MAMPConfig()).objective
    published = {"decoder_dim_feat": 256, "decoder_depth": 5, "mask_ratio": 0.9, "motion_aware_tau": 0.75}
    published |= {"motion_stride": 1, "target": "motion", "norm_target": True}
    assert {name: getattr(found, name) for name in published} == published
    assert TrainConfig().objective == found
    with pytest.raises(ConfigError, match="expected a share above 0, up to mask_ratio"):
        Objective(mask_ratio=0.5, mask_ratio_low=0.6)
    with pytest.raises(ConfigError, match="at least one of 100 tokens, found 0: nothing would be left to predict"):
        MAMPForPretraining(TINY, mask_ratio=0)
    with pytest.raises(ConfigError, match="missing_parts knows the body parts of the 25 joints"):
        MAMPForPretraining(TINY.replace(num_joints=20), missing_parts=0.5)
