"""Networks as text, and back: how files and the command line name them."""

from __future__ import annotations

import ast
from typing import Any

from linnet_fast import layers
from linnet_fast._base import validate
from linnet_fast.networks.chain import Chain, parallel
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped, Residual

_NETWORKS: dict[str, Any] = {
    kind.__name__: kind for kind in (Chain, Dense, Diagonal, Convolution, Residual, Grouped)
} | {"parallel": parallel}


_LAYERS: dict[str, Any] = {
    name: getattr(layers, name) for name in layers.__all__ if name not in ("Layer", "Pattern")
}


def parse(text: str) -> Chain:
    """Return the network that a text such as ``Diagonal(width=5, n_layers=2)`` describes.

    Parameters
    ----------
    text : str
        A network's `spec`: calls of networks, and of layers as ``layers.Dense(5, 1)``, with
        literal numbers. Nothing else is understood and nothing is executed.

    Returns
    -------
    Chain

    Raises
    ------
    ValueError
        If the text is something else.

    Examples
    --------
    >>> parse("Convolution(width=8, kernel_size=3, n_layers=2)").n_weights
    11
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        msg = f"architecture must be a text such as 'Diagonal(width=5, n_layers=2)', got {text!r}"
        raise ValueError(msg) from error
    network = _evaluated(tree)
    if not isinstance(network, Chain):  # a wrong text, so not a TypeError
        msg = f"architecture must be a network, got {text!r}"
        raise ValueError(msg)  # noqa: TRY004
    return network


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
            msg = f"architecture must consist of networks and layers, got {ast.unparse(function)}"
            raise ValueError(msg)
        if any(keyword.arg is None for keyword in node.keywords):
            msg = f"architecture must not contain **, got {ast.unparse(node)}"
            raise ValueError(msg)
        named = {str(keyword.arg): _evaluated(keyword.value) for keyword in node.keywords}
        try:
            return made(*map(_evaluated, node.args), **named)
        except TypeError as error:
            msg = f"architecture {ast.unparse(node)}: {error}"
            raise ValueError(msg) from error
    if isinstance(node, (ast.List, ast.Tuple)):
        return tuple(map(_evaluated, node.elts))
    try:
        return ast.literal_eval(node)
    except ValueError:
        msg = f"architecture must consist of calls and numbers, got {ast.unparse(node)}"
        raise ValueError(msg) from None
