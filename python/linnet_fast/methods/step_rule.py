"""Step sizes of gradient descent that change from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from linnet_fast._base import validate
from linnet_fast._base.validate import FloatArray, Shape
from linnet_fast._base.value import Value, made_with

KINDS = (
    "constant",
    "power",
    "geometric",
    "loss_normalized",
    "norm_proportional",
    "gradient_normalized",
    "alignment",
    "piecewise",
    "cosine",
    "inverse_sqrt",
)
"""Kinds of rules; their places are the numbers by which the compiled core knows them."""


@dataclass(frozen=True, eq=False, init=False, repr=False)
class StepRule(Value):
    """A rule for the step size eta_n of step n = 0, 1, ... of gradient descent.

    Make one by `power`, `geometric`, `piecewise`, `cosine`, `inverse_sqrt`, `loss_normalized`,
    `norm_proportional`, `gradient_normalized` or `alignment`, put a `warmup` in front of it if you
    like, and give it to `GradientDescent` in place of a number. n counts from the very start of
    training, also in one that continues another.

    Parameters
    ----------
    kind : str
        Name of the rule.
    scale : array_like, shape (*run)
        Positive factor.
    exponent : array_like, shape (*run), default 0
        Exponent of a power, ratio of a geometric progression; of no effect on the others.
    n_steps : array_like, shape (*run), default 1
        Positive: steps of a `cosine`, or before an `inverse_sqrt` begins to fall.
    begin : array_like, shape (*run), default 0
        At least 0: step at which a `cosine` begins.
    floor : array_like, shape (*run), default 0
        0 <= floor <= 1: what a `cosine` ends at, over the scale.
    values : array_like, shape (*run, k + 1), optional
        Positive: step sizes between the boundaries of `piecewise`, over the scale.
    boundaries : array_like, shape (*run, k), optional
        Positive, increasing: steps at which the next value begins.
    warmup_steps : array_like, shape (*run), default 0
        At least 0: steps in which step sizes grow to what the rule says.

    Raises
    ------
    TypeError
        If a parameter is not made of real numbers.
    ValueError
        If `kind` is unknown, a parameter is out of range, or run axes do not broadcast.

    References
    ----------
    D. Lin, R. Sun, Z. Zhang, "Faster Directional Convergence of Linear Neural Networks under
    Spherically Symmetric Data", NeurIPS 2021.

    Examples
    --------
    >>> StepRule.power(0.1, 0.5)
    StepRule.power(0.1, 0.5)
    >>> StepRule.geometric([0.1, 0.2], 1.01).run_shape
    (2,)
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {
            "scale": 0,
            "exponent": 0,
            "n_steps": 0,
            "begin": 0,
            "floor": 0,
            "values": 1,
            "boundaries": 1,
            "warmup_steps": 0,
        }
    )
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType(
        {
            "n_steps": 1.0,
            "begin": 0.0,
            "floor": 0.0,
            "values": None,
            "boundaries": None,
            "warmup_steps": 0.0,
        }
    )

    kind: str
    scale: FloatArray
    exponent: FloatArray
    n_steps: FloatArray
    begin: FloatArray
    floor: FloatArray
    values: FloatArray | None
    boundaries: FloatArray | None
    warmup_steps: FloatArray

    def __init__(
        self,
        kind: str,
        scale: npt.ArrayLike = 1.0,
        exponent: npt.ArrayLike = 0.0,
        *,
        n_steps: npt.ArrayLike = 1.0,
        begin: npt.ArrayLike = 0.0,
        floor: npt.ArrayLike = 0.0,
        values: npt.ArrayLike | None = None,
        boundaries: npt.ArrayLike | None = None,
        warmup_steps: npt.ArrayLike = 0.0,
    ) -> None:
        object.__setattr__(self, "kind", validate.choice("kind", kind, KINDS[1:]))
        object.__setattr__(self, "scale", validate.real_array("scale", scale, above=0))
        above = 0.0 if kind == "geometric" else None
        name = "ratio" if kind == "geometric" else "exponent"
        object.__setattr__(self, "exponent", validate.real_array(name, exponent, above=above))
        object.__setattr__(self, "n_steps", validate.real_array("n_steps", n_steps, above=0))
        object.__setattr__(self, "begin", validate.real_array("begin", begin, at_least=0))
        part = validate.real_array("floor", floor, at_least=0)
        validate.refuse("floor", "<= 1", part, part > 1)
        object.__setattr__(self, "floor", part)
        self._set_pieces(values, boundaries)
        steps = validate.real_array("warmup_steps", warmup_steps, at_least=0)
        if kind == "alignment":
            validate.refuse("warmup_steps", "0 of a rule that takes one step", steps, steps > 0)
        object.__setattr__(self, "warmup_steps", steps)
        _ = self.run_shape  # refuses run axes that do not broadcast

    def _set_pieces(self, values: npt.ArrayLike | None, boundaries: npt.ArrayLike | None) -> None:
        """Check and set what a piecewise rule has, and no other."""
        for name, given in (("values", values), ("boundaries", boundaries)):
            if (given is None) == (self.kind == "piecewise"):
                expected = "given" if given is None else "None"
                msg = f"{name} must be {expected} for a rule that is {self.kind}"
                raise ValueError(msg)
            object.__setattr__(self, name, None)
        if values is None or boundaries is None:
            return
        sizes = validate.real_array("values", values, above=0)
        at = validate.real_array("boundaries", boundaries, above=0)
        for name, array in (("values", sizes), ("boundaries", at)):
            if array.ndim == 0:
                msg = f"{name} must have shape (*run, n), got ()"
                raise ValueError(msg)
        if sizes.shape[-1] != at.shape[-1] + 1:
            msg = f"values must be one more than the {at.shape[-1]} boundaries, got {sizes.shape}"
            raise ValueError(msg)
        validate.refuse("boundaries", "increasing", at[..., 1:], np.diff(at) <= 0)
        object.__setattr__(self, "values", sizes)
        object.__setattr__(self, "boundaries", at)

    @classmethod
    def power(cls, scale: npt.ArrayLike, exponent: npt.ArrayLike) -> StepRule:
        """Return eta_n = scale (n + 1)^exponent.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive: the first step size.
        exponent : array_like, shape (*run)
            Any real number.

        Returns
        -------
        StepRule
        """
        return cls("power", scale, exponent)

    @classmethod
    def geometric(cls, scale: npt.ArrayLike, ratio: npt.ArrayLike) -> StepRule:
        """Return eta_n = scale ratio^n.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive: the first step size.
        ratio : array_like, shape (*run)
            Positive.

        Returns
        -------
        StepRule
        """
        return cls("geometric", scale, ratio)

    @classmethod
    def piecewise(cls, values: npt.ArrayLike, boundaries: npt.ArrayLike) -> StepRule:
        """Return eta_n = values[k], where k of the boundaries are at most n.

        Parameters
        ----------
        values : array_like, shape (*run, k + 1)
            Positive: the step sizes.
        boundaries : array_like, shape (*run, k)
            Positive, increasing: steps at which the next step size begins.

        Returns
        -------
        StepRule

        Examples
        --------
        >>> rule = StepRule.piecewise([0.1, 0.01], [100])
        >>> rule.scheduled([99, 100]).tolist()
        [0.1, 0.01]
        """
        return cls("piecewise", values=values, boundaries=boundaries)

    @classmethod
    def cosine(
        cls,
        scale: npt.ArrayLike,
        n_steps: npt.ArrayLike,
        floor: npt.ArrayLike = 0.0,
        begin: npt.ArrayLike = 0.0,
    ) -> StepRule:
        """Return step sizes that fall along half a wave of a cosine, from scale to ``scale * floor``.

        They are scale until step `begin`, and ``scale * floor`` from step ``begin + n_steps`` on.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive.
        n_steps : array_like, shape (*run)
            Positive.
        floor : array_like, shape (*run), default 0
            0 <= floor <= 1.
        begin : array_like, shape (*run), default 0
            At least 0.

        Returns
        -------
        StepRule

        Examples
        --------
        >>> StepRule.cosine(0.1, 100).scheduled([0, 50, 200]).round(12).tolist()
        [0.1, 0.05, 0.0]
        """
        return cls("cosine", scale, n_steps=n_steps, floor=floor, begin=begin)

    @classmethod
    def inverse_sqrt(cls, scale: npt.ArrayLike, n_steps: npt.ArrayLike = 1.0) -> StepRule:
        """Return eta_n = scale for the first n_steps, then ``scale * sqrt(n_steps / (n + 1))``.

        Behind a `warmup` of as many steps it is the schedule that transformers are trained with.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive.
        n_steps : array_like, shape (*run), default 1
            Positive.

        Returns
        -------
        StepRule

        Examples
        --------
        >>> StepRule.inverse_sqrt(0.1, 25).scheduled([0, 24, 99]).tolist()
        [0.1, 0.1, 0.05]
        """
        return cls("inverse_sqrt", scale, n_steps=n_steps)

    @classmethod
    def warmup(cls, n_steps: npt.ArrayLike, then: npt.ArrayLike | StepRule) -> StepRule:
        """Return a step size, or a rule, multiplied by (n + 1) / n_steps in its first steps.

        Parameters
        ----------
        n_steps : array_like, shape (*run)
            At least 0.
        then : array_like, shape (*run), or StepRule
            What it comes to. The steps of a rule count from the start, not from the end of the
            warm-up: `cosine` has a `begin` for that.

        Returns
        -------
        StepRule

        Examples
        --------
        >>> rule = StepRule.warmup(10, StepRule.cosine(0.1, 100, begin=10))
        >>> rule.scheduled([0, 4, 9, 60, 110]).round(12).tolist()
        [0.01, 0.05, 0.1, 0.05, 0.0]
        """
        steps = validate.real_array("n_steps", n_steps, at_least=0)
        if not isinstance(then, StepRule):
            return cls("power", validate.real_array("then", then, above=0), warmup_steps=steps)
        if then.kind == "alignment" or then.warmup_steps.any():
            msg = f"then must be a rule that can be warmed up to, and is not yet, got {then}"
            raise ValueError(msg)
        return cls(**made_with(then) | {"warmup_steps": steps})

    @classmethod
    def loss_normalized(cls, scale: npt.ArrayLike) -> StepRule:
        """Return eta_n = scale / loss, with the loss before the step.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive.

        Returns
        -------
        StepRule
        """
        return cls("loss_normalized", scale)

    @classmethod
    def norm_proportional(cls, scale: npt.ArrayLike) -> StepRule:
        """Return ``eta_n = scale |P|``, with the Frobenius norm of the end-to-end matrix.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive.

        Returns
        -------
        StepRule
        """
        return cls("norm_proportional", scale)

    @classmethod
    def gradient_normalized(cls, scale: npt.ArrayLike) -> StepRule:
        """Return ``eta_n = scale / |dloss/dP|``, with the gradient by the end-to-end matrix.

        Parameters
        ----------
        scale : array_like, shape (*run)
            Positive; of a single layer it is how far each step goes.

        Returns
        -------
        StepRule
        """
        return cls("gradient_normalized", scale)

    @classmethod
    def alignment(cls) -> StepRule:
        """Return ``eta = |w| / q(|w|)``, by which a single layer is aligned in one step.

        At w = 0 it is the limit, 4 over the second moment of an input. The rule is for a single
        layer and `SphericalLogisticLoss`: what is left of the weights after such a step points in
        the direction of the data.

        Returns
        -------
        StepRule
        """
        return cls("alignment")

    def __repr__(self) -> str:
        """Show the call that makes this rule, with only the shapes of arrays."""
        parts: list[tuple[str, FloatArray | None]] = [
            (name, getattr(self, name)) for name in _SHOWN.get(self.kind, ("scale",))
        ]
        if self.kind == "cosine":
            named = [("floor", self.floor), ("begin", self.begin)]
            parts += [(f"{name}=", part) for name, part in named if part.any()]
        shown = [f"{name if name[-1] == '=' else ''}{_text(part)}" for name, part in parts]
        is_constant = self.kind == "power" and not self.exponent.any()
        text = f"StepRule.{self.kind}({', '.join(shown)})"
        if not self.warmup_steps.any():
            return text
        then = _text(self.scale) if is_constant else text
        return f"StepRule.warmup({_text(self.warmup_steps)}, {then})"

    @property
    def run_shape(self) -> Shape:
        """Common shape of the run axes of the parameters."""
        shapes = {}
        for name, n_inner in self.inner_axes.items():
            if (part := getattr(self, name)) is not None:
                shapes[name] = part.shape[: part.ndim - n_inner]
        return validate.broadcast_runs(**shapes)

    @property
    def follows_steps(self) -> bool:
        """Whether step sizes depend on the step alone."""
        return self.kind in _OF_STEPS

    def scheduled(self, step: npt.ArrayLike) -> FloatArray:
        """Return the part of the step sizes that depends on the step alone, scale included.

        Parameters
        ----------
        step : array_like
            At least 0. Its axes and the run axes broadcast.

        Returns
        -------
        ndarray of float64
            All of the step size, where the kind is not one that looks at the loss, the norm or the
            gradient: else what these are multiplied by.

        Examples
        --------
        >>> StepRule.warmup(4, 0.5).scheduled(range(6)).tolist()
        [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
        """
        n = validate.real_array("step", step, at_least=0)
        validate.broadcast_runs(step=n.shape, rule=self.run_shape)
        factor = _OF_STEPS.get(self.kind, _one)
        with np.errstate(divide="ignore"):
            warm = np.where(n + 1 < self.warmup_steps, (n + 1) / self.warmup_steps, 1.0)
        return np.asarray(self.scale * factor(self, n) * warm)

    def late_power(self) -> tuple[FloatArray, FloatArray] | None:
        """Return c and a, where step sizes are c (n + 1)^a in the end; None of other rules.

        c is 0 where they come to rest.
        """
        return _LATE[self.kind](self) if self.kind in _LATE else None

    def core_parameters(self) -> FloatArray:
        """Return what the core takes besides kind and scale, shape (*run, ...)."""
        runs = self.run_shape
        names = ("exponent", "begin", "n_steps", "floor", "warmup_steps")
        parts = [np.broadcast_to(getattr(self, name), runs)[..., None] for name in names]
        pieces = [part for part in (self.boundaries, self.values) if part is not None]
        parts += [np.broadcast_to(part, (*runs, part.shape[-1])) for part in pieces]
        return np.concatenate(parts, axis=-1)


