"""``MAMPFeatures``: embeddings as a transformer of scikit-learn (extra ``sklearn``)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, Literal

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.config import Preprocessing
from mamp.embedding import Precision
from mamp.encoder import MAMPEncoder
from mamp.errors import MissingExtraError, RecordingError, WeightsError
from mamp.hub import fingerprint
from mamp.rows import Source, embed_parts, frames_of, read
from mamp.skeleton import Skeleton

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingExtraError("mamp.sklearn needs scikit-learn: pip install 'mamp[sklearn]'.") from None

FloatArray = NDArray[np.float32]
POOLS = ("clip", "joint", "frame")


class MAMPFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Embed recordings: a list of paths or of :class:`mamp.Skeleton` in, an array with a row for each out.

    >>> model = make_pipeline(MAMPFeatures(), StandardScaler(), LogisticRegression())
    >>> model.fit(paths, labels)

    There is nothing to fit; ``fit`` loads the weights. Parameters are checked in ``fit``, as scikit-learn does. A
    pickle holds the name of the weights and their fingerprint, not the weights, unless an encoder was given.

    Args:
        weights: Name, folder or Hub repository of the weights, or an encoder. Cross-validation copies an encoder for
            each fit; a name is lighter. Where embeddings are cached (``make_pipeline(..., memory=...)``), they are
            those of the name: after replacing weights in a folder, clear the cache.
        pool: ``"clip"`` [D]; ``"joint"`` [V * D], the joints of the model one after another; ``"frame"`` [2 * D], mean
            and standard deviation over time of the embeddings of the frames.
        window: Seconds of a window. The row of a recording is the mean over its windows; with ``None`` the recording is
            embedded as a whole.
        stride: Seconds from one window to the next; the window by default.
        batch_size: Recordings in memory at a time.
        precision: As in :meth:`mamp.MAMPEncoder.encode`.
        preprocessing: As in :meth:`mamp.MAMPEncoder.encode`.
        device: Where to compute, if ``weights`` is a name.

    Attributes:
        encoder_: The encoder.
        fingerprint_: Of its weights.
        n_features_out_: Columns.
    """

    def __init__(
        self,
        weights: str | PathLike[str] | MAMPEncoder = "openmocap",
        *,
        pool: Literal["clip", "joint", "frame"] = "clip",
        window: float | None = None,
        stride: float | None = None,
        batch_size: int = 32,
        precision: Precision | None = None,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self.weights = weights
        self.pool = pool
        self.window = window
        self.stride = stride
        self.batch_size = batch_size
        self.precision = precision
        self.preprocessing = preprocessing
        self.device = device

    def fit(self, X: Iterable[Source], y: Any = None) -> MAMPFeatures:
        """Load the weights.

        Args:
            X: Recordings or paths; they are not looked at.
            y: Ignored.

        Raises:
            RecordingError: A parameter makes no sense.
            WeightsError: The weights cannot be found or loaded.
        """
        if self.pool not in POOLS:
            raise RecordingError(f"pool: expected one of {', '.join(POOLS)}; found {self.pool!r}.")
        _as_list(X)
        self.encoder_ = self._load()
        self.fingerprint_ = fingerprint(self.encoder_)
        config = self.encoder_.config
        self.n_features_out_ = config.embedding_dim * {"clip": 1, "joint": config.grid[1], "frame": 2}[self.pool]
        return self

    def transform(self, X: Iterable[Source]) -> FloatArray:
        """Embed recordings.

        Args:
            X: Recordings or paths; one, in a list, or many.

        Returns:
            float32 [recordings, ``n_features_out_``].

        Raises:
            MAMPError: A file cannot be read, or a recording cannot be embedded; the message names it.
        """
        check_is_fitted(self)
        sources = _as_list(X)
        rows = [np.zeros((0, self.n_features_out_), np.float32)]
        for first in range(0, len(sources), self.batch_size):
            rows.append(self._embed([read(source) for source in sources[first : first + self.batch_size]]))
        return np.concatenate(rows)

    def _embed(self, recordings: list[Skeleton]) -> FloatArray:
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "precision": self.precision,
            "preprocessing": self.preprocessing,
        }
        if self.pool == "clip":
            found = embed_parts(self.encoder_, recordings, window=self.window, stride=self.stride, **options)
            return np.stack([x.mean(axis=0) for _, x in found])
        arrays = []
        for one in recordings:
            seconds = {"window": self.window, "stride": self.stride}
            frames: dict[str, Any] = {
                name: None if s is None else frames_of(one, s, name) for name, s in seconds.items()
            }
            arrays.append(self.encoder_.encode(one, pool=self.pool, **frames, **options))
        if self.pool == "frame":
            return np.stack([np.concatenate([np.nanmean(x, axis=0), np.nanstd(x, axis=0)]) for x in arrays])
        windows = [x if self.window is None else _mean_known(x) for x in arrays]
        return np.nan_to_num(rearrange(np.stack(windows), "b v d -> b (v d)"))

    def _load(self) -> MAMPEncoder:
        if isinstance(self.weights, MAMPEncoder):
            return self.weights
        return MAMPEncoder.from_pretrained(self.weights, device=self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Without weights that have a name."""
        state = dict(super().__getstate__())
        if not isinstance(self.weights, MAMPEncoder):
            state.pop("encoder_", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the weights again.

        Raises:
            WeightsError: They cannot be found, or are others than those of the pickle.
        """
        super().__setstate__(state)
        if "fingerprint_" in state and "encoder_" not in state:
            self.encoder_ = self._load()
            if (found := fingerprint(self.encoder_)) != self.fingerprint_:
                raise WeightsError(
                    f"{self.weights}: expected the weights {self.fingerprint_} that the pickle was made with, found "
                    f"{found}. Put the former back, or fit again."
                )

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self) -> Any:
        """What the checks of scikit-learn may expect: recordings are neither numbers nor of one shape."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.no_validation = False, True
        tags.requires_fit = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _as_list(X: Iterable[Source]) -> list[Source]:
    """Several recordings or paths as a list; those of a data frame's column too."""
    if isinstance(X, str | PathLike | Skeleton) or not isinstance(X, Iterable):
        raise RecordingError(
            f"expected a list of recordings or paths, found {type(X).__name__}. For one recording: [recording]."
        )
    if getattr(X, "ndim", 1) == 2 and X.shape[1] == 1:  # type: ignore[attr-defined]
        X = np.asarray(X)[:, 0]
    return list(X)


def _mean_known(x: FloatArray) -> FloatArray:
    """Mean over windows [n, V, D] that have a joint; NaN for a joint that is in none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(x, axis=0))
