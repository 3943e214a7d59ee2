"""Weight-decayed training: the Lasso path, other convex programs, and minima of deeper networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast import datasets, initialization
from linnet_fast._base import files
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.representation_cost import representation_cost
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Convolution, Dense, Diagonal, Grouped
from linnet_fast.plot._style import colors, entry, key, panels
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.regularizers import GroupLasso, NuclearNorm
from linnet_fast.training.train import train


def _squares(weights: Sequence[npt.NDArray[Any]]) -> FloatArray:
    """Return ||w||^2 of each run, for weights with one run axis."""
    return np.asarray(sum(np.sum(w.reshape(len(w), -1) ** 2, axis=-1) for w in weights))


def lasso_path(settings: Settings) -> Figure:
    """Train diagonal networks with weight decay, one for each point of the Lasso path."""
    linear_model = files.optional("sklearn.linear_model", "data")
    x, y, _ = datasets.load("diabetes")
    y = y[:, 0] - y.mean()
    n, size = x.shape
    loss = SquaredLoss.from_data(x, y[:, None])
    # Strengths on a grid of round numbers, beyond the one at which all coefficients are 0.
    largest = float(np.abs(loss.cross_cov).max())
    alphas = largest * np.geomspace(1.15, 1e-3, 24 if settings.quick else 100)
    network = Diagonal(size, 2)
    start = initialization.gaussian(network, scale=1.0, fan="none", rng=0, batch_shape=len(alphas))
    n_steps = 4_000_000
    run = train(
        network,
        loss,
        start,
        method=GradientDescent(0.15, weight_decay=alphas),
        n_steps=n_steps,
        record=Record.at([n_steps], observables=("loss",)),
        stop=Stop(gradient_norm=1e-13, check_every=1000),
        n_threads=settings.n_threads,
    )
    weights = run.final.weights
    trained = np.asarray(network.product(weights)[:, 0], float)
    lasso = np.array(
        [
            linear_model.Lasso(alpha=a, fit_intercept=False, tol=1e-14, max_iter=10**6)
            .fit(x, y)
            .coef_
            for a in alphas
        ]
    )
    square = _squares(weights)
    some = np.abs(trained).sum(axis=-1) > 1e-6
    cost = representation_cost(network, trained).value
    first, second = weights[0], weights[1][:, 0]
    balance = np.abs(np.abs(first) - np.abs(second)).max()
    counts = [np.sum(np.abs(b) > 1e-7, axis=-1) for b in (trained, lasso)]
    # The network's own conditions: correlations of the residual are at most alpha.
    correlations = np.abs((y - trained @ x.T) @ x / n)
    claims = [
        at_most(
            f"{len(alphas)} networks against scikit-learn's Lasso, alpha = weight decay: largest "
            "difference of a coefficient",
            float(np.abs(trained - lasso).max()),
            1e-6,
        ),
        at_most(
            "correlations of inputs and residual exceed alpha nowhere, largest relative excess",
            float((correlations / alphas[:, None] - 1).max()),
            1e-6,
        ),
        at_most(
            "numbers of nonzero coefficients: largest difference",
            float(np.abs(counts[0] - counts[1]).max()),
            0,
        ),
        at_most(
            "trained weights are cheapest for their predictor: ||w||^2 against 2 ||b||_1, relative",
            float(np.abs(square / (2 * np.abs(trained).sum(axis=-1)) - 1)[some].max()),
            1e-6,
        ),
        at_most(
            "the same against representation_cost, relative",
            float(np.abs(square[some] / cost[some] - 1).max()),
            1e-6,
        ),
        at_most("layers are balanced: largest difference of |w_1| and |w_2|", float(balance), 1e-6),
        at_most(
            "from where the Lasso is 0 networks die: largest weight",
            float(np.abs(first[alphas > 1.01 * largest]).max()),
            1e-6,
        ),
    ]
    figure, axes = panels(2)
    left, right = axes
    few = slice(None, None, 1 if settings.quick else 4)
    for k, color in enumerate(colors(size)):
        left.plot(alphas, lasso[:, k], color=color, linewidth=1)
        left.plot(alphas[few], trained[few, k], ".", color=color, markersize=4)
    left.set(xscale="log", xlabel="weight decay", ylabel="coefficients", title="diabetes data")
    entry(left, "Lasso", linewidth=1)
    entry(left, "networks", marker=".", linestyle="", markersize=4)
    left.legend(frameon=False, loc="lower left")
    left.invert_xaxis()
    right.plot(alphas, counts[1], color=colors(3)[1], drawstyle="steps-mid", label="Lasso")
    right.plot(alphas[few], counts[0][few], ".", color="#333333", markersize=4, label="networks")
    right.set(xscale="log", xlabel="weight decay", ylabel="nonzero coefficients")
    right.set_yticks(range(0, size + 1, 2))
    right.invert_xaxis()
    right.legend(frameon=False)
    return Figure(
        "lasso_path",
        About(
            "diabetes data",
            f"two diagonal layers of width {size}",
            "gradient descent with weight decay",
        ),
        "Diagonal networks of two layers on the diabetes data, trained by gradient descent with "
        "weight decay, one run for each strength. They are the Lasso.",
        figure,
        {
            "weight_decay": alphas,
            "trained": trained,
            "lasso": lasso,
            "squared_norm": square,
            "counts": np.array(counts),
        },
        claims,
    )


@dataclass(frozen=True)
class _Program:
    """A network to train, and the same as a convex program.

    Attributes
    ----------
    name : str
    network : Chain
    loss : SquaredLoss
    decay : float
    fold : callable
        From the variable of the convex program to the predictor (out, in).
    unfold : callable
        Its transpose.
    prox : callable
        Of the penalty, decay * Omega, with a step.
    penalty : callable
        decay * Omega.
    shape : tuple of int
        Of the variable.
    stretch : float
        Bound of ||fold||^2.
    """

    name: str
    network: Chain
    loss: SquaredLoss
    decay: float
    fold: Callable[[FloatArray], FloatArray]
    unfold: Callable[[FloatArray], FloatArray]
    prox: Callable[[FloatArray, float], FloatArray]
    penalty: Callable[[FloatArray], float]
    shape: tuple[int, ...]
    stretch: float = 1.0

    def solve(self, n_rounds: int) -> tuple[FloatArray, float]:
        """Return the predictor and the objective, by accelerated proximal gradients."""
        cov, cross = self.loss.input_cov, self.loss.cross_cov
        step = 1 / (self.stretch * float(np.linalg.eigvalsh(cov)[-1]))
        m = np.zeros(self.shape)
        ahead, momentum, best = m, 1.0, np.inf
        result = m
        for _ in range(n_rounds):
            gradient = self.unfold(self.fold(ahead) @ cov - cross)
            new = self.prox(ahead - step * gradient, step)
            # Momentum that leads uphill is dropped.
            if float(np.sum((ahead - new) * (new - m))) > 0:
                momentum = 1.0
            after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / after * (new - m)
            momentum = after
            if float(np.abs(new - m).max()) <= 1e-15 * float(np.abs(new).max()):
                m = new
                break
            m = new
        value = float(self.loss.value(self.fold(m))) + self.penalty(m)
        if value < best:
            best, result = value, m
        return self.fold(result), best


def _dense_program(quick: bool) -> _Program:
    x, y, _ = datasets.load("digits")
    if quick:  # pixels in twos by two
        x = x.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(len(x), 16)
    loss = SquaredLoss.from_data(x, y, center=True)
    decay = 0.02 if quick else 0.05
    norm = NuclearNorm()
    return _Program(
        "dense: nuclear norm",
        Dense((loss.n_inputs, 10, 10)),
        loss,
        decay,
        lambda m: m,
        lambda p: p,
        lambda m, step: norm.prox(m, decay * step),
        lambda m: decay * float(norm.value(m)),
        (10, loss.n_inputs),
    )


def _group_program() -> _Program:
    x, y, _ = datasets.load("digits")
    # Is it a round digit? Groups are the patches of 2 x 2 pixels.
    target = y[:, [0, 6, 8, 9]].sum(axis=1, keepdims=True)
    loss = SquaredLoss.from_data(x, target, center=True)
    grid = np.arange(64).reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 4)
    groups = tuple(tuple(map(int, row)) for row in grid)
    decay = 0.008
    norm = GroupLasso(groups)
    return _Program(
        "one unit per patch: group lasso",
        Grouped(groups),
        loss,
        decay,
        lambda m: m,
        lambda p: p,
        lambda m, step: norm.prox(m, decay * step),
        lambda m: decay * float(norm.value(m)[0]),
        (1, 64),
    )


def _kernel_program(quick: bool) -> _Program:
    extent, width = (16, 3) if quick else (32, 4)
    rng = np.random.default_rng(5)
    at = 2 * np.pi * np.arange(extent) / extent
    truth = np.cos(at) + 0.7 * np.sin(2 * at) + 0.4 * np.cos(5 * at)
    x = rng.standard_normal((4 * extent, extent))
    y = x @ truth / np.sqrt(extent) + 0.3 * rng.standard_normal(4 * extent)
    loss = SquaredLoss.from_data(x, y[:, None])
    decay = 0.08
    norm = NuclearNorm()
    place = (np.arange(extent)[:, None] + np.arange(width)) % extent

    def fold(m: FloatArray) -> FloatArray:
        result = np.zeros((1, extent))
        np.add.at(result[0], place, m)
        return result

    return _Program(
        f"kernel of {width} taps: nuclear norm of a lift",
        Convolution(extent, width, 2),
        loss,
        decay,
        fold,
        lambda p: p[0][place],
        lambda m, step: norm.prox(m, decay * step),
        lambda m: decay * float(norm.value(m)),
        (extent, width),
        stretch=float(width),
    )


def training(settings: Settings) -> Figure:
    """Train networks of two layers with weight decay, and solve the same convex programs."""
    programs = [_dense_program(settings.quick), _group_program(), _kernel_program(settings.quick)]
    n_starts = 3 if settings.quick else 6
    n_steps = 30_000 if settings.quick else 60_000
    figure, axes = panels(3, rows=2)
    claims = []
    data: dict[str, npt.NDArray[Any]] = {}
    for column, program in enumerate(programs):
        network, loss = program.network, program.loss
        start = initialization.gaussian(network, scale=0.7, rng=1, batch_shape=n_starts)
        target, best = program.solve(n_steps)
        eta = 0.25 / float(np.linalg.eigvalsh(loss.input_cov)[-1])
        run = train(
            network,
            loss,
            start,
            method=GradientDescent(eta, weight_decay=program.decay),
            n_steps=n_steps,
            record=Record.geomspace(120, observables=("loss", "layer_norms")),
            n_threads=settings.n_threads,
        )
        objective = run.loss + program.decay / 2 * np.sum(run.layer_norms**2, axis=-1)
        gap = objective / best - 1
        product = np.asarray(network.product(run.final.weights), float)
        square = _squares(run.final.weights)
        # Matrices of low rank are reached as a limit: what is far below counts as 0.
        predictor = product if network.n_outputs > 1 else product[:, 0]
        cost = representation_cost(network, predictor, rtol=1e-7).value
        short = program.name.split(":")[0]
        claims += [
            at_most(
                f"{short}: objective of training against the convex program, relative gap",
                float(np.abs(gap[:, -1]).max()),
                1e-6,
            ),
            at_most(
                f"{short}: predictors of all starts against the program's, relative distance",
                float(
                    np.linalg.norm(product - target, axis=(-2, -1)).max() / np.linalg.norm(target)
                ),
                1e-3,
            ),
            at_most(
                f"{short}: ||w||^2 against the cost of the predictor, relative",
                float(np.abs(square / cost - 1).max()),
                1e-6,
            ),
        ]
        top, bottom = axes[0][column], axes[1][column]
        for i, color in enumerate(colors(n_starts)):
            top.plot(run.record_axis[1:], np.maximum(gap[i, 1:], 1e-16), color=color, linewidth=1.2)
        top.set(xscale="log", yscale="log", xlabel="step", title=program.name, ylim=(1e-15, None))
        shown = [_profile(program, matrix) for matrix in (target, product[0])]
        at = np.arange(len(shown[0])) + (column < 2)  # frequencies begin with 0
        bottom.bar(at, shown[0], 0.7, color="#cfd8dc", label="convex program")
        bottom.plot(at, shown[1], ".", color=colors(3)[0], markersize=5, label="training")
        bottom.xaxis.get_major_locator().set_params(integer=True)
        key = f"program_{column}"
        data |= {
            f"{key}_gap": gap,
            f"{key}_step": run.record_axis,
            f"{key}_target": target,
            f"{key}_trained": product,
        }
    axes[0][0].set_ylabel("relative gap of the objective")
    axes[1][0].set(xlabel="number", ylabel="singular values")
    axes[1][1].set(xlabel="patch", ylabel="norm of the patch")
    axes[1][2].set(xlabel="frequency", ylabel="|Fourier transform|")
    axes[1][0].set_ylim(top=1.35 * axes[1][0].get_ylim()[1])  # room for the legend
    axes[1][0].legend(frameon=False)
    entry(axes[0][0], "a start each", linewidth=1.2)
    axes[0][0].legend(frameon=False, loc="lower left")
    return Figure(
        "training",
        About(
            "digits (left and middle), Gaussian inputs (right)",
            "two layers",
            "gradient descent with weight decay",
        ),
        "Two layers trained with weight decay from several starts, beside the convex programs that "
        "theory gives. Above: gap of the objective. Below: the predictor.",
        figure,
        data,
        claims,
    )


def _profile(program: _Program, predictor: FloatArray) -> FloatArray:
    """Return the numbers that the penalty is about."""
    if isinstance(program.network, Grouped):
        rows = [predictor[0, list(group)] for group in program.network.groups]
        return np.asarray(np.linalg.norm(rows, axis=-1))
    if program.network.n_outputs > 1:
        return np.asarray(np.linalg.svd(predictor, compute_uv=False))
    return np.asarray(np.abs(np.fft.rfft(predictor[0])))


def _listed_minima(loss: SquaredLoss, decay: float, n_layers: int) -> tuple[FloatArray, FloatArray]:
    """Return all predictors that are local minima for three layers or more, and their objectives.

    On every support, by reweighted least squares from several starts: the penalty is concave in
    the squares, so that each round goes down. A coefficient that is 0 stays so in any minimum.
    """
    cov, cross = loss.input_cov, loss.cross_cov[0]
    size = len(cross)
    power = 2 / n_layers
    rng = np.random.default_rng(0)
    supports = np.array(list(itertools.product((False, True), repeat=size)))
    supports = np.repeat(supports, 6, axis=0)
    b = (
        rng.standard_normal(supports.shape)
        * np.where(rng.random(len(supports)) < 0.5, 1, 3)[:, None]
    )
    for _ in range(600):
        weight = np.where(supports, np.maximum(np.abs(b), 1e-12) ** (power - 2), 1e30)
        # Symmetric scaling keeps the systems well-conditioned.
        root = 1 / np.sqrt(1 + decay * weight)
        system = root[:, :, None] * cov * root[:, None, :]
        system[:, np.arange(size), np.arange(size)] += decay * weight * root**2
        b = root * np.linalg.solve(system, (root * cross)[..., None])[..., 0]
    whole = (np.abs(b) > 1e-4) == supports
    b = np.where(supports, b, 0.0)[whole.all(axis=-1)]
    value = loss.value(b[:, None]) + decay / power * np.sum(np.abs(b) ** power, axis=-1)
    return b, np.asarray(value)


def minima(settings: Settings) -> Figure:
    """Train diagonal networks of two layers and of more from many starts, and list all minima."""
    rng = np.random.default_rng(2)
    size, n = 6, 40
    mixed = np.eye(size) + 0.5 * np.ones((size, size))
    x = rng.standard_normal((n, size)) @ np.linalg.cholesky(mixed).T
    y = x @ np.array([1.0, -0.7, 0.5, 0.0, 0.0, 0.3]) + 0.3 * rng.standard_normal(n)
    loss = SquaredLoss.from_data(x, y[:, None])
    decay = 0.1
    count = 100 if settings.quick else 3000
    n_steps = 200_000
    top = float(np.linalg.eigvalsh(loss.input_cov)[-1])
    ends: dict[int, FloatArray] = {}
    small: dict[int, float] = {}
    for n_layers in (2, 3, 4):
        network = Diagonal(size, n_layers)
        for scale, runs in ((1.0, count), (0.01, 20)):
            start = initialization.gaussian(
                network, scale=scale, fan="none", rng=7, batch_shape=runs
            )
            run = train(
                network,
                loss,
                start,
                method=GradientDescent(0.02 / top, weight_decay=decay),
                n_steps=n_steps,
                record=Record.at([n_steps], observables=("loss",)),
                n_threads=settings.n_threads,
            )
            square = _squares(run.final.weights)
            if scale == 1.0:
                ends[n_layers] = run.loss[:, -1] + decay / 2 * square
            else:
                small[n_layers] = float(np.sqrt(square).max())
    listed = {k: _listed_minima(loss, decay, k) for k in (3, 4)}
    at_zero = float(loss.value(np.zeros((1, size))))
    values = {k: np.unique(v.round(7)) for k, v in ends.items()}
    apart = {k: float(np.abs(ends[k][:, None] - listed[k][1]).min(axis=1).max()) for k in listed}
    claims = [
        at_most(
            f"two layers: {count} starts end at one value, spread",
            float(np.ptp(ends[2])),
            1e-9,
        ),
        at_least("three layers: values at which they end", float(len(values[3])), 3),
        at_least("four layers: values at which they end", float(len(values[4])), 3),
    ]
    for k, name in ((3, "three"), (4, "four")):
        claims += [
            at_most(
                f"{name} layers: every end is among the minima listed support by support, distance",
                apart[k],
                1e-7,
            ),
            at_most(
                f"{name} layers: best end of training against the best of the list, relative",
                float(abs(ends[k].min() / listed[k][1].min() - 1)),
                1e-7,
            ),
            at_most(f"{name} layers: small starts die, largest norm of an end", small[k], 1e-6),
            at_least(
                f"{name} layers: zero is a bad minimum, its objective over the best",
                at_zero / float(listed[k][1].min()),
                1.5,
            ),
        ]
    claims.append(at_least("two layers: small starts grow, largest norm of an end", small[2], 1.0))
    figure, axes = panels(3, sharex=True)
    figure.set_figheight(3.1)
    low = min(float(v.min()) for v in ends.values())
    bins = np.linspace(low - 0.01, 1.02 * max(float(v.max()) for v in ends.values()), 60)
    for ax, (k, color) in zip(axes, zip(ends, colors(3), strict=True), strict=True):
        share = np.full(len(ends[k]), 100 / len(ends[k]))
        ax.hist(ends[k], bins=bins, weights=share, color=color)
        if k in listed:
            found = np.unique(listed[k][1].round(7))
            ax.plot(found, np.full(len(found), -4.0), "|", color="#333333", markersize=5)
        ax.axvline(at_zero, color="#909090", linestyle=":", linewidth=1)
        ax.set(title=f"{k} layers", xlabel="objective")
    axes[0].set_ylabel("share of starts, %")
    entry(axes[0], "ends of training", color="#a0a0a0", linewidth=5)
    entry(axes[0], "known minima", marker="|", linestyle="", color="#333333", markersize=5)
    entry(axes[0], "all weights zero", linestyle=":", color="#909090", linewidth=1)
    key(figure, axes[0])
    return Figure(
        "minima",
        About(
            f"{n} samples with {size} correlated inputs",
            "diagonal layers",
            f"gradient descent with weight decay {decay:g} from random starts",
        ),
        f"Where {count} random starts of weight-decayed diagonal networks end. Two layers have no bad "
        "minima; more have many: ticks are all local minima, listed support by support; dotted: "
        "the network 0.",
        figure,
        {f"ends_{k}": v for k, v in ends.items()}
        | {f"listed_{k}": v[1] for k, v in listed.items()}
        | {f"listed_predictors_{k}": v[0] for k, v in listed.items()},
        claims,
    )
