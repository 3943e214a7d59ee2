"""What the header of a trajectory's file may say, checked before anything is made of it."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import npy
from linnet_fast._base.validate import Shape
from linnet_fast._base.value import arguments
from linnet_fast.networks.named import Convolution, Diagonal, Grouped, Residual

FORMAT = "linnet_fast.Trajectory"
SCHEMA_VERSION = 6
"""4 kept objects in another way; from 6 on the header says what arrays there are."""
_OLD = (4, 5)

_LONGEST = 2**24  # characters of a header; beyond, objects of Python take more than the arrays
_MOST_NUMBERS = 3 * 10**5  # in the text of a network, besides 16 per weight
_MOST_LAYERS = 10**4  # that are written out, besides 4 per array of weights
_SHORT_FORMS: Mapping[str, Any] = {
    kind.__name__: kind for kind in (Diagonal, Convolution, Residual, Grouped)
}
_PARTS: Mapping[str, type] = {
    "network": str,
    "arrays": list,
    "observables": list,
    "start": dict,
    "final": dict,
    "provenance": dict,
}
_PARTS_OF_STATES: Mapping[str, type] = {"has_elapsed": bool, "n_memories": int}
_WEIGHTS = re.compile(r"final_weights_\d+")


def contents(arrays: Mapping[str, npt.NDArray[Any]], *, signed: bool) -> dict[str, Any]:
    """Return what a header says of arrays; `signed`: with digests, where nothing else has them."""
    return {
        name: {"dtype": array.dtype.str, "shape": list(array.shape)}
        | ({"digest": digest(array)} if signed else {})
        for name, array in arrays.items()
    }


def digest(array: npt.NDArray[Any]) -> str:
    """Return the SHA-256 of the values of an array, in hexadecimal."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little).data).hexdigest()


def check_length(n: int) -> None:
    """Refuse a header of so many characters if it is too long to be read."""
    if n > _LONGEST:
        msg = f"the description must have at most {_LONGEST:,} characters, got {n:,}"
        raise ValueError(msg)


def parsed(text: str) -> dict[str, Any]:
    """Return the header that a text is."""
    check_length(len(text))
    try:
        header = json.loads(text)
    except ValueError as error:
        msg = "its description is no JSON text"
        raise ValueError(msg) from error
    if not isinstance(header, dict):
        msg = "its description is not one of a trajectory"
        raise ValueError(msg)  # noqa: TRY004 - of the file, not of an argument
    made, version = header.get("format"), header.get("schema_version")
    if made != FORMAT or version not in (*_OLD, SCHEMA_VERSION):
        expected = f"expected {FORMAT} of schema_version {_OLD[0]} to {SCHEMA_VERSION}"
        msg = f"{expected}, got {made} {version}"
        raise ValueError(msg)
    return header


def check_parts(header: Mapping[str, Any]) -> None:
    """Refuse a header, brought to today's form, whose parts are of other kinds than `save` writes."""
    for name, kind in _PARTS.items():
        _check_kind(name, header, kind)
    for name in ("arrays", "observables"):
        for i, item in enumerate(header[name]):
            _check_kind(f"{name}[{i}]", {f"{name}[{i}]": item}, str)
    if "evaluated" in header:  # not in files of before there was such a thing
        _check_kind("evaluated", header, dict)
    for state in ("start", "final"):
        for name, kind in _PARTS_OF_STATES.items():
            _check_kind(name, header[state], kind, of=f" of {state}")


def _check_kind(name: str, values: Mapping[str, Any], kind: type, of: str = "") -> None:
    if name not in values:
        msg = f"its description has no {name}{of}"
        raise ValueError(msg)
    if type(values[name]) is not kind:
        expected = {
            str: "a text",
            list: "a list",
            dict: "a table",
            bool: "true or false",
            int: "an integer",
        }
        got = type(values[name])
        msg = (
            f"{name}{of} must be {expected[kind]} in its description, got "
            f"{expected.get(got, got.__name__)}"
        )
        raise ValueError(msg)


def check_forms(header: Mapping[str, Any], forms: Mapping[str, npy.Form]) -> None:
    """Refuse arrays that are not what the header says."""
    for name, form in forms.items():
        if form.dtype.kind not in "biuf":
            msg = f"{name} must be made of numbers, got {form.dtype}"
            raise ValueError(msg)
    if header["schema_version"] in _OLD:
        return
    _check_kind("contents", header, dict)
    for name, said in header["contents"].items():
        if not isinstance(said, dict) or not {"dtype", "shape"} <= set(said):
            msg = f"contents of {name} must be a dtype and a shape in its description"
            raise ValueError(msg)
        if name not in forms:
            msg = f"it has no array {name}"
            raise ValueError(msg)
        found = {"dtype": forms[name].dtype.str, "shape": list(forms[name].shape)}
        if any(said[key] != value for key, value in found.items()):
            texts = [f"{d['dtype']} of shape {d['shape']}" for d in (said, found)]
            msg = f"{name} must be {texts[0]} by its description, got {texts[1]}"
            raise ValueError(msg)


def check_network(text: str, shapes: Mapping[str, Shape]) -> None:
    """Refuse a network that the weights of a file cannot be of, before it is made.

    A few characters may stand for a million layers.
    """
    weights = [shape for name, shape in shapes.items() if _WEIGHTS.fullmatch(name)]
    n_arrays = len(weights)
    n_entries = sum(map(math.prod, weights))
    n_numbers = text.count(",")
    too_large = f"the network must be one of {n_arrays} arrays of weights, got a larger one"
    if (
        n_numbers > _MOST_NUMBERS + 16 * n_entries
        or text.count("layers") > _MOST_LAYERS + 4 * n_arrays
        or (text.startswith("Dense") and n_numbers > n_arrays + 2)
    ):
        raise ValueError(too_large)
    if not text.isascii():  # Python takes many letters for others
        msg = "the network must be a text of ASCII letters"
        raise ValueError(msg)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        msg = "the network must be a text such as 'Dense(widths=(3, 2))'"
        raise ValueError(msg) from error
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        msg = "the network must be a single one, such as 'Dense(widths=(3, 2))'"
        raise ValueError(msg)  # noqa: TRY004 - of the file, not of an argument
    if any(isinstance(node.func, ast.Name) for node in calls if node is not tree):
        msg = "the network must be made of layers, got networks within it"
        raise ValueError(msg)
    if tree.func.id == "Dense" and n_numbers > n_arrays + 2:
        raise ValueError(too_large)
    if tree.func.id not in _SHORT_FORMS:
        return
    names = arguments(_SHORT_FORMS[tree.func.id])
    given = [*zip(names, tree.args, strict=False), *((k.arg, k.value) for k in tree.keywords)]
    for name, value in given:
        number = value.value if isinstance(value, ast.Constant) else None
        if str(name).startswith("n_") and not (isinstance(number, int) and number <= n_arrays):
            raise ValueError(too_large)
