"""Action embeddings from 3D skeleton recordings: masked motion prediction (MAMP, ICCV 2023).

>>> from mamp import MAMPEncoder, load
>>> encoder = MAMPEncoder.from_pretrained()
>>> vector = encoder.encode(load("walk.bvh"))
"""

from mamp import interrupts  # noqa: F401, before torch, which takes seconds to import
from mamp.classifier import MAMPClassifier
from mamp.config import MAMPConfig, Preprocessing
from mamp.encoder import MAMPEncoder
from mamp.errors import MAMPError
from mamp.hub import list_pretrained
from mamp.layouts import Layout, get_layout, list_layouts, register_layout
from mamp.readers import load
from mamp.skeleton import Skeleton
from mamp.streaming import StreamingEncoder

__version__ = "0.1.0"

__all__ = [
    "Layout",
    "MAMPClassifier",
    "MAMPConfig",
    "MAMPEncoder",
    "MAMPError",
    "Preprocessing",
    "Skeleton",
    "StreamingEncoder",
    "get_layout",
    "list_layouts",
    "list_pretrained",
    "load",
    "register_layout",
]
