"""Data to train on: scikit-learn's sets by name, or arrays from .npz, .npy and .csv files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from linnet_fast.datasets.images import load_cifar10, load_mnist
from linnet_fast.datasets.kinds import Data, Dataset, Entries, Measurements, split
from linnet_fast.datasets.matrices import load_entries, load_measurements
from linnet_fast.datasets.reading import read_array
from linnet_fast.datasets.samples import NAMES, TARGETS, load

__all__ = [
    "LOADERS",
    "NAMES",
    "OPTIONS",
    "TARGETS",
    "Dataset",
    "Entries",
    "Measurements",
    "load",
    "load_cifar10",
    "load_entries",
    "load_measurements",
    "load_mnist",
    "read_array",
    "split",
]

LOADERS: Mapping[str, Callable[..., Data]] = MappingProxyType(
    {"samples": load, "entries": load_entries, "measurements": load_measurements}
)
"""Kind of data -> what loads it."""

OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "samples": ("targets_file", "labels_from", "targets_from", "targets", "standardize"),
        "entries": (),
        "measurements": (),
    }
)
"""Kind of data -> names of what its loader takes besides a source."""
