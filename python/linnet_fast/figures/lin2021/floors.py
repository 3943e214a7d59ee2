"""Where angles come to rest: the population, finitely many samples, and fresh batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet_fast._base.validate import FloatArray
from linnet_fast.directional_convergence import (
    ConvergenceTable,
    convergence_table,
    expected_max_margin_angle,
    sampling_floor,
    sgd_floor,
)
from linnet_fast.figures.lin2021.margins import max_margin_directions, samples
from linnet_fast.figures.lin2021.setting import (
    DIRECTION,
    LAW,
    LOG_TAN,
    LOSS,
    START,
    layers,
    network,
    start,
)
from linnet_fast.figures.report import About, Claim, Figure, Settings, at_most, near
from linnet_fast.losses.samples import LogisticLoss
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.methods.stochastic import StochasticGradientDescent
from linnet_fast.plot._style import colors, entry, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

_STEP, _BATCH = 0.02, 20
_TIMES = (1.0, 10.0, 100.0, 1000.0)  # of the table


@dataclass(frozen=True)
class _Noisy:
    """Root mean square angles over many runs, and where theory puts them; one per record."""

    time: FloatArray
    norm: FloatArray
    angle: FloatArray
    floor: FloatArray

    def at(self, time: float) -> int:
        """Return the record nearest to a time."""
        return int(np.argmin(np.abs(self.time - time)))


def _rms(values: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.mean(values**2, axis=0)))


def _finite(n: int, n_sets: int, settings: Settings) -> _Noisy:
    """Train on many sets of n points, by full batches."""
    x, y = samples(n_sets, n, n)
    time = np.unique(np.append(np.geomspace(0.3, 1000, 60), _TIMES))
    run = train(
        network(1),
        LogisticLoss.from_data(x, y),
        (START,),
        method=GradientFlow(1e-7),
        until=1000.0,
        record=Record.at_times(time, observables=("norm", "angle"), direction=DIRECTION),
        n_threads=settings.n_threads,
    )
    norm = run.norm.mean(axis=0)
    return _Noisy(time, norm, _rms(run.angle), sampling_floor(LAW, n_samples=n, norm=norm))


def _three(time: FloatArray, settings: Settings) -> ConvergenceTable:
    """Train on the population, on 1000 points and by fresh batches of much noise."""
    return convergence_table(
        LAW,
        log_tan_half_angle=LOG_TAN,
        norm=1.0,
        n_samples=1000,
        batch_size=_BATCH,
        step_size=_STEP,
        time=time,
        n_sets=32 if settings.quick else 256,
        rng=3,
        n_threads=settings.n_threads,
    )


def _stationary(n_layers: int, settings: Settings) -> _Noisy:
    """Train by fresh batches from aligned starts, and leave out the time it takes to forget them."""
    # One layer forgets in a time norm / kappa, and its norm hardly moves; three in ever less.
    norms, n_steps = ([3.0, 5.0, 8.0], 5000) if n_layers == 1 else ([4.0], 1500)
    n_runs = (150 if settings.quick else 1800) // len(norms)
    product = np.array([[[0.0, norm]] for norm in norms])
    n_records, batch = 40, 50
    streams = np.arange(len(norms) * n_runs).reshape(len(norms), n_runs)
    run = train(
        network(n_layers),
        LOSS,
        start(n_layers, product[:, None]),
        method=StochasticGradientDescent(_STEP, batch, seed=5, streams=streams),
        n_steps=n_steps,
        record=Record.every(n_steps // n_records, observables=("norm", "angle")),
        n_threads=settings.n_threads,
    )
    late = np.arange(n_records + 1) > (0.7 if n_layers == 1 else 0.2) * n_records
    norm = run.norm.mean(axis=1)[:, late].ravel()
    angle = np.sqrt(np.mean(run.angle**2, axis=1))[:, late].ravel()
    floor = sgd_floor(LAW, n_layers, step_size=_STEP, batch_size=batch, norm=norm)
    return _Noisy(np.tile(_STEP * np.asarray(run.steps)[late], len(norms)), norm, angle, floor)


def floors(settings: Settings) -> Figure:
    """Compare the population, finitely many samples and fresh batches."""
    counts = np.array([100, 300, 1000, 3000] if settings.quick else [100, 300, 1000, 3000, 10_000])
    n_sets = 64 if settings.quick else 512
    finite = {int(n): _finite(int(n), n_sets, settings) for n in counts}
    time = finite[100].time
    three = _three(time, settings)
    batches = _Noisy(time, three.population_norm, _rms(three.sgd_angle), three.sgd_floor)
    still = {n_layers: _stationary(n_layers, settings) for n_layers in (1, 3)}
    margin_claims, margin_data = max_margin_directions(settings)
    claims = [
        *_of_samples(finite, counts, three.population_angle),
        *margin_claims,
        *_of_batches(still, batches, three.population_angle[finite[1000].at(10.0)]),
    ]
    figure = _draw(finite, counts, batches, still, three.population_angle, margin_data)
    data: dict[str, Any] = {
        "time": time,
        "population_angle": three.population_angle,
        "counts": counts,
        "finite_angle": np.stack([f.angle for f in finite.values()]),
        "finite_floor": np.stack([f.floor for f in finite.values()]),
        "finite_norm": np.stack([f.norm for f in finite.values()]),
        "sgd_angle": batches.angle,
        "sgd_floor": batches.floor,
        **margin_data,
    }
    for n_layers, found in still.items():
        data |= {
            f"stationary_angle_{n_layers}": found.angle,
            f"stationary_floor_{n_layers}": found.floor,
            f"stationary_norm_{n_layers}": found.norm,
        }
    return Figure(
        "floors",
        About(
            "inputs on the circle",
            "one layer and three",
            "gradient flow on samples; SGD on fresh batches",
        ),
        "One layer on the circle, root mean square of the angle over many runs. Left: from the start of Figure 1, "
        "on the population, on n points, and by fresh batches; dashed: floors of theory. Middle: at time 1000, "
        "and of the max-margin direction, where it ends. Right: fresh batches (50, step size 0.02) from aligned "
        f"starts.\n\n{_table(three)}",
        figure,
        data,
        claims,
    )


def _of_samples(
    finite: dict[int, _Noisy], counts: FloatArray, population: FloatArray
) -> list[Claim]:
    many = [finite[int(n)] for n in counts if n >= 300]
    ratio = np.array([[f.angle[f.at(t)] / f.floor[f.at(t)] for t in (100, 1000)] for f in many])
    ends = np.array([finite[int(n)].angle[-1] for n in counts])
    later = many[-1].time >= 100
    slopes = [np.polyfit(np.log(f.time[later]), np.log(f.angle[later]), 1)[0] for f in many]
    at = many[0].at(3.0)
    return [
        at_most(
            "300 samples and more: angle over the sampling floor at times 100 and 1000, largest difference from 1",
            float(np.abs(ratio - 1).max()),
            0.15,
        ),
        near(
            "the angle at time 1000 goes as a power of the number of samples, exponent",
            float(np.polyfit(np.log(counts), np.log(ends), 1)[0]),
            -0.5,
            0.1,
        ),
        near(
            "the angle from time 100 to 1000 goes as a power of time, mean exponent",
            float(np.mean(slopes)),
            -1 / 6,
            0.15,
        ),
        at_most(
            "before, samples are as good as the population: angle at time 3, largest relative difference",
            float(max(abs(f.angle[at] / population[at] - 1) for f in many)),
            0.05,
        ),
    ]


def _of_batches(still: dict[int, _Noisy], batches: _Noisy, population: float) -> list[Claim]:
    claims = []
    for n_layers, found in still.items():
        name = layers(n_layers)
        ratio = np.sqrt(np.mean((found.angle / found.floor) ** 2))
        claims.append(near(f"SGD, {name}: angle over the floor of theory", float(ratio), 1.0, 0.15))
    end = batches.time >= 300
    return [
        *claims,
        near(
            "SGD, 1 layer, from the start of Figure 1, from time 300: angle over the floor",
            float(np.sqrt(np.mean((batches.angle / batches.floor)[end] ** 2))),
            1.0,
            0.15,
        ),
        near(
            "SGD at time 10 is where the population is, up to its noise: angle",
            float(batches.angle[batches.at(10.0)]),
            float(np.hypot(population, batches.floor[batches.at(10.0)])),
            0.05,
        ),
    ]


def _table(three: ConvergenceTable) -> str:
    """Return the angles of the three at a few times, as a table for the report."""
    rows = [
        "| time | population | 1000 samples | their floor | fresh batches | their floor |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    columns = (
        three.population_angle,
        _rms(three.sample_angle),
        three.sampling_floor,
        _rms(three.sgd_angle),
        three.sgd_floor,
    )
    for t in _TIMES:
        at = int(np.argmin(np.abs(three.time - t)))
        rows.append(f"| {t:g} | " + " | ".join(f"{x[at]:.3g}" for x in columns) + " |")
    return "\n".join(rows)


def _draw(
    finite: dict[int, _Noisy],
    counts: FloatArray,
    batches: _Noisy,
    still: dict[int, _Noisy],
    population: FloatArray,
    margin_data: dict[str, FloatArray],
) -> Any:
    figure, (left, middle, right) = panels(3)
    time = finite[100].time
    for n, color in zip(counts, colors(len(counts)), strict=True):
        found = finite[int(n)]
        left.plot(time, found.angle, color=color, label=f"n = {n}")
        later = time > 20
        left.plot(time[later], found.floor[later], "--", color="#c05030", linewidth=0.8, zorder=3)
    left.plot(batches.time, batches.angle, color="#a0a0a0", linewidth=1.2, label="batches")
    later = batches.time > 20
    left.plot(batches.time[later], batches.floor[later], "--", color="#c05030", linewidth=0.8)
    left.plot(time, population, color="#222222", linewidth=1.2, label="population")
    left.set(
        xscale="log",
        yscale="log",
        xlim=(0.3, 1000),
        ylim=(3e-4, 4),
        xlabel="time",
        ylabel=r"angle $\theta$",
    )
    entry(left, "floor", linestyle="--", color="#c05030", linewidth=0.8)
    left.legend(frameon=False, loc="lower left", fontsize=7)

    ends = [finite[int(n)].angle[-1] for n in counts]
    floor = [finite[int(n)].floor[-1] for n in counts]
    middle.loglog(counts, ends, "o", color=colors(3)[1], markersize=4, label="time 1000")
    middle.loglog(counts, floor, "--", color="#c05030", linewidth=0.9, label="sampling floor")
    few = margin_data["max_margin_counts"]
    middle.loglog(
        few,
        margin_data["max_margin_angle"],
        "s",
        color=colors(3)[0],
        markersize=4,
        label="max margin, mean",
    )
    middle.loglog(
        few,
        expected_max_margin_angle(n_samples=few),
        ":",
        color="#222222",
        label=r"$\pi\, /\, (2n)$",
    )
    middle.set(xlabel="number of samples n", ylabel=r"angle $\theta$")
    middle.set_ylim(2e-3, 0.3)
    middle.legend(frameon=False, loc="upper right")

    for (n_layers, found), color in zip(still.items(), colors(3)[:2], strict=True):
        right.loglog(
            found.norm, found.angle, "o", color=color, markersize=3, label=layers(n_layers)
        )
        grid = np.geomspace(found.norm.min(), found.norm.max(), 20)
        law = found.floor[0] * (grid / found.norm[0]) ** (-1 / n_layers)
        right.loglog(grid, law, "--", color="#c05030", linewidth=0.9)
    right.set(xlabel=r"norm $|w|$", ylabel=r"angle $\theta$", ylim=(7e-4, 7e-3))
    right.set_xticks([4, 6, 10, 15], ["4", "6", "10", "15"])
    right.set_yticks([1e-3, 2e-3, 5e-3], ["0.001", "0.002", "0.005"])
    entry(right, "floor of SGD", linestyle="--", color="#c05030", linewidth=0.9)
    right.legend(frameon=False, loc="center right")
    left.set_title("along training")
    middle.set_title("over samples")
    right.set_title("batches, over the norm")
    return figure
