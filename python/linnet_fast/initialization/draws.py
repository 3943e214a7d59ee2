"""Initial weights: random, orthogonal, balanced, or aligned with the data.

Every function returns a tuple of one C-contiguous array per layer, of shape ``(*batch_shape, out_l,
in_l)``. Each run has a random stream of its own, keyed by its index in the batch or by `streams`: what
it gets depends on `rng`, its stream and the network, not on how many runs there are. `rng` follows
SPEC 7: anything ``numpy.random.default_rng`` takes; None draws from the system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.seeds import Seed
from linnet_fast._base.streams import Draw, normal_numbers
from linnet_fast._base.validate import WeightArray
from linnet_fast.initialization import nominal, options, structured
from linnet_fast.networks.chain import Chain, checked_network
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped, Residual


def gaussian(
    network: Chain,
    *,
    scale: npt.ArrayLike = 1.0,
    layer_scales: npt.ArrayLike | None = None,
    fan: Literal["in", "none"] = "in",
    width: npt.ArrayLike | None = None,
    width_exponent: npt.ArrayLike = 0.0,
    rng: Seed = None,
    batch_shape: int | Sequence[int] | None = None,
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return weights with independent normal entries.

    Parameters
    ----------
    network : Chain
        Gives the shapes.
    scale : array_like, default 1
        Factor >= 0 on all layers; broadcasts to `batch_shape`.
    layer_scales : array_like, shape (*run, n_arrays), optional
        Factors on each array of weights, of any sign; 0 for those that start from zero.
    fan : {"in", "none"}
        Standard deviation of an entry: scale / sqrt(n), where an output of the layer sees n weights
        (of a dense layer its inputs; on average, if that differs), or scale itself.
    width : array_like, optional
        Hidden width of the network that these weights are of in law, for `Dense` ones of two layers:
        whole numbers from 1 to 1e12, or inf; broadcasts to `batch_shape`. The hidden layer of `network`
        stands for it, exactly, if it has as many units as there are inputs and outputs together.
    width_exponent : array_like, default 0
        Entries are multiplied by the hidden width to the power of minus this; broadcasts to
        `batch_shape`. For `Dense` networks with hidden layers of one width.
    rng : seed or Generator, optional
        See the module's notes on random streams.
    batch_shape : int or tuple of int, optional
        Run axes of the result; by default those of `scale`.
    streams : array_like of int, optional
        Number >= 0 of the random stream of each run; broadcasts to `batch_shape`. By default runs
        are numbered in C order.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, *network.shapes[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or does not broadcast to `batch_shape`, or the network is not one for
        a width.

    Notes
    -----
    Gradient descent turned in the hidden space is gradient descent. Of two wide layers all that
    matters is the R factor of their columns side by side, the law of which is Bartlett's. So a width of
    10^9 costs what inputs + outputs cost; at infinity, where weights have to be divided by at least the
    root of the width (`width_exponent` 1/2), columns are orthogonal.

    References
    ----------
    M. S. Bartlett, "On the theory of statistical regression", Proceedings of the Royal Society of
    Edinburgh 53 (1933). Exponents of the width: T. Luo, Z.-Q. J. Xu, Z. Ma, Y. Zhang, "Phase diagram for
    two-layer ReLU neural networks at infinite-width limit", JMLR 22 (2021).

    Examples
    --------
    >>> weights = gaussian(Dense((3, 5, 2)), scale=[[0.1], [1.0]], rng=0, batch_shape=(2, 4))
    >>> [w.shape for w in weights]
    [(2, 4, 5, 3), (2, 4, 2, 5)]

    Three inputs, two outputs, and hidden layers of a hundred to a billion units:

    >>> weights = gaussian(Dense((3, 5, 2)), width=[1e2, 1e9], rng=0, batch_shape=2)
    >>> [w.shape for w in weights]
    [(2, 5, 3), (2, 2, 5)]
    """
    checked_network(network, Chain)
    validate.choice("fan", fan, ("in", "none"))
    given = options.checked(scale, batch_shape, dtype, network=network, layer_scales=layer_scales)
    runs = given.runs
    exponent = validate.real_array("width_exponent", width_exponent)
    validate.fits_batch("width_exponent", exponent.shape, runs)
    if width is not None:
        dense = checked_network(network, Dense)
        if dense.n_layers > 2:
            msg = "width must be left out of Gaussian starts of more than two layers: their hidden "
            msg += f"spaces train whole, got {dense.n_layers} layers"
            raise ValueError(msg)
        widths = nominal.of_network(dense, width, runs, at_least=1)
        numbers = partial(normal_numbers, rng, runs, streams)
        pair = nominal.gaussian(dense, widths, exponent, fan_in=fan == "in", numbers=numbers)
        return tuple(given.finish(layer, number) for number, layer in enumerate(pair))
    narrow = np.ones(())
    if exponent.any():
        hidden = set(checked_network(network, Dense).widths[1:-1])
        if len(hidden) != 1:
            msg = "width_exponent must be 0 but for hidden layers of one width, "
            msg += f"got widths {network.widths}"
            raise ValueError(msg)
        narrow = nominal.power(float(hidden.pop()), -exponent)
    draw = Draw(rng, runs, streams, network.shapes)
    fans = dict.fromkeys(range(network.n_arrays), 1.0)
    for layer, number in zip(network.layers, network.share, strict=True):
        if fan == "in" and number is not None:
            fans[number] = max(fans[number], layer.fan_in)
    result = []
    for number, block in enumerate(draw.blocks):
        inner = len(network.shapes[number])
        factor = given.scale_of(number) * narrow
        spread = factor.reshape(*factor.shape, *(1,) * inner) / math.sqrt(fans[number])
        result.append(given.whole(draw.of_runs(block) * spread, inner))
    return tuple(result)


