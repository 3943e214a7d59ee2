"""Data as a value: a linear teacher, inputs and noise, drawn anew for each data seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import memory, validate
from linnet_fast._base.kinds import check_options
from linnet_fast._base.seeds import Seed
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast._base.value import made_with
from linnet_fast.losses.base import Loss
from linnet_fast.losses.moments import check_input_cov
from linnet_fast.losses.problem import Problem, Seeding
from linnet_fast.teachers import draws
from linnet_fast.teachers.draws import InputLaw, Numbers
from linnet_fast.teachers.rows import Rows
from linnet_fast.teachers.targets import TARGETS

InputCov: TypeAlias = (
    npt.ArrayLike | tuple[Literal["power_law"], float] | tuple[Literal["wishart"], int]
)

_MOST = 2**31 - 1


class _Kind(NamedTuple):
    """What a kind of teacher takes besides what all take."""

    takes: tuple[str, ...] = ()
    needs: str | None = None


KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "gaussian": _Kind(),
        "low_rank": _Kind(("rank",), "rank"),
        "diagonal": _Kind(("strengths",)),
        "power_law": _Kind(("exponent",), "exponent"),
        "sparse": _Kind(("n_nonzero", "positive"), "n_nonzero"),
        "given": _Kind(("matrix",), "matrix"),
    }
)
"""Laws of the matrix of a teacher."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Teacher(Problem):
    """A linear teacher y = P_0 x + noise with what it is drawn from: data that each run of a sweep draws.

    Give it to `Training` as its loss. Each run draws the teacher, the covariance of the inputs and the
    samples by its own data seed: what it gets depends on nothing else, neither on the other runs nor on
    scale or noise, so that runs of one data seed differ by what is varied alone.

    Parameters
    ----------
    kind : str
        Law of P_0, (out, in), before `scale`. ``"gaussian"``: independent normal entries of variance 1/in.
        ``"low_rank"``: a Gaussian (out, rank) times a Gaussian (rank, in) matrix, with entries of
        variance 1/in. ``"diagonal"``: `strengths` on the diagonal, by default standard normal.
        ``"power_law"``: singular values k^-exponent along random (Haar) directions. ``"sparse"``:
        `n_nonzero` entries at random places, of random signs and one size, their squares summing to out.
        ``"given"``: `matrix`.
    n_inputs : int
        Number of inputs; left out with a `matrix`.
    n_outputs : int, default 1
        Number of outputs; left out with a `matrix`.
    scale : array_like, shape (*run), default 1
        Factor >= 0 on P_0.
    noise : array_like, shape (*run), default 0
        Of values: standard deviation of normal noise on each target, >= 0. Of labels: how likely, from 0
        to 1, one is replaced: a sign by the other one, a class by any class.
    n_samples : int, optional
        Samples per data set. None: infinitely many, that is the exact moments.
    input_cov : array_like of shape (in, in), ("power_law", exponent) or ("wishart", dof), optional
        Covariance of the inputs, which are normal with mean 0: a given one; independent ones of
        variances k^-exponent; that of `dof` standard normal samples, drawn for each data seed. By
        default independent standard normal ones.
    target : {"values", "signs", "classes"}, default "values"
        What the network is to find: P_0 x + noise, by the squared loss; the signs of P_0 x, by the logistic
        loss; which entry of P_0 x is the largest, by the cross-entropy. With infinitely many samples signs
        are of one output and of inputs without `input_cov`, and there are no classes.
    task : int, default 0
        From 0 up. Another task has another teacher and other samples from the same data seed: for a phase,
        or to be evaluated besides.
    rank : int, optional
        Of low-rank teachers, which need it.
    strengths : array_like, shape (min(out, in),), optional
        Of diagonal teachers.
    exponent : array_like, shape (*run), optional
        Of power laws, which need it.
    n_nonzero : int, optional
        Of sparse teachers, which need it.
    positive : bool, optional
        Of sparse teachers, False by default: whether all signs are +.
    matrix : array_like, shape (out, in), optional
        Of given teachers, which need it.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, a name is unknown, an option belongs to another kind or is missing.

    See Also
    --------
    TeacherLoss : a given teacher with inputs of any spherical law, of which batches are drawn.

    Examples
    --------
    >>> import linnet_fast as lf
    >>> teacher = lf.Teacher("sparse", n_inputs=100, n_nonzero=5, n_samples=40, noise=0.1)
    >>> teacher
    Teacher('sparse', n_inputs=100, noise=0.1, n_samples=40, n_nonzero=5)
    >>> teacher.loss(3)
    SampledSquaredLoss(n_samples=40, n_inputs=100, n_outputs=1, run_shape=())
    >>> (teacher.draw(3) != 0).sum().item()
    5

    Twenty data sets at once, and the loss of infinitely many samples of the same teachers:

    >>> teacher.loss(batch_shape=20).run_shape
    (20,)
    >>> risk = teacher.population.loss(3)
    >>> risk.value(teacher.draw(3)).round(6).item()  # what is left is noise
    0.005
    """

    hint: ClassVar[str] = "of which teacher.loss(seed=...) draws one"
    is_drawn: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = tuple(KINDS)
    """What files may call it."""
    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"scale": 0, "noise": 0, "exponent": 0}
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            "n_outputs": 1,
            "scale": 1.0,
            "noise": 0.0,
            "n_samples": None,
            "input_cov": None,
            "target": "values",
            "task": 0,
            **dict.fromkeys(name for kind in KINDS.values() for name in kind.takes),
        }
    )

    kind: str
    scale: FloatArray
    noise: FloatArray
    n_samples: int | None
    input_cov: FloatArray | tuple[str, float] | None
    target: str
    task: int
    rank: int | None
    strengths: FloatArray | None
    exponent: FloatArray | None
    n_nonzero: int | None
    positive: bool | None
    matrix: FloatArray | None

    def __init__(
        self,
        kind: str,
        *,
        n_inputs: int | None = None,
        n_outputs: int | None = None,
        scale: npt.ArrayLike = 1.0,
        noise: npt.ArrayLike = 0.0,
        n_samples: int | None = None,
        input_cov: InputCov | None = None,
        target: str = "values",
        task: int = 0,
        rank: int | None = None,
        strengths: npt.ArrayLike | None = None,
        exponent: npt.ArrayLike | None = None,
        n_nonzero: int | None = None,
        positive: bool | None = None,
        matrix: npt.ArrayLike | None = None,
    ) -> None:
        put = self.__dict__.__setitem__
        put("kind", validate.choice("kind", kind, KINDS))
        given: dict[str, Any] = {
            "rank": rank,
            "strengths": strengths,
            "exponent": exponent,
            "n_nonzero": n_nonzero,
            "positive": positive,
            "matrix": matrix,
        }
        check_options("teacher", kind, given, KINDS)
        put("matrix", None if matrix is None else _matrix("matrix", matrix))
        known = (None, None) if self.matrix is None else self.matrix.shape
        put(
            "_sizes",
            (_size("n_inputs", n_inputs, known[1]), _size("n_outputs", n_outputs, known[0], 1)),
        )
        for name, check in self._checks().items():
            put(name, None if given[name] is None else check(name, given[name]))
        put("scale", validate.real_array("scale", scale, at_least=0))
        put("target", validate.choice("target", target, TARGETS))
        put("task", validate.integer("task", task, low=0, high=_MOST))
        put("noise", validate.real_array("noise", noise, at_least=0))
        if n_samples is not None:
            n_samples = validate.integer("n_samples", n_samples, low=1, high=_MOST)
        put("n_samples", n_samples)
        put("input_cov", None if input_cov is None else _checked_cov(input_cov, self.n_inputs))
        _ = self.run_shape  # refuses run axes that do not broadcast
        TARGETS[self.target].check(self)

    def _checks(self) -> dict[str, Callable[[str, Any], Any]]:
        """Return what each option but the matrix has to be."""
        most = min(self.n_inputs, self.n_outputs)

        def whole(high: int) -> Callable[[str, Any], int]:
            return lambda name, value: validate.integer(name, value, low=1, high=high)

        return {
            "rank": whole(most),
            "strengths": lambda name, value: _entries(name, value, most),
            "exponent": validate.real_array,
            "n_nonzero": whole(self.n_inputs * self.n_outputs),
            "positive": validate.flag,
        }

    def __repr__(self) -> str:
        """Show what is not as by default, and only the shapes of arrays."""
        parts = [repr(self.kind), f"n_inputs={self.n_inputs}"]
        for name, unsaid in self.unsaid.items():
            value = getattr(self, name)
            if isinstance(value, np.ndarray) and value.ndim:
                parts.append(f"{name}=<array {value.shape}>")
            elif value is not None and value != unsaid:
                shown = f"{value:g}" if isinstance(value, np.ndarray) else repr(value)
                parts.append(f"{name}={shown}")
        return f"Teacher({', '.join(parts)})"

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        n: int = self.__dict__["_sizes"][0]
        return n

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        n: int = self.__dict__["_sizes"][1]
        return n

    def _with(self, **changes: Any) -> Teacher:
        """Return the teacher with other arguments."""
        return Teacher(**made_with(self) | changes)

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters that have some."""
        return validate.broadcast_runs(**{name: a.shape for name, a in self._parameters.items()})

    @property
    def _parameters(self) -> dict[str, FloatArray]:
        arrays = {name: getattr(self, name) for name in self.inner_axes}
        return {name: array for name, array in arrays.items() if array is not None}

    def _rows(self, seeding: Seeding) -> Rows:
        return Rows(self._parameters, seeding, self.task)

    @cached_property
    def example(self) -> Loss:
        """The loss of data seed 0, of the first of the runs."""
        first = {name: a.flat[0] for name, a in self._parameters.items() if a.size}
        one = self._with(**first) if self.run_shape else self
        return one.for_runs(Seeding(0, 0), one)

    @property
    def population(self) -> Teacher:
        """The same teacher with infinitely many samples: its loss is the risk.

        Examples
        --------
        >>> Teacher("gaussian", n_inputs=3, n_samples=5).population
        Teacher('gaussian', n_inputs=3)
        """
        return self if self.n_samples is None else self._with(n_samples=None)

    def loss(
        self,
        seed: npt.ArrayLike | None = None,
        *,
        rng: Seed = 0,
        batch_shape: int | Sequence[int] = (),
    ) -> Loss:
        """Return the loss of data that are drawn now: what runs of a sweep with these seeds are trained on.

        Parameters
        ----------
        seed : array_like of int, shape (*run), optional
            The data seed of each run, from 0 to 2**53 - 1; broadcasts to `batch_shape`. By default runs are
            numbered in C order.
        rng : seed or Generator, default 0
            What a sweep, or `Training.train`, is given as `rng`.
        batch_shape : int or tuple of int, default ()
            Run axes.

        Returns
        -------
        Loss
            A `SquaredLoss` of values, a `LogisticLoss` of signs (of infinitely many samples a
            `SphericalLogisticLoss`), a `CrossEntropyLoss` of classes.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong, or moments are beyond float64.
        """
        seeding = _seeding(seed, rng, batch_shape)
        return self.for_runs(seeding, self)

    def draw(
        self,
        seed: npt.ArrayLike | None = None,
        *,
        rng: Seed = 0,
        batch_shape: int | Sequence[int] = (),
    ) -> FloatArray:
        """Return the matrices P_0 of teachers.

        Parameters
        ----------
        seed, rng, batch_shape
            As of `loss`.

        Returns
        -------
        ndarray of float64, shape (*run, out, in)
        """
        rows = self._rows(_seeding(seed, rng, batch_shape))
        return rows.of_runs(self.matrices(rows))

    def for_runs(self, seeding: Seeding, training: Problem) -> Loss:  # noqa: ARG002
        """Return the loss of runs, each by its own data seed."""
        return TARGETS[self.target].loss(self, self._rows(seeding))

    # -- what targets are made of: a row for each run that differs ---------------------------------

    def matrices(self, rows: Rows) -> FloatArray:
        """Return P_0 of different runs, (n_rows, out, in)."""
        shape = (self.n_outputs, self.n_inputs)
        numbers, scale = rows.numbers, rows.parameter("scale")
        if self.kind == "power_law":
            left, right = draws.vectors(numbers, shape)
            found = draws.power_law(rows.of(left), rows.of(right), rows.parameter("exponent"))
        elif self.matrix is not None:
            found = self.matrix[None]
        elif self.strengths is not None:
            found = draws.diagonal(self.strengths[None], shape)
        else:
            found = rows.of(self._drawn(numbers, shape))
        with np.errstate(over="ignore", invalid="ignore"):
            found = found * scale[:, None, None]
        if not np.isfinite(found).all():
            msg = "scale must keep teachers within float64, got an overflow"
            raise ValueError(msg)
        return found

    def _drawn(self, numbers: Numbers, shape: Shape) -> FloatArray:
        if self.rank is not None:
            return draws.low_rank(numbers, shape, self.rank)
        if self.n_nonzero is not None:
            return draws.sparse(numbers, shape, self.n_nonzero, positive=bool(self.positive))
        if self.kind == "diagonal":
            return draws.diagonal(numbers.normal(draws.TEACHER, (min(shape),)), shape)
        return draws.gaussian(numbers, shape)

    def input_law(self, numbers: Numbers) -> InputLaw:
        """Return the law of the inputs, with a row per seed where it is drawn."""
        n = self.n_inputs
        if self.input_cov is None:
            return InputLaw(n)
        if isinstance(self.input_cov, np.ndarray):
            return draws.Correlated(n, self.input_cov)
        name, number = self.input_cov
        if name == "wishart":
            return draws.wishart(numbers, n, int(number))
        return draws.Independent(n, draws.powers(n, number))


def _seeding(seed: npt.ArrayLike | None, rng: Seed, batch_shape: int | Sequence[int]) -> Seeding:
    runs = validate.batch_shape(batch_shape)
    if seed is None:
        memory.check_room("batch_shape", 8 * math.prod(runs))
        return Seeding(rng, np.arange(math.prod(runs)).reshape(runs))
    numbers = Seeding(rng, seed).numbers
    if runs:
        validate.fits_batch("seed", numbers.shape, runs)
        numbers = np.broadcast_to(numbers, runs)
    return Seeding(rng, numbers)


def _size(name: str, value: object, known: int | None, default: int | None = None) -> int:
    if value is None and known is None and default is None:
        msg = f"{name} must be given for a teacher without a matrix"
        raise ValueError(msg)
    if value is None:
        return known or default or 1
    n = validate.integer(name, value, low=1, high=_MOST)
    if known is not None and n != known:
        msg = f"{name} must be {known}, as matrix has, got {n}"
        raise ValueError(msg)
    return n


def _matrix(name: str, value: Any) -> FloatArray:
    matrix = validate.real_array(name, value)
    if matrix.ndim != 2 or not matrix.size:
        msg = f"{name} must have shape (out, in), got {matrix.shape}"
        raise ValueError(msg)
    return matrix


def _entries(name: str, value: Any, n: int) -> FloatArray:
    entries = validate.real_array(name, value)
    if entries.shape != (n,):
        msg = f"{name} must have shape ({n},), as the diagonal has, got {entries.shape}"
        raise ValueError(msg)
    return entries


def _checked_cov(value: Any, n_inputs: int) -> FloatArray | tuple[str, float]:
    """Return a covariance, or the name of a law of them and its number."""
    is_named = isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)
    if is_named or isinstance(value, str):
        name = validate.choice(
            "input_cov", value[0] if is_named else value, ("power_law", "wishart")
        )
        if not is_named:
            msg = f"input_cov must be a pair of a name and a number, got {value!r}"
            raise ValueError(msg)
        if name == "wishart":
            return name, validate.integer("input_cov", value[1], low=1, high=_MOST)
        exponent = validate.real("input_cov", value[1])
        with np.errstate(over="ignore"):
            largest = draws.powers(n_inputs, exponent).max()
        if not np.isfinite(largest):
            msg = f"input_cov must have variances within float64, got exponent {exponent}"
            raise ValueError(msg)
        return name, exponent
    cov = validate.real_array("input_cov", value)
    if cov.shape != (n_inputs, n_inputs):
        msg = f"input_cov must have shape ({n_inputs}, {n_inputs}), got {cov.shape}"
        raise ValueError(msg)
    check_input_cov(cov)
    return cov
