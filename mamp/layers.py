"""The old name of :mod:`mamp.transformer`; it goes with the next release."""

import warnings

from mamp.kernels import Linear
from mamp.transformer import Attention, Block, DropPath, FeedForward, JointEmbedding, init_weights

__all__ = ["Attention", "Block", "DropPath", "FeedForward", "JointEmbedding", "Linear", "init_weights"]

warnings.warn("mamp.layers is now mamp.transformer (Linear: mamp.kernels)", DeprecationWarning, stacklevel=2)
