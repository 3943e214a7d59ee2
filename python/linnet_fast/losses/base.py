"""What a loss of the end-to-end matrix says of itself: everything else asks it, and no class by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import algebra, notebook, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast._base.value import made_with
from linnet_fast.losses.problem import Problem, Seeding

Words: TypeAlias = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint64]]
"""Numbers of blocks (n,) -> random words of 32 bits (4, n): those of one step of one run."""


class SeenInputs(NamedTuple):
    """Directions of the inputs in which the end-to-end matrix matters to a loss."""

    columns: FloatArray
    """Orthonormal, (*run, in, k); all that are seen come first."""
    n_seen: int
    """How many of them are seen."""


class KernelMoments(NamedTuple):
    """Second moments of inputs x and targets y; or of measurements M and what was measured, y."""

    input_cov: FloatArray | None
    """E x x^T, (*run, in, in); None of measurements, which `curvature` knows: E <M, Z> M."""
    cross_cov: FloatArray
    """E y x^T, or E y M, (*run, out, in)."""
    output_power: FloatArray
    """E |y|^2, (*run)."""


class Loss(Problem):
    """A loss of the end-to-end matrix of a network.

    A loss does not change, and what it is made with are attributes of the same names. Arrays among
    them have leading run axes, which broadcast. Give it to `linnet_fast.losses.registry.LOSSES.register`, so that
    files and tests know it.
    """

    inner_axes: ClassVar[Mapping[str, int]]
    """Name of each argument that is an array, or may be None -> how many axes it has besides run axes."""
    core: ClassVar[str | None] = None
    """Name by which the compiled core knows the loss; None: only the reference trains on it."""
    supports: ClassVar[frozenset[str]] = frozenset()
    """What some losses can do: ``"modes"`` (second moments, hence modes that are learned one by one), ``"margin"`` (it has `margins`, and so an accuracy), ``"draws"`` (samples for a step:
    `chosen` or `drawn`), ``"target_noise"`` (`with_noise`), ``"alignment"`` (`alignment_step`, for the rule of that name), ``"curvature"`` (a second derivative, `curvature`), ``"stacking"`` (runs with
    data of their own are trained in one batch, at a copy of the data per run)."""
    of_inputs: ClassVar[str | None] = None
    """Name of the argument whose last axis is that of the inputs, if all that the loss sees of an end-to-end
    matrix P are products of P with rows of it."""
    data_kind: ClassVar[str | None] = None
    """Of which data `from_dataset` makes one, one of `datasets.LOADERS`; None: of none."""
    dataset_options: ClassVar[tuple[str, ...]] = ()
    """Names of what `from_dataset` takes besides."""

    @property
    def example(self) -> Loss:
        """The loss itself."""
        return self

    @property
    def population(self) -> Problem:
        """Refuse to guess where samples are from."""
        msg = f"loss must be a Teacher for its population to be known, got a {type(self).__name__}"
        raise ValueError(msg)

    def for_runs(self, seeding: Seeding, training: Problem) -> Loss:  # noqa: ARG002
        """Return the loss itself."""
        return self

    @abstractmethod
    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)
        """

    @abstractmethod
    def gradient(self, product: npt.ArrayLike) -> WeightArray:
        """Return the gradient of the loss by the end-to-end matrix.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray, shape (*batch, out, in)
        """

    def curvature(self, product: npt.ArrayLike, along: npt.ArrayLike) -> FloatArray:
        """Return the derivative of the gradient at end-to-end matrices along others; see `supports`.

        Parameters
        ----------
        product, along : array_like, shape (*batch, out, in)
            Matrices; their ``batch`` axes broadcast, also with the run axes.

        Returns
        -------
        ndarray of float64, shape (*batch, out, in)
        """
        shape, runs = (self.n_outputs, self.n_inputs), self.run_shape
        matrix, moved = (
            np.asarray(validate.products(value, shape, runs, name), np.float64)
            for name, value in (("product", product), ("along", along))
        )
        validate.broadcast_runs(product=matrix.shape[:-2], along=moved.shape[:-2], loss=runs)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self._curvature(matrix, moved))

    def _curvature(self, product: FloatArray, along: FloatArray) -> FloatArray:  # noqa: ARG002
        raise self._lacks("a second derivative")  # noqa: EM101

    def kernel_moments(self) -> KernelMoments | None:
        """Return what tangent kernels on its inputs, or measurements, are made of; None: it has neither."""
        return None

    @property
    def target_matrix(self) -> FloatArray | None:
        """What end-to-end matrices are to become, (*run, out, in), where the loss says so; or None."""
        return None

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the arguments."""
        arrays = {name: getattr(self, name) for name in self.inner_axes}
        return validate.broadcast_runs(
            **{
                name: array.shape[: array.ndim - self.inner_axes[name]]
                for name, array in arrays.items()
                if array is not None
            }
        )

    def of_run(self, run: tuple[int, ...], runs: Shape) -> Self:
        """Return the loss that a single run sees.

        Parameters
        ----------
        run : tuple of int
            Which one.
        runs : tuple of int
            Shape of all run axes.

        Returns
        -------
        Loss
            Without run axes.
        """
        values = self.arguments()
        for name, n_inner in self.inner_axes.items():
            array = values[name]
            if array is not None:
                inner = array.shape[array.ndim - n_inner :]
                values[name] = np.broadcast_to(array, (*runs, *inner))[run]
        return type(self)(**values)

    def arguments(self) -> dict[str, Any]:
        """Return what the loss is made with, by name."""
        return made_with(self)

    @classmethod
    def stacked(cls, losses: Sequence[Loss], index: npt.NDArray[np.intp]) -> Self:
        """Return one loss whose runs have the data of ``losses[index]``.

        Parameters
        ----------
        losses : sequence of Loss
            Of this class, without run axes, of one shape, and equal in all that is no array.
        index : ndarray of int, shape (n_runs,)
            Which loss each run sees.

        Returns
        -------
        Loss
            With run axes ``(n_runs,)``.
        """
        used, which = np.unique(index, return_inverse=True)
        values = losses[0].arguments()
        for name in losses[0].inner_axes:
            parts = [getattr(losses[i], name) for i in used]
            known = all(part is not None for part in parts)
            values[name] = np.stack(parts)[which] if known else None
        return cls(**values)

    def spread(self, which: npt.NDArray[np.intp], runs: Shape) -> Self:
        """Return the loss of runs, each of which has the data of one row of this one's only run axis.

        Parameters
        ----------
        which : ndarray of int
            A row for each run.
        runs : tuple of int
            Shape of their run axes.
        """
        return type(self)(**self._with_rows(which, runs))

    def _with_rows(self, which: npt.NDArray[np.intp], runs: Shape) -> dict[str, Any]:
        """Return arguments with other run axes; what has none stays without."""
        values = self.arguments()
        for name, n_inner in self.inner_axes.items():
            array = values[name]
            if array is not None and array.ndim > n_inner:
                values[name] = array[which].reshape((*runs, *array.shape[1:]))
        return values

    def for_batches(self) -> Loss:
        """Return the form of the loss that batches are drawn of; most have only one form."""
        return self

    def _repr_html_(self) -> str:
        rows: dict[str, object] = {"inputs": self.n_inputs, "outputs": self.n_outputs}
        if self.run_shape:
            rows["run axes"] = self.run_shape
        for name, value in made_with(self).items():
            is_small = not isinstance(value, np.ndarray) or value.ndim == 0
            rows[name] = repr(value) if is_small else f"array of shape {value.shape}"
        return notebook.facts(type(self).__name__, rows)

    def kinds_of_runs(self) -> npt.NDArray[np.int64]:
        """Return a number for each run, (*run) or (): runs of one number may be changed together by `on_seen`."""
        return np.zeros((), np.int64)

    def seen_inputs(self) -> SeenInputs | None:
        """Return which directions of the inputs the loss sees, where they are fewer, or better, than all."""
        if self.of_inputs is None:
            return None
        array = getattr(self, self.of_inputs)
        n_inner = self.inner_axes[self.of_inputs]
        rows = array.reshape(*array.shape[: array.ndim - n_inner], -1, self.n_inputs)
        if rows.shape[-2] >= self.n_inputs:
            return None
        stored = validate.unbroadcast(rows, keep=2)
        columns = algebra.orthonormal_columns(stored.mT)
        columns = np.broadcast_to(columns, (*rows.shape[:-2], *columns.shape[-2:]))
        return SeenInputs(columns, rows.shape[-2])

    def on_seen(self, seen: SeenInputs, *, draws: bool) -> Loss:  # noqa: ARG002
        """Return the loss of P', where P = P' V^T in the directions V that are seen.

        Parameters
        ----------
        seen : SeenInputs
            What `seen_inputs` returned.
        draws : bool
            Whether samples of it will be drawn.
        """
        loss = self.along(seen.columns[..., : seen.n_seen])
        assert loss is not None
        return loss

    def padded(self, n_more: int) -> Loss | None:
        """Return the loss with so many more inputs that it does not see; None where it cannot have them."""
        if self.of_inputs is None:
            return None
        values = self.arguments()
        array = values[self.of_inputs]
        values[self.of_inputs] = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, n_more)])
        return type(self)(**values)

    def along(self, basis: FloatArray) -> Loss | None:
        """Return the loss of P', where P = P' basis^T; None where it has no such form.

        Parameters
        ----------
        basis : ndarray, shape (*run, in, k)
            Orthonormal columns.
        """
        if self.of_inputs is None:
            return None
        values = self.arguments()
        array = values[self.of_inputs]
        n_inner = self.inner_axes[self.of_inputs]
        flat = array.reshape(*array.shape[: array.ndim - n_inner], -1, self.n_inputs)
        turned = algebra.product(flat, basis)
        inner = array.shape[array.ndim - n_inner : -1]
        values[self.of_inputs] = turned.reshape(*turned.shape[:-2], *inner, basis.shape[-1])
        return type(self)(**values)

    def work(self, n_inputs: int) -> float:
        """Return about how many multiply-adds a gradient takes on so many inputs."""
        if self.of_inputs is None:
            return float(n_inputs * self.n_outputs)
        array = getattr(self, self.of_inputs)
        n_samples = array.shape[array.ndim - self.inner_axes[self.of_inputs]]
        return float(2 * n_samples * n_inputs * self.n_outputs)

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Return what the compiled core takes of the loss, by name.

        Parameters
        ----------
        runs : tuple of int
            Shape of the run axes; arrays are views that have all of them.
        dtype : dtype
            Of the weights.
        """
        msg = f"{type(self).__name__} is not known to the core for {runs} runs in {dtype}"
        raise TypeError(msg)

    @property
    def target_direction(self) -> FloatArray | None:
        """What angles are measured to where nothing else is said, (*run, in), of norm 1; or None."""
        return None

    def turned(self, direction: FloatArray) -> Loss | None:  # noqa: ARG002
        """Return the loss in coordinates in which its direction is this one; None: it has others."""
        return None

    def margins(self, product: npt.ArrayLike) -> FloatArray:  # noqa: ARG002
        """Return all margins, positive where a sample is right, shape (*batch, n); see `supports`."""
        raise self._lacks("margins")  # noqa: EM101

    def alignment_step(self, norm: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return the step size that aligns one layer of this norm at once; see `supports`."""
        raise self._lacks("step sizes of StepRule.alignment()")  # noqa: EM101

    @property
    def n_choices(self) -> int | None:
        """How many samples there are to choose from; None: there are none, or fresh ones are drawn."""
        return None

    def chosen(self, index: npt.NDArray[np.int64]) -> Loss:  # noqa: ARG002
        """Return the loss of a single run on the samples at some places; see `n_choices`."""
        raise self._lacks("samples to choose from")  # noqa: EM101

    def drawn(self, n: int, words: Words) -> Loss:  # noqa: ARG002
        """Return the loss on `n` fresh samples drawn by random words, of a law; see `supports`."""
        raise self._lacks("samples to draw")  # noqa: EM101

    @property
    def fresh_noise_std(self) -> FloatArray | None:
        """Standard deviation of normal noise on targets of `drawn` samples, (*run); None: there is none."""
        return None

    def with_noise(self, noise: FloatArray) -> Loss:  # noqa: ARG002
        """Return the loss of a single run with noise, shape (n, out), on its targets; see `supports`."""
        raise self._lacks("targets that are numbers")  # noqa: EM101

    def core_draws(self) -> tuple[int, list[float], list[float]]:
        """Return from what the core draws: a number of a law, radii, cumulative probabilities."""
        raise self._lacks("samples to draw")  # noqa: EM101

    @classmethod
    def from_dataset(cls, data: Any, **options: Any) -> tuple[Loss, str]:
        """Return the loss of a data set, and a line on what was made of it.

        Parameters
        ----------
        data : Dataset, Entries or Measurements
            As the loader of this `data_kind` gives it.
        **options
            By the names of `dataset_options`.
        """
        msg = f"{cls.__name__} is not made of data, got {data.description} and {options}"
        raise ValueError(msg)

    @classmethod
    def held_out(cls, training: Any, held_out: Any, **options: Any) -> Loss:  # noqa: ARG003
        """Return the loss on data that are not trained on, prepared as those of the training are.

        Parameters
        ----------
        training, held_out : Dataset, Entries or Measurements
            Parts of one.
        **options
            Those of the loss of the training.
        """
        return cls.from_dataset(held_out, **options)[0]

    def _lacks(self, what: str) -> TypeError:
        return TypeError(f"loss must have {what}, and a {type(self).__name__} has none")
