"""Networks as text, and back: how files and the command line name them."""

from __future__ import annotations

import ast
import warnings
from typing import Any

from linnet_fast import layers
from linnet_fast._base import validate, wording
from linnet_fast.networks.chain import Chain, parallel
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped, Residual

_NETWORKS: dict[str, Any] = {
    kind.__name__: kind for kind in (Chain, Dense, Diagonal, Convolution, Residual, Grouped)
} | {"parallel": parallel}


_LAYERS: dict[str, Any] = {
    name: getattr(layers, name) for name in layers.__all__ if name not in ("Layer", "Pattern")
}


def parse(architecture: str) -> Chain:
    """Return the network that a text such as ``Diagonal(width=5, n_layers=2)`` describes.

    Parameters
    ----------
    architecture : str
        A network's `spec`: calls of networks, and of layers as ``layers.Dense(5, 1)``, with
        literal numbers. Nothing else is understood and nothing is executed. Brackets may be nested
        64 deep.

    Returns
    -------
    Chain

    Raises
    ------
    TypeError
        If it is not a text.
    ValueError
        If the text is something else, or nested too deeply.

    Examples
    --------
    >>> parse("Convolution(width=8, kernel_size=3, n_layers=2)").n_weights
    11
    """
    text = validate.instance("architecture", architecture, str)
    validate.nested_text("architecture", text)
    shown = wording.quoted(text)
    try:
        network = _evaluated(_parsed(text))
    except (RecursionError, MemoryError):
        # Of chains without brackets, such as 1+1+... or many signs, which the parser gives up.
        msg = f"architecture must consist of calls and numbers, got {shown}"
        raise ValueError(msg) from None
    except SyntaxError as error:
        msg = f"architecture must be a text such as 'Diagonal(width=5, n_layers=2)', got {shown}"
        raise ValueError(msg) from error
    if not isinstance(network, Chain):  # a wrong text, so not a TypeError
        msg = f"architecture must be a network, got {shown}"
        raise ValueError(msg)  # noqa: TRY004
    return network


def _parsed(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # such as of calls of numbers
        try:
            return ast.parse(text, mode="eval").body
        except ValueError as error:  # lone surrogates; a null character, in Python before 3.11.4
            raise SyntaxError(str(error)) from error


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name):
            validate.choice("architecture", function.id, _NETWORKS)
            made = _NETWORKS[function.id]
        elif (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)
            and function.value.id == "layers"
        ):
            validate.choice("layer", function.attr, _LAYERS)
            made = _LAYERS[function.attr]
        else:
            msg = f"architecture must consist of networks and layers, got {_shown(function)}"
            raise ValueError(msg)
        if any(keyword.arg is None for keyword in node.keywords):
            msg = f"architecture must not contain **, got {_shown(node)}"
            raise ValueError(msg)
        named = {str(keyword.arg): _evaluated(keyword.value) for keyword in node.keywords}
        try:
            return made(*map(_evaluated, node.args), **named)
        except TypeError as error:
            msg = f"architecture {_shown(node)}: {error}"
            raise ValueError(msg) from error
    if isinstance(node, (ast.List, ast.Tuple)):
        return tuple(map(_evaluated, node.elts))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):  # TypeError: of keys and members that cannot be hashed
        msg = f"architecture must consist of calls and numbers, got {_shown(node)}"
        raise ValueError(msg) from None


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 200 else wording.quoted(text)
