"""Training methods: how the gradient moves the weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy.typing as npt

from linnet_fast import _validate
from linnet_fast._validate import FloatArray, Shape


@dataclass(frozen=True, eq=False, init=False, repr=False)
class GradientDescent:
    """Full-batch gradient descent, every layer at once.

    One step takes ``g = dloss/dW_l + weight_decay * W_l`` of all layers at the old weights, then
    moves ``W_l -= step_size * layer_multipliers[l] * g``. Time is ``step_size * step``.

    Parameters
    ----------
    step_size : array_like, shape (*run)
        Positive, finite; one number or one per run.
    weight_decay : array_like, shape (*run), default 0
        Coefficient c >= 0: the objective is loss + c/2 times the sum of squares of all weights.
    layer_multipliers : array_like, shape (*run, n_layers), optional
        Factors >= 0 on the step size of each layer. A layer with factor 0 stays as it is.

    Attributes
    ----------
    step_size, weight_decay : ndarray of float64, shape (*run)
    layer_multipliers : ndarray of float64, shape (*run, n_layers), or None
        Read-only views of the arguments.

    Raises
    ------
    TypeError
        If an argument is not made of real numbers.
    ValueError
        If a number is out of range or not finite, or run axes do not broadcast.

    Examples
    --------
    >>> GradientDescent(step_size=0.05)
    GradientDescent(step_size=0.05, weight_decay=0)
    >>> GradientDescent(step_size=[0.1, 0.01], layer_multipliers=[1.0, 0.5]).run_shape
    (2,)
    """

    step_size: FloatArray
    weight_decay: FloatArray
    layer_multipliers: FloatArray | None

    def __init__(
        self,
        step_size: npt.ArrayLike,
        weight_decay: npt.ArrayLike = 0.0,
        layer_multipliers: npt.ArrayLike | None = None,
    ) -> None:
        step = _validate.real_array("step_size", step_size, above=0)
        decay = _validate.real_array("weight_decay", weight_decay, at_least=0)
        multipliers = None
        if layer_multipliers is not None:
            multipliers = _validate.real_array("layer_multipliers", layer_multipliers, at_least=0)
            if multipliers.ndim == 0:
                msg = "layer_multipliers must have shape (*run, n_layers), got ()"
                raise ValueError(msg)
        object.__setattr__(self, "step_size", step)
        object.__setattr__(self, "weight_decay", decay)
        object.__setattr__(self, "layer_multipliers", multipliers)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def __repr__(self) -> str:
        """Show numbers, and only the shapes of arrays."""
        parts = {"step_size": self.step_size, "weight_decay": self.weight_decay}
        if self.layer_multipliers is not None:
            parts["layer_multipliers"] = self.layer_multipliers
        shown = (
            f"{name}=<array {array.shape}>" if array.ndim else f"{name}={array:g}"
            for name, array in parts.items()
        )
        return f"GradientDescent({', '.join(shown)})"

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        shapes = {"step_size": self.step_size.shape, "weight_decay": self.weight_decay.shape}
        if self.layer_multipliers is not None:
            shapes["layer_multipliers"] = self.layer_multipliers.shape[:-1]
        return _validate.broadcast_runs(**shapes)

    def check_layers(self, n_layers: int) -> None:
        """Raise ValueError unless `layer_multipliers` are absent or one per layer.

        Parameters
        ----------
        n_layers : int
            Number of layers of the network to train.

        Raises
        ------
        ValueError
            If there are more or fewer multipliers than layers.

        Examples
        --------
        >>> GradientDescent(0.1, layer_multipliers=[1.0, 2.0]).check_layers(3)
        Traceback (most recent call last):
            ...
        ValueError: layer_multipliers must have shape (*run, 3), one per layer, got (2,)
        """
        if self.layer_multipliers is not None and self.layer_multipliers.shape[-1] != n_layers:
            got = self.layer_multipliers.shape
            msg = f"layer_multipliers must have shape (*run, {n_layers}), one per layer, got {got}"
            raise ValueError(msg)

    def layer_step_sizes(self, n_layers: int) -> FloatArray:
        """Return ``step_size * layer_multipliers``, the step size of each layer.

        Parameters
        ----------
        n_layers : int
            Number of layers of the network.

        Returns
        -------
        ndarray of float64, shape (*run, n_layers)

        Raises
        ------
        ValueError
            If `layer_multipliers` are not one per layer.

        Examples
        --------
        >>> GradientDescent([0.5, 0.25], layer_multipliers=[1.0, 2.0]).layer_step_sizes(2).tolist()
        [[0.5, 1.0], [0.25, 0.5]]
        """
        self.check_layers(n_layers)
        if self.layer_multipliers is None:
            return self.step_size[..., None].repeat(n_layers, axis=-1)
        return self.step_size[..., None] * self.layer_multipliers
