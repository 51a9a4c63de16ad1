"""Checkpoints in the published layout become ours; a pickle that asks for code is refused unrun."""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mamp import MAMPConfig, MAMPEncoder, Preprocessing
from mamp.errors import ConfigError, WeightsError
from mamp.hub import convert_checkpoint, fingerprint
from mamp.hub.tensors import read_tensors, sha256_of
from mamp.pretraining import MAMPForPretraining

TINY = MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16)


@pytest.fixture
def model() -> MAMPForPretraining:
    torch.manual_seed(0)
    return MAMPForPretraining(TINY, decoder_dim_feat=32, decoder_depth=1)


def arguments(data: str = "", **fields: Any) -> argparse.Namespace:
    """What the published programs store of a run: strings, numbers, paths, nested dicts."""
    return argparse.Namespace(
        model="some.model.Class",
        model_args={"dim_feat": 32, "depth": 2, "num_heads": 4, "qk_scale": "None"},
        train_feeder_args={"data_path": data, "p_interval": [0.5, 1]},
        output_dir=Path("out") / "here",
        lr=np.float64(1e-3),
        device="cuda",
        resume=None,
        distributed=True,
        **fields,
    )


def checkpoint(path: Path, state: dict[str, Tensor], args: object = None, **more: object) -> Path:
    """Write a file in the published layout."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3)
    parameter.sum().backward()
    optimizer.step()
    content = {"model": state, "optimizer": optimizer.state_dict(), "epoch": 399, "scaler": {}, "args": args, **more}
    torch.save(content, path)
    return path


def encoder_tensors(model: torch.nn.Module) -> dict[str, Tensor]:
    names = MAMPEncoder(TINY).state_dict().keys()
    return {name: value for name, value in model.state_dict().items() if name in names}


def head(kind: str) -> dict[str, Tensor]:
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "pretraining": {},
        "linear probe": {"head.fc.0.running_mean": (32,), "head.fc.1.weight": (60, 32), "head.fc.1.bias": (60,)},
        "fine-tuned": {
            "head.fc1.weight": (8, 800),
            "head.fc1.bias": (8,),
            "head.bn.weight": (8,),
            "head.fc2.bias": (60,),
        },
    }
    return {name: torch.randn(shape) for name, shape in shapes[kind].items()}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", ["pretraining", "linear probe", "fine-tuned"])
def test_published_layouts(model: MAMPForPretraining, tmp_path: Path, kind: str, prefix: str) -> None:
    state = dict(model.state_dict()) if kind == "pretraining" else {**encoder_tensors(model), **head(kind)}
    file = checkpoint(tmp_path / "c.pth", {prefix + name: value for name, value in state.items()}, arguments())
    result = convert_checkpoint(file, tmp_path / "out", preset="ntu120")
    assert (result.kind, result.epoch, result.preset) == (kind, 399, "ntu120-xsub")
    assert set(result.dropped) == state.keys() - encoder_tensors(model).keys()
    encoder = MAMPEncoder.from_pretrained(tmp_path / "out")
    assert encoder.config == TINY.replace(preprocessing=Preprocessing(absent_person="copy"))
    for name, value in encoder_tensors(model).items():
        assert torch.equal(encoder.state_dict()[name], value)
    card = (tmp_path / "out" / "README.md").read_text()
    assert sha256_of(file) in card and "399" in card and kind in card


def test_golden_tokens_after_conversion(shared: Path, tmp_path: Path) -> None:
    golden = np.load(shared / "reference" / "golden" / "encoder.npz")
    for kind in ("linprobe", "finetune"):
        state = {k.split("/")[-1]: torch.from_numpy(golden[k]) for k in golden.files if k.startswith(f"{kind}/sd/")}
        convert_checkpoint(checkpoint(tmp_path / "c.pth", state, arguments()), tmp_path / kind)
        encoder = MAMPEncoder.from_pretrained(tmp_path / kind, dtype=torch.float64)
        x = torch.from_numpy(golden["x"]).double().permute(0, 4, 2, 3, 1)
        with torch.no_grad():
            torch.testing.assert_close(encoder(x).numpy(), golden["tokens_f64"], rtol=0, atol=1e-10)


def test_other_architectures(tmp_path: Path) -> None:
    config = MAMPConfig(
        dim_feat=24, depth=3, num_heads=8, mlp_ratio=2.5, num_frames=24, num_joints=25, patch_size=5, t_patch_size=2,
        qkv_bias=False,
    )  # fmt: skip
    source = MAMPEncoder(config)
    torch.save({"model": source.state_dict()}, tmp_path / "c.pth")
    result = convert_checkpoint(tmp_path / "c.pth", tmp_path / "out")
    assert result.config == config and result.epoch is None and result.kind == "encoder"
    assert fingerprint(tmp_path / "out") == fingerprint(source)


def test_a_bare_state_dict_and_the_older_file_format(model: MAMPForPretraining, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    convert_checkpoint(tmp_path / "c.pth", tmp_path / "out", preset="pku1")
    assert MAMPEncoder.from_pretrained(tmp_path / "out").config.preprocessing.center == "none"


def test_where_the_preprocessing_comes_from(
    model: MAMPForPretraining, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mamp")
    for data, preset in (
        ("data/NTU120_XSet.npz", "ntu120-xset"),
        ("NTU60_XView.npz", "ntu60-xview"),
        ("data/PKUMMD_v1_xsub.npz", "pku1-xsub"),
        ("data/pku_v2/train.npz", "pku2-xsub"),
        ("data/PKU-MMD/skeleton", "pku1-xsub"),
        ("", "ntu60-xsub"),
    ):
        caplog.clear()
        file = checkpoint(tmp_path / "c.pth", model.state_dict(), arguments(data))
        assert convert_checkpoint(file, tmp_path / "out").preset == preset
        assert f"'{preset}'" in caplog.text
    own = Preprocessing(facing=True, max_people=None, absent_person="none")
    assert convert_checkpoint(file, tmp_path / "out", preprocessing=own).config.preprocessing == own
    with pytest.raises(ConfigError, match="expected one of the two"):
        convert_checkpoint(file, tmp_path / "out", preset="ntu60", preprocessing=own)
    with pytest.raises(ConfigError, match=r"found 'ntu6O'. Did you mean 'ntu60'\?"):
        convert_checkpoint(file, tmp_path / "out", preset="ntu6O")
    with pytest.raises(ConfigError, match="found 'openmocap'"):
        convert_checkpoint(file, tmp_path / "out", preset="openmocap")


def test_data_prepared_differently_are_asked_for(model: MAMPForPretraining, tmp_path: Path) -> None:
    """Transfer names two sets of data: one is centred, the other is not."""
    args = arguments("data/PKUMMD_v2.npz", finetune="runs/NTU60_XSub/checkpoint-399.pth")
    file = checkpoint(tmp_path / "c.pth", model.state_dict(), args)
    with pytest.raises(ConfigError, match="names the data of ntu60-xsub and pku2-xsub, which are prepared differently"):
        convert_checkpoint(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert convert_checkpoint(file, tmp_path / "out", preset="pku2").config.preprocessing.center == "none"
    both = arguments("data/NTU60_XSub.npz", config="configs/ntu60_xview/pretrain.yaml")
    file = checkpoint(tmp_path / "d.pth", model.state_dict(), both)
    assert convert_checkpoint(file, tmp_path / "alike").config.preprocessing.center == "clip"


def test_arguments_of_any_size_are_looked_at_quickly(model: MAMPForPretraining, tmp_path: Path) -> None:
    deep: Any = "NTU120_XSet"
    for _ in range(300):
        deep = [deep]
    file = checkpoint(tmp_path / "c.pth", model.state_dict(), arguments(many=["x" * 5000] * 20_000, deep=deep))
    began = time.perf_counter()
    convert_checkpoint(file, tmp_path / "out")
    assert time.perf_counter() - began < 10


def test_heads_that_the_checkpoint_does_not_state(
    model: MAMPForPretraining, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = checkpoint(tmp_path / "c.pth", model.state_dict())
    assert convert_checkpoint(file, tmp_path / "out", preset="ntu60").config.num_heads == 8
    assert "does not state num_heads; the published 8 are assumed" in caplog.text


def test_other_clip_length_and_type(model: MAMPForPretraining, tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "c.pth", model.state_dict(), arguments())
    convert_checkpoint(file, tmp_path / "out", num_frames=32, dtype=torch.float16)
    assert MAMPEncoder.from_pretrained(tmp_path / "out").temp_embed.shape == (1, 8, 1, 32)
    assert read_tensors(tmp_path / "out" / "model.safetensors")["pos_embed"].dtype == torch.float16


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_a_malicious_checkpoint_is_refused_and_not_run(model: MAMPForPretraining, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    places: list[dict[str, Any]] = [{"args": Evil(ran)}, {"model": Evil(ran)}, {"args": arguments(hidden=Evil(ran))}]
    for place in places:
        content = {"model": model.state_dict(), "epoch": 1, **place}
        torch.save(content, tmp_path / "c.pth")
        with pytest.raises(WeightsError, match=r"refused. It asks for '\w+.mkdir'.* nothing of it was run"):
            convert_checkpoint(tmp_path / "c.pth", tmp_path / "out")
    assert not ran.exists() and not (tmp_path / "out").exists()
    torch.load(tmp_path / "c.pth", weights_only=False)  # the file is what it claims to be
    assert ran.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.weight"), r"'norm.weight' of shape \[32\] is missing"),
        (lambda s: s.pop("temp_embed"), r"expected a MAMP checkpoint with tensor 'temp_embed'"),
        (lambda s: s.update({"cls_token": torch.zeros(1)}), r"'cls_token' of shape \[1\] is not part of the model"),
        (lambda s: s.update({"norm.bias": torch.zeros(3)}), r"'norm.bias': expected shape \[32\], found \[3\]"),
        (lambda s: s.update({"norm.bias": torch.full((32,), torch.nan)}), r"'norm.bias' holds 32 of 32"),
        (lambda s: s.update({"blocks.99999999.norm1.weight": torch.zeros(32)}), r"config.depth: .* at most 1,000"),
        (lambda s: s.update({"blocks.999.norm1.weight": torch.zeros(32)}), r"'blocks.2.norm1.weight' .* missing"),
        (lambda s: s.update({"blocks.1.norm1.weight": torch.zeros(32).int()}), "floating point, found torch.int32"),
        (
            lambda s: s.update({"norm.bias": torch.full((32,), 1e37)}),
            r"'norm.bias' holds values up to 1e\+37",
        ),
        (lambda s: s.update({"norm.bias": torch.zeros(1).expand(32)}), r"'norm.bias' of shape \[32\]: expected its 32"),
        (lambda s: s.update({"module.norm.bias": torch.zeros(32)}), "with and without a prefix"),
        (lambda s: s.update({"temp_embed": torch.zeros(1, 4, 1, 32).int()}), "expected floating point"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 1, 17, 32)}), "have 17 joints, the layout 'ntu25' .* has 25"),
    ],
)
def test_checkpoints_that_do_not_fit(model: MAMPForPretraining, tmp_path: Path, change: Any, message: str) -> None:
    state = dict(model.state_dict())
    change(state)
    file = checkpoint(tmp_path / "c.pth", state, arguments())
    with pytest.raises((WeightsError, ConfigError), match=message):
        convert_checkpoint(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_checkpoints(model: MAMPForPretraining, tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "c.pth", model.state_dict(), arguments())
    whole = file.read_bytes()
    for content in (b"", b"text", b"\x80\x02", whole[:10], whole[: len(whole) // 2], whole[:-30]):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"c.pth: expected a torch checkpoint"):
            convert_checkpoint(file, tmp_path / "out")
    for value in ({"epoch": 3, "model": {}}, {"model": {"a": 1}}, [1, 2]):
        torch.save(value, file)
        with pytest.raises(WeightsError, match=r"c\.pth: expected a"):
            convert_checkpoint(file, tmp_path / "out")
    for place in (tmp_path, tmp_path / "nothing.pth"):
        with pytest.raises(WeightsError, match="expected a checkpoint file, found"):
            convert_checkpoint(place, tmp_path / "out")
    assert not (tmp_path / "out").exists()
