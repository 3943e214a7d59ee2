"""Costs of convolutional networks: closed forms by Fourier transforms, kernels by convex problems."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import numpy.typing as npt

from linnet_fast import _core, layers
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.solvers import matrices, residual, structure
from linnet_fast.costs.solvers.solution import Solution, divided, norms, power, svd
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense

_MOST_EXTENT, _MOST_TABULATED = 2**20, 2**28  # of the core

ComplexArray = npt.NDArray[np.complex128]


def circular(network: Chain) -> list[layers.Convolution] | None:
    """Return the convolutions of a circular net of stride 1 with a dense top, else None."""
    chain = structure.simplified(network)
    *convolutions, top = chain.layers
    if chain.is_shared or not convolutions or not structure.is_dense(top, 1):
        return None
    if network.n_arrays != len(chain.layers):
        return None
    found = [x for x in convolutions if isinstance(x, layers.Convolution)]
    plain = [x for x in found if x.padding == "circular" and x.stride == 1]
    return plain if len(plain) == len(convolutions) else None


def is_full(layer: layers.Convolution) -> bool:
    """Whether the taps are every position once."""
    return all(
        len(offsets) == n and len({layer.dilation * t % n for t in offsets}) == n
        for offsets, n in zip(layer.offsets, layer.extents, strict=True)
    )


def _cleaned(values: ComplexArray, rtol: float) -> ComplexArray:
    """Return Fourier modes, those below `rtol` times the largest of their predictor as 0."""
    axes = tuple(range(1, values.ndim))
    size = np.abs(values)
    return np.where(size > rtol * size.max(axis=axes, keepdims=True), values, 0.0)


def _kernel(spectrum: ComplexArray, layer: layers.Convolution) -> FloatArray:
    """Return the weights (n, taps...) of a full-width layer with the transform `spectrum`."""
    axes = tuple(range(1, spectrum.ndim))
    filled = np.fft.ifftn(spectrum, axes=axes).real
    for axis, (offsets, n) in enumerate(zip(layer.offsets, layer.extents, strict=True)):
        places = [layer.dilation * t % n for t in offsets]
        filled = np.take(filled, places, axis=axis + 1)
    return filled


def full_width(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Every layer has a tap at every position: (L / D) sum |bhat|^(2/L), lines and images.

    Channels of the input enter by their l2 norm in each mode; more channels inside do not help.
    """
    convolutions = circular(network)
    if convolutions is None or not all(map(is_full, convolutions)):
        return None
    extents, n_layers, size = (
        convolutions[0].extents,
        network.n_arrays,
        math.prod(convolutions[0].extents),
    )
    channels = convolutions[0].in_channels
    scale = np.abs(p).max(axis=(1, 2))
    images = divided(p[:, 0], scale[:, None]).reshape(len(p), channels, *extents)
    axes = tuple(range(2, images.ndim))
    modes = _cleaned(np.fft.fftn(images, axes=axes), rtol)
    strength = np.sqrt(np.sum(np.abs(modes) ** 2, axis=1))
    inner = tuple(range(1, strength.ndim))
    value = n_layers / size * np.sum(strength ** (2 / n_layers), axis=inner)
    root = strength ** (1 / n_layers)
    grow = scale ** (1 / n_layers)
    weights: list[FloatArray] = []
    for k, layer in enumerate(convolutions):
        w = np.zeros((len(p), *layer.weight_shape))
        if k == 0:
            for r in range(channels):
                w[:, 0, r] = _kernel(divided(modes[:, r], strength) * root, layer)
        else:
            w[:, 0, 0] = _kernel(root.astype(complex), layer)
        weights.append(w * grow.reshape(-1, *(1,) * (w.ndim - 1)))
    top = np.zeros((len(p), 1, network.layers[-1].n_inputs))
    top[:, 0, :size] = np.fft.ifftn(root, axes=inner).real.reshape(len(p), -1)
    weights.append(top * grow[:, None, None])
    value = value * scale ** (2 / n_layers)
    return Solution.closed_form(
        value, tuple(weights), f"{n_layers} mean of Fourier modes{power(n_layers)}"
    )


