"""Costs of single numbers: residual networks, and why no network is an elastic net."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linnet_fast import datasets, initialization
from linnet_fast._base import files
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.design import NoParameterizationError, parameterize
from linnet_fast.costs.representation_cost import representation_cost
from linnet_fast.figures.dai2021 import formulas
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.chain import Chain, parallel
from linnet_fast.networks.named import Dense, Diagonal, Residual
from linnet_fast.plot._style import colors, entry, panels
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.regularizers import ElasticNet, Lp, Regularizer
from linnet_fast.training.train import train

_BLOCKS = (1, 2, 4, 8)
_DOTTED = {"color": "#808080", "linestyle": ":", "linewidth": 1}


def _cost_of_size(network: Chain) -> Callable[[FloatArray], FloatArray]:
    """Return the cost of predictors (t, 0, ..., 0) as a function of t."""

    def cost(t: FloatArray) -> FloatArray:
        predictors = np.zeros((*t.shape, network.n_inputs))
        predictors[..., 0] = t
        return representation_cost(network, predictors).value

    return cost


def _exponents(f: Callable[[FloatArray], FloatArray], t: FloatArray) -> FloatArray:
    """Return d log f / d log t, by central differences."""
    step = 1e-3
    return np.asarray((np.log(f(t * np.exp(step))) - np.log(f(t * np.exp(-step)))) / (2 * step))


def _curvature(f: Callable[[FloatArray], FloatArray], t: FloatArray) -> FloatArray:
    """Return second derivatives, by central differences."""
    step = 1e-3 * t
    return np.asarray((f(t + step) - 2 * f(t) + f(t - step)) / step**2)


def _inflection(f: Callable[[FloatArray], FloatArray]) -> float:
    """Return where a function that is convex first becomes concave, by bisection."""
    low, high = np.array(1e-2), np.array(1e2)
    for _ in range(40):
        middle = np.sqrt(low * high)
        is_convex = _curvature(f, middle) > 0
        low, high = np.where(is_convex, middle, low), np.where(is_convex, high, middle)
    return float(np.sqrt(low * high))


def residual(settings: Settings) -> Figure:
    """Draw costs of residual networks from small predictors to large ones, and at great depth."""
    t = np.geomspace(1e-2, 1e8, 81 if settings.quick else 401)
    width, rng = 3, np.random.default_rng(0)
    functions = {n: _cost_of_size(Residual(width, n)) for n in _BLOCKS}
    curves = np.array([functions[n](t) for n in _BLOCKS])
    theory = np.array([formulas.rho(t, n) for n in _BLOCKS])
    # Far outside the picture, where the powers have become pure.
    small = [float(_exponents(functions[n], np.array(1e-4))) for n in _BLOCKS]
    large = [float(_exponents(functions[n], np.array(1e40))) for n in _BLOCKS]
    turned = rng.standard_normal((20, width))
    turned /= np.linalg.norm(turned, axis=-1, keepdims=True)
    by_direction = representation_cost(Residual(width, 4), 5.0 * turned).value
    measured = np.array([_inflection(functions[n]) for n in _BLOCKS[1:]])
    a = np.array([1 / (2 * n - 2) for n in _BLOCKS[1:]])
    expected = np.array(
        [np.sqrt(x * (1 + x) ** (2 * n + 1)) for x, n in zip(a, _BLOCKS[1:], strict=True)]
    )
    depths = 4 ** np.arange(0, 6 if settings.quick else 7)
    scaled = np.array(
        [
            representation_cost(Residual(1, int(n), scale=float(n) ** -0.5), t[:, None]).value
            for n in depths
        ]
    )
    limit = formulas.rho_limit(t)
    at_two = int(np.argmin(np.abs(t - 2)))
    errors = np.abs(scaled[:, at_two] / limit[at_two] - 1)
    order = float(np.log(errors[-1] / errors[-3]) / np.log(depths[-1] / depths[-3]))
    plain = np.array([float(_cost_of_size(Residual(1, int(n)))(np.array(2.0))) for n in depths])
    matrix = rng.standard_normal((4, 4))
    strengths = np.asarray(np.linalg.svd(matrix, compute_uv=False), float)
    of_matrix = float(representation_cost(Residual(4, 2, n_outputs=4), matrix).value)
    claims = [
        at_most(
            "cost against min_a N a^2 + t^2 / (1 + a)^(2N), worst relative error",
            float(np.abs(curves / theory - 1).max()),
            1e-9,
        ),
        at_most(
            "only the length of the predictor matters, relative spread over directions",
            float(np.ptp(by_direction) / by_direction.mean()),
            1e-10,
        ),
        at_most(
            "matrices: the sum over singular values, relative error",
            abs(of_matrix / float(formulas.rho(strengths, 2).sum()) - 1),
            1e-9,
        ),
        at_most(
            "small predictors cost t^2: exponent against 2, worst deviation",
            float(np.abs(np.array(small) - 2).max()),
            1e-3,
        ),
        at_most(
            "large ones t^(2/(N+1)): exponent against 2/(N+1), worst relative deviation",
            float(np.abs(np.array(large) * (np.array(_BLOCKS) + 1) / 2 - 1).max()),
            1e-3,
        ),
        at_least(
            "one block: the cost is convex, least second derivative times t^2 / cost",
            float((_curvature(functions[1], t) * t**2 / curves[0]).min()),
            -1e-6,
        ),
        at_most(
            "more blocks: concave from t^2 = a (1 + a)^(2N+1), a = 1 / (2N - 2), relative error",
            float(np.abs(measured / expected - 1).max()),
            1e-3,
        ),
        at_most(
            f"blocks I + W / sqrt(N), N = {depths[-1]}: cost against s^2 + s, 2 s = W(2 t^2), at 2",
            float(errors[-1]),
            5 / depths[-1],
        ),
        at_most(
            "the same: the error falls as 1 / N, exponent against -1",
            abs(order + 1),
            0.05,
        ),
        at_most(
            f"blocks I + W become free with depth: cost at 2, N = {depths[-1]}, over N = 1",
            float(plain[-1] / plain[0]),
            0.02,
        ),
    ]
    figure, axes = panels(3)
    figure.set_figheight(3.1)
    left, middle, right = axes
    near = np.linspace(0, 4, 200)[1:]
    for i, (n, color) in enumerate(zip(_BLOCKS, colors(len(_BLOCKS)), strict=True)):
        left.plot(t, curves[i], color=color, label=f"N = {n}")
        middle.plot(near, functions[n](near), color=color)
        if n > 1:
            at = expected[i - 1]
            middle.plot(at, formulas.rho(np.array(at), n), "o", color=color, markersize=4)
    left.plot(t[t < 1], t[t < 1] ** 2, **_DOTTED)
    for n in _BLOCKS:
        far = t[t > 1e3]
        left.plot(far, (n + 1) * far ** (2 / (n + 1)), **_DOTTED)
    left.set(xscale="log", yscale="log", xlabel="length t of the predictor", ylabel="cost")
    left.set(title="blocks I + W", ylim=(1e-4, None))
    entry(left, "powers 2 and 2 / (N + 1)", **_DOTTED)
    left.legend(frameon=False, loc="upper left", fontsize=7)
    middle.set_ylabel("function of the length")
    middle.set(xlabel="length t of the predictor", title="from convex to concave (dots)")
    few = [i for i, n in enumerate(depths) if n in (1, 4, 16, 256)]
    for i, color in zip(few, colors(len(few)), strict=True):
        right.plot(t, scaled[i], color=color, label=f"N = {depths[i]}")
    right.plot(t, limit, color="#333333", linestyle="--", label="limit")
    right.set(xscale="log", yscale="log", xlabel="length t of the predictor", ylim=(1e-4, None))
    right.set_title(r"blocks $I + W / \sqrt{N}$")
    right.legend(frameon=False)
    return Figure(
        "residual",
        About("predictors of length t", "residual networks of N blocks", "representation cost"),
        "Cost of residual networks of N blocks and a trained top: like ridge regression for small "
        "predictors, like N + 1 layers for large ones (dotted). Dots: where convexity ends. Right: "
        "blocks scaled for a limit of infinite depth.",
        figure,
        {
            "t": t,
            "blocks": np.array(_BLOCKS),
            "cost": curves,
            "inflection_measured": measured,
            "inflection_expected": expected,
            "depths": depths,
            "scaled_cost": scaled,
            "limit": limit,
        },
        claims,
    )


def _refused(regularizer: Regularizer) -> bool:
    try:
        parameterize(regularizer, 3)
    except NoParameterizationError:
        return True
    return False


def elastic_net(settings: Settings) -> Figure:
    """Compare the growth of the elastic net with that of costs, and learn it in another way."""
    linear = _exact_elastic_net(settings)
    penalty = ElasticNet(1.0, 1.0)
    t = np.geomspace(1e-4, 1e4, 41 if settings.quick else 161)
    networks: dict[str, Chain] = {
        "diagonal, L = 1": Dense((1, 1)),
        "diagonal, L = 2": Diagonal(1, 2),
        "diagonal, L = 3": Diagonal(1, 3),
        "residual, N = 1": Residual(1, 1),
        "residual, N = 4": Residual(1, 4),
        "skip beside product": parallel([Dense((1, 1)), Diagonal(1, 2)]),
    }
    of_networks = {k: _exponents(_cost_of_size(v), t) for k, v in networks.items()}

    def value(t: FloatArray) -> FloatArray:
        return penalty.value(t[..., None])

    own = _exponents(value, t)
    w = penalty.predictor_to_weights(t)
    back = penalty.weights_to_predictor(w)
    # A kink with another exponent on each side shows as a jump, not as growth.
    growth = max(float(np.diff(e).max()) for e in of_networks.values())
    claims: list[Claim] = [
        at_most(
            "elastic net: exponents at small and large b against 1 and 2, deviation",
            float(max(abs(own[0] - 1), abs(own[-1] - 2))),
            1e-3,
        ),
        at_most(
            "networks: the exponent never grows with b, largest increase",
            growth,
            1e-6,
        ),
        at_most(
            "the map of single weights, no polynomial: its squared norm against the elastic net",
            float(np.abs(w**2 / value(t) - 1).max()),
            1e-12,
        ),
        at_most(
            "the same: its predictor against what was asked for, relative",
            float(np.abs(back / t - 1).max()),
            1e-12,
        ),
        at_least(
            "regularizers without a network are refused (elastic net, l_1.5, l_0.7): share",
            float(np.mean([_refused(x) for x in (penalty, Lp(1.5), Lp(0.7))])),
            1.0,
        ),
        linear[0],
    ]
    figure, (left, right) = panels(2)
    names = list(of_networks)
    for name, color in zip(names, colors(len(names)), strict=True):
        left.plot(t, of_networks[name], color=color, linewidth=1.2, label=name)
    left.plot(t, own, color="#333333", linestyle="--", label="elastic net")
    left.set(
        xscale="log",
        xlabel="predictor b of one input",
        ylabel="exponent d log R / d log b",
        ylim=(0.3, 3.5),
    )
    left.set_title("growth of costs")
    left.legend(frameon=False, ncols=2, fontsize=7, loc="upper right")
    left.set_yticks([0.5, 1, 1.5, 2])
    _, alphas, trained, target = linear
    every = 1 if settings.quick else 2
    for k, color in enumerate(colors(target.shape[1])):
        right.plot(alphas, target[:, k], color=color, linewidth=1)
        right.plot(alphas[::every], trained[::every, k], ".", color=color, markersize=4)
    right.set(xscale="log", xlabel="strength", ylabel="coefficients", title="diabetes data")
    right.invert_xaxis()
    entry(right, "elastic net", linewidth=1)
    entry(right, "networks", marker=".", linestyle="", markersize=4)
    low, high = right.get_ylim()
    right.set_ylim(low - 0.25 * (high - low), high)  # room for the legend
    right.legend(frameon=False, loc="lower left")
    return Figure(
        "elastic_net",
        About(
            "one input; diabetes data",
            "diagonal and residual networks",
            "representation cost; gradient descent with weight decay",
        ),
        "Left: how costs grow. The elastic net's exponent rises from 1 to 2; those of networks "
        "never rise. Right: the elastic net's path all the same, by a diagonal network on data to "
        "which samples were added (dots; lines: scikit-learn).",
        figure,
        {
            "b": t,
            "names": np.array(names),
            "exponents": np.array(list(of_networks.values())),
            "exponent_elastic_net": own,
            "alphas": alphas,
            "trained": trained,
            "coordinate_descent": target,
        },
        claims,
    )


def _exact_elastic_net(settings: Settings) -> tuple[Claim, FloatArray, FloatArray, FloatArray]:
    """Return a claim, strengths, and coefficients by training and by scikit-learn."""
    linear_model = files.optional("sklearn.linear_model", "data")
    x, y, _ = datasets.load("diabetes")
    size = x.shape[1]
    y = y - y.mean()
    alphas = np.geomspace(0.5, 5e-3, 8 if settings.quick else 40)
    ratio = 0.6
    # scikit-learn's penalty: alpha (ratio |b|_1 + (1 - ratio) / 2 |b|^2).
    losses = [
        SquaredLoss.from_data(*ElasticNet(a * ratio, a * (1 - ratio) / 2).augment(x, y))
        for a in alphas
    ]
    loss = SquaredLoss(
        np.array([own.input_cov for own in losses]),
        np.array([own.cross_cov for own in losses]),
        np.array([own.output_power for own in losses]),
    )
    network = Diagonal(size, 2)
    start = initialization.gaussian(network, scale=1.0, fan="none", rng=0, batch_shape=len(alphas))
    run = train(
        network,
        loss,
        start,
        method=GradientDescent(0.1, weight_decay=alphas * ratio),
        n_steps=20_000_000,
        record=Record.at([20_000_000], observables=("loss",)),
        stop=Stop(gradient_norm=1e-12, check_every=1000),
        n_threads=settings.n_threads,
    )
    trained = network.product(run.final.weights)[:, 0]
    target = np.array(
        [
            linear_model.ElasticNet(
                alpha=a, l1_ratio=ratio, fit_intercept=False, tol=1e-13, max_iter=10**6
            )
            .fit(x, y[:, 0])
            .coef_
            for a in alphas
        ]
    )
    claim = at_most(
        "diabetes: a diagonal network on data with added samples against scikit-learn's elastic "
        "net, largest difference of a coefficient",
        float(np.abs(trained - target).max()),
        1e-6,
    )
    return claim, alphas, np.asarray(trained, float), target
