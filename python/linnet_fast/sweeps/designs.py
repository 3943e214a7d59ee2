"""Which runs a sweep has: every combination, a list, or random points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast.records.observables import NO_LOSSES, evaluated_rows, known
from linnet_fast.sweeps import derived as _derived
from linnet_fast.sweeps.axes import Axis
from linnet_fast.sweeps.batch import recording
from linnet_fast.sweeps.distributions import quantiles
from linnet_fast.sweeps.spec import TAKEN, SweepSpec
from linnet_fast.training.description import Training

Values: TypeAlias = Sequence[Any] | npt.NDArray[Any] | Mapping[Any, Any] | Axis


def grid(
    training: Training,
    parameters: Mapping[str, Values],
    *,
    replicates: int | None = None,
    derived: str | Iterable[str] | Mapping[str, Any] = (),
    rng: int = 0,
    common_seeds: bool = True,
    keep_records: bool | None = None,
) -> SweepSpec:
    """Return a sweep over every combination of values of parameters.

    Parameters
    ----------
    training : Training
        What all runs have in common.
    parameters : mapping
        Parameter -> its values. A parameter is an argument of `Training`, or one inside it:
        ``"n_steps"``, ``"start.scale"``, ``"method.step_size"``, ``"loss.label_noise"``, ``"network"``,
        ``"network.hidden"`` ... Values are a sequence; a mapping from labels to values, where these
        are objects; or an `Axis`, whose key is then the name of the dimension. A dimension is named
        by the last part of its parameter, of two alike by the whole: ``start_scale``.
    replicates : int, optional
        Runs of every combination, with different random numbers: the dimension ``seed``.
    derived : names or mapping
        What to keep of each run, besides how it ended:

        * names: ``final_loss`` or ``final_`` with any other observable, which is its value at the end
          of the run; ``learned_rank``, ``learning_times``, ``learning_steps``;
        * a mapping from names to functions from a `Trajectory` with one run axis (n,) to an array
          (n, ...), given as such, as ``"module:function"``, or as ``(function, names of its axes)``.
          Records of runs that ended early are NaN there.

        By default ``final_loss``, unless records are kept.
    rng : int, default 0
        Seed of all random numbers, from 0 up.
    common_seeds : bool, default True
        Whether a seed means the same random numbers at all combinations, so that these differ by
        the parameters alone; or every run has its own.
    keep_records : bool, optional
        Whether the result has the observables of ``training.record`` over all its steps; by default
        if that is given.

    Returns
    -------
    SweepSpec
        Dimensions that change the shape of networks come first: what is left is trained in one go.

    Raises
    ------
    TypeError, ValueError
        If a parameter is unknown (with near matches), a value is refused by what takes it, or
        parts of a training do not go together.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 4, 2)), loss, lf.Start("gaussian"),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> spec = lf.grid(training, {"start.scale": [1e-3, 1e-2], "network.n_layers": [2, 3]},
    ...                replicates=5)
    >>> spec
    <SweepSpec of 20 runs: 2 n_layers x 2 scale x 5 seed>
    """
    validate.instance("training", training, Training)
    _mapping(parameters, least=0)
    short = [key.rpartition(".")[2] for key in parameters]
    axes = {}
    for key, values in parameters.items():
        last = key.rpartition(".")[2]
        name = last if short.count(last) == 1 and last not in TAKEN else key.replace(".", "_")
        if name in axes:
            msg = f"parameters must give different names to dimensions, got {name} twice"
            raise ValueError(msg)
        axes[name] = _axis(key, values)
    return _spec(training, axes, replicates, derived, rng, common_seeds, keep_records)


def paired(
    training: Training,
    parameters: Mapping[str, Sequence[Any] | npt.NDArray[Any]],
    *,
    replicates: int | None = None,
    derived: str | Iterable[str] | Mapping[str, Any] = (),
    rng: int = 0,
    common_seeds: bool = False,
    keep_records: bool | None = None,
) -> SweepSpec:
    """Return a sweep over a list of runs: the i-th has the i-th value of every parameter.

    Parameters
    ----------
    training : Training
        What all runs have in common.
    parameters : mapping
        Parameter, as of `grid`, -> its values, equally many of each.
    replicates, derived, rng, keep_records
        As of `grid`.
    common_seeds : bool, default False
        As of `grid`; by default every run has random numbers of its own.

    Returns
    -------
    SweepSpec
        With one dimension ``run``, along which the parameters are coordinates.

    Raises
    ------
    TypeError, ValueError
        As of `grid`.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 4, 2)), loss, lf.Start("gaussian"),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> lf.paired(training, {"start.scale": [0.1, 0.2, 0.3], "n_steps": [30, 20, 10]})
    <SweepSpec of 3 runs: 3 run>
    """
    validate.instance("training", training, Training)
    _mapping(parameters, least=1)
    lists = {key: _list(key, values) for key, values in parameters.items()}
    n_runs = len(next(iter(lists.values())))
    if n_runs == 0:
        msg = "parameters must have at least one value each, got none"
        raise ValueError(msg)
    axes = {"run": Axis(range(n_runs), lists)}
    return _spec(training, axes, replicates, derived, rng, common_seeds, keep_records)


def sampled(
    training: Training,
    parameters: Mapping[str, Any],
    n: int,
    *,
    method: Literal["random", "sobol"] = "random",
    replicates: int | None = None,
    derived: str | Iterable[str] | Mapping[str, Any] = (),
    rng: int = 0,
    common_seeds: bool = False,
    keep_records: bool | None = None,
) -> SweepSpec:
    """Return a sweep over random values of parameters.

    Parameters
    ----------
    training : Training
        What all runs have in common.
    parameters : mapping
        Parameter, as of `grid`, -> a frozen distribution of SciPy, such as
        ``scipy.stats.loguniform(1e-6, 1)``, or a sequence of values that are equally likely. Values
        of ``uniform``, ``loguniform``, ``norm``, ``lognorm``, ``expon`` and ``randint`` are the same
        on every machine; those of other distributions may differ in their last bits, and a sweep
        over these is continued where it was begun.
    n : int
        Number of points. More points begin with those of fewer, so a store can be extended.
    method : {"random", "sobol"}
        Independent points, or those of a scrambled Sobol' sequence, which fill the space evenly.
    replicates, derived, rng, keep_records
        As of `grid`; `rng` is also the seed of the points.
    common_seeds : bool, default False
        As of `grid`; by default every run has random numbers of its own.

    Returns
    -------
    SweepSpec
        With one dimension ``run``, along which the parameters are coordinates.

    Raises
    ------
    TypeError, ValueError
        As of `grid`, or if something is no distribution.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.stats
    >>> import linnet_fast as lf
    >>> loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    >>> training = lf.Training(lf.Dense((2, 4, 2)), loss, lf.Start("gaussian"),
    ...                        method=lf.GradientDescent(0.05), n_steps=400)
    >>> lf.sampled(training, {"start.scale": scipy.stats.loguniform(1e-6, 1),
    ...                       "network.n_layers": [2, 3, 4]}, 100)
    <SweepSpec of 100 runs: 100 run>
    """
    validate.instance("training", training, Training)
    n = validate.integer("n", n, low=1, high=2**30)
    validate.choice("method", method, ("random", "sobol"))
    seed = validate.integer("rng", rng, low=0, high=2**63 - 1)
    _mapping(parameters, least=1)
    lists: dict[str, list[Any]] = {}
    for (key, of), points in zip(
        parameters.items(), _points(method, len(parameters), n, seed), strict=True
    ):
        if hasattr(of, "ppf"):
            values = quantiles(of, points)
            is_integer = np.issubdtype(np.asarray(of.rvs(1, random_state=0)).dtype, np.integer)
            lists[key] = values.astype(np.int64 if is_integer else np.float64).tolist()
        elif isinstance(of, Sequence | np.ndarray) and not isinstance(of, str) and len(of):
            lists[key] = [of[int(i)] for i in np.minimum(points * len(of), len(of) - 1)]
        else:
            msg = (
                f"values of {key} must be a frozen distribution of SciPy or values to choose from, "
                f"got {validate.brief(of)}"
            )
            raise TypeError(msg)
    axes = {"run": Axis(range(n), lists)}
    return _spec(training, axes, replicates, derived, rng, common_seeds, keep_records)


def _points(method: str, n_parameters: int, n: int, seed: int) -> Iterable[npt.NDArray[np.float64]]:
    """Return numbers in (0, 1), those of fewer points first: an array (n,) per parameter."""
    if method == "sobol":
        from scipy.stats import qmc  # noqa: PLC0415  (takes a while, and few need it)

        unit = qmc.Sobol(n_parameters, rng=seed).random_base2(max(0, math.ceil(math.log2(n))))
        return list(np.clip(unit[:n].T, 2.0**-53, 1 - 2.0**-53))
    streams = np.random.SeedSequence(seed).spawn(n_parameters)
    return [np.maximum(np.random.default_rng(s).random(n), 2.0**-53) for s in streams]


def _mapping(parameters: object, least: int) -> None:
    if not isinstance(parameters, Mapping) or not all(isinstance(key, str) for key in parameters):
        got = validate.brief(parameters)
        msg = f"parameters must be a mapping from names to values, got {got}"
        raise TypeError(msg)
    if len(parameters) < least:
        msg = "parameters must name at least one, got none"
        raise ValueError(msg)


def _axis(key: str, values: Values) -> Axis:
    if isinstance(values, Axis):
        return values
    if isinstance(values, Mapping):
        return Axis(list(values), {key: list(values.values())})
    listed = _list(key, values)
    return Axis(_labels(listed), {key: listed})


def _list(key: str, values: object) -> list[Any]:
    if isinstance(values, str | Mapping | Axis) or not isinstance(values, Iterable):
        msg = f"values of {key} must be a sequence, got {validate.shown(values)}"
        raise TypeError(msg)
    listed = list(validate.parts(f"values of {key}", values, of="values"))
    return values.tolist() if isinstance(values, np.ndarray) else listed


def _labels(values: list[Any]) -> list[Any]:
    """Return the labels of values: themselves, widths as text, what networks are called, or numbers."""
    if all(
        isinstance(v, int | float | str | np.generic) and not isinstance(v, bool) for v in values
    ):
        return values
    if all(isinstance(v, list | tuple) and all(isinstance(n, int) for n in v) for v in values):
        return ["-".join(map(str, value)) for value in values]
    if all(hasattr(value, "spec") for value in values):
        return [value.spec for value in values]
    return list(range(len(values)))


def _spec(
    training: Training,
    axes: Mapping[str, Axis],
    replicates: int | None,
    derived: str | Iterable[str] | Mapping[str, Any],
    rng: int,
    common_seeds: bool,
    keep_records: bool | None,
) -> SweepSpec:
    if replicates is not None:
        replicates = validate.integer("replicates", replicates, low=1, high=2**48)
    rng = validate.integer("rng", rng, low=0, high=2**63 - 1)
    common_seeds = validate.flag("common_seeds", common_seeds)
    has_record = training.record is not None or any(
        column.path.split(".")[0] == "record" for axis in axes.values() for column in axis.columns
    )
    keep = has_record if keep_records is None else keep_records
    keep = validate.flag("keep_records", keep)
    if keep and not has_record:
        msg = "training must have a record for records to be kept, got none"
        raise ValueError(msg)
    functions = _derived.resolve(derived)
    if not functions and not keep:
        functions = _derived.resolve("final_loss")
    spec = SweepSpec(training, axes, replicates, functions, rng, common_seeds, keep)
    for group in spec.groups:
        training_of_group = spec.training_at(spec.first_of(group))
        record = training_of_group.record
        others = NO_LOSSES if record is None else record.evaluate
        evaluated = evaluated_rows(others)
        for d in functions:
            if d.of_end and not all(known(name, others) or name in evaluated for name in d.needs):
                got = ", ".join(evaluated) or "none of them"
                msg = f"record must evaluate a loss for {d.name} to be that of {d.needs[0]}, got {got}"
                raise ValueError(msg)
        names = tuple(recording(spec, training_of_group, record).rows)
        for d in functions:
            if keep and d.name in names:
                msg = f"derived must have names of their own, got {d.name!r}, which is recorded"
                raise ValueError(msg)
            if not d.of_end and not set(d.needs) <= set(names):
                msg = f"record must have {', '.join(d.needs)} for {d.name}, got {', '.join(names)}"
                raise ValueError(msg)
    return spec