def one_tap(network: Chain, p: FloatArray, _rtol: float) -> Solution | None:
    """Every convolution has one tap: L |b|^(2/L)."""
    convolutions = circular(network)
    if convolutions is None or any(math.prod(x.weight_shape[2:]) > 1 for x in convolutions):
        return None
    if convolutions[0].in_channels > 1:
        return None
    n_layers, extents = network.n_arrays, convolutions[0].extents
    size = norms(p[:, 0])
    root = size ** (1 / n_layers)
    weights: list[FloatArray] = []
    shift = np.zeros(len(extents), dtype=int)
    for layer in convolutions:
        w = np.zeros((len(p), *layer.weight_shape))
        w[:, 0, 0] = root.reshape(-1, *(1,) * len(extents))
        weights.append(w)
        shift += [layer.dilation * offsets[0] for offsets in layer.offsets]
    # The taps move the input: the top sees it moved back.
    images = np.roll(
        p[:, 0].reshape(len(p), *extents), tuple(-shift), axis=tuple(range(1, len(extents) + 1))
    )
    top = np.zeros((len(p), 1, network.layers[-1].n_inputs))
    flat = images.reshape(len(p), -1)
    top[:, 0, : flat.shape[1]] = divided(flat, size[:, None]) * root[:, None]
    return Solution.closed_form(n_layers * root**2, (*weights, top), "one tap: the l2 norm")


