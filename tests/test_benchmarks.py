"""The scripts in ``benchmarks/``: the baseline computes the same, and what is measured becomes tables and pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mamp import MAMPConfig, MAMPEncoder
from mamp.pretraining import MAMPForPretraining, Objective


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    yield import_module(request.param)
    sys.modules.pop(request.param)


@pytest.mark.parametrize("script", ["baseline"], indirect=True)
def test_the_baseline_computes_what_the_encoder_does(script: ModuleType) -> None:
    torch.manual_seed(0)
    encoder = MAMPEncoder(MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16)).eval()
    plain, x = script.straightforward(encoder), torch.randn(3, 2, 16, 25, 3)
    script.check_same(encoder, plain)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), encoder(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("script", ["baseline"], indirect=True)
def test_the_baseline_has_the_gradients_of_pretraining(script: ModuleType) -> None:
    torch.manual_seed(0)
    config = MAMPConfig(dim_feat=32, depth=2, num_heads=4, num_frames=16)
    model = MAMPForPretraining(config, Objective(decoder_dim_feat=32, decoder_depth=1))
    plain, x, noise = script.straightforward(model), torch.randn(2, 2, 16, 25, 3), torch.rand(4, 100)
    model(x, noise).loss.backward()
    plain(x, noise).loss.backward()
    theirs = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=0, atol=1e-5)


def write_ablation(folder: Path, gain: float, seeds: int) -> Path:
    arms = [{"name": "motion"}, {"name": "joints"}]
    evaluations = [
        {
            "name": f"{data} {probe}",
            "arms": [{"values": [50 + gain + arm + seed for seed in range(seeds)]} for arm in range(2)],
        }
        for data in ("a", "b")
        for probe in ("linear", "1-NN")
    ]
    folder.mkdir()
    (folder / "ablation.json").write_text(json.dumps({"arms": arms, "evaluations": evaluations}))
    return folder


@pytest.mark.parametrize("script", ["budgets"], indirect=True)
def test_budgets_are_compared(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    words = [
        f"{clips}={write_ablation(tmp_path / str(clips), gain, seeds)}"
        for clips, gain, seeds in ((1000, 0, 3), (4000, 10, 1))
    ]
    monkeypatch.setattr(sys, "argv", ["budgets.py", *words, "--picture", str(tmp_path / "budgets.png")])
    script.main()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[2] == ["1,000", "motion", "3", "51.0 ± 1.0", "51.0 ± 1.0"]
    assert rows[5] == ["4,000", "joints", "1", "61.0", "61.0"]
    assert (tmp_path / "budgets.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("script", ["busy"], indirect=True)
def test_a_picture_of_busy_machines_where_not_every_arm_did_every_task(script: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = [
        {"task": task, "beside": load, "arm": arm, "ms": [5.0, 6.0]}
        for task, arms in (("encode-8", ("before", "now")), ("server-8", ("now",)))
        for load in ("nothing", "loop")
        for arm in arms
    ]
    script.draw(lines, tmp_path / "busy.png")
    assert (tmp_path / "busy.png").read_bytes().startswith(b"\x89PNG")
