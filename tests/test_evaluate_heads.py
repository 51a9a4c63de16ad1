"""Heads, losses, schedules and parameter groups of the downstream protocols against the published ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from closed_form import closed_form_clips, closed_form_weights, config_of, hash_uniform, to_ours
from torch import Tensor, nn
from torch.nn import functional as F

from mamp import MAMPConfig, MAMPEncoder
from mamp.errors import DataError
from mamp.evaluate.finetune import (
    PROTOCOLS,
    FinetuneConfig,
    labelled_share,
    layer_decay_groups,
    make_classifier,
    make_optimizer,
)
from mamp.evaluate.linear import LinearConfig
from mamp.evaluate.linear import make_classifier as make_linear
from mamp.evaluate.linear import make_optimizer as make_linear_optimizer
from mamp.heads import ActionHead, Classifier, LinearHead
from mamp.train.loop import set_learning_rate

Arrays = Mapping[str, Any]
CLASSES = 60


@pytest.fixture(scope="module", params=["cut", "full"])
def arrays(request: pytest.FixtureRequest, golden: Path) -> Arrays:
    """Golden arrays: those kept with the tests, then the full set where it is at hand."""
    files = [golden / "encoder.npz", golden / "heads.npz"]
    if request.param == "full":
        files = [request.getfixturevalue("shared") / "reference" / "golden" / "encoder.npz"]
    found: dict[str, Any] = {}
    for path in files:
        with np.load(path) as file:
            found |= dict(file)
    return found


@pytest.fixture(scope="module")
def full(shared: Path) -> Arrays:
    """Golden arrays of the fine-tuning head, whose weights are too large to keep with the tests."""
    with np.load(shared / "reference" / "golden" / "encoder.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def facts(golden: Path) -> dict[str, Any]:
    return dict(json.loads((golden / "heads.json").read_text()))


def weights(arrays: Arrays, *prefixes: str) -> dict[str, Tensor]:
    """A state dict of the trunk, and of heads under other prefixes."""
    found = {}
    for prefix in prefixes:
        found |= {name.removeprefix(prefix): torch.tensor(arrays[name]) for name in arrays if name.startswith(prefix)}
    return found


@pytest.fixture
def linear(arrays: Arrays) -> Classifier:
    """The linear probe with batch norm, strictly loaded from published keys."""
    model = make_linear(config_of(str(arrays["cfg"])), CLASSES)
    state = weights(arrays, "linprobe/sd/", "linprobe_bn/sd/")
    for name in ("head.fc.weight", "head.fc.bias"):
        state.pop(name)
    model.load_state_dict(state)
    return model


@pytest.fixture
def finetuned(full: Arrays) -> Classifier:
    """The fine-tuning model without dropout, strictly loaded from published keys."""
    settings = FinetuneConfig(dropout=0.0, drop_path=0.0)
    model = make_classifier(config_of(str(full["cfg"])), settings, CLASSES)
    model.load_state_dict(weights(full, "finetune/sd/"))
    return model


def close(found: Tensor, expected: Any, atol: float = 1e-5, rtol: float = 0) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=rtol, atol=atol)


# Linear probe.


def test_linear_layer_without_batch_norm(arrays: Arrays) -> None:
    model = make_linear(config_of(str(arrays["cfg"])), CLASSES).eval()
    state = weights(arrays, "linprobe/sd/")
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith("head.")}, strict=False)
    pooled = model.double().pool(to_ours(arrays["x"]).double())
    logits = F.linear(pooled, state["head.fc.weight"].double(), state["head.fc.bias"].double())
    close(logits, arrays["linprobe/logits_f64"], atol=1e-10)
    close(pooled.float(), arrays["linprobe/pooled"])


def test_linear_probe(linear: Classifier, arrays: Arrays) -> None:
    close(linear.eval()(to_ours(arrays["x"])), arrays["linprobe_bn/logits"])


def test_linear_probe_in_training(linear: Classifier, arrays: Arrays) -> None:
    x, y = to_ours(arrays["x"]), torch.tensor(arrays["y"])
    trunk = {name: value.clone() for name, value in linear.state_dict().items() if not name.startswith("head.")}
    optimizer = make_linear_optimizer(LinearConfig(), linear)
    losses = []
    for step in range(3):
        logits = linear.train()(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            close(logits, arrays["linprobe_bn/train_logits"])
            for name in ("weight", "bias"):
                gradient = linear.get_parameter(f"head.fc.1.{name}").grad
                assert gradient is not None
                close(gradient, arrays[f"linprobe_bn/train_grad_fc_{name}"])
        optimizer.step()
        losses.append(float(loss.detach()))
        if step in (0, 2):
            for name, value in linear.state_dict().items():
                if name.startswith("head."):
                    close(value, arrays[f"linprobe_bn/after{step + 1}/{name}"], atol=2e-5)
    assert losses == pytest.approx(arrays["linprobe_bn/train_losses_3steps"].tolist(), rel=1e-5)
    for name, value in trunk.items():
        assert torch.equal(linear.state_dict()[name], value), name
        assert linear.get_parameter(name).grad is None


def test_a_frozen_encoder_stays_in_evaluation_mode() -> None:
    head = LinearHead(32, 3)
    model = Classifier(MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16), head, 0.5, frozen=True).train()
    training = [name for name, module in model.named_modules() if module.training]
    assert training == ["head", "head.fc", "head.fc.0", "head.fc.1"]
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.fc.1.weight", "head.fc.1.bias"]
    assert float(head.fc[1].weight.detach().std()) == pytest.approx(0.01, rel=0.3) and not head.fc[1].bias.any()


# Fine-tuning.


def test_features_of_the_action_head(arrays: Arrays) -> None:
    head = ActionHead(32, 25, CLASSES, dropout=0.3).eval()
    close(head.pool(torch.tensor(arrays["tokens"])), arrays["finetune/fc1_in"])


def test_label_smoothing(arrays: Arrays) -> None:
    logits, y = torch.tensor(arrays["finetune/logits"]), torch.tensor(arrays["y"])
    smooth = F.cross_entropy(logits, y, label_smoothing=FinetuneConfig().smoothing)
    assert float(smooth) == pytest.approx(float(arrays["finetune/ls_loss_eval"]), rel=1e-6)
    assert float(F.cross_entropy(logits, y)) == pytest.approx(float(arrays["finetune/ce_loss_eval"]), rel=1e-6)


def test_finetuned(finetuned: Classifier, full: Arrays) -> None:
    x = to_ours(full["x"])
    close(finetuned.eval()(x), full["finetune/logits"])
    with torch.no_grad():
        close(finetuned(x), full["finetune/logits"])


def test_finetuning_step_and_trajectory(finetuned: Classifier, full: Arrays) -> None:
    # In float64, since batch norm over three clips magnifies what float32 rounds off: what differs is their rounding.
    x, y = to_ours(full["x"]).double(), torch.tensor(full["y"])
    finetuned = finetuned.double()
    settings = FinetuneConfig(dropout=0.0, drop_path=0.0)
    optimizer = make_optimizer(settings, finetuned)
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * group["lr_scale"]
    losses = []
    names = [name for name, _ in finetuned.named_parameters()]
    assert names == json.loads(str(full["finetune/grad_names"]))
    for step in range(4):
        logits = finetuned.train()(x)
        loss = F.cross_entropy(logits, y, label_smoothing=settings.smoothing)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            close(logits, full["finetune/train_nodrop_logits"])
            norms = [float(p.grad.norm()) for p in finetuned.parameters() if p.grad is not None]
            np.testing.assert_allclose(norms, full["finetune/grad_norms"], rtol=3e-5, atol=1e-5)
        optimizer.step()
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(losses, full["finetune/traj_losses"], rtol=2e-5)
    # Batch norm takes out what the last biases before it add, and softmax those of the keys: their gradients are what
    # was rounded off, of which Adam makes steps of full length.
    loose = ("qkv.bias", "norm.bias", "fc1.bias")
    norms = {name: float(p.detach().norm()) for name, p in finetuned.named_parameters()}
    expected = dict(zip(names, full["finetune/traj_param_norms"].tolist(), strict=True))
    for name, norm in norms.items():
        assert norm == pytest.approx(expected[name], rel=0.02 if name.endswith(loose) else 2e-5), name
    assert isinstance(finetuned.head, ActionHead)
    for name, atol in (("mean", 2e-3), ("var", 2e-4)):  # the mean holds these biases
        close(finetuned.head.bn.get_buffer(f"running_{name}"), full[f"finetune/traj_running_{name}"], atol)


def test_stochastic_depth_in_finetuning(full: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_classifier(config_of(str(full["cfg"])), FinetuneConfig(dropout=0.0), CLASSES)
    model.load_state_dict(weights(full, "finetune/sd/"))
    rates = [getattr(block.drop_path, "rate", 0) for block in model.blocks]
    np.testing.assert_allclose(rates, full["finetune_dp0.3/rates"], rtol=1e-6)
    draws = [torch.tensor(u)[..., 0] for u in full["finetune_dp0.3/u"]]
    left = list(draws)
    monkeypatch.setattr(torch, "rand", lambda size, **_: left.pop(0).reshape(size))
    close(model.train()(to_ours(full["x"])), full["finetune_dp0.3/train_nodrop_logits"], atol=2e-5)
    assert len(draws) - len(left) == int(full["finetune_dp0.3/n_draws"])


# The published size.


def closed_form(shapes: list[Any]) -> dict[str, Tensor]:
    """Closed-form weights of a state dict, heads included."""
    found = closed_form_weights(shapes)
    for k, (name, shape) in enumerate(sorted((name, tuple(shape)) for name, shape in shapes)):
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(0)
        elif name.startswith("head."):
            u = hash_uniform(k, int(np.prod(shape)))
            if name.endswith(".weight"):
                u = 1 + 0.1 * u if len(shape) == 1 else u * np.sqrt(3 / np.prod(shape[1:]))
            else:
                u = 1 + 0.5 * u if name.endswith("running_var") else 0.1 * u
            found[name] = torch.from_numpy(u.reshape(shape).astype(np.float32))
    return found


@torch.no_grad()
def test_finetuned_of_the_published_size(facts: dict[str, Any]) -> None:
    golden = facts["models"]["finetune60"]
    model = make_classifier(config_of(golden["cfg"]), FinetuneConfig(), CLASSES).eval()
    assert sum(p.numel() for p in model.parameters()) == golden["n_parameters"] == 19_572_284
    assert [name for name, _ in model.named_parameters()] == golden["named_parameters_order"]
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == dict(golden["state_dict"])
    model.load_state_dict(closed_form(golden["state_dict"]))
    close(model(to_ours(closed_form_clips())), golden["logits"])


@torch.no_grad()
def test_linear_probe_of_the_published_size(facts: dict[str, Any]) -> None:
    golden = facts["models"]["linprobe60"]
    model = make_linear(config_of(golden["cfg"]), CLASSES).eval()
    assert sum(p.numel() for p in model.parameters()) == golden["n_parameters"] == 6_351_420
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == dict(golden["state_dict_with_bn_head"])
    state = closed_form(golden["state_dict"])
    weight, bias = state.pop("head.fc.weight"), state.pop("head.fc.bias")
    model.load_state_dict(state, strict=False)
    close(F.linear(model.pool(to_ours(closed_form_clips())), weight, bias), golden["logits"])


# Who is absent.


@pytest.fixture
def people() -> tuple[Classifier, Tensor]:
    """A small model, and three clips of which two have an absent second person."""
    torch.manual_seed(0)
    config = MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=8)
    x = torch.randn(3, 2, 8, 25, 3)
    x[1:, 1] = 0
    return make_classifier(config, FinetuneConfig(hidden=32, dropout=0.0), 4).eval(), x


@pytest.mark.parametrize("grad", [True, False])
def test_who_is_absent_counts_as_published_or_not_at_all(people: tuple[Classifier, Tensor], grad: bool) -> None:
    model, x = people
    encoder = MAMPEncoder(model.config).eval()
    encoder.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("head.")})
    present = torch.tensor([[True, True], [True, False], [True, False]])
    with torch.set_grad_enabled(grad):
        tokens = encoder(x)
        close(model(x).detach(), model.head(tokens).detach(), atol=1e-6)
        close(model(x[1:], present[1:]).detach(), model.head(tokens[1:, :1]).detach(), atol=1e-6)
        close(model(x, present)[:1].detach(), model.head(tokens[:1]).detach(), atol=1e-6)
    assert float((model(x) - model(x, present))[1:].detach().abs().min(dim=1).values.max()) > 1e-5


def test_many_clips_without_gradient_are_encoded_a_few_at_a_time(
    people: tuple[Classifier, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = people
    x = torch.randn(11, 1, 8, 25, 3)
    clips: list[int] = []
    pool = model.head.pool
    monkeypatch.setattr(model.head, "pool", lambda tokens, present: clips.append(len(tokens)) or pool(tokens, present))
    with torch.no_grad():
        together = model(x)
    assert clips == [4, 4, 3]
    close(together, model(x).detach().numpy(), atol=1e-6)


# Schedules and parameter groups.


@pytest.mark.parametrize("name", ["pretrain", "finetune", "finetune_yaml_only", "linprobe", "linprobe_pkuv2"])
def test_learning_rates(golden: Path, name: str) -> None:
    table = json.loads((golden / "sched.json").read_text())["adjust_learning_rate"][name]
    plain_group, scaled_group = ({"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2))
    optimizer = torch.optim.SGD([plain_group, scaled_group | {"lr_scale": 0.8**3}], lr=1.0)
    settings: Any = SimpleNamespace(**table["args"])
    assert len(table["rows"]) > 15
    for epoch, returned, plain, scaled in table["rows"]:
        assert set_learning_rate(optimizer, epoch, settings) == pytest.approx(returned, rel=1e-12, abs=1e-18)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([plain, scaled], rel=1e-12, abs=1e-18)


def test_the_published_settings(golden: Path) -> None:
    tables = json.loads((golden / "sched.json").read_text())["adjust_learning_rate"]
    for name, config in (("finetune", FinetuneConfig()), ("linprobe", LinearConfig())):
        assert tables[name]["args"] == {key: getattr(config, key) for key in tables[name]["args"]}
    finetune = FinetuneConfig()
    assert (finetune.batch_size, finetune.weight_decay, finetune.betas) == (48, 0.05, (0.9, 0.999))
    assert (finetune.layer_decay, finetune.drop_path, finetune.dropout, finetune.smoothing) == (0.8, 0.3, 0.3, 0.1)
    linear = LinearConfig()
    assert (linear.batch_size, linear.weight_decay, linear.momentum) == (256, 0.0, 0.9)
    scratch = next(protocol.config for protocol in PROTOCOLS if protocol.name == "scratch")
    assert scratch == FinetuneConfig(layer_decay=1.0)
    crop = finetune.augmentation
    assert (crop.crop_share, crop.crop_min, crop.rotation) == ((0.5, 1.0), 64, 0.3) == (
        linear.augmentation.crop_share, linear.augmentation.crop_min, linear.augmentation.rotation
    )  # fmt: skip


@pytest.mark.parametrize("decay", [0.8, 1.0])
@pytest.mark.parametrize("which", ["small_finetune", "real_finetune", "small_linprobe"])
def test_layer_decay_groups(facts: dict[str, Any], which: str, decay: float) -> None:
    expected = facts["param_groups_lrd"][f"{which}/layer_decay={decay}"]
    small = MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16)
    config = MAMPConfig() if which.startswith("real") else small
    model = make_classifier(config, FinetuneConfig(), CLASSES)
    if which.endswith("linprobe"):  # as published: the plain linear head
        model.head = nn.Module()
        model.head.fc = nn.Linear(32, CLASSES)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = layer_decay_groups(model, config.depth, 0.05, decay)
    found = [{**group, "params": [names[id(p)] for p in group["params"]]} for group in groups]
    assert found == expected


# Few labels.


def labelled(count: int, classes: int = 3) -> Any:
    labels = np.arange(count) % classes
    store = SimpleNamespace(path=Path("store"))
    return SimpleNamespace(train=np.arange(count), labels=labels, classes=tuple("abcdef"[:classes]), store=store)


@pytest.mark.parametrize("case", ["N=40091,ratio=0.01", "N=40091,ratio=0.1", "N=37646,ratio=0.01", "N=37646,ratio=0.1"])
def test_published_subsets(facts: dict[str, Any], case: str) -> None:
    golden = facts["semi"][case]
    count, ratio = (part.split("=")[1] for part in case.split(","))
    clips = labelled_share(labelled(int(count)), float(ratio), 0, balanced=False)
    assert clips[:10].tolist() == golden["rank0_first10"]
    assert hashlib.sha256(clips.astype(np.int64).tobytes()).hexdigest() == golden["rank0_sha256_i64"]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 1.0])
def test_balanced_subsets(share: float) -> None:
    data = labelled(100, 3)  # 34, 33 and 33 clips
    data.train = np.arange(100)[::-1] + 0
    clips = labelled_share(data, share, 5, balanced=True)
    counts = np.bincount(data.labels[clips], minlength=3).tolist()
    assert counts == [max(round(share * n), 1) for n in (34, 33, 33)]
    assert len(set(clips.tolist())) == len(clips)
    assert clips.tolist() == labelled_share(data, share, 5, balanced=True).tolist()
    if share < 1:
        assert clips.tolist() != labelled_share(data, share, 6, balanced=True).tolist()


def test_a_share_of_nothing() -> None:
    with pytest.raises(DataError, match=r"a share of 0\.001 of 100 training clips is no clip; raise share"):
        labelled_share(labelled(100), 0.001, 0, balanced=False)
