"""A GPU gives what the CPU gives; the script that measures one works, as far as a CPU can tell."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import make_store, tiny

from mamp import MAMPConfig, MAMPEncoder, Skeleton
from mamp.pretraining import MAMPForPretraining
from mamp.train.distributed import world
from mamp.train.engine import Trainer
from mamp.transformer import JointEmbedding

ROOT = Path(__file__).resolve().parents[1]


def recordings(number: int) -> list[Skeleton]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(number, 2, 40, 25, 3), scale=0.05).cumsum(axis=2)
    x[0, 1, :, 5:9] = np.nan
    return [Skeleton(walk, "ntu25", fps=30) for walk in x]


def make(**changes: int) -> MAMPEncoder:
    torch.manual_seed(0)
    return MAMPEncoder(MAMPConfig(dim_feat=64, depth=2, num_heads=4, **{"num_frames": 40, **changes})).eval()


@pytest.mark.parametrize("patch", [(4, 1), (2, 5)])
def test_embedding_of_joints_as_a_product(patch: tuple[int, int]) -> None:
    """What a GPU computes in place of a convolution, which would drop digits."""
    layer, x = JointEmbedding(3, 32, *patch), torch.randn(2, 16, 25, 3)
    torch.testing.assert_close(layer.as_product(x), layer(x), rtol=0, atol=1e-6)


def test_the_benchmark_runs_from_end_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--tiny", "--rounds", "1"]
    done = subprocess.run([*command, "-o", str(tmp_path / "table.md")], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "table.md").read_text()
    assert table == done.stdout
    for what in ("batch 4, bfloat16, network", "from recordings", "4 clips, float32", "4 clips, bfloat16"):
        assert re.search(rf"{what} \| \d+ % of the", table), what
    assert "difference to the CPU, float32 | 0.0e+00 |" in table


@pytest.mark.gpu
class TestOnAGpu:
    def test_embeddings_equal_those_of_the_cpu(self) -> None:
        encoder, clips = make(), recordings(5)
        for pool in ("clip", "person", "frame", "joint"):
            expected = encoder.cpu().encode(clips, pool=pool)  # type: ignore[call-overload]
            found = encoder.cuda().encode(clips, pool=pool)  # type: ignore[call-overload]
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)

    def test_loss_and_gradient_equal_those_of_the_cpu(self) -> None:
        torch.manual_seed(0)
        config = MAMPConfig(dim_feat=64, depth=2, num_heads=4, num_frames=40)
        model = MAMPForPretraining(config, decoder_dim_feat=64, decoder_depth=1)
        x, noise = torch.randn(4, 2, 40, 25, 3), torch.rand(8, config.num_tokens)
        found = []
        for device in ("cpu", "cuda"):
            model.to(device).zero_grad()
            loss = model(x.to(device), noise.to(device)).loss
            loss.backward()
            gradient = torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])
            found.append((loss.detach().cpu(), gradient))
        torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=1e-5)
        assert (found[1][1] - found[0][1]).norm() < 1e-5 * found[0][1].norm()

    def test_memory_of_encode_does_not_grow(self) -> None:
        encoder, clips = make().cuda(), recordings(8)
        encoder.encode(clips)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        for _ in range(5):
            encoder.encode(clips)
        assert torch.cuda.memory_allocated() == before
        torch.cuda.reset_peak_memory_stats()
        encoder.encode(clips, batch_size=1)
        assert torch.cuda.max_memory_allocated() - before < 64e6

    def test_two_processes_share_a_device(self) -> None:
        program = (
            "import sys, torch, numpy as np; sys.path.insert(0, 'tests'); from test_gpu import make, recordings\n"
            "encoder, clips = make().cuda(), recordings(6); x = make().encode(clips)\n"
            "for _ in range(5): np.testing.assert_allclose(encoder.encode(clips), x, rtol=0, atol=1e-5)\n"
        )
        processes = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(2)]
        assert [process.wait(300) for process in processes] == [0, 0]

    def test_a_step_waits_for_the_device_once(self, tmp_path: Path) -> None:
        with world("cuda") as here:
            config = tiny(run__device="cuda", optim__per_device_batch=4)
            trainer = Trainer(config, make_store(tmp_path / "store"), tmp_path / "run", here)
            batches = trainer.batches(0).load(0, pin_memory=True)
            trainer.train_step(next(batches))
            batch = next(batches)
            torch.cuda.set_sync_debug_mode("warn")
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    trainer.train_step(batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert sum("synchroniz" in str(warning.message) for warning in caught) == 1
