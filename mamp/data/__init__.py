"""Prepared data: the store on disk, batches from it, and augmentation on the training device."""

from mamp.data.store import ClipStore
from mamp.data.writer import StoreWriter

__all__ = ["ClipStore", "StoreWriter"]