def taps_of_a_subgroup(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Taps at the multiples of D / k: l2 norms over the rest, in the k frequencies."""
    convolutions = circular(network)
    if convolutions is None or len(convolutions[0].extents) != 1:
        return None
    extent, count = convolutions[0].extents[0], len(convolutions[0].offsets[0])
    if extent % count or any(x.in_channels > 1 for x in convolutions[:1]):
        return None
    step = extent // count
    wanted = {i * step for i in range(count)}
    places = [[x.dilation * t % extent for t in x.offsets[0]] for x in convolutions]
    if any(len(taps) != count or set(taps) != wanted for taps in places):
        return None
    n_layers = network.n_arrays
    scale = np.abs(p).max(axis=(1, 2))
    table = divided(p[:, 0], scale[:, None]).reshape(len(p), count, step)
    modes = _cleaned(np.fft.fft(table, axis=1), rtol)
    strength = np.sqrt(np.sum(np.abs(modes) ** 2, axis=-1))
    value = n_layers / count * np.sum(strength ** (2 / n_layers), axis=-1) * scale ** (2 / n_layers)
    root, grow = strength ** (1 / n_layers), scale ** (1 / n_layers)
    kernel = np.fft.ifft(root, axis=-1).real * grow[:, None]
    weights: list[FloatArray] = []
    for layer, taps in zip(convolutions, places, strict=True):
        w = np.zeros((len(p), *layer.weight_shape))
        w[:, 0, 0] = kernel[:, [place // step for place in taps]]
        weights.append(w)
    rest = divided(modes, strength[..., None]) * root[..., None]
    top = np.zeros((len(p), 1, network.layers[-1].n_inputs))
    top[:, 0, :extent] = np.fft.ifft(rest, axis=1).real.reshape(len(p), -1) * grow[:, None]
    return Solution.closed_form(value, (*weights, top), "Fourier modes over a subgroup")


def kernels(network: Chain, p: FloatArray, rtol: float, n_threads: int) -> Solution | None:
    """Kernels of consecutive taps on a line, of any depth, dilations and hidden channels.

    Channels do not help. The minimum over the kernels is a convex problem in their spectra, which
    the core solves with a certificate.
    """
    convolutions = circular(network)
    if convolutions is None or len(convolutions[0].extents) != 1 or convolutions[0].in_channels > 1:
        return None
    extent = convolutions[0].extents[0]
    shapes = []
    for layer in convolutions:
        offsets = sorted(layer.offsets[0])
        if offsets != list(range(offsets[0], offsets[0] + len(offsets))):
            return None
        shapes.append((len(offsets), layer.dilation))
    n_layers = network.n_arrays
    kinds = Counter(shapes)
    n_taps = sum(k for k, _ in kinds)
    if extent > _MOST_EXTENT or n_taps * (extent // 2 + 1) > _MOST_TABULATED:
        msg = (
            f"network must have at most {_MOST_EXTENT:,} inputs, and {_MOST_TABULATED:,} as taps of "
            f"different kernels times frequencies, got {extent:,} inputs and {n_taps:,} taps"
        )
        raise ValueError(msg)
    scale = np.abs(p).max(axis=(1, 2))
    b = divided(p[:, 0], scale[:, None])
    modes = _cleaned(np.fft.rfft(b), rtol)
    spectra = np.abs(modes) ** 2 / extent
    spectra[:, 1 : (extent + 1) // 2] *= 2
    some = np.flatnonzero(scale > 0)
    upper, lower = np.zeros(len(p)), np.zeros(len(p))
    taps, dilations = [k for k, _ in kinds], [d for _, d in kinds]
    found = np.zeros((len(p), sum(taps)))
    if len(some):
        high, low, found[some] = _core.kernel_cost(
            spectra=np.ascontiguousarray(spectra[some]),
            extent=extent,
            taps=taps,
            dilations=dilations,
            multiplicities=[float(kinds[kind]) for kind in kinds],
            n_threads=n_threads,
        )
        upper[some] = n_layers * np.exp(high / n_layers)
        lower[some] = n_layers * np.exp(low / n_layers)
    size = np.sqrt(upper / n_layers)
    grow = scale ** (1 / n_layers)
    starts = dict(zip(kinds, np.cumsum([0, *taps[:-1]]), strict=True))
    turn = np.arange(modes.shape[1])
    product = np.ones(modes.shape, complex)
    weights: list[FloatArray] = []
    for layer, kind in zip(convolutions, shapes, strict=True):
        kernel = found[:, starts[kind] : starts[kind] + kind[0]] * size[:, None]
        w = np.zeros((len(p), *layer.weight_shape))
        for t, offset in enumerate(layer.offsets[0]):
            w[:, 0, 0, t] = kernel[:, offset - min(layer.offsets[0])]
        places = np.array([layer.dilation * t % extent for t in layer.offsets[0]])
        phases = np.exp(-2j * np.pi * (places[:, None] * turn % extent) / extent)
        product *= w[:, 0, 0] @ phases
        weights.append(w * grow[:, None, None, None])
    top = np.zeros((len(p), 1, network.layers[-1].n_inputs))
    rest = divided(modes, np.where(modes == 0, 0.0, product))
    top[:, 0, :extent] = np.fft.irfft(rest, n=extent) * grow[:, None]
    weights.append(top)
    factor = scale ** (2 / n_layers)
    return Solution(
        lower * factor,
        upper * factor,
        tuple(weights),
        "convex problem in trigonometric polynomials",
    )


def groups(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Convolutions over a finite group and a dense top: singular values of multiplication."""
    chain = structure.simplified(network)
    *convolutions, top = chain.layers
    if chain.is_shared or not convolutions or not structure.is_dense(top, 1):
        return None
    if len(set(convolutions)) > 1 or not isinstance(convolutions[0], layers.GroupConvolution):
        return None
    pattern, n_layers = convolutions[0].pattern, network.n_arrays
    table = np.array(convolutions[0].table)
    order = len(table)
    unit = int(np.flatnonzero((table == np.arange(order)).all(axis=1))[0])
    # Row of the unit: y[e] = sum_t w[t] x[t], so the weights are that row of their matrix.
    u, s, vt = svd(pattern.matrix(p[:, 0]), rtol)
    value = n_layers / order * np.sum(s ** (2 / n_layers), axis=-1)
    root = s ** (1 / n_layers)
    positive = np.einsum("nki,nk,nkj->nij", vt, root, vt)
    turned = np.einsum("nik,nk,nkj->nij", u, root, vt)
    weights = [positive[:, unit]] * len(convolutions)
    return Solution.closed_form(
        value,
        (*weights, turned[:, unit][:, None]),
        f"{n_layers} mean of the multiplication's singular values{power(n_layers)}",
    )


def patch_table(network: Chain, p: FloatArray) -> FloatArray | None:
    """Return predictors as matrices (positions, entries of a patch), if patches do not overlap.

    The first convolution reads the patches, others change channels only, the top is dense.
    """
    chain = structure.simplified(network)
    *convolutions, top = chain.layers
    if chain.is_shared or not convolutions or not structure.is_dense(top, 1):
        return None
    parts = [x for x in convolutions if isinstance(x, layers.Convolution)]
    if len(parts) != len(convolutions) or len(parts[0].extents) != 1:
        return None
    first, rest = parts[0], parts[1:]
    width, extent = first.stride, first.extents[0]
    if first.dilation != 1 or first.offsets[0] != tuple(range(width)) or extent % width:
        return None
    if first.padding == "zero" and width > 1:
        return None
    if any(x.stride != 1 or x.offsets[0] != (0,) for x in rest):
        return None
    channels, count = first.in_channels, extent // width
    table = p[:, 0].reshape(len(p), channels, count, width).swapaxes(1, 2)
    return np.asarray(table.reshape(len(p), count, channels * width))


def patches(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Solve nets on patches, which are dense chains from a patch's entries to the positions."""
    table = patch_table(network, p)
    if table is None:
        return None
    parts = [x for x in network.layers if isinstance(x, layers.Convolution)]
    widths = (table.shape[2], *(x.out_channels for x in parts), table.shape[1])
    found = matrices.dense(Dense(widths), table, rtol)
    assert found is not None
    *kernels, last = found.weights
    weights = [w.reshape(len(p), *x.weight_shape) for w, x in zip(kernels, parts, strict=True)]
    weights.append(last.swapaxes(1, 2).reshape(len(p), 1, -1))
    return Solution(found.lower, found.upper, tuple(weights), f"patches: {found.method}", found.why)


def residual_full_width(network: Chain, p: FloatArray, rtol: float) -> Solution | None:
    """Residual circular convolutions, of full width or of one tap, and a dense top."""
    chain = structure.simplified(network)
    *blocks, top = chain.layers
    if chain.is_shared or not blocks or not structure.is_dense(top, 1):
        return None
    inside = structure.inside_residuals(blocks)
    if inside is None:
        return None
    inner, scale = inside
    plain = [x for x in inner if isinstance(x, layers.Convolution) and x.padding == "circular"]
    if len(plain) != len(blocks) or any(x.in_channels > 1 or x.stride > 1 for x in plain):
        return None
    is_scalar = all(x.offsets == ((0,),) * len(x.extents) for x in plain)
    if not (is_scalar or all(map(is_full, plain))):
        return None
    extents, n_blocks = plain[0].extents, len(blocks)
    if is_scalar:
        size = norms(p[:, 0])
        value, a, end = residual.trainable_top(size, n_blocks, scale)
        taps = [a.reshape(-1, *(1,) * len(x.weight_shape)) for x in plain]
        last = divided(p, size[:, None, None]) * end[:, None, None]
        return Solution.closed_form(value, (*taps, last), "residual, by the l2 norm")
    images = p[:, 0].reshape(len(p), *extents)
    axes = tuple(range(1, images.ndim))
    largest = np.abs(images).max(axis=axes, keepdims=True)
    modes = _cleaned(np.fft.fftn(divided(images, largest), axes=axes), rtol)
    terms, a, end = residual.trainable_top(np.abs(modes) * largest, n_blocks, scale)
    value = terms.sum(axis=axes) / math.prod(extents)
    weights = [_kernel(a.astype(complex), x).reshape(len(p), *x.weight_shape) for x in plain]
    rest = divided(modes, np.abs(modes)) * end
    last = np.fft.ifftn(rest, axes=axes).real.reshape(len(p), 1, -1)
    return Solution.closed_form(value, (*weights, last), "residual, by Fourier modes")
