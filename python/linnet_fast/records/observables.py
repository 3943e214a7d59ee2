"""What can be recorded of a training: numbers made of the weights, each with its form in NumPy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.losses.problem import Population, Problem
from linnet_fast.networks.chain import Chain
from linnet_fast.records import forms
from linnet_fast.records.measures import PLAIN, Measure, measure_named
from linnet_fast.records.named import Named
from linnet_fast.records.point import Point
from linnet_fast.records.rows import AnyObservable, CoreObservable, EvaluatedObservable

Asked: TypeAlias = "str | Observable | Measure"
"""What a record is asked for."""
Function: TypeAlias = Callable[[tuple[WeightArray, ...], FloatArray], npt.ArrayLike]

_MOST_AXES = 20
# What results, and their files, have besides observables.
_TAKEN = re.compile(
    r"status|stopped_at|step|time|n_steps|linnet_fast|plain_time|weights_\d+|array_.*|loss_function"
    r"|(start|final)_(weights_\d+|memory_.*|inside_.*|status|stopped_at|elapsed)"
)


@dataclass(frozen=True, eq=False)
class Observable(AnyObservable):
    """An observable of your own: a function of the weights, or of the end-to-end matrix.

    Give it to `Record` among the names. It is called after the training, with all records of all runs
    at once, so that it should work on whole arrays; what it needs is recorded for it.

    Parameters
    ----------
    name : str
        By which the trajectory has it: an identifier, and none of the names in `OBSERVABLES`.
    function : callable
        ``function(weights, product)``: a tuple of arrays (n, *network.shapes[l]) and an array (n, out,
        in) -> numbers (n, *shape).
    shape : tuple of int, default ()
        Shape of one record.
    dims : tuple of str, optional
        Names of its axes, in labelled results.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the name is taken or no identifier, or a size is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> trace = lf.Observable("trace", lambda weights, product: np.trace(product, axis1=-2, axis2=-1))
    >>> network, loss = lf.Dense((2, 2)), lf.SquaredLoss(np.eye(2), np.eye(2), 2.0)
    >>> run = lf.train(network, loss, [np.zeros((2, 2))], method=lf.GradientDescent(0.5), n_steps=2,
    ...                record=lf.Record.every(1, ("loss", trace)))
    >>> run.trace.tolist()
    [0.0, 1.0, 1.5]
    """

    name: str
    function: Function
    shape: Shape = ()
    dims: tuple[str, ...] | None = None
    of_core = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        validate.instance("name", self.name, str)
        if not self.name.isidentifier() or self.name.startswith("_"):
            msg = f"name must be an identifier such as 'trace', got {self.name!r}"
            raise ValueError(msg)
        if known(self.name) is not None or _TAKEN.fullmatch(self.name):
            msg = f"name must not be that of another result, got {self.name!r}"
            raise ValueError(msg)
        validate.function("function", self.function)
        shape = validate.integers("shape", self.shape, low=1, high=2**31 - 1, most=_MOST_AXES)
        object.__setattr__(self, "shape", shape)
        if self.dims is not None:
            dims = validate.texts("dims", self.dims)
            if len(dims) != len(shape):
                msg = f"dims must be {len(shape)} names, one per axis of shape, got {dims}"
                raise ValueError(msg)
            object.__setattr__(self, "dims", dims)

    def record_shape(self, network: Chain) -> Shape:  # noqa: ARG002
        """Return the shape of one record."""
        return self.shape

    def value(self, point: Point) -> FloatArray:
        """Return what the function makes of the weights, shape (*run, *shape)."""
        # The last records of runs that diverge may be huge.
        with np.errstate(over="ignore", invalid="ignore"):
            runs = point.product.shape[:-2]
            n_runs = int(np.prod(runs, dtype=np.int64))
            weights = tuple(
                w.reshape(n_runs, *shape)
                for w, shape in zip(point.weights, point.network.shapes, strict=True)
            )
            product = np.asarray(point.product, np.float64)
            product = product.reshape(n_runs, *product.shape[-2:])
            try:
                found = np.asarray(self.function(weights, product))
            except Exception as error:
                error.add_note(f"raised by the observable {self.name!r}, for {n_runs} records")
                raise
        if found.shape != (n_runs, *self.shape) or found.dtype.kind not in "biuf":
            expected = f"numbers of shape {(n_runs, *self.shape)}"
            got = f"{found.dtype} of shape {found.shape}"
            msg = f"observable {self.name!r} must return {expected}, got {got}"
            raise ValueError(msg)
        return found.astype(np.float64).reshape(*runs, *self.shape)


_ROWS = (
    CoreObservable(
        "loss",
        "Loss, weight decay not included.",
        lambda at: at.loss.value(at.product),
        of_loss=True,
    ),
    CoreObservable(
        "singular_values",
        "Singular values of the end-to-end matrix, descending.",
        forms.singular_values,
        lambda network: (min(network.n_inputs, network.n_outputs),),
        ("mode",),
    ),
    CoreObservable(
        "product",
        "The end-to-end matrix itself.",
        lambda at: at.product,
        lambda network: (network.n_outputs, network.n_inputs),
        ("out", "in"),
    ),
    CoreObservable(
        "weights",
        "The weights, a tuple of one array per array of weights, in the dtype of the run.",
        lambda at: at.weights,
        lambda network: network.shapes,
        None,
    ),
    CoreObservable(
        "layer_norms",
        "Frobenius norm of each array of weights.",
        forms.layer_norms,
        lambda network: (network.n_arrays,),
        ("layer",),
    ),
    CoreObservable(
        "imbalance",
        "Frobenius norms of W_{l+1}^T W_{l+1} - W_l W_l^T; of networks that are not chains of dense "
        "layers the absolute differences of |w_{l+1}|^2 and |w_l|^2. Gradient flow conserves these of "
        "dense layers, and of layers without fixed entries whose weights are used equally often; "
        "`conserved` is what it conserves of others.",
        forms.imbalance,
        lambda network: (network.n_arrays - 1,),
        ("layer_pair",),
    ),
    CoreObservable(
        "gradient_norm",
        "Frobenius norm, over all layers, of the gradient of the objective, weight decay included.",
        forms.gradient_norm,
    ),
    CoreObservable(
        "norm", "Frobenius norm of the end-to-end matrix.", lambda at: forms.norm_of(at.product)
    ),
    CoreObservable(
        "angle",
        "Angle of the end-to-end vector to the direction of the record or of the loss, in radians.",
        forms.angle,
        needs=("one_output", "direction"),
    ),
    CoreObservable(
        "log_tan_half_angle",
        "Natural logarithm of tan(angle / 2), which tells apart angles near 0 and near pi.",
        forms.log_tan_half_angle,
        needs=("one_output", "direction"),
    ),
    CoreObservable(
        "margin",
        "Least margin of the samples over the Frobenius norm of the end-to-end matrix: of labels 1 and "
        "-1 the least y x . w, of classes the least difference of the output of the class and the "
        "largest of the others.",
        forms.margin,
        needs=("margin",),
        of_loss=True,
    ),
    CoreObservable(
        "accuracy",
        "Share of the samples whose margin is positive, of several outputs with labels of their own "
        "the share of all labels.",
        forms.accuracy,
        needs=("margin",),
        of_loss=True,
    ),
    CoreObservable(
        "layer_singular_ratio",
        "Second over first singular value of each layer.",
        forms.layer_singular_ratio,
        lambda network: (network.n_arrays,),
        ("layer",),
        ("dense_layers",),
    ),
    CoreObservable(
        "layer_alignment",
        "Of neighbouring layers: absolute cosine between the first left singular vector of the lower "
        "one and the first right one of the upper one.",
        forms.layer_alignment,
        lambda network: (network.n_arrays - 1,),
        ("layer_pair",),
        ("dense_layers",),
    ),
    CoreObservable(
        "layer_singular_values",
        "Singular values of the matrix of each array of weights, descending; of layers with fewer than "
        "others NaN stand behind them. Layers that share an array count once.",
        forms.layer_singular_values,
        forms.layer_singular_shape,
        ("layer", "mode_of_layer"),
    ),
    CoreObservable(
        "effective_rank",
        "e^entropy of the singular values of the end-to-end matrix over their sum; NaN at zero.",
        forms.effective_rank,
    ),
    CoreObservable(
        "stable_rank",
        "Squared Frobenius norm over squared spectral norm of the end-to-end matrix; NaN at zero.",
        forms.stable_rank,
    ),
    *PLAIN,
)

OBSERVABLES: Mapping[str, CoreObservable] = MappingProxyType({row.name: row for row in _ROWS})
"""Name of each observable that comes with the library -> its row."""


def dims_of(name: str, evaluate: Iterable[str] = ()) -> tuple[str, ...] | None:
    """Return names of the axes of one record of an observable; None where it has none of its own.

    Parameters
    ----------
    name : str
        Of any observable.
    evaluate : iterable of str
        Names of losses that are evaluated.
    """
    row = known(name, evaluate)
    return None if row is None else row.dims


def known(name: str, evaluate: Iterable[str] = ()) -> CoreObservable | None:
    """Return the row of a name: of the registry, or of one with parameters, such as ``overlap(3)``.

    Parameters
    ----------
    name : str
        Of any observable.
    evaluate : iterable of str
        Names of losses that are evaluated: there are such as ``sharpness_test``, too.
    """
    row = OBSERVABLES.get(name) or measure_named(name)
    for of in evaluate if row is None else ():
        measure = measure_named(name.removesuffix(f"_{of}")) if name.endswith(f"_{of}") else None
        if measure is not None and measure.is_of_loss:
            return measure.of_evaluated(of)
    return row


NO_LOSSES: Named[Any] = Named()
"""Nothing is evaluated."""


def evaluated_rows(evaluate: Iterable[str]) -> dict[str, EvaluatedObservable]:
    """Return what there is to record of evaluated losses of these names, by name.

    Examples
    --------
    >>> list(evaluated_rows(["test"]))[:2]
    ['loss_test', 'margin_test']
    """
    found = (EvaluatedObservable(row, of) for of in evaluate for row in _ROWS if row.of_loss)
    return {row.name: row for row in found}


def checked_names(evaluate: object, argument: str = "evaluate") -> Mapping[str, Any]:
    """Return `evaluate`, a mapping whose keys must be names that a result can have after those of rows.

    Parameters
    ----------
    evaluate : mapping of str
        Name -> anything.
    argument : str
        How the caller calls it.

    Raises
    ------
    TypeError, ValueError
        If it is something else, or a name is no identifier or makes that of another result.
    """
    names = validate.mapping(argument, evaluate)
    for name in names:
        if not name.isidentifier() or name.startswith("_"):
            msg = f"{argument} must have identifiers such as 'test' as names, got {name!r}"
            raise ValueError(msg)
        for full in evaluated_rows([name]):
            if full in OBSERVABLES or _TAKEN.fullmatch(full):
                msg = f"{argument} must not make that of another result, got {name!r}: {full}"
                raise ValueError(msg)
    return names


def checked_losses(evaluate: object, argument: str = "evaluate") -> Named[Loss]:
    """Return losses by name, to be evaluated beside that of the training.

    Parameters
    ----------
    evaluate : mapping of str to Loss
    argument : str
        How the caller calls it.

    Raises
    ------
    TypeError, ValueError
        If it is something else; see `checked_names`.
    """
    losses = checked_names(evaluate, argument)
    for name, loss in losses.items():
        validate.instance(f"{argument}[{name!r}]", loss, Loss)  # type: ignore[type-abstract]
    return Named(losses)


def checked_problems(evaluate: object) -> Named[Any]:
    """Return what is to be evaluated beside the loss of a training, by name: also what runs draw first.

    Parameters
    ----------
    evaluate : mapping of str to Loss, Teacher or "population"

    Raises
    ------
    TypeError, ValueError
        If it is something else; see `checked_names`.
    """
    losses = dict(checked_names(evaluate))
    for name, loss in losses.items():
        where = f"evaluate[{name!r}]"
        if isinstance(loss, str):
            validate.choice(where, loss, (Population.text,))
            losses[name] = Population()
        elif not isinstance(loss, Problem):
            msg = f"{where} must be a Loss, a Teacher or 'population', got {type(loss).__name__}"
            raise TypeError(msg)
    return Named(losses)


def checked(observables: object, evaluate: Mapping[str, object] = NO_LOSSES) -> tuple[Asked, ...]:
    """Return observables, each of which must be a name or an `Observable`, and be there once.

    Parameters
    ----------
    observables : iterable of str or Observable
        At least one.
    evaluate : mapping of str
        Names of evaluated losses are those of further observables.

    Raises
    ------
    TypeError, ValueError
        If it is something else, with near matches.
    """
    if isinstance(observables, str | AnyObservable) or not isinstance(observables, Iterable):
        got = validate.brief(observables)
        msg = f"observables must be a tuple of names such as ('loss',), got {got}"
        raise TypeError(msg)
    if isinstance(observables, AbstractSet | Mapping):  # which may come in any order
        given = validate.sequence("observables", tuple(observables), of="names")
    else:
        given = validate.parts("observables", observables, of="names")
    # What can be written is: such records are equal, and go into files.
    given = tuple(one.text if isinstance(one, Measure) and one.text else one for one in given)
    of_evaluated = evaluated_rows(evaluate)
    names: list[str] = []
    for i, one in enumerate(given):
        name = one.name if isinstance(one, Observable | Measure) else one
        if name is one:
            is_text = isinstance(one, str)
            if measure_named(one, f"observables[{i}]") is None and not (
                is_text and known(one, evaluate)
            ):
                validate.choice(f"observables[{i}]", one, (*OBSERVABLES, *of_evaluated))
        elif name in of_evaluated:
            msg = f"observables must not have names of what is evaluated, got {name!r}"
            raise ValueError(msg)
        name = _name_of(name, evaluate)
        if name in names:
            msg = f"observables must name each observable once, got {name!r} twice"
            raise ValueError(msg)
        names.append(name)
    if not names:
        msg = f"observables must name at least one of {', '.join(OBSERVABLES)}; got none"
        raise ValueError(msg)
    return given


def _name_of(text: str, evaluate: Iterable[str]) -> str:
    """Return how results call what was asked for."""
    row = known(text, evaluate)
    return text if row is None else row.name


def rows(
    observables: Sequence[Asked], evaluate: Mapping[str, Loss] = NO_LOSSES
) -> dict[str, AnyObservable]:
    """Return the observables that are meant, by name.

    Parameters
    ----------
    observables : sequence of str or Observable
        Checked ones.
    evaluate : mapping of str to Loss
        Losses whose values are meant, too; and what else is named of the training's loss, of those
        that have it.
    """
    of_evaluated = evaluated_rows(evaluate)
    found: dict[str, AnyObservable] = {}
    for one in observables:
        row = (
            one
            if isinstance(one, Observable | Measure)
            else known(one, evaluate) or of_evaluated[one]
        )
        found[row.name] = row
    for name, evaluated in of_evaluated.items():
        row = evaluated.row
        if row.name == "loss" or (row.name in found and row.is_had_by(evaluate[evaluated.of])):
            found.setdefault(name, evaluated)
    return found


def direction_of(
    network: Chain,
    loss: Loss,
    wanted: Mapping[str, AnyObservable],
    direction: npt.ArrayLike | None,
    evaluate: Mapping[str, Loss] = NO_LOSSES,
) -> FloatArray | None:
    """Return what angles are measured to, or None; refuse observables that do not exist here.

    Parameters
    ----------
    network : Chain
        What is trained.
    loss : Loss
        On what.
    wanted : mapping
        What is wanted, as `rows` gives it.
    direction : array_like, shape (in,), optional
        What angles are measured to, if not to that of the loss.
    evaluate : mapping of str to Loss
        Losses that are evaluated besides.

    Returns
    -------
    ndarray of float64, shape (*run, in), or None
        Vectors of norm 1.

    Raises
    ------
    ValueError
        If an observable needs one output, samples, a direction or dense layers.
    """
    for row in wanted.values():
        row.check(network, loss if row.of is None else evaluate[row.of])
    if not any("direction" in row.needs for row in wanted.values()):
        return None
    if direction is not None:
        vector = validate.real_array("direction", direction)
        got = vector.shape[-1] if vector.ndim else "a number"
        if got != network.n_inputs:
            msg = f"direction must have {network.n_inputs} entries, got {got}"
            raise ValueError(msg)
        return validate.unit_vectors("direction", vector)
    if loss.target_direction is None:
        msg = f"angles need a direction, and a {type(loss).__name__} has none: pass Record a direction"
        raise ValueError(msg)
    return loss.target_direction
