"""Prepared data: the store on disk, batches from it, and augmentation on the training device."""

from mamp.data.store import ClipStore, StoreWriter

__all__ = ["ClipStore", "StoreWriter"]
