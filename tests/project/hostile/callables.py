"""Every public callable, with right arguments."""

from __future__ import annotations

import enum
import importlib
import inspect
import itertools
import re
from dataclasses import dataclass
from functools import cached_property

from hostile import baselines

MODULES = (
    "linnet_fast",
    *(
        f"linnet_fast.{name}"
        for name in (
            "layers",
            "initialization",
            "laws",
            "regularizers",
            "rank_dynamics",
            "directional_convergence",
            "plot",
            "figures",
            "reference",
            "datasets",
            "sklearn",
        )
    ),
)

INTERNAL = {
    "along",
    "chosen",
    "core_draws",
    "core_fields",
    "drawing",
    "drawn",
    "encode",
    "first_of",
    "for_batches",
    "for_method",
    "for_runs",
    "from_dataset",
    "group_sizes",
    "held_out",
    "input_law",
    "groups_of",
    "first_memory",
    "kinds_of_runs",
    "layer_step_sizes",
    "matrices",
    "of_run",
    "of_runs",
    "on_seen",
    "padded",
    "part",
    "seen_inputs",
    "spread",
    "stacked",
    "streams_of",
    "training_of",
    "divisors",
    "update",
    "with_noise",
    "work",
}
"""Methods by which parts of the library speak with each other: what they get is checked already."""

LACKING = re.compile(r"is not a norm|and a \w+ has none")
"""In messages of methods that a class has for its siblings only."""

FILES = {
    "linnet_fast.open_sweep",
    "linnet_fast.open_spec",
    "linnet_fast.sweep",
    "linnet_fast.Trajectory.load",
    "linnet_fast.Trajectory.save",
    "linnet_fast.plot.page",
    "linnet_fast.datasets.load",
    "linnet_fast.datasets.load_entries",
    "linnet_fast.datasets.load_measurements",
    "linnet_fast.datasets.read_array",
    "linnet_fast.datasets.load_mnist",
    "linnet_fast.datasets.load_cifar10",
}
"""What reads or writes files, and may say that there is none."""

NOT_CALLED = {
    "linnet_fast.figures.reproduce",  # a right call takes long: a test of its own
    "linnet_fast.Observable.value",  # a function of users
}

RESULTS = [
    "BoundCheck",
    "BoundTable",
    "Claim",
    "ConvergenceTable",
    "Crossover",
    "Dataset",
    "DescentLaw",
    "Entries",
    "Figure",
    "GreedyPath",
    "InducedRegularizer",
    "IsotropicFlow",
    "JointDecomposition",
    "LateTimeLaw",
    "MarginLaw",
    "MaxMargin",
    "Measurements",
    "ModePath",
    "Orbit",
    "PathDistances",
    "PhaseSwitch",
    "RateFit",
    "ReducedRankPath",
    "ReducedTrajectory",
    "RepresentationCost",
    "Settings",
    "StepSizeAdvice",
    "Summary",
    "SweepEstimate",
    "SweepProgress",
    "TurningPoint",
    "Verification",
]
"""Classes that are made by the library only, plain records: their constructors check nothing."""


@dataclass(frozen=True)
class Callable:
    """Something public that can be called.

    Parameters
    ----------
    name : str
        In full.
    function : callable
        Of an instance: bound when it is called.
    owner : str, optional
        Name of the class whose instance it is bound to.
    """

    name: str
    function: object
    owner: str | None = None

    @cached_property
    def parameters(self):
        """Names of the parameters, and whether each must be given."""
        found = {}
        for name, one in inspect.signature(self.function).parameters.items():
            if name != "self" and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
                found[name] = one.default is one.empty
        return found

    def right(self, name):
        """Return a right argument, or None and False."""
        best = None
        for prefix, values in baselines.SPECIAL.items():
            is_it = self.name == prefix or self.name.startswith(f"{prefix}.")
            if is_it and name in values and (best is None or len(prefix) > len(best)):
                best = prefix
        make = baselines.COMMON.get(name) if best is None else baselines.SPECIAL[best][name]
        return (None, False) if make is None else (make(), True)

    @property
    def is_lacking(self):
        """Whether only siblings of the class have it."""
        try:
            self.call(self.arguments([name for name, must in self.parameters.items() if must]))
        except TypeError as error:
            return LACKING.search(str(error)) is not None
        except Exception:  # noqa: BLE001  (then there is no right call, and that is said)
            return False
        return False

    @cached_property
    def baseline(self):
        """Names of the parameters of the smallest right call, or an error that says why there is none."""
        required = [name for name, must in self.parameters.items() if must]
        optional = [n for n, must in self.parameters.items() if not must and self.right(n)[1]]
        first = None
        for n_more in range(4):
            for more in itertools.combinations(optional, n_more):
                names = [*required, *more]
                if any(len(pair & set(names)) > 1 for pair in baselines.PARTNERS):
                    continue
                try:
                    self.call(self.arguments(names))
                except (TypeError, ValueError, AttributeError, KeyError) as error:
                    first = first or error
                else:
                    return tuple(names)
        msg = f"{self.name} has no right call: {first!r}"
        raise RuntimeError(msg)

    def arguments(self, names):
        """Return right arguments by name."""
        found = {}
        for name in names:
            found[name], known = self.right(name)
            if not known:
                msg = f"no right argument is known for {name} of {self.name}"
                raise RuntimeError(msg)
        return found

    def call(self, arguments):
        """Return what a call gives."""
        if self.owner is None:
            return self.function(**arguments)
        return self.function(instance(self.owner), **arguments)


_made = {}


def instance(owner):
    """Return an instance of a class."""
    if owner not in _made:
        make = baselines.INSTANCES.get(owner)
        if make is None:
            module, _, name = owner.rpartition(".")
            one = Callable(owner, getattr(importlib.import_module(module), name))
            _made[owner] = one.call(one.arguments(one.baseline))
        else:
            _made[owner] = make()
    return _made[owner]


def public():
    """Return every public callable that is checked, in order."""
    found, seen = [], set()
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        own = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module_name
        ]
        for name in own:
            value = getattr(module, name)
            if id(value) in seen or not callable(value):
                continue
            seen.add(id(value))
            full = f"{module_name}.{name}"
            if inspect.isclass(value):
                found += _of_class(full, value)
            elif full not in NOT_CALLED:
                found.append(Callable(full, value))
    return [one for one in found if one.parameters]


def _of_class(full, kind):
    if issubclass(kind, enum.Enum | Exception) or getattr(kind, "_is_protocol", False):
        return []
    if inspect.isabstract(kind):
        return []
    found = []
    if kind.__name__ not in RESULTS:
        found.append(Callable(full, kind))
    for name in sorted({name for base in kind.__mro__ for name in vars(base)}):
        value = inspect.getattr_static(kind, name)
        ours = getattr(getattr(kind, name, None), "__module__", "") or ""
        if name.startswith("_") or name in INTERNAL or not ours.startswith("linnet_fast"):
            continue
        method = f"{full}.{name}"
        if method in NOT_CALLED:
            continue
        if isinstance(value, classmethod):
            found.append(Callable(method, getattr(kind, name)))
        elif inspect.isfunction(value):
            found.append(Callable(method, value, full))
    return found