def _text(part: FloatArray | None) -> str:
    """Return a parameter as it is shown: numbers, lists of them, shapes of what has run axes."""
    array = np.asarray(part)
    if array.ndim == 0:
        return f"{array:g}"
    return f"<array {array.shape}>"


def _one(rule: StepRule, n: FloatArray) -> FloatArray:  # noqa: ARG001  (of any rule)
    return np.ones_like(n)


def _cosine(rule: StepRule, n: FloatArray) -> FloatArray:
    part = np.clip((n - rule.begin) / rule.n_steps, 0.0, 1.0)
    return np.asarray(rule.floor + (1 - rule.floor) * (0.5 * (1 + np.cos(np.pi * part))))


def _piecewise(rule: StepRule, n: FloatArray) -> FloatArray:
    values, boundaries = np.asarray(rule.values), np.asarray(rule.boundaries)
    piece = (boundaries <= n[..., None]).sum(axis=-1)
    lead = np.broadcast_shapes(piece.shape, values.shape[:-1])
    whole = np.broadcast_to(values, (*lead, values.shape[-1]))
    at = np.broadcast_to(piece, lead)[..., None]
    return np.asarray(np.take_along_axis(whole, at, axis=-1)[..., 0])


_OF_STEPS: Mapping[str, Callable[[StepRule, FloatArray], FloatArray]] = {
    "power": lambda rule, n: np.asarray((n + 1.0) ** rule.exponent),
    "geometric": lambda rule, n: np.asarray(rule.exponent**n),
    "piecewise": _piecewise,
    "cosine": _cosine,
    "inverse_sqrt": lambda rule, n: np.sqrt(rule.n_steps / np.maximum(n + 1, rule.n_steps)),
}
"""What step sizes are, over the scale, of the kinds that depend on the step alone."""
_LATE: Mapping[str, Callable[[StepRule], tuple[FloatArray, FloatArray]]] = {
    "power": lambda rule: (rule.scale, rule.exponent),
    "piecewise": lambda rule: (np.asarray(rule.values)[..., -1] * rule.scale, np.zeros(())),
    "cosine": lambda rule: (rule.scale * rule.floor, np.zeros(())),
    "inverse_sqrt": lambda rule: (rule.scale * np.sqrt(rule.n_steps), np.full((), -0.5)),
}
_SHOWN: Mapping[str, tuple[str, ...]] = {
    "power": ("scale", "exponent"),
    "geometric": ("scale", "exponent"),
    "piecewise": ("values", "boundaries"),
    "cosine": ("scale", "n_steps"),
    "inverse_sqrt": ("scale", "n_steps"),
    "alignment": (),
}


def rule_parts(step_size: npt.ArrayLike | StepRule) -> tuple[str, FloatArray, FloatArray]:
    """Return kind, scale and the core's parameters of a rule, or of a constant step size.

    Parameters
    ----------
    step_size : array_like or StepRule
        Numbers must be positive.

    Returns
    -------
    str, ndarray, ndarray
    """
    if isinstance(step_size, StepRule):
        return step_size.kind, step_size.scale, step_size.core_parameters()
    size = validate.real_array("step_size", step_size, above=0)
    return KINDS[0], size, StepRule.power(1.0, 0.0).core_parameters()