def orthogonal(
    network: Dense | Diagonal | Convolution | Residual | Grouped,
    *,
    scale: npt.ArrayLike = 1.0,
    layer_scales: npt.ArrayLike | None = None,
    width: npt.ArrayLike | None = None,
    rng: Seed = None,
    batch_shape: int | Sequence[int] | None = None,
    streams: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[WeightArray, ...]:
    """Return weights whose layers are scaled orthogonal matrices, uniform (Haar) at random.

    Rectangular layers have orthonormal rows or columns, whichever are fewer, times the scale; of
    `Residual` networks that is what is added to the identity. Weights of `Diagonal` and `Grouped` networks
    are plus or minus the scale. Circular convolutions with kernels as long as their input are uniform at
    each frequency; those with shorter ones have the one tap that moves nothing, orthogonal between channels.

    Parameters
    ----------
    network : Dense, Diagonal, Convolution, Residual or Grouped
        Gives the shapes.
    scale : array_like, default 1
        Factor >= 0 on all layers: all singular values of each layer. Broadcasts to `batch_shape`.
    layer_scales : array_like, shape (*run, n_arrays), optional
        Factors on each array of weights, of any sign; 0 for those that start from zero.
    width : array_like, optional
        Common width of the hidden layers of the network that these weights are of in law: whole
        numbers from the larger of inputs and outputs to 1e12, or inf; broadcasts to `batch_shape`. The
        hidden layers of `network` stand for it, exactly, if they have as many units as there are inputs
        and outputs together; layers between have the singular values of these units only.
    rng : seed or Generator, optional
        See the module's notes on random streams.
    batch_shape : int or tuple of int, optional
        Run axes of the result; by default those of `scale`.
    streams : array_like of int, optional
        Number >= 0 of the random stream of each run; broadcasts to `batch_shape`. By default runs
        are numbered in C order.
    dtype : dtype, default float64
        float64 or float32.

    Returns
    -------
    tuple of ndarray, shapes (*batch_shape, *network.shapes[l])

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range or does not broadcast to `batch_shape`, the network is not one for a
        width, or a convolution has strides or no tap that moves nothing.

    References
    ----------
    F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the
    AMS 54 (2007): QR with the signs of R's diagonal moved into Q is Haar distributed. L. Xiao, Y. Bahri,
    J. Sohl-Dickstein, S. S. Schoenholz, J. Pennington, "Dynamical isometry and a mean field theory of
    CNNs", ICML 2018: short kernels.

    Examples
    --------
    >>> import numpy as np
    >>> (w,) = orthogonal(Dense((3, 2)), scale=2.0, rng=0)
    >>> np.allclose(w @ w.T, 4 * np.eye(2))
    True
    >>> orthogonal(Dense((3, 5, 5, 2)), width=10**9, rng=0)[-1].shape
    (2, 5)
    """
    structured.check_orthogonal(network)
    given = options.checked(scale, batch_shape, dtype, network=network, layer_scales=layer_scales)
    runs = given.runs
    if width is not None and not isinstance(network, Dense):
        msg = f"width must be left out of starts of networks that are not dense, got {width}"
        raise ValueError(msg)
    if isinstance(network, Diagonal | Grouped):
        return structured.signs(network, Draw(rng, runs, streams, network.shapes), given)
    if width is not None and isinstance(network, Dense):
        least = max(network.n_inputs, network.n_outputs)
        widths = nominal.of_network(network, width, runs, at_least=least)
        numbers = partial(normal_numbers, rng, runs, streams)
        layers = nominal.orthogonal(network, widths, numbers=numbers)
        return tuple(given.finish(layer, number) for number, layer in enumerate(layers))
    draw = Draw(rng, runs, streams, network.shapes)
    arrays = (
        draw.of_runs(structured.isometry(layer, block))
        for layer, block in zip(network.layers, draw.blocks, strict=True)
    )
    return tuple(
        given.finish(array, number, len(network.shapes[number]))
        for number, array in enumerate(arrays)
    )
