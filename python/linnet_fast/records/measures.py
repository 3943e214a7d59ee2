"""Observables with parameters: what the core takes with them, and how they are written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.runs import taken
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.conserved import balances
from linnet_fast.records import curvature, forms
from linnet_fast.records.point import Point
from linnet_fast.records.rows import CoreObservable

_OF_LOSS = frozenset({"curvature", "inputs", "samples", "target"})
_LEAST_POWER, _MOST_POWER = 2.0**-6, 2.0**10


@dataclass(frozen=True, eq=False)
class Measure(CoreObservable):
    """A row that the core computes with parameters; made by the functions of `linnet_fast.observables`.

    Parameters
    ----------
    kind : str
        Name in the core.
    count : int
        How many of its numbers; 0 is a single one, without an axis.
    both : bool
        Whether from both ends of a spectrum.
    power : float
        Of a norm.
    given : tuple of ndarray
        What it compares with, with run axes in front; empty: it is the start, or the loss says it.
    inner_axes : tuple of int
        How many axes each of these has besides.
    text : str
        How it is written; empty: it holds arrays and cannot be.
    """

    kind: str = ""
    count: int = 1
    both: bool = False
    power: float = 1.0
    given: tuple[FloatArray, ...] = ()
    inner_axes: tuple[int, ...] = ()
    text: str = ""
    limit: Callable[[Chain], tuple[int, str]] | None = field(default=None)
    """How large `count` may be, and why."""
    of: str | None = None
    is_measure = True

    @property
    def is_of_loss(self) -> bool:
        """Whether there is one of other losses than that of the training."""
        return bool(_OF_LOSS.intersection(self.needs)) and "divisors" not in self.needs

    def of_evaluated(self, name: str) -> Measure:
        """Return the measure of the loss that is evaluated under a name."""
        full = f"{self.name}_{name}"
        return replace(self, name=full, text=full, of=name)

    def __repr__(self) -> str:
        """Show how it is written, or its name."""
        return repr(self.text) if self.text else f"<{self.name} of given arrays>"

    @property
    def is_scalar(self) -> bool:
        """Whether it is one number."""
        return self.dims == ()

    def check(self, network: Chain, loss: Loss) -> None:
        """Raise ValueError unless a network and a loss have what it needs."""
        kind = type(loss).__name__
        if "curvature" in self.needs and "curvature" not in loss.supports:
            msg = f"{self.name} is of losses with a second derivative, and a {kind} has none"
            raise ValueError(msg)
        if "inputs" in self.needs and loss.kernel_moments() is None:
            msg = f"{self.name} is of losses with inputs, and a {kind} has none"
            raise ValueError(msg)
        if "samples" in self.needs and loss.for_batches().n_choices is None:
            msg = f"{self.name} is of losses on samples, and this {kind} has none at hand"
            raise ValueError(msg)
        if "target" in self.needs and not self.given and loss.target_matrix is None:
            msg = f"{self.name} needs a target, and a {kind} has none: give it one"
            raise ValueError(msg)
        if "conserved" in self.needs:
            balances(network, self.name)
        if self.limit is not None:
            most, what = self.limit(network)
            if self.count > most:
                msg = f"{self.name} must ask for at most {most}, the {what}, got {self.count}"
                raise ValueError(msg)
        shapes = self._given_shapes(network)
        for array, shape, n_inner in zip(self.given, shapes, self.inner_axes, strict=True):
            if array.shape[array.ndim - n_inner :] != shape:
                got = array.shape[array.ndim - n_inner :]
                msg = f"{self.name} must compare with arrays of shape {shape} here, got {got}"
                raise ValueError(msg)

    def _given_shapes(self, network: Chain) -> Sequence[Shape]:
        if not self.given:
            return ()
        if "start" not in self.needs:
            return ((network.n_outputs, network.n_inputs),)
        if len(self.given) != network.n_arrays:
            msg = f"{self.name} must compare with {network.n_arrays} arrays, got {len(self.given)}"
            raise ValueError(msg)
        return network.shapes

    @property
    def run_shape(self) -> Shape:  # type: ignore[override]
        """Common shape of the run axes of what it compares with."""
        return np.broadcast_shapes(
            *(a.shape[: a.ndim - n] for a, n in zip(self.given, self.inner_axes, strict=True))
        )

    @property
    def needs_start(self) -> bool:  # type: ignore[override]
        """Whether it compares with weights that it was not given."""
        return "start" in self.needs and not self.given

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Measure:
        """Return the measure as some runs see it."""
        own = tuple(
            taken(array, n, which, runs)
            for array, n in zip(self.given, self.inner_axes, strict=True)
        )
        return replace(self, given=own)

    def core_fields(
        self, network: Chain, loss: Loss, begin: Sequence[WeightArray] | None, runs: Shape
    ) -> dict[str, Any]:
        """Return what the core takes: parameters and arrays, which have all run axes."""
        fields: dict[str, Any] = {"kind": self.kind, "count": self.count}
        if self.both:
            fields["both"] = True
        if self.power != 1:
            fields["power"] = self.power
        if "samples" in self.needs:
            loss = loss.for_batches()
            fields["count"] = loss.n_choices
        if "samples" in self.needs or (self.of is not None and "target" not in self.needs):
            fields["loss"] = {"name": loss.core, **loss.core_fields(runs, np.dtype(np.float64))}
        if "conserved" in self.needs:
            fields["balances"] = [
                part.core_fields(pair)
                for pair, parts in enumerate(balances(network, self.name))
                for part in parts
            ]
        arrays: list[tuple[npt.NDArray[Any], int]] = []
        if "inputs" in self.needs:
            moments = loss.kernel_moments()
            assert moments is not None
            if moments.input_cov is None:
                fields["of_measurements"] = True
            else:
                arrays.append((moments.input_cov, 2))
            if self.kind == "kernel_alignment":
                arrays += [(moments.cross_cov, 2), (moments.output_power, 0)]
        if "start" in self.needs:
            for weights, shape in zip(self._weights(begin), network.shapes, strict=True):
                lead = weights.shape[: weights.ndim - len(shape)]
                arrays.append((np.asarray(weights, np.float64).reshape(*lead, -1), 1))
        if "target" in self.needs:
            arrays += [(vectors, 2) for vectors in self.vectors(loss)]
        fields["arrays"] = [
            validate.over_runs(np.asarray(array, np.float64), runs, n) for array, n in arrays
        ]
        return fields

    def _weights(self, begin: Sequence[WeightArray] | None) -> Sequence[npt.NDArray[Any]]:
        if self.given:
            return self.given
        if begin is None:
            msg = f"{self.name} needs weights to be measured from: give them as start"
            raise ValueError(msg)
        return begin

    def vectors(self, loss: Loss) -> tuple[FloatArray, FloatArray]:
        """Return the first singular vectors of the target, as rows: left ones and right ones."""
        target = self.given[0] if self.given else loss.target_matrix
        assert target is not None
        stored = validate.unbroadcast(target, keep=2)
        u, _, vt = np.linalg.svd(stored, full_matrices=False)
        left, right = u.mT[..., : self.count, :], vt[..., : self.count, :]
        lead = target.shape[:-2]
        return (
            np.broadcast_to(left, (*lead, *left.shape[-2:])),
            np.broadcast_to(right, (*lead, *right.shape[-2:])),
        )

    def value(self, point: Point) -> Any:
        """Return the observable in NumPy."""
        at = point if self.of is None else replace(point, loss=point.evaluated[self.of])
        with np.errstate(over="ignore", invalid="ignore"):
            return _FORMS[self.kind](self, at)


_FORMS: Mapping[str, Callable[[Measure, Point], Any]] = {
    "hessian_eigenvalues": lambda own, at: (
        curvature.hessian_eigenvalues(at, 1, both=False)[..., 0]
        if own.is_scalar
        else curvature.hessian_eigenvalues(at, own.count, both=own.both)
    ),
    "hessian_trace": lambda _, at: curvature.hessian_trace(at),
    "ntk_eigenvalues": lambda own, at: curvature.ntk_eigenvalues(at, own.count),
    "kernel_distance": lambda own, at: curvature.kernel_distance(at, own._weights(at.begin)),
    "kernel_alignment": lambda _, at: curvature.kernel_alignment(at),
    "weight_distance": lambda own, at: curvature.weight_distance(at, own._weights(at.begin)),
    "overlap": lambda own, at: curvature.overlap(at, *own.vectors(at.loss)),
    "schatten_norm": lambda own, at: forms.schatten_norm(at, own.power),
    "conserved": lambda _, at: forms.conserved(at),
    "preconditioned_sharpness": lambda _, at: curvature.preconditioned_sharpness(at),
    "gradient_noise": lambda _, at: curvature.gradient_noise(at),
    "gradient_noise_curvature": lambda _, at: curvature.gradient_noise_curvature(at),
}


def _unused(_point: Point) -> Any:
    raise AssertionError


def _made(name: str, doc: str, kind: str, **more: Any) -> Measure:
    return Measure(name, doc, _unused, kind=kind, text=more.pop("text", name), **more)


def _of_weights(network: Chain) -> tuple[int, str]:
    return network.n_weights, "number of weights"


def _of_modes(network: Chain) -> tuple[int, str]:
    return min(network.n_inputs, network.n_outputs), "lesser of inputs and outputs"


PLAIN = (
    _made(
        "nuclear_norm",
        "Sum of the singular values of the end-to-end matrix.",
        "schatten_norm",
    ),
    _made(
        "sharpness",
        "Largest eigenvalue of the Hessian of the objective as a function of all weights, weight "
        "decay included.",
        "hessian_eigenvalues",
        needs=("curvature",),
        count=0,
    ),
    _made(
        "hessian_trace",
        "Trace of that Hessian.",
        "hessian_trace",
        needs=("curvature",),
    ),
    _made(
        "preconditioned_sharpness",
        "Largest eigenvalue of D^-1/2 H D^-1/2, H that Hessian and D what Adam, RMSProp or Adagrad divide "
        "gradients by, of every weight; NaN before the first step.",
        "preconditioned_sharpness",
        needs=("curvature", "divisors"),
    ),
    _made(
        "gradient_noise",
        "Trace of the covariance of the gradients of single samples, E |g - E g|^2.",
        "gradient_noise",
        needs=("samples",),
    ),
    _made(
        "gradient_noise_curvature",
        "Mean curvature along that noise: the trace of the Hessian times the covariance, over the trace of the covariance.",
        "gradient_noise_curvature",
        needs=("samples", "curvature"),
    ),
    _made(
        "conserved",
        "Frobenius norms of what gradient flow without weight decay conserves between neighbouring arrays "
        "of weights of any kind: of dense layers `imbalance`.",
        "conserved",
        shape=lambda network: (network.n_arrays - 1,),
        dims=("layer_pair",),
        needs=("conserved",),
    ),
    _made(
        "weight_distance",
        "Norm of the difference of all weights to those at the start.",
        "weight_distance",
        needs=("start",),
    ),
    _made(
        "kernel_distance",
        "1 - <K, K_0> / (|K| |K_0|) of the tangent kernel K on the inputs and that at the start.",
        "kernel_distance",
        needs=("inputs", "start"),
    ),
    _made(
        "kernel_alignment",
        "<K, Y Y^T> / (|K| |Y|^2) of the tangent kernel K on the inputs and the targets Y.",
        "kernel_alignment",
        needs=("inputs",),
    ),
)
"""Those that need no parameters."""
_BY_NAME = {row.name: row for row in PLAIN}


def hessian_eigenvalues(k: int, which: str = "largest") -> Measure:
    """Return the observable of `k` eigenvalues of the Hessian; see `linnet_fast.observables`."""
    count = validate.integer("k", k, low=1, high=2**15)
    validate.choice("which", which, ("largest", "both"))
    both = which == "both"
    dims = ("end", "eigenvalue") if both else ("eigenvalue",)
    inner = (2, count) if both else (count,)
    return _made(
        f"hessian_eigenvalues_{count}{'_both' if both else ''}",
        "Eigenvalues of the Hessian of the objective: the largest, descending, and the least, ascending.",
        "hessian_eigenvalues",
        text=f"hessian_eigenvalues({count}{', both' if both else ''})",
        shape=lambda _: inner,
        dims=dims,
        needs=("curvature",),
        count=count,
        both=both,
        limit=_of_weights,
    )


def ntk_eigenvalues(k: int) -> Measure:
    """Return the observable of the `k` largest eigenvalues of the tangent kernel over n."""
    count = validate.integer("k", k, low=1, high=2**15)
    return _made(
        f"ntk_eigenvalues_{count}",
        "Largest eigenvalues of the tangent kernel on the inputs over the number of samples.",
        "ntk_eigenvalues",
        text=f"ntk_eigenvalues({count})",
        shape=lambda _: (count,),
        dims=("kernel_eigenvalue",),
        needs=("inputs",),
        count=count,
        limit=_of_weights,
    )


def schatten_norm(p: float) -> Measure:
    """Return the observable of the Schatten norm of a power."""
    given: object = p
    if isinstance(given, float) and given == math.inf:
        power, shown = math.inf, "inf"
    else:
        power = validate.real("p", p, at_least=_LEAST_POWER)
        if power > _MOST_POWER:
            msg = f"p must be at most {_MOST_POWER:g}, or inf, got {power:g}"
            raise ValueError(msg)
        shown = f"{power:g}" if float(f"{power:g}") == power else repr(power)
    name = re.sub(r"\W", "_", shown.replace(".", "p").replace("-", "m").replace("+", ""))
    return _made(
        f"schatten_norm_{name}",
        "(sum of s^p)^(1/p) over the singular values s of the end-to-end matrix.",
        "schatten_norm",
        text=f"schatten_norm({shown})",
        power=power,
    )


def overlap(k: int, target: npt.ArrayLike | None = None, name: str | None = None) -> Measure:
    """Return the observable of `k` overlaps with the modes of a target."""
    count = validate.integer("k", k, low=1, high=2**15)
    made = _made(
        f"overlap_{count}",
        "u_i^T P v_i of the first singular vectors u_i, v_i of a target.",
        "overlap",
        text=f"overlap({count})",
        shape=lambda _: (count,),
        dims=("mode_of_target",),
        needs=("target",),
        count=count,
        limit=_of_modes,
    )
    if target is None:
        return made
    matrix = validate.real_array("target", target)
    if matrix.ndim < 2:
        msg = f"target must have shape (*run, out, in), got {matrix.shape}"
        raise ValueError(msg)
    return replace(made, given=(matrix,), inner_axes=(2,), text="", name=_named(name, made.name))


def from_weights(plain: str, state: Any, name: str | None) -> Measure:
    """Return a distance from the weights of a state, or arrays of weights."""
    arrays = validate.sequence("state", getattr(state, "weights", state), of="arrays of weights")
    if not arrays:
        msg = "state must have weights, got none"
        raise ValueError(msg)
    given = tuple(validate.real_array(f"state[{i}]", array) for i, array in enumerate(arrays))
    runs = getattr(getattr(state, "status", None), "ndim", 0)
    inner = tuple(array.ndim - runs for array in given)
    row = _BY_NAME[plain]
    return replace(row, given=given, inner_axes=inner, text="", name=_named(name, plain))


def _named(name: object, otherwise: str) -> str:
    if name is None:
        return otherwise
    validate.instance("name", name, str)
    if not str(name).isidentifier() or str(name).startswith("_"):
        msg = f"name must be an identifier such as 'to_teacher', got {name!r}"
        raise ValueError(msg)
    return str(name)


MAKERS: Mapping[str, Callable[..., Measure]] = MappingProxyType(
    {
        "hessian_eigenvalues": hessian_eigenvalues,
        "ntk_eigenvalues": ntk_eigenvalues,
        "schatten_norm": schatten_norm,
        "overlap": overlap,
    }
)
"""Name -> what makes one of text."""
_TEXT = re.compile(r"(?P<kind>[a-z_]+)\((?P<arguments>[^()]*)\)")
_NAME = re.compile(r"(?P<kind>[a-z_]+?)_(?P<count>\d+)(?P<both>_both)?")
_POWER = re.compile(r"schatten_norm_(?P<power>\d+(?:p\d+)?(?:em?\d+)?|inf)")


def measure_named(name: object, argument: str = "observables") -> Measure | None:
    """Return the measure of a name, or text such as ``hessian_eigenvalues(3)``; None if it is none.

    Parameters
    ----------
    name : str
        Of anything.
    argument : str
        How the caller calls it, for errors.

    Examples
    --------
    >>> measure_named("hessian_eigenvalues(3, both)").name
    'hessian_eigenvalues_3_both'
    >>> measure_named("hessian_eigenvalues_3_both")
    'hessian_eigenvalues(3, both)'
    """
    if not isinstance(name, str):
        return None
    if name in _BY_NAME:
        return _BY_NAME[name]
    if (match := _TEXT.fullmatch(name)) and match["kind"] in MAKERS:
        return _of_text(match["kind"], match["arguments"], argument)
    if match := _POWER.fullmatch(name):
        shown = match["power"].replace("p", ".").replace("em", "e-")
        return schatten_norm(float(shown))
    if (match := _NAME.fullmatch(name)) and match["kind"] in MAKERS:
        both = match["both"] is not None
        if both and match["kind"] != "hessian_eigenvalues":
            return None
        if match["kind"] == "schatten_norm" or not 1 <= int(match["count"]) <= 2**15:
            return None
        more = ("both",) if both else ()
        return MAKERS[match["kind"]](int(match["count"]), *more)
    return None


def _of_text(kind: str, text: str, argument: str) -> Measure:
    parts = [part.strip().strip("'\"") for part in text.split(",")] if text.strip() else []
    parts = [part.removeprefix("which=").strip("'\"") for part in parts]
    most = 2 if kind == "hessian_eigenvalues" else 1
    try:
        if not 1 <= len(parts) <= most:
            msg = f"{kind} must have {'a number' if most == 1 else 'one or two arguments'}"
            raise ValueError(msg)
        number = float(parts[0]) if kind == "schatten_norm" else int(parts[0])
        return MAKERS[kind](number, *parts[1:])
    except (ValueError, TypeError) as error:
        msg = f"{argument} must be such as '{kind}(2)', got {kind + '(' + text + ')'!r}: {error}"
        raise ValueError(msg) from None
