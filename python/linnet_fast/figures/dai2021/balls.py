"""Unit balls of representation costs: found from networks, compared with regularizers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast import layers
from linnet_fast import regularizers as r
from linnet_fast._base.validate import FloatArray
from linnet_fast.costs.design import parameterize
from linnet_fast.costs.representation_cost import representation_cost
from linnet_fast.figures.dai2021 import formulas
from linnet_fast.figures.dai2021.mesh import along_diagonal, cube_mesh, draw_ball, turned_away
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_least, at_most
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Convolution, Diagonal, Grouped
from linnet_fast.plot._style import colors, panels
from linnet_fast.regularizers import ElasticNet, Regularizer

Function: TypeAlias = Callable[[FloatArray], FloatArray]
_BISECTIONS = 55


@dataclass(frozen=True)
class Ball:
    """Predictors that cost no more than `size` times e_1.

    Attributes
    ----------
    name : str
        In words.
    network : Chain or None
        Whose cost it is; None for the elastic net, which no network has.
    formula : callable
        What theory says the cost is, but for a constant.
    is_convex : bool
        What theory says of its ball.
    size : float
        Matters for costs that are not homogeneous.
    penalty : ElasticNet or None
        Where there is no network.
    is_round : bool
        Whether its ball in space is round about the diagonal (1, 1, 1).
    """

    name: str
    network: Chain | None
    formula: Function
    is_convex: bool = True
    size: float = 1.0
    penalty: ElasticNet | None = None
    is_round: bool = False

    def cost(self, predictors: FloatArray) -> FloatArray:
        """Return costs as the library finds them."""
        if self.network is not None:
            return representation_cost(self.network, predictors).value
        assert self.penalty is not None
        return np.asarray(np.sum(self.penalty.predictor_to_weights(predictors) ** 2, axis=-1))


def induced(regularizer: Regularizer, n: int, name: str, **options: Any) -> Ball:
    """Return the ball of the network that is built for a regularizer."""
    return Ball(name, parameterize(regularizer, n), regularizer.value, **options)


def level(f: Function, n: int, size: float) -> float:
    """Return the value at size * e_1."""
    return float(f(size * np.eye(n)[:1])[0])


def radii(f: Function, directions: FloatArray, size: float = 1.0) -> FloatArray:
    """Return how far {f <= f(size e_1)} reaches in some directions, in units of `size`.

    A function that is homogeneous, as its values at three points tell, needs one evaluation per
    direction; others are searched by bisection.
    """
    n = directions.shape[-1]
    goal = level(f, n, size)
    power = np.log2(level(f, n, 2 * size) / goal)
    if abs(np.log2(level(f, n, 4 * size) / goal) / 2 - power) < 1e-10:
        return np.asarray((goal / f(size * directions)) ** (1 / power))
    low, high = np.full(len(directions), 0.05), np.full(len(directions), 20.0)
    for _ in range(_BISECTIONS):
        middle = np.sqrt(low * high)
        inside = f(size * middle[:, None] * directions) <= goal
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray(np.sqrt(low * high))


def images(ball: Ball, n: int, count: int, rng: np.random.Generator) -> FloatArray:
    """Return predictors of random weights whose squared norm is the level.

    Sparse ones among them, as the points of a ball that are hard to reach are.
    """
    goal = level(ball.cost, n, ball.size)
    network = ball.network
    if network is None:
        assert ball.penalty is not None
        w = rng.standard_normal((count, n))
        w *= np.sqrt(goal) / np.linalg.norm(w, axis=-1, keepdims=True)
        return ball.penalty.weights_to_predictor(w)
    weights = []
    total = np.zeros(count)
    for shape in network.shapes:
        w = rng.standard_normal((count, *shape)) * (rng.random((count, *shape)) < 0.6)
        square = np.sum(w.reshape(count, -1) ** 2, axis=-1)
        # Layers of equal norm reach farthest.
        scale = 1 / np.sqrt(np.maximum(square, 1e-12))
        weights.append(w * scale.reshape(-1, *(1,) * len(shape)))
        total += square * scale**2
    factor = np.sqrt(goal / np.maximum(total, 1e-12))
    scaled = [w * factor.reshape(-1, *(1,) * (w.ndim - 1)) for w in weights]
    return np.asarray(network.product(scaled)[:, 0], float)


def defect_of_weights(ball: Ball, predictors: FloatArray) -> float:
    """Return how far the weights of costs are from the predictors, and their norms from the costs.

    Largest relative deviation of either.
    """
    if ball.network is None:
        assert ball.penalty is not None
        w = ball.penalty.predictor_to_weights(predictors)
        miss = np.abs(ball.penalty.weights_to_predictor(w) - predictors)
        return float((miss.max(axis=-1) / np.abs(predictors).max(axis=-1)).max())
    found = representation_cost(ball.network, predictors)
    product = ball.network.product(found.weights)[:, 0]
    miss = np.abs(product - predictors).max(axis=-1) / np.abs(predictors).max(axis=-1)
    squares = sum(np.sum(w.reshape(len(w), -1) ** 2, axis=-1) for w in found.weights)
    return float(max(miss.max(), np.abs(squares / found.value - 1).max()))


def bulge(ball: Ball, points: FloatArray, rng: np.random.Generator) -> float:
    """Return the largest cost of midpoints between points of the boundary, over the level."""
    # Few are enough where none should stick out.
    pairs = rng.integers(len(points), size=(2, 200 if ball.is_convex else 2000))
    middle = points[pairs].mean(axis=0)
    middle = middle[np.linalg.norm(middle, axis=-1) > 1e-3 * ball.size]
    goal = level(ball.cost, points.shape[1], ball.size)
    return float(ball.cost(middle).max() / goal)


def checks(
    balls: Sequence[Ball], meshes: Sequence[FloatArray]
) -> tuple[list[FloatArray], list[Claim]]:
    """Return the radii of balls in some directions, and the claims that hold for all of them."""
    rng = np.random.default_rng(0)
    n = meshes[0].shape[1]
    found, errors, defects, reached = [], [], [], []
    bulges: dict[bool, list[float]] = {True: [], False: []}
    for ball, directions in zip(balls, meshes, strict=True):
        own = radii(ball.cost, directions, ball.size)
        found.append(own)
        points = ball.size * own[:, None] * directions
        values = ball.formula(points) / level(ball.formula, n, ball.size)
        errors.append(float(np.abs(values - 1).max()))
        some = points[rng.permutation(len(points))[:100]]
        defects.append(defect_of_weights(ball, some))
        far = ball.formula(images(ball, n, 4000, rng))
        reached.append(float(far.max()) / level(ball.formula, n, ball.size))
        bulges[ball.is_convex].append(bulge(ball, some, rng))
    claims = [
        at_most(
            f"{len(balls)} balls found from the costs of networks: the formulas on their boundary "
            "against the level, worst relative error",
            max(errors),
            1e-7,
        ),
        at_most(
            "weights of the least norm: their predictor and squared norm against what was asked "
            "for, worst relative error",
            max(defects),
            1e-9,
        ),
        at_most(
            "random weights of the same norm reach no farther: formula over the level, less 1",
            max(reached) - 1,
            1e-9,
        ),
        at_most(
            "balls that should be convex: largest cost of a midpoint over the level, less 1",
            max(bulges[True]) - 1,
            1e-8,
        ),
        at_least(
            "balls that should not be: largest cost of a midpoint over the level, least of all",
            min(bulges[False]),
            1.01,
        ),
    ]
    return found, claims


def _residual_diagonal(n: int, n_blocks: int) -> Chain:
    block = layers.Residual(layers.Diagonal(n))
    return Chain([block] * n_blocks + [layers.Dense(n, 1)])


def _sum_of_rho(n_blocks: int) -> Function:
    return lambda x: np.asarray(formulas.rho(x, n_blocks).sum(axis=-1))


def _plane_panels() -> list[tuple[str, list[Ball]]]:
    """Return title and balls of each panel in the plane."""
    diagonal = [Ball(f"L = {k}", Diagonal(2, k), _power(2 / k), k <= 2) for k in (1, 2, 3, 4)]
    owl = [
        induced(r.LInf(), 2, "signs: 0"),
        *(induced(r.OWL((1.0, t)), 2, f"{t:g}") for t in (0.25, 0.5, 0.75)),
        induced(r.L1(), 2, "diagonal: 1"),
    ]
    fourier = [
        Ball("1", Convolution(2, 1, 2), lambda x: np.sum(x**2, axis=-1)),
        *(Ball(f"2, L = {k}", Convolution(2, 2, k), _full_width(k), k == 2) for k in (2, 3, 4)),
    ]
    angles = np.pi * np.arange(5) / 5
    star = r.Atomic(np.array([np.cos(angles), np.sin(angles)]))  # type: ignore[arg-type]
    dictionaries = [
        induced(r.TotalVariation(), 2, "running sums"),
        induced(r.WeightedL1((1.0, 1.6)), 2, "scaled l1"),
        Ball("five atoms", parameterize(star, 2), _decagon),
    ]
    shallow, deep = (
        [
            Ball(
                f"{size:g}",
                _residual_diagonal(2, blocks),
                _sum_of_rho(blocks),
                blocks == 1 or size < 1,
                size,
            )
            for size in sizes
        ]
        for blocks, sizes in ((1, (0.1, 1, 10, 1000)), (4, (0.1, 3, 10, 1000)))
    )
    huber = [induced(r.Huber(), 2, f"{size:g}", size=size) for size in (0.5, 1.5, 3, 100)]
    net = ElasticNet(2.0, 1.0)
    elastic = [
        Ball(f"{size:g}", None, net.value, size=size, penalty=net) for size in (0.05, 1, 5, 100)
    ]
    return [
        ("diagonal, depth L", diagonal),
        (r"OWL, weights (1, $\cdot$)", owl),
        ("circular convolution, kernel K", fourier),
        ("fixed dictionaries", dictionaries),
        ("residual diagonal, 1 block", shallow),
        ("residual diagonal, 4 blocks", deep),
        ("Huber: skip beside product", huber),
        ("elastic net, by a map", elastic),
    ]


def _decagon(x: FloatArray) -> FloatArray:
    """Return the gauge of the regular ten corners, by its sides."""
    middle = np.pi * (np.arange(10) + 0.5) / 5
    sides = x @ np.array([np.cos(middle), np.sin(middle)])
    return np.asarray(sides.max(axis=-1) / np.cos(np.pi / 10))


def _power(p: float) -> Function:
    return lambda x: np.asarray(np.sum(np.abs(x) ** p, axis=-1))


def _full_width(n_layers: int) -> Function:
    return lambda x: formulas.full_width(x, n_layers)


def balls_2d(settings: Settings) -> Figure:
    """Draw the balls of networks with two inputs, all through e_1."""
    count = 48 if settings.quick else 1440
    angle = 2 * np.pi * np.arange(count) / count
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    plan = _plane_panels()
    balls = [ball for _, group in plan for ball in group]
    found, claims = checks(balls, [directions] * len(balls))
    claims.append(_nested([(b.formula, b.name) for b in plan[0][1]], directions))
    figure, axes = panels(4, rows=2)
    figure.set_size_inches(9.6, 6.1)
    data: dict[str, npt.NDArray[Any]] = {"angle": angle}
    each = iter(found)
    for ax, (title, group) in zip(axes.ravel(), plan, strict=True):
        for ball, color in zip(group, colors(len(group)), strict=True):
            points = next(each)[:, None] * directions
            closed = np.concatenate([points, points[:1]])
            ax.plot(closed[:, 0], closed[:, 1], color=color, linewidth=1.2, label=ball.name)
            data[f"{title}: {ball.name}"] = np.linalg.norm(points, axis=-1)
        reach = max(1.0, *(np.abs(line.get_xydata()).max() for line in ax.lines)) * 1.08
        ax.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
        ax.set_aspect("equal")
        ax.spines[:].set_visible(False)
        ax.axhline(0, color="#d8d8d8", linewidth=0.5, zorder=0)
        ax.axvline(0, color="#d8d8d8", linewidth=0.5, zorder=0)
        heading = "level through" if ball.size != 1 or len({b.size for b in group}) > 1 else None
        ax.legend(
            title=heading,
            title_fontsize=7,
            fontsize=7,
            frameon=False,
            ncols=3 if len(group) == 5 else 2,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.02),
            handlelength=1.2,
            columnspacing=1.0,
        )
    keys = {name.replace(" ", "_").replace("/", "_"): values for name, values in data.items()}
    return Figure(
        "balls_2d",
        About(
            "predictors of two inputs",
            "diagonal, convolutional, residual and fixed layers",
            "equal representation cost",
        ),
        "Predictors that cost as much as e_1, for networks with two inputs; where the cost is not "
        "homogeneous, as much as s e_1 for several s, in units of s. Radii are found from "
        "the costs of the networks.",
        figure,
        keys,
        claims,
    )


def _nested(layered: Sequence[tuple[Function, str]], directions: FloatArray) -> Claim:
    """Return the claim that deeper diagonal networks have smaller balls."""
    sizes = [radii(representation, directions) for representation, _ in layered]
    worst = max(float((after - before).max()) for before, after in itertools.pairwise(sizes))
    return at_most("deeper diagonal networks have smaller balls: excess of a radius", worst, 1e-9)


def _space_balls() -> list[Ball]:
    """Return sixteen balls in three dimensions."""
    group = ((0, 1), (2,))
    return [
        induced(r.L1(), 3, "l1: diagonal"),
        induced(r.L2(), 3, "l2: dense"),
        induced(r.LInf(), 3, "l-infinity: signs"),
        induced(r.OWL((1.0, 0.6, 0.2)), 3, "OWL 1, 0.6, 0.2"),
        induced(r.GroupLasso(group), 3, "groups {1,2} {3}"),
        induced(r.LatentGroupLasso(((0, 1), (1, 2))), 3, "latent {1,2} {2,3}"),
        induced(r.ExclusiveLasso(group), 3, "exclusive {1,2} {3}"),
        induced(r.KSupport(2), 3, "2-support"),
        induced(r.TotalVariation(), 3, "total variation"),
        Ball(
            "kernel 2, L = 2",
            Convolution(3, 2, 2),
            lambda x: formulas.two_taps(x, 2),
            is_round=True,
        ),
        Ball("kernel 3, L = 2", Convolution(3, 3, 2), _full_width(2), is_round=True),
        induced(r.Huber(), 3, "Huber, level at 3", size=3),
        Ball("diagonal, L = 3", Diagonal(3, 3), _power(2 / 3), is_convex=False),
        Ball(
            "groups, L = 3",
            Grouped(group, 1, 2),
            lambda x: np.hypot(x[..., 0], x[..., 1]) ** (2 / 3) + np.abs(x[..., 2]) ** (2 / 3),
            is_convex=False,
        ),
        Ball("kernel 3, L = 3", Convolution(3, 3, 3), _full_width(3), False, is_round=True),
        Ball(
            "residual, at 30",
            _residual_diagonal(3, 3),
            _sum_of_rho(3),
            is_convex=False,
            size=30,
        ),
    ]


def balls_3d(settings: Settings) -> Figure:
    """Draw the balls of networks with three inputs, all through e_1."""
    vertices, triangles = cube_mesh(4 if settings.quick else 12)
    turned = vertices @ along_diagonal()
    balls = _space_balls()
    found, claims = checks(balls, [turned if ball.is_round else vertices for ball in balls])
    norms = [
        radii(lambda x, k=k: representation_cost(Convolution(3, k, 2), x).value, vertices)  # type: ignore[misc]
        for k in (1, 2, 3)
    ]
    claims += [
        at_most(
            "circular convolutions of kernel 1, 2, 3: a wider kernel shrinks no radius, excess",
            float(max((norms[0] - norms[1]).max(), (norms[1] - norms[2]).max())),
            1e-8,
        ),
        at_most(
            "kernel 1 is the l2 norm: radii against 1, worst error",
            float(np.abs(norms[0] - radii(_two_norm, vertices)).max()),
            1e-9,
        ),
    ]
    pyplot, axes = panels(4, rows=4, subplot_kw={"projection": "3d"})
    pyplot.set_size_inches(8.4, 8.8)
    for ax, ball, own, color in zip(
        axes.ravel(), balls, found, np.repeat(colors(4), 4, axis=0), strict=True
    ):
        view = (15.0, -30.0) if ball.is_round else (22.0, 30.0)
        points = own[:, None] * (turned if ball.is_round else vertices)
        visible = triangles[~turned_away(points, triangles, view)]
        draw_ball(ax, points, visible, color, view)
        ax.set_title(ball.name, pad=-4)
    names = np.array([ball.name for ball in balls])
    return Figure(
        "balls_3d",
        About(
            "predictors of three inputs",
            "the networks named above the balls",
            "equal representation cost",
        ),
        "Predictors that cost as much as e_1, for networks with three inputs: two layers in the "
        "first three rows, whose balls are convex; three layers and residual blocks in the last "
        "row. Radii are found from the costs of the networks.",
        pyplot,
        {
            "names": names,
            "directions": vertices,
            "triangles": triangles,
            "round_about_diagonal": np.array([ball.is_round for ball in balls]),
            "directions_about_diagonal": turned,
            "radii": np.array(found),
        },
        claims,
    )


def _two_norm(x: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(x, axis=-1))
