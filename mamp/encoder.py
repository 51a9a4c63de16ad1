"""``MAMPEncoder``: recordings to embeddings, and weights by name. The network beneath is :mod:`mamp.transformer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from mamp.config import Pool, Preprocessing
from mamp.embedding import EncodeOptions, Precision, stack
from mamp.errors import RecordingError
from mamp.hub import load_encoder, push_encoder, save_encoder
from mamp.inference import embed_recordings
from mamp.skeleton import Skeleton
from mamp.transformer import Network

FloatArray = NDArray[np.float32]


class MAMPEncoder(Network):
    """The pretrained encoder of 3D skeleton recordings.

    ``encoder(x)`` maps a tensor of normalised clips [B, M, T, V, C] to tokens [B, M, T / 4, V, D], differentiably.
    ``encoder.encode(recordings)`` does everything from a recording to a numpy embedding.

    Args:
        config: Architecture, and what the weights expect of their input.
        drop_path_rate: Largest stochastic-depth rate, for fine-tuning (published: 0.3).
    """

    @overload
    def encode(
        self,
        recordings: Skeleton,
        *,
        pool: Pool = ...,
        batch_size: int = ...,
        precision: Precision | None = ...,
        token_share: float = ...,
        progress: bool = ...,
        window: int | None = ...,
        stride: int | None = ...,
        preprocessing: Preprocessing | Mapping[str, Any] | None = ...,
    ) -> FloatArray: ...

    @overload
    def encode(
        self,
        recordings: Iterable[Skeleton],
        *,
        pool: Pool = ...,
        batch_size: int = ...,
        precision: Precision | None = ...,
        token_share: float = ...,
        progress: bool = ...,
        window: int | None = ...,
        stride: int | None = ...,
        preprocessing: Preprocessing | Mapping[str, Any] | None = ...,
    ) -> FloatArray | list[FloatArray]: ...

    def encode(
        self,
        recordings: Skeleton | Iterable[Skeleton],
        *,
        pool: Pool = "clip",
        batch_size: int = 32,
        precision: Precision | None = None,
        token_share: float = 1.0,
        progress: bool = False,
        window: int | None = None,
        stride: int | None = None,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    ) -> FloatArray | list[FloatArray]:
        """Embed recordings of any length, layout and number of people.

        Args:
            recordings: One :class:`Skeleton`, or any iterable of them, which is consumed ``batch_size`` at a time.
            pool: What one embedding stands for:
                ``"clip"`` [D], the mean over people, time and joints (published); ``"person"`` [M, D], row i is person
                i of the recording, all of them, whatever number the weights take for the other pools; ``"frame"``
                [T, D], one for each frame of the recording; ``"joint"`` [V, D], one for each joint of the model;
                ``"tokens"`` [M, T / 4, V, D], nothing pooled. Where nothing was tracked, there is NaN. Weights whose
                configuration has another ``pooling`` than the mean, or a readout, use these in place of the mean, and
                give what is ``config.embedding_dim`` long in place of D, except for the tokens.
            batch_size: Clips that are encoded at a time; more costs memory, not accuracy.
            precision: ``"bfloat16"`` computes matrix products and attention in bfloat16, and the rest in the type of
                the weights: faster where the processor has instructions for it, at an error of about a hundredth of the
                distance between clips. By default everything is in the type of the weights.
            token_share: Share of the tokens of each person that is looked at, those that move most. Below 1 it is
                faster and only approximate; it goes with the pools ``clip`` and ``person``.
            progress: Show a progress bar.
            window: Cut recordings into windows of so many of their frames, and embed each: any length takes constant
                memory. The last window is moved back to end with the recording; a shorter recording is one window.
            stride: Frames from the start of one window to that of the next, at most ``window``, which it is by default.
            preprocessing: Fields of :class:`mamp.Preprocessing` to change for this call, such as ``{"facing": True}``,
                ``{"height": 1.7}`` or ``{"missing": "fill"}``, against what the weights expect.

        Returns:
            float32. For one recording the array above. For several: a stacked array for ``clip`` and ``joint``, and a
            list of arrays for the other pools, whose sizes differ between recordings. With ``window``, an array has one
            more dimension in front, its windows, NaN for those without anybody, and several recordings give a list;
            ``frame`` stays [T, D], the mean of the windows that cover a frame.

        Raises:
            RecordingError: A recording holds nothing that can be encoded, or an option is not one of the above.
            LayoutError: A recording cannot be expressed in the model's joints.
            ConfigError: ``preprocessing`` names a field that does not exist, or gives it an impossible value.
        """
        options = EncodeOptions(pool, batch_size, precision, token_share, window, stride, preprocessing or {})
        if isinstance(recordings, Skeleton):
            return embed_recordings(self, [recordings], options, progress)[0]
        if not isinstance(recordings, Iterable):
            raise RecordingError(
                f"expected a mamp.Skeleton or several of them, found {type(recordings).__name__}. Read files with "
                "mamp.load(path)."
            )
        return stack(embed_recordings(self, recordings, options, progress), options, self.config)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str] = "openmocap",
        *,
        revision: str | None = None,
        cache_dir: str | PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> MAMPEncoder:
        """Load an encoder by name, in evaluation mode.

        Args:
            name_or_path: ``"openmocap"`` (inside the package, no network), another name of
                :func:`mamp.list_pretrained`, a folder written by ``save_pretrained`` or ``python -m mamp.train``, or a
                repository id on the Hugging Face Hub.
            revision: Branch, tag or commit on the Hub; a commit is the only thing that never changes.
            cache_dir: Where downloads are kept.
            token: Access token for a private repository; ``True`` uses the one saved on this machine.
            local_files_only: Never touch the network.
            device: Where to put the weights.
            dtype: Type to load the weights as; ``float32`` by default.

        Raises:
            WeightsError: The weights cannot be found, fetched, verified or loaded; the message says what to do.
        """
        return load_encoder(
            cls,
            name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            device=device,
            dtype=dtype,
        )

    def save_pretrained(self, directory: str | PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and a model card that :meth:`from_pretrained` reads back.

        Args:
            directory: Created when it does not exist.
            dtype: Type to store the weights as; their own by default.
        """
        save_encoder(self, directory, dtype=dtype)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload MAMP encoder",
    ) -> str:
        """Upload what :meth:`save_pretrained` writes to the Hugging Face Hub; returns the address of the commit."""
        return push_encoder(
            self, repo_id, private=private, token=token, revision=revision, commit_message=commit_message
        )
