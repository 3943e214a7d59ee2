"""Costs of convolutional networks: width of the kernel, depth, spectra of filters, channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.representation_cost import representation_cost
from linnet_fast.figures.dai2021 import formulas
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most, near
from linnet_fast.networks.named import Convolution, Dense, Diagonal
from linnet_fast.plot._style import colors, entry, key, panels

_GREY = "#808080"


def _cost(
    predictors: FloatArray, kernel_size: int, n_layers: int, settings: Settings
) -> FloatArray:
    network = Convolution(predictors.shape[-1], kernel_size, n_layers)
    return representation_cost(network, predictors, n_threads=settings.n_threads).value


def _signals(extent: int) -> tuple[list[str], FloatArray, list[npt.NDArray[np.intp]]]:
    """Return names, unit vectors, and the frequencies that each has."""
    rng = np.random.default_rng(3)
    at = 2 * np.pi * np.arange(extent) / extent
    smooth = 0.6 + np.cos(at) + 0.7 * np.sin(2 * at) + 0.4 * np.cos(3 * at + 1)
    sparse = np.zeros(extent)
    sparse[[1, extent // 3, extent // 3 + 2]] = 1.0, -0.8, 0.5
    white = rng.standard_normal(extent)
    beta = np.stack([smooth, sparse, white])
    beta /= np.linalg.norm(beta, axis=-1, keepdims=True)
    power = np.abs(np.fft.fft(beta))
    support = [np.flatnonzero(row > 1e-10 * row.max()) for row in power]
    return ["smooth", "sparse", "white"], beta, support


def kernel_width(settings: Settings) -> Figure:
    """Compare kernels of all widths with kernels of one tap, at several depths."""
    extent = 24 if settings.quick else 64
    names, beta, support = _signals(extent)
    taps = np.array([k for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) if k <= extent])
    depths = np.array([2, 3, 5, 9, 17])
    chosen = np.array([2, 4, 8, extent])
    many = np.unique(np.geomspace(2, 64 if settings.quick else 256, 13).round().astype(int))
    by_width = np.array([[_cost(beta, k, n, settings) for k in taps] for n in depths])
    by_depth = np.array([[_cost(beta, k, n, settings) for n in many] for k in chosen])
    ratio = by_width / by_width[:, :1]
    one_tap = many[:, None] * np.linalg.norm(beta, axis=-1) ** (2 / many[:, None])
    deep = by_depth / one_tap
    limits = np.array(
        [[formulas.depth_limit_of_kernels(modes, extent, k) for modes in support] for k in chosen]
    )
    full = np.array([formulas.full_width(beta, n) for n in depths])
    two = np.array([formulas.two_taps(beta, n) for n in depths])
    # R / L goes to its limit as 1 + const / L.
    last = many[-1]
    bound_gap = np.maximum(full[:, None] / by_width - 1, by_width / by_width[:, :1] - 1)
    claims = [
        at_most(
            "a wider kernel costs no more: largest relative increase",
            float((np.diff(by_width, axis=1) / by_width[:, 1:]).max()),
            1e-8,
        ),
        at_most(
            "costs are between those of kernels of all taps and of one: largest relative excess",
            float(bound_gap.max()),
            1e-8,
        ),
        at_most(
            "kernels of one tap cost L |b|^(2/L), relative error",
            float(np.abs(by_width[:, 0] / depths[:, None] - 1).max()),
            1e-9,
        ),
        at_most(
            "kernels of two taps: the convex problem in one number, relative error",
            float(np.abs(by_width[:, 1] / two - 1).max()),
            1e-8,
        ),
        at_most(
            "kernels of all taps cost (L/D) sum |bhat|^(2/L), relative error",
            float(np.abs(by_width[:, -1] / full - 1).max()),
            1e-9,
        ),
        at_most(
            f"{last} layers: ratio against the limit of infinitely many, which depends on the "
            "Fourier support alone, relative error",
            float(np.abs(deep[:, -1] / limits - 1).max()),
            6 / last,
        ),
        at_most(
            "a smooth predictor needs few frequencies: deepest ratio at full width",
            float(deep[-1, -1, 0]),
            0.5,
        ),
    ]
    figure, axes = panels(3, rows=2, sharey="col")
    for column, name in enumerate(names):
        top, bottom = axes[0][column], axes[1][column]
        for i, (n, color) in enumerate(zip(depths, colors(len(depths)), strict=True)):
            top.plot(taps, ratio[i, :, column], ".-", color=color, markersize=4, label=f"L = {n}")
        top.set(title=name, xlabel="width of the kernel", xscale="log")
        top.set_xticks([k for k in (1, 2, 4, 8, 16, 32, 64) if k <= extent])
        top.xaxis.set_major_formatter("{x:g}")
        for i, (k, color) in enumerate(zip(chosen, colors(len(chosen)), strict=True)):
            label = f"K = {k}"
            bottom.plot(many, deep[i, :, column], ".-", color=color, markersize=4, label=label)
            bottom.axhline(limits[i, column], color=color, linestyle=":", linewidth=1)
        bottom.set(xlabel="layers L", xscale="log", xticks=[2, 10, 100])
        bottom.xaxis.set_major_formatter("{x:g}")
    axes[0][0].set_ylabel("cost over that of one tap")
    axes[1][0].set_ylabel("cost over that of one tap")
    axes[0][0].legend(frameon=False)
    entry(axes[1][0], "limit", linestyle=":", linewidth=1)
    axes[1][0].legend(frameon=False)
    return Figure(
        "kernel_width",
        About(f"predictors of {extent} numbers", "circular convolutions", "representation cost"),
        f"Cost of predictors of {extent} numbers by convolutions of width K, over that of one "
        "tap, against K (above) and against the number of layers (below; dotted: the limit of "
        "infinite depth). Depth rewards gaps in the Fourier transform, and wide kernels.",
        figure,
        {
            "predictors": beta,
            "widths": taps,
            "depths": depths,
            "cost_by_width": by_width,
            "chosen_widths": chosen,
            "many_depths": many,
            "cost_by_depth": by_depth,
            "limits": limits,
        },
        claims,
    )


def spectra(settings: Settings) -> Figure:
    """Draw the power of the best kernels beside the Fourier transform of the predictor."""
    extent, n_layers = (32 if settings.quick else 64), 3
    names, beta, _ = _signals(extent)
    # All frequencies, so that the picture shows how a kernel trades them.
    beta = beta + 0.01 * np.eye(extent)[0]
    taps = np.array([k for k in (2, 3, 5, 9, 17, 33, 64) if k < extent] + [extent])
    power = np.empty((len(taps), len(beta), extent))
    optimality = np.empty(power.shape[:2])
    unequal, missed, cost = 0.0, 0.0, np.empty(power.shape[:2])
    for i, k in enumerate(taps):
        network = Convolution(extent, int(k), n_layers)
        found = representation_cost(network, beta, n_threads=settings.n_threads)
        cost[i] = found.value
        kernels = [w[:, 0, 0] for w in found.weights[:-1]]
        own = [np.abs(np.fft.fft(w, extent)) ** 2 for w in kernels]
        power[i] = own[0] / own[0].mean(axis=-1, keepdims=True)
        unequal = max(unequal, float(np.abs(own[1] / own[0].max() - own[0] / own[0].max()).max()))
        product = network.product(found.weights)[:, 0]
        missed = max(missed, float(np.abs(product - beta).max()))
        optimality[i] = [
            formulas.certificate(b, kernel, n_layers)
            for b, kernel in zip(beta, kernels[0], strict=True)
        ]
    wanted = np.abs(np.fft.fft(beta)) ** (2 / n_layers)
    wanted /= wanted.mean(axis=-1, keepdims=True)
    claims = [
        at_most(
            "kernels of all taps have the power |bhat|^(2/L), largest error over the mean",
            float(np.abs(power[-1] - wanted).max()),
            1e-9,
        ),
        at_most(
            "kernels of any width are optimal: largest eigenvalue of the Toeplitz matrix, less 1",
            float(optimality[:-1].max()),
            1e-6,
        ),
        at_most("all convolutions have the same power, largest difference", unequal, 1e-9),
        at_most("weights give the predictor, largest error", missed, 1e-10),
        at_most(
            "a wider kernel costs no more: largest relative increase",
            float((np.diff(cost, axis=0) / cost[1:]).max()),
            1e-8,
        ),
    ]
    figure, axes = panels(3)
    figure.set_figheight(3.1)
    half = np.arange(extent // 2 + 1)
    shown = [i for i, k in enumerate(taps) if k in (2, 3, 5, 9, 17, extent)]
    for column, (ax, name) in enumerate(zip(axes, names, strict=True)):
        ax.fill_between(half, wanted[column, half], color="#e2e2e2", linewidth=0, zorder=0)
        for i, color in zip(shown, colors(len(shown)), strict=True):
            label = f"{taps[i]}"
            ax.plot(half, power[i, column, half], color=color, linewidth=1.2, label=label)
        top = 1.15 * max(wanted[column].max(), power[shown, column].max())
        ax.set(title=name, xlabel="frequency", xlim=(0, extent // 2), ylim=(0, top))
    axes[0].set_ylabel("power of the kernel")
    axes[0].fill_between([], [], color="#e0e0e0", label="of all taps")
    key(figure, axes[0], "width of the kernel")
    return Figure(
        "spectra",
        About(
            f"predictors of {extent} numbers",
            f"{n_layers} layers of circular convolution",
            "cheapest weights",
        ),
        f"Power of the best kernels, mean 1, of {n_layers} layers on predictors of {extent} numbers. "
        f"Grey: |bhat|^(2/{n_layers}) of the predictor, which a kernel of all taps has.",
        figure,
        {"predictors": beta, "widths": taps, "power": power, "wanted": wanted, "cost": cost},
        claims,
    )


def depth_limit(settings: Settings) -> Figure:
    """Follow costs per layer to great depth, where they count."""
    depths = np.unique(np.geomspace(2, 200, 12 if settings.quick else 30).round().astype(int))
    rng = np.random.default_rng(1)
    n_threads = settings.n_threads
    data: dict[str, Any] = {"depths": depths}
    u, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    v, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    strengths = np.array([3.0, 2.0, 1.2, 0.7, 0.5])
    matrices = np.stack([(u[:, :k] * strengths[:k]) @ v[:, :k].T for k in (1, 2, 3, 4, 5)])
    dense = np.array(
        [representation_cost(Dense((5,) * (n + 1)), matrices).value / n for n in depths]
    )
    vectors = np.tril(np.ones((5, 5))) * strengths
    diagonal = np.array(
        [representation_cost(Diagonal(5, int(n)), vectors).value / n for n in depths]
    )
    ranks = np.arange(1, 6)
    slopes = 2 * np.cumsum(np.log(strengths))
    extent = 16
    at = 2 * np.pi * np.arange(extent) / extent
    waves = np.stack(
        [np.cos(at), 0.5 + np.cos(at) + np.sin(2 * at), np.cos(at) + np.cos(7 * at + 1)]
    )
    support = [np.array([1, 15]), np.array([0, 1, 2, 14, 15]), np.array([1, 7, 9, 15])]
    names = ["one frequency", "low frequencies", "low and high ones"]
    taps = np.array([1, 2, 3, 5, extent])
    kernels = np.array(
        [
            [
                representation_cost(
                    Convolution(extent, int(k), int(n)), waves, n_threads=n_threads
                ).value
                / n
                for n in depths
            ]
            for k in taps
        ]
    )
    limits = np.array(
        [
            [formulas.depth_limit_of_kernels(s, extent, int(k)) if k > 1 else 1.0 for s in support]
            for k in taps
        ]
    )
    share = np.array([len(s) / extent for s in support])
    limits[-1] = share
    last = int(depths[-1])
    # The next order, (R / L - limit) L, is 2 sum log sigma.
    next_order = np.abs(last * (dense[-1] - ranks) - slopes)
    claims = [
        at_most(
            f"dense layers: R / L against the rank, {last} layers, relative error",
            float(np.abs(dense[-1] / ranks - 1).max()),
            0.02,
        ),
        at_most(
            f"dense layers: R - L rank against 2 sum log sigma, {last} layers",
            float(next_order.max()),
            0.05,
        ),
        at_most(
            f"diagonal layers: R / L against the number of nonzeros, {last} layers, relative error",
            float(np.abs(diagonal[-1] / ranks - 1).max()),
            0.02,
        ),
        at_most(
            f"kernels of all taps: R / L against the share of frequencies, {last} layers, relative",
            float(np.abs(kernels[-1, -1] / share - 1).max()),
            0.04,
        ),
        at_most(
            f"kernels: R / L against 1 / max_p min p over the frequencies, {last} layers, relative",
            float(np.abs(kernels[:-1, -1] / limits[:-1] - 1).max()),
            0.04,
        ),
        near(
            "two low and high frequencies: what they cost deep kernels of 2 taps, over 1 tap",
            float(kernels[1, -1, 2]),
            float(limits[1, 2]),
            0.04,
        ),
    ]
    figure, axes = panels(3)
    figure.set_figheight(3.1)
    left, middle, right = axes
    for k, color in enumerate(colors(5)):
        left.plot(depths, dense[:, k], color=color, label=f"rank {k + 1}")
        left.plot(depths, diagonal[:, k], ".", color=color, markersize=3)
        left.axhline(k + 1, color=color, linestyle=":", linewidth=1)
    left.set(title="dense (lines), diagonal (dots)", ylabel="cost per layer")
    for i, (k, color) in enumerate(zip(taps, colors(len(taps)), strict=True)):
        for ax, column in ((middle, 1), (right, 2)):
            ax.plot(depths, kernels[i, :, column], color=color, label=f"K = {k}")
            ax.axhline(limits[i, column], color=color, linestyle=":", linewidth=1)
    middle.set(title=f"kernels, {names[1]}")
    right.set(title=f"kernels, {names[2]}")
    for ax in axes:
        ax.set(xscale="log", xlabel="layers L", xticks=[2, 10, 100])
        ax.xaxis.set_major_formatter("{x:g}")
    entry(middle, "limit", linestyle=":", linewidth=1)
    middle.legend(frameon=False, loc="upper right")
    left.legend(frameon=False, loc="upper right", fontsize=7)
    return Figure(
        "depth_limit",
        About(
            f"predictors of 5 and of {extent} numbers",
            "dense and diagonal layers, convolutions",
            "representation cost",
        ),
        "Cost per layer against depth. Dense layers come to count singular values, diagonal ones "
        "entries, and convolutions frequencies; kernels of few taps count what a nonnegative "
        "trigonometric polynomial can make of them (dotted: limits).",
        figure,
        data
        | {
            "dense": dense,
            "diagonal": diagonal,
            "widths": taps,
            "kernels": kernels,
            "limits": limits,
            "singular_values": strengths,
            "waves": waves,
        },
        claims,
    )


_EXAMPLE = np.array([1.0, 0.2, -0.7, 0.5, 1.1, -0.4, 0.3])


def nuclear_bound(beta: FloatArray, taps: tuple[int, ...]) -> FloatArray:
    """Return the largest <z, b> / ||T(z)|| with T(z)[i, t] = z[i + t], twice, for (*batch, extent).

    Any z gives a lower bound. These maximise w <z, b> + log det(1 - T(z)^T T(z)) for weights w that
    grow, and come near the best as 1 / w: by Newton's method, whose damped steps stay inside.
    """
    extent, n_taps = beta.shape[-1], len(taps)
    place = (np.arange(extent)[:, None] + np.array(taps)) % extent
    units = np.eye(extent)[:, place]  # T of each unit vector
    pairs = np.einsum("jip,kiq->jkpq", units, units)
    size = np.linalg.norm(beta, axis=-1, keepdims=True)
    b = beta / size
    z = np.zeros(b.shape)
    for weight in np.repeat(4.0 ** np.arange(15), 6):
        matrix = z[..., place]
        inverse = np.linalg.inv(np.eye(n_taps) - matrix.mT @ matrix)
        changes = np.einsum("jip,...iq->...jpq", units, matrix)
        changes = inverse[..., None, :, :] @ (changes + changes.mT)
        gradient = np.trace(changes, axis1=-2, axis2=-1) - weight * b
        curvature = 2 * np.einsum("...pq,jkpq->...jk", inverse, pairs)
        curvature += np.einsum("...jpq,...kqp->...jk", changes, changes)
        move = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        decrement = np.sqrt(np.sum(move * gradient, axis=-1, keepdims=True))
        z = z - move / (1 + decrement)
    norm = np.linalg.norm(z[..., place], 2, axis=(-2, -1))
    return np.asarray(2 * np.sum(z * beta, axis=-1) / norm)


def channels(settings: Settings) -> Figure:
    """Count how many hidden channels convolutions need, with gaps between taps and without."""
    n_random = 3 if settings.quick else 30
    rng = np.random.default_rng(0)
    beta = np.concatenate([_EXAMPLE[None], rng.standard_normal((n_random, len(_EXAMPLE)))])
    counts = np.arange(1, 5)
    sets = {"gaps": (0, 1, 3), "none": (0, 1, 2)}
    cost = {
        key: np.array(
            [
                representation_cost(
                    Convolution(7, taps=taps, channels=int(c)),
                    beta,
                    # One channel has local minima, and no certificate.
                    n_starts=32 if c == 1 else 8,
                    n_threads=settings.n_threads,
                ).value
                for c in counts
            ]
        )
        for key, taps in sets.items()
    }
    gaps, none = cost["gaps"], cost["none"]
    bound = {key: nuclear_bound(beta, taps) for key, taps in sets.items()}
    claims = [
        at_most(
            "taps 0, 1, 3 on the example: cost with one channel against 3.0452, deviation",
            float(abs(gaps[0, 0] - 3.0452)),
            6e-5,
        ),
        at_most(
            "the same with three channels against 3.0136, deviation",
            float(abs(gaps[2, 0] - 3.0136)),
            6e-5,
        ),
        at_most(
            "three channels reach the nuclear-norm bound (taps 0, 1, 3), relative gap",
            float(np.abs(gaps[2] / bound["gaps"] - 1).max()),
            1e-5,
        ),
        at_most(
            "a fourth channel does not help (taps 0, 1, 3), largest relative change",
            float(np.abs(gaps[3] / gaps[2] - 1).max()),
            1e-7,
        ),
        at_most(
            "more channels cost no more (taps 0, 1, 3), largest relative increase",
            float((np.diff(gaps, axis=0) / gaps[1:]).max()),
            1e-7,
        ),
        at_least(
            "one channel can be worse (taps 0, 1, 3): largest excess over three channels, relative",
            float((gaps[0] / gaps[2] - 1).max()),
            0.01,
        ),
        at_most(
            "taps 0, 1, 2: one channel reaches that bound, which is one for any number, gap",
            float(np.abs(none[0] / bound["none"] - 1).max()),
            1e-5,
        ),
    ]
    figure, (left, right) = panels(2)
    blue, green = colors(3)[:2]
    left.plot(counts, gaps[:, 0], "o-", color=blue, label="taps 0, 1, 3")
    left.axhline(bound["gaps"][0], color=blue, linestyle=":", linewidth=1, label="convex bound")
    left.set(title="one predictor", xlabel="hidden channels", ylabel="cost", xticks=counts)
    left.margins(y=0.3)
    left.legend(frameon=False)
    order = np.argsort(-gaps[0] / gaps[2])
    number = np.arange(1, len(order) + 1)
    for row, marker, color, name in (
        (gaps[0] / bound["gaps"] - 1, "o", blue, "0, 1, 3: one channel"),
        (gaps[1] / bound["gaps"] - 1, "x", _GREY, "0, 1, 3: two channels"),
        (none[0] / bound["none"] - 1, ".", green, "0, 1, 2: one channel"),
    ):
        right.plot(number, 100 * row[order], marker, color=color, markersize=4, label=name)
    right.set(
        title="random predictors, sorted",
        xlabel="predictor",
        ylabel="excess over the bound, %",
    )
    right.legend(frameon=False)
    return Figure(
        "channels",
        About("predictors of 7 numbers", "two layers of convolution", "representation cost"),
        "Two layers of convolution on predictors of 7 numbers. Kernels without gaps need one hidden "
        "channel; with taps 0, 1 and 3 one channel can cost more than several, whose cost is a "
        "nuclear norm.",
        figure,
        {
            "predictors": beta,
            "channels": counts,
            "cost_of_taps_013": gaps,
            "cost_of_taps_012": none,
            "bound_of_taps_013": bound["gaps"],
            "bound_of_taps_012": bound["none"],
        },
        claims,
    )
