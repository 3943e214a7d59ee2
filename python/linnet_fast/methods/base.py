"""What a method says of itself: everything else asks it, and no class by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import elementary, validate
from linnet_fast._base.runs import noun_of
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast._base.value import Value
from linnet_fast.methods.batches import Batches
from linnet_fast.methods.noise import GaussianNoise
from linnet_fast.methods.step_rule import StepRule
from linnet_fast.networks.chain import MAX_LAYERS, Chain

_LATE = 1e300  # times beyond are as good as this

Memory: TypeAlias = tuple[WeightArray, ...]
"""What a method remembers of one array of weights: arrays of its shape."""


class Method(Value, ABC):
    """A way to go down a loss.

    A method is a frozen dataclass whose fields are the arguments it is made with. Arrays among them
    have leading run axes, which broadcast. Give it to `linnet_fast.methods.registry.METHODS.register`, so that
    files and tests know it.
    """

    inner_axes: ClassVar[Mapping[str, int]]
    """Name of each field that is an array -> how many axes it has besides run axes."""
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """Fields that came later -> the value that is not written down: identities of sweeps stay."""
    counts_steps: ClassVar[bool]
    """Whether a training is measured in steps; else in time."""
    of_core: ClassVar[bool] = False
    """Whether the compiled core knows the method; else only the reference trains by it."""
    usual_step_size: ClassVar[float | None] = None
    """A step size for where none is given; None: what is stable follows from the sharpness."""
    divides: ClassVar[bool] = False
    """Whether steps are gradients, or means of them, over `SteppingMethod.divisors`."""
    log_time: bool = False
    """Whether times are log(1 + t)."""
    feeds_back: ClassVar[bool] = False
    """Whether errors pass back through what is remembered last, in place of the weights."""
    weight_decay: FloatArray
    """Coefficient of the weight decay, shape (*run)."""
    decoupled: bool = False
    """Whether weights shrink by step size * weight decay, in place of a decay in the gradient."""
    layer_decays: FloatArray | None = None
    """Factors on it for each array of weights, shape (*run, n_arrays); None: all are 1."""

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        shapes = {}
        for name, n_inner in self.inner_axes.items():
            value = getattr(self, name)
            if value is not None:
                own = getattr(value, "run_shape", None)  # of a rule
                shapes[name] = value.shape[: value.ndim - n_inner] if own is None else own
        return validate.broadcast_runs(**shapes)

    @property
    def rule(self) -> StepRule | None:
        """The rule for the step size; None where it is constant, or there is none."""
        return None

    @property
    def constant_step_size(self) -> FloatArray | None:
        """The step size, shape (*run); None of a method that is measured in time."""
        return None

    @property
    def is_plain(self) -> bool:
        """Whether weights go along the gradient of the whole objective and nothing else."""
        return False

    @property
    def follows_loss(self) -> bool:
        """Whether all weights go along the gradient of the loss alone: what closed forms are of."""
        return self.is_plain and not self.weight_decay.any()

    @property
    def is_equivariant(self) -> bool:
        """Whether a step from turned weights, hidden spaces and inputs, is the step turned.

        And whether it is the same step where these spaces are parts of larger ones.
        """
        return False

    @property
    def mode_momentum(self) -> tuple[FloatArray, bool] | None:
        """Momentum, and whether it is Nesterov's, where modes follow its theory; None where not."""
        return (np.zeros(()), False) if self.is_plain else None

    @property
    def batches(self) -> Batches | None:
        """What is drawn for every step; None: each sees all of the loss."""
        return None

    @property
    def noise(self) -> GaussianNoise | None:
        """What is added to the weights after every step; None: nothing."""
        return None

    @property
    def radius(self) -> FloatArray | None:
        """How far up the gradient of the loss gradients are taken, shape (*run); None: where weights are."""
        return None

    @property
    def n_memories(self) -> int:
        """How many arrays are kept for each array of weights."""
        return 0

    def remembering(self, n: int) -> Self:  # noqa: ARG002
        """Return the method as one of runs that keep so many arrays, where others of them need more than it does.

        Parameters
        ----------
        n : int
            Arrays that are kept for each array of weights.
        """
        return self

    @property
    def remembers(self) -> str:
        """What its memory is of: methods of one name can go on with each other's."""
        return type(self).__name__

    def first_memory(self, weights: tuple[WeightArray, ...]) -> tuple[Memory, ...]:
        """Return what is remembered at first: zeros; of nothing, an empty tuple per array.

        Parameters
        ----------
        weights : tuple of ndarray, shapes (*run, ...)
            With all run axes.
        """
        return tuple(
            (np.broadcast_to(np.zeros((), w.dtype), w.shape),) * self.n_memories for w in weights
        )

    def array_decays(self, n_arrays: int) -> FloatArray:
        """Return the weight decay of each array of weights, shape (*run, n_arrays).

        Parameters
        ----------
        n_arrays : int
            Number of arrays of weights of the network.
        """
        n = validate.integer("n_arrays", n_arrays, low=1, high=MAX_LAYERS)
        return self.weight_decay[..., None].repeat(n, axis=-1)

    def linear_time(self, time: npt.ArrayLike) -> FloatArray:
        """Return the time t that is meant by what trainings call time: log(1 + t) if `log_time`.

        Parameters
        ----------
        time : array_like
            As trainings have it.

        Returns
        -------
        ndarray of float64
            inf beyond float64.
        """
        own = _times("time", time)
        return elementary.expm1(own) if self.log_time else own

    def own_time(self, time: npt.ArrayLike) -> FloatArray:
        """Return what trainings call a time t, the inverse of `linear_time`.

        Parameters
        ----------
        time : array_like
            At least 0.
        """
        linear = _times("time", time)
        stored = validate.unbroadcast(linear)
        validate.refuse("time", ">= 0", stored, stored < 0)
        return elementary.log1p(linear) if self.log_time else linear

    def time_between(self, begin: npt.ArrayLike, end: npt.ArrayLike) -> FloatArray:
        """Return the time t from one time of a training to another, at most 1e300.

        Parameters
        ----------
        begin, end : array_like
            As trainings have them.

        Returns
        -------
        ndarray of float64
            A number also where t is beyond float64, by when everything has come to rest.
        """
        given = (_times("begin", begin), _times("end", end))
        validate.broadcast_runs(begin=given[0].shape, end=given[1].shape)
        first, last = (np.minimum(self.linear_time(time), _LATE) for time in given)
        return np.asarray(last - first)

    @property
    def relative_error(self) -> float:
        """What is left open of a number that is recorded, besides rounding: 0 of steps."""
        return 0.0

    def check_network(self, network: Chain) -> None:
        """Raise ValueError unless the method can train a network.

        Parameters
        ----------
        network : Chain
            What is to be trained.
        """

    def with_streams(self, streams: npt.ArrayLike) -> Self:  # noqa: ARG002
        """Return the method with random streams of these numbers, where it has any."""
        return self

    def of_runs(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the method as some runs see it.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            Their numbers, in C order.
        runs : tuple of int
            Shape of all run axes.
        """
        return noun_of(self, which, runs)

    def core_fields(self, runs: Shape) -> dict[str, Any]:
        """Return what the compiled core takes of the method, by name.

        Parameters
        ----------
        runs : tuple of int
            Shape of the run axes; arrays are views that have all of them.
        """
        msg = f"{type(self).__name__} is not known to the core for {runs} runs"
        raise TypeError(msg)

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        texts = []
        for name, part in self._shown().items():
            if isinstance(part, np.ndarray):
                texts.append(f"{name}=<array {part.shape}>" if part.ndim else f"{name}={part:g}")
            else:
                texts.append(f"{name}={part}")
        return f"{type(self).__name__}({', '.join(texts)})"

    @abstractmethod
    def _shown(self) -> dict[str, object]:
        """Return the arguments that are worth showing."""


def _times(name: str, value: npt.ArrayLike) -> FloatArray:
    return np.asarray(validate.floating(name, value, ()), np.float64)
