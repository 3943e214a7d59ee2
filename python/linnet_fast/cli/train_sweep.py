"""What ``linnet-fast train`` trains: a small sweep over scales, step sizes and seeds."""

from __future__ import annotations

import argparse
from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from linnet_fast._base import spacing
from linnet_fast._base.validate import FloatArray, WeightArray
from linnet_fast._base.value import made_with
from linnet_fast.cli import train_schedule
from linnet_fast.cli.arguments import single
from linnet_fast.cli.outputs import BadInput
from linnet_fast.cli.tame_steps import tame_step_size
from linnet_fast.cli.train_method import method_of, names
from linnet_fast.initialization.start import KINDS, Start
from linnet_fast.losses.base import Loss
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.rank_dynamics.learned import safe_step_size
from linnet_fast.records.stop import Stop
from linnet_fast.sweeps.spec import SEED
from linnet_fast.sweeps.sweep import Axis, SweepSpec
from linnet_fast.training.description import Training

STARTS = tuple(kind for kind in KINDS if kind not in ("given", "custom"))
"""Those that words and numbers say."""


class LayerStart(Start):
    """A start whose scale is a factor on each layer, whatever its kind."""

    def draw(
        self,
        network: Chain,
        loss: Loss | None = None,
        *,
        dtype: npt.DTypeLike = np.float64,
        **options: Any,
    ) -> tuple[WeightArray, ...]:
        """Return start weights, see `Start.draw`."""
        unit = Start(**made_with(self) | {"scale": 1.0}).draw(network, loss, **options)
        scale = self.scale[..., None, None]
        return tuple(np.multiply(w, scale, out=w).astype(dtype, copy=False) for w in unit)


def spec_of(options: argparse.Namespace, loss: Loss) -> SweepSpec:
    """Return the runs that the options describe, on one data set. Raises ValueError."""
    network = _network(options, loss)
    known = "modes" in loss.supports
    start = _start(options)
    if options.init == "aligned" and not known:
        of = options.loss if options.teacher is None else f"{type(loss).__name__} of a teacher"
        msg = f"--init aligned is for --loss squared, got {of}"
        raise BadInput(msg)
    train_schedule.check(options)
    # A step on samples costs more than one on their moments.
    seeds = options.seeds or (20 if known else 5)
    n_steps = options.steps or (20_000 if known else 5_000)
    scales = options.scales
    if scales is None:
        scales = _default_scales(network, most_small=known)
    steps = options.step_sizes
    usual = names()[options.method].usual_step_size
    if steps is None and usual is not None:
        steps = np.array([usual])
    if steps is None:
        steps = np.array([_step_size(options, network, loss, start, scales.max(), seeds)])
    step: float | StepRule = float(steps[0])
    path = "method.step_size"
    if train_schedule.is_rule(options):
        step = train_schedule.rule_of(options, float(steps[0]), n_steps)
        path += ".scale"
    training = Training(
        network,
        loss,
        start,
        method=method_of(options, step),
        n_steps=n_steps,
        stop=None if options.stop_loss is None else Stop(loss=options.stop_loss),
        dtype=options.dtype,
    )
    return SweepSpec(
        training,
        {"scale": _axis("start.scale", scales), "step_size": _axis(path, steps)},
        seeds,
        derived=(),
        rng=options.rng,
        common_seeds=True,
        keep_records=False,
    )


def _start(options: argparse.Namespace) -> LayerStart:
    """Return the start of scale 1 that the options describe."""
    given: dict[str, Any] = {}
    for name, value in options.init_option:
        known = KINDS[options.init].takes
        if name in given or name not in known:
            has = f"{options.init} has {', '.join(known) or 'none'}"
            msg = f"--init-option {name}: {'given twice' if name in given else has}"
            raise BadInput(msg)
        is_list = name in ("layer_scales", "singular_values") and not isinstance(value, list)
        given[name] = [value] if is_list else value
    try:
        start = LayerStart(options.init, **given)
        single(start.run_shape)
    except (TypeError, ValueError) as error:
        msg = f"--init-option: {error}"
        raise BadInput(msg) from error
    return start


def coords_of(spec: SweepSpec) -> dict[Hashable, Any]:
    """Return the values of scale, step size and seed: the coordinates of the run axes."""
    coords: dict[Hashable, Any] = {SEED: np.arange(spec.replicates or 1)}
    return {name: axis.columns[0].numbers for name, axis in spec.axes.items()} | coords


def _axis(path: str, values: FloatArray) -> Axis:
    return Axis(range(len(values)), {path: values.tolist()})  # a value may be there twice


def _network(options: argparse.Namespace, loss: Loss) -> Dense:
    ends = (loss.n_inputs, loss.n_outputs)
    if options.widths is None:
        hidden = [options.hidden or 32] * ((options.depth or 2) - 1)
        return Dense((ends[0], *hidden, ends[1]))
    if options.depth is not None or options.hidden is not None:
        msg = "give either --widths or --depth and --hidden, not both"
        raise BadInput(msg)
    network = cast("Dense", options.widths)
    if (network.n_inputs, network.n_outputs) != ends:
        widths = ",".join(map(str, network.widths))
        msg = f"--widths must begin with {ends[0]} and end with {ends[1]} for these data, got {widths}"
        raise BadInput(msg)
    return network


def _default_scales(network: Dense, *, most_small: bool) -> FloatArray:
    """Return scales of the start from 1 to so small that the ranks are learned one by one.

    The time to leave a start of scale e grows as log(1/e) with two layers, and as e^(2 - L) with
    L > 2.
    """
    few = network.n_layers <= 2
    if most_small:
        low = 1e-12 if few else 0.01 ** (1 / (network.n_layers - 2))
        return np.array(spacing.geomspace(low, 1, 13))
    low = 0.01 if few else 0.1 ** (1 / (network.n_layers - 2))
    return np.array(spacing.geomspace(low, 1, 3))


def _step_size(
    options: argparse.Namespace,
    network: Dense,
    loss: Loss,
    start: LayerStart,
    scale: float,
    seeds: int,
) -> float:
    """Return a step size that is safe from starts of the largest scale, so from all."""
    largest = LayerStart(**made_with(start) | {"scale": scale})
    weights = largest.draw(network, loss, rng=options.rng, batch_shape=seeds, dtype=options.dtype)
    try:
        if "modes" in loss.supports:
            known = cast("SquaredLoss", loss)
            return safe_step_size(network, known, weights, weight_decay=options.weight_decay)
        norm = max(float(np.linalg.norm(w, 2, axis=(-2, -1)).max()) for w in weights)
        return tame_step_size(loss, network.n_layers, norm, options.weight_decay)
    except OverflowError:
        msg = f"no step size is safe from a start of scale {scale:g}; take smaller --scales"
        raise BadInput(msg) from None
