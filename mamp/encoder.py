"""``MAMPEncoder``: embed recordings, load and save weights. The network is in :mod:`mamp.transformer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from mamp.config import Pool, Preprocessing
from mamp.embedding import EncodeOptions, Precision, one_or_several
from mamp.export.cache import Engine, exported
from mamp.hub import load_encoder, push_encoder, save_encoder
from mamp.inference import embed_recordings
from mamp.skeleton import Skeleton
from mamp.transformer import Network

FloatArray = NDArray[np.float32]


class MAMPEncoder(Network):
    """Pretrained encoder of 3D skeleton recordings.

    ``encoder(x)`` maps a tensor of normalised clips [B, M, T, V, C] to tokens [B, M, T / 4, V, D], differentiably.
    ``encoder.encode(recordings)`` maps recordings to NumPy embeddings, including preprocessing.

    Args:
        config: Architecture and preprocessing.
        drop_path_rate: Maximum stochastic-depth rate, for fine-tuning (published: 0.3).
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
        engine: Engine = ...,
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
        engine: Engine = ...,
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
        engine: Engine = "torch",
    ) -> FloatArray | list[FloatArray]:
        """Embed recordings of any length, layout and number of people.

        Args:
            recordings: A :class:`Skeleton`, or an iterable of them, of which ``batch_size`` are held at a time.
            pool: Unit of an embedding. ``"clip"``: [D], mean over people, time and joints (published). ``"person"``:
                [M, D], for all people of the recording. ``"frame"``: [T, D], for each frame of the recording.
                ``"joint"``: [V, D], for each joint of the model. ``"tokens"``: [M, T / 4, V, D], not pooled. NaN where
                nothing was tracked. With a readout, or another ``pooling`` than the mean in the configuration of the
                weights, D is ``config.embedding_dim``, except for tokens.
            batch_size: Number of clips encoded at a time; affects memory, not results.
            precision: ``"bfloat16"`` computes matrix products and attention in bfloat16. Faster if the processor
                supports it, with an error of about 1 % of the distance between clips. By default, everything is
                computed in the type of the weights.
            token_share: Share of the tokens of each person to encode, those that move most. Values below 1 are faster
                but approximate, and need pool ``clip`` or ``person``.
            progress: Show a progress bar.
            window: Embed windows of ``window`` frames separately, which needs constant memory. The last window is
                shifted back to end with the recording; a shorter recording is a single window.
            stride: Frames between the starts of windows, at most ``window``, which is the default.
            preprocessing: Fields of :class:`mamp.Preprocessing` to change for this call, such as ``{"facing": True}``,
                ``{"height": 1.7}`` or ``{"missing": "fill"}``.

        Returns:
            float32 array as above for one recording. For several recordings, a stacked array for ``clip`` and
            ``joint``, and a list of arrays for the other pools, whose sizes differ. With ``window``, arrays have the
            windows as first axis, NaN for windows without anybody, and several recordings give a list; ``frame`` stays
            [T, D], the mean over the windows that cover a frame.

        Raises:
            RecordingError: A recording is empty, or an option is invalid.
            LayoutError: A recording cannot be converted to the joints of the model.
            ConfigError: ``preprocessing`` has an unknown field or an invalid value.
        """
        options = EncodeOptions(pool, batch_size, precision, token_share, window, stride, preprocessing or {})
        if engine != "torch":
            return exported(self, engine).encode_as(options, recordings, progress)
        return one_or_several(
            lambda several: embed_recordings(self, several, options, progress), recordings, options, self.config
        )

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
            name_or_path: ``"openmocap"`` (bundled), another name of :func:`mamp.list_pretrained`, a folder written by
                ``save_pretrained`` or ``python -m mamp.train``, or a repository id on the Hugging Face Hub.
            revision: Branch, tag or commit on the Hub; only commits are immutable.
            cache_dir: Folder for downloads.
            token: Access token for private repositories; ``True`` uses the one saved on this machine.
            local_files_only: Never access the network.
            device: Device of the weights.
            dtype: Data type of the weights; ``float32`` by default.

        Raises:
            WeightsError: The weights cannot be found, downloaded, verified or loaded.
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
            directory: Folder, created if necessary.
            dtype: Data type to store; that of the weights by default.
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
