"""What writing and reading result files needs: JSON, whole-or-nothing files, optional packages."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_MAX_LISTED = 2**16


def json_safe(value: object) -> Any:
    """Return `value` with what JSON lacks replaced: arrays and tuples by lists, NaN by "nan".

    Arrays of more than 65,536 entries are replaced by their shape and dtype, so that a note about a
    result never outgrows the result. Anything else unknown is replaced by its ``repr``.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else str(float(value))
    if isinstance(value, (np.bool_, np.integer)):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size > _MAX_LISTED:
            return {"shape": list(value.shape), "dtype": str(value.dtype)}
        if value.dtype.kind in "iu" or (value.dtype.kind == "f" and np.isfinite(value).all()):
            return value.tolist()
        return json_safe(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [json_safe(item) for item in value]
    return repr(value)


def to_json(value: object) -> str:
    """Return `value` as JSON text, see `json_safe`."""
    return json.dumps(json_safe(value), allow_nan=False)


def optional(module: str, extra: str) -> Any:
    """Return an optional module, or raise ImportError naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = f'this needs {module}: pip install "linnet-fast[{extra}]"'
        raise ImportError(msg) from error


@contextlib.contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Give a new path beside `target`; what is written there takes its place on success only."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
