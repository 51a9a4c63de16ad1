"""Action embeddings from 3D skeleton recordings: masked motion prediction (MAMP, ICCV 2023).

>>> from mamp import MAMPEncoder, load
>>> encoder = MAMPEncoder.from_pretrained()
>>> vector = encoder.encode(load("walk.bvh"))

Names are imported when they are first used: reading recordings, and encoding them with exported weights
(:mod:`mamp.export`), does without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mamp import interrupts  # noqa: F401, before torch, which takes seconds to import

if TYPE_CHECKING:
    from mamp.classifier import MAMPClassifier
    from mamp.config import MAMPConfig, Preprocessing
    from mamp.encoder import MAMPEncoder
    from mamp.errors import MAMPError
    from mamp.hub import list_pretrained
    from mamp.layouts import Layout, get_layout, list_layouts, register_layout
    from mamp.readers import load
    from mamp.rows import embed_frame
    from mamp.skeleton import Skeleton
    from mamp.streaming import StreamingEncoder

__version__ = "0.1.0"

_MODULES = {
    "Layout": "layouts",
    "MAMPClassifier": "classifier",
    "MAMPConfig": "config",
    "MAMPEncoder": "encoder",
    "MAMPError": "errors",
    "Preprocessing": "config",
    "Skeleton": "skeleton",
    "StreamingEncoder": "streaming",
    "embed_frame": "rows",
    "get_layout": "layouts",
    "list_layouts": "layouts",
    "list_pretrained": "hub",
    "load": "readers",
    "register_layout": "layouts",
}

__all__ = [
    "Layout",
    "MAMPClassifier",
    "MAMPConfig",
    "MAMPEncoder",
    "MAMPError",
    "Preprocessing",
    "Skeleton",
    "StreamingEncoder",
    "embed_frame",
    "get_layout",
    "list_layouts",
    "list_pretrained",
    "load",
    "register_layout",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'mamp' has no attribute {name!r}")
    value = getattr(import_module(f"mamp.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
