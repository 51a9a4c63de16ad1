"""Write an encoder as a graph of another runtime: tokens, attention to those present, pooling, readout."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from itertools import repeat
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mamp.attention import Places
from mamp.errors import MissingExtraError, WeightsError
from mamp.export.folder import MODEL_NAMES, OUTPUTS, RECORD_NAME, Format, Record, check_torch, sha256, write_record
from mamp.hub import fingerprint
from mamp.outputs import folder_beside, put_in_place
from mamp.transformer import Block, Network

OPSET = 20  # the first with GELU


class Graph(nn.Module):
    """Bodies, and which of their tokens are there, to every output that :mod:`mamp.export.runtime` pools from.

    A token that is not there is no key of any other's attention, so that the others are what they would be without it.
    Other attention than ``joint`` is that with more pairs masked: the result is the same, the cost that of ``joint``.

    Args:
        network: The encoder.
        one_by_one: Compute the heads of attention one after another. Where a runtime does not fuse attention, the
            scores of all heads are most of the memory that it needs.
    """

    def __init__(self, network: Network, one_by_one: bool = False) -> None:
        super().__init__()
        self.network, self.one_by_one = network, one_by_one

    def forward(self, bodies: Tensor, there: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map [N, T, V, C] and [N, L] to person [N, E], frame [N, t, E], joint [N, v, E] and tokens [N, t, v, D]."""
        net = self.network
        t, _ = net.config.grid
        h, places = net.embed_tokens(bodies)
        for block in net.blocks:
            assert isinstance(block, Block)
            x = block.attn.qkv(block.norm1(h))
            q, k, v_ = rearrange(x, "n l (three h d) -> three n h l d", three=3, h=block.attn.num_heads)
            together = 1 if self.one_by_one else block.attn.num_heads
            heads = zip(q.split(together, 1), k.split(together, 1), v_.split(together, 1), strict=True)
            bias = self._bias(there, block, places)
            masks = bias.split(together, 1) if bias.shape[1] > 1 else repeat(bias)
            y = torch.cat(
                [
                    F.scaled_dot_product_attention(*head, attn_mask=mask)
                    for head, mask in zip(heads, masks, strict=False)
                ],
                dim=1,
            )
            h = h + block.attn.proj(rearrange(y, "n h l d -> n l (h d)"))
            h = h + block.mlp(block.norm2(h))
        tokens = rearrange(net.norm(h), "n (t v) d -> n t v d", t=t)
        known = rearrange(there, "n (t v) -> n t v 1", t=t)
        pooled = (self._pool(tokens, known, over) for over in ((1, 2), (2,), (1,)))
        person, frame, joint = (x if net.readout is None else net.readout(x) for x in pooled)
        if net.pose is not None:
            person, frame = person + net.pose(bodies, there), frame + net.pose.steps(bodies, there)
        return person, frame, joint, torch.where(known, tokens, torch.nan)

    def _bias(self, there: Tensor, block: Block, places: Places) -> Tensor:
        """What is added to the scores of a block, [N, 1 or H, 1 or L, L]: little for pairs that do not attend."""
        bias = rearrange(torch.where(there, 0.0, -1e9), "n l -> n 1 1 l")
        pattern = block.attn.pattern
        if pattern.kind == "joint":
            return bias
        return bias + torch.where(pattern.pairs(places, block.attn.num_heads, there.device), 0.0, -1e9)

    def _pool(self, tokens: Tensor, known: Tensor, over: tuple[int, ...]) -> Tensor:
        """Reduce the tokens that are there; NaN where there is none."""
        count = known.sum(over).to(tokens.dtype)
        mean = torch.where(known, tokens, 0.0).sum(over) / count
        around = tokens - torch.where(known, tokens, 0.0).sum(over, keepdim=True) / known.sum(over, keepdim=True)
        found = {
            "mean": mean,
            "max": torch.where(count > 0, torch.where(known, tokens, -torch.inf).amax(over), torch.nan),
            "std": (torch.where(known, around.square(), 0.0).sum(over) / count).sqrt(),
        }
        return torch.cat([found[part] for part in self.network.config.pooling.split("+")], dim=-1)


def write_export(encoder: Network, directory: str | PathLike[str], format: Format, bits: int) -> None:
    """See :func:`mamp.export.export`."""
    if format not in get_args(Format):
        raise WeightsError(f"format: expected one of {', '.join(get_args(Format))}; found {format!r}.")
    if bits not in (8, 32) or (bits == 8 and format != "onnx"):
        raise WeightsError(f"bits: expected 32, or 8 with format 'onnx'; found {bits!r} with {format!r}.")
    path = Path(directory)
    if path.exists() and not (path.is_dir() and ((path / RECORD_NAME).is_file() or not any(path.iterdir()))):
        raise WeightsError(f"{path}: expected a new folder, or one with an earlier export; found something else.")
    config, training = encoder.config, encoder.training
    network = Network(config).float()
    network.load_state_dict(encoder.state_dict())
    bodies = torch.zeros(2, config.num_frames, config.num_joints, config.dim_in)
    example = (bodies, torch.ones(2, config.num_tokens, dtype=torch.bool))
    with folder_beside(path) as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, about themselves
        graph = Graph(network.eval(), one_by_one=format == "onnx")
        writer = _WRITE[format](graph, example, folder, bits)
        opset = OPSET if format == "onnx" else None
        files = {name: sha256(folder / name) for name in MODEL_NAMES[format]}
        record = Record(format, fingerprint(encoder), files, bits, opset, writer)
        write_record(folder, config, record)
        put_in_place(folder, path)
    encoder.train(training)


def _program(graph: Graph, example: tuple[Tensor, Tensor]) -> Any:
    """The graph for any number of bodies."""
    count = torch.export.Dim("N", min=1)
    return torch.export.export(graph, example, dynamic_shapes={"bodies": {0: count}, "there": {0: count}})


def _to_onnx(graph: Graph, example: tuple[Tensor, Tensor], folder: Path, bits: int) -> str:
    onnx = _import("onnx", "export")
    _import("onnxscript", "export")
    written = torch.onnx.export(
        _program(graph, example),
        example,
        input_names=["bodies", "there"],
        output_names=list(OUTPUTS),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert written is not None
    path = folder / "model.onnx"
    written.save(path, external_data=False)
    if bits == 8:
        quantization = _import("onnxruntime.quantization", "export")
        whole = path.rename(folder / "float.onnx")
        quantization.quantize_dynamic(whole, path, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"])
        whole.unlink()
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return f"torch {torch.__version__}, onnx {onnx.__version__}"


def _to_openvino(graph: Graph, example: tuple[Tensor, Tensor], folder: Path, bits: int) -> str:
    openvino = _import("openvino", "fast")
    openvino.save_model(openvino.convert_model(_program(graph, example)), folder / "model.xml", compress_to_fp16=False)
    return f"torch {torch.__version__}, openvino {openvino.__version__}"


def _to_torch(graph: Graph, example: tuple[Tensor, Tensor], folder: Path, bits: int) -> str:
    check_torch(torch.__version__)
    torch.export.save(_program(graph, example), folder / "model.pt2")
    return f"torch {torch.__version__}"


_WRITE: dict[Format, Callable[[Graph, tuple[Tensor, Tensor], Path, int], str]] = {
    "onnx": _to_onnx,
    "openvino": _to_openvino,
    "torch": _to_torch,
}


def _import(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        message = f"exporting needs {package}, which is not installed: pip install 'mamp[{extra}]'"
        raise MissingExtraError(message) from None
