"""Choose the clips per micro-batch from the available memory."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from mamp.config import MAMPConfig
from mamp.masking import num_kept
from mamp.pretraining import Objective

SHARE = 0.6  # of the available memory; the rest is for weights, optimiser, data loading and other programs
FLOAT = 4  # bytes


def clips_at_a_time(
    config: MAMPConfig, objective: Objective, people: int, batch: int, available: int | None, bfloat16: bool = False
) -> int:
    """The largest divisor of ``batch`` whose training step fits in memory; at least one.

    All divisors give the same step up to rounding. A contrastive objective needs the whole batch, since views are
    compared within a micro-batch.

    Args:
        config: The encoder.
        objective: Decoder and masking.
        people: People per clip, M.
        batch: Clips of the effective batch on this device.
        available: Free memory in bytes; ``None`` if unknown, which returns ``batch``.
        bfloat16: Mixed precision, which halves most of what is kept for the gradient.
    """
    if available is None or objective.agreement_weight:
        return batch
    clip = people * bytes_of_a_body(config, objective) // (2 if bfloat16 else 1)
    return max((n for n in range(1, batch + 1) if batch % n == 0 and n * clip <= SHARE * available), default=1)


def bytes_of_a_body(config: MAMPConfig, objective: Objective) -> int:
    """Bytes that a training step keeps for the gradient of one body in float32.

    A block keeps, of each token: the input of two norms and what they give, queries, keys and values, what attention
    gives and its projection, two sums, and the hidden layer twice.
    """
    ratio = objective.mask_ratio if objective.mask_ratio_low is None else objective.mask_ratio_low
    seen = num_kept(config.num_tokens, ratio)
    hidden = config.num_tokens - seen
    decoded = seen + min(objective.decoded_tokens or hidden, hidden)
    numbers = 10 + 2 * config.mlp_ratio  # of the width, a token and block
    encoder = seen * config.dim_feat * config.depth
    decoder = decoded * objective.decoder_dim_feat * objective.decoder_depth
    embedding = config.num_tokens * (2 * config.dim_feat + objective.decoder_dim_feat)
    return int(FLOAT * (numbers * (encoder + decoder) + embedding))


def available_bytes(device: torch.device, processes: int = 1) -> int | None:
    """Memory that one of several processes on this machine may take now; ``None`` where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    limits = [free for free in (_free_of_the_machine(), _free_of_the_group()) if free is not None]
    return min(limits) // processes if limits else None


def _free_of_the_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _free_of_the_group() -> int | None:
    """Memory left by the control group of a container."""
    group = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            return max(int((group / limit).read_text()) - int((group / used).read_text()), 0)
        except (OSError, ValueError):  # no such group, or no limit ("max")
            continue
    return None


def resident_bytes() -> int | None:
    """Resident memory of this process; ``None`` where it is unknown."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
