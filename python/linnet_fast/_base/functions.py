"""Functions of users by name, "module:function": what files and other processes know of them."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from linnet_fast._base import validate


def check_path(name: str, path: str) -> None:
    """Refuse a text that is no import path; nothing is imported."""
    module, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        msg = f"{name} must be an import path 'module:function', got {validate.brief(path)}"
        raise ValueError(msg)


def imported(name: str, path: str) -> Any:
    """Return the function that the user named as "module:function"."""
    module, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"{name} must be an import path 'module:function', got {path!r}: {error}"
        raise ValueError(msg) from error
    return found


def path_of(function: object) -> str | None:
    """Return the import path of a function, or None: it is none of a module."""
    module = getattr(function, "__module__", None)
    attribute = getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(attribute, str):
        return None
    found: Any = sys.modules.get(module)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    return f"{module}:{attribute}" if found is function else None
