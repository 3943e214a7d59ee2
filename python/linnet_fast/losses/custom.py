"""A loss that the user has written, in Python or compiled."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import LowLevelCallable

from linnet_fast._base import functions, validate
from linnet_fast._base.validate import FloatArray, Shape, WeightArray
from linnet_fast.losses.base import Loss

Called: TypeAlias = Callable[[FloatArray, FloatArray | None], tuple[FloatArray, FloatArray]]
"""Products (n, out, in) and parameters (n, k) of their runs -> values (n,) and gradients (n, out, in)."""

_C_FUNCTION = ctypes.CFUNCTYPE(None).__bases__[0]
_ARGUMENTS = ("intptr_t", "intptr_t", "double *", "double *")
_OF_SIZE = {
    "long": ctypes.c_long,
    "longlong": ctypes.c_longlong,
    "long long": ctypes.c_longlong,
    "int64_t": ctypes.c_int64,
}
_INTEGERS = {"intptr_t", "npy_intp", "Py_ssize_t", "ssize_t", "ptrdiff_t"} | {
    name for name, kind in _OF_SIZE.items() if ctypes.sizeof(kind) == ctypes.sizeof(ctypes.c_void_p)
}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class CustomLoss(Loss):
    """A loss of your own: any function of the end-to-end matrix, in Python or compiled.

    A Python function is called with the products of all runs that a thread has in hand, and so
    should work on whole arrays; a compiled one with one product at a time, without the interpreter.

    Parameters
    ----------
    function : callable, scipy.LowLevelCallable or str
        ``function(products) -> (values, gradients)``: an array (n, out, in) of float64, which is the
        function's own, -> numbers (n,) and (n, out, in), the second being the derivatives of the
        first. With `parameters` it is called as ``function(products, parameters)``, the second an
        array (n, k) with those of the same n runs.

        Or a `scipy.LowLevelCallable`, of ``numba.cfunc``, Cython or ctypes, with the signature
        ``double (intptr_t out, intptr_t in, double *product, double *gradient)``, then ``double
        *parameters`` where there are any, then ``void *user_data`` if it likes: it returns the value
        and writes the gradient, out * in numbers row by row, which are 0 when it is called.

        Or the import path of one of these, ``"module:function"``, which is imported when it is first
        called. Files and sweeps know functions by their paths: they take no others than those at the
        top level of a module.
    shape : tuple of int
        Shape (out, in) of the end-to-end matrix.
    parameters : array_like, shape (*run, k), optional
        Numbers that tell runs apart, such as each run's target, or an index into data that the
        function has. Run axes broadcast.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a size is out of range, a number is not finite, or a compiled function has another
        signature.

    Notes
    -----
    Which runs go together, and how often a function is called, depends on sizes and on the number of
    threads. What it says of a run must depend on nothing but the run's product and parameters. A
    training asks in every step; infinite and NaN products are those of runs that diverge, and NaN
    that it returns makes a run diverge. An exception that it raises ends the training, and is
    raised there, with its traceback.

    With several threads, a compiled function is called from all of them at once; a Python function
    from one at a time, and from threads that Python did not start.

    Examples
    --------
    >>> import numpy as np
    >>> import linnet_fast as lf
    >>> target = np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> def pseudo_huber(products):
    ...     root = np.sqrt(1 + (products - target) ** 2)
    ...     return (root - 1).sum(axis=(1, 2)), (products - target) / root
    >>> loss = CustomLoss(pseudo_huber, shape=(2, 2))
    >>> loss
    CustomLoss(pseudo_huber, shape=(2, 2), run_shape=())
    >>> start = lf.initialization.gaussian(lf.Dense((2, 2, 2)), scale=0.1, rng=0, batch_shape=5)
    >>> run = lf.train(lf.Dense((2, 2, 2)), loss, start, method=lf.GradientDescent(0.1), n_steps=500)
    >>> bool((run.loss[:, -1] < 1e-9).all())
    True
    """

    inner_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"parameters": 1})
    unsaid: ClassVar[Mapping[str, object]] = MappingProxyType({"parameters": None})
    core: ClassVar[str] = "custom"
    supports: ClassVar[frozenset[str]] = frozenset({"stacking"})

    function: Any
    shape: tuple[int, int]
    parameters: FloatArray | None

    def __init__(
        self,
        function: Callable[..., Any] | LowLevelCallable | str,
        shape: tuple[int, int],
        parameters: npt.ArrayLike | None = None,
    ) -> None:
        own = None
        if parameters is not None:
            own = validate.real_array("parameters", parameters)
            if own.ndim < 1:
                msg = "parameters must have shape (*run, k), got a single number"
                raise ValueError(msg)
        self.__dict__.update(
            function=function, shape=validate.matrix_shape("shape", shape), parameters=own
        )
        if isinstance(function, str):
            functions.check_path("function", function)
        else:
            _check(function, own is not None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a copy in another process is made."""
        if isinstance(self.function, LowLevelCallable):
            msg = "function must be named, 'module:name', to be sent to other processes, got a "
            msg += "LowLevelCallable"
            raise TypeError(msg)
        return type(self), (self.function, self.shape, self.parameters)

    def __repr__(self) -> str:
        """Show the function and sizes."""
        named = self.function if isinstance(self.function, str) else None
        name = named or getattr(self.function, "__name__", type(self.function).__name__)
        return f"CustomLoss({name}, shape={self.shape}, run_shape={self.run_shape})"

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.shape[0]

    @cached_property
    def _found(self) -> Any:
        """The function itself."""
        if not isinstance(self.function, str):
            return self.function
        found = functions.imported("function", self.function)
        _check(found, self.parameters is not None)
        return found

    def core_fields(self, runs: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return what is called, and the parameters."""
        found = self._found
        is_compiled = isinstance(found, LowLevelCallable)
        rows = self.parameters
        return {
            "function": tuple.__getitem__(found, 0) if is_compiled else self._called,
            "parameters": None if rows is None else validate.over_runs(rows, runs, 1),
        }

    def value(self, product: npt.ArrayLike) -> FloatArray:
        """Return the loss of end-to-end matrices, in one call of the function.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray of float64, shape broadcast of (*batch) and (*run)

        Raises
        ------
        TypeError, ValueError
            If `product` or what the function returns is not made of real numbers, or has another
            shape.

        Examples
        --------
        >>> loss = CustomLoss(lambda p: ((p**2).sum(axis=(1, 2)) / 2, p), shape=(1, 2))
        >>> loss.value([[[1.0, 1.0]], [[3.0, 4.0]]]).tolist()
        [1.0, 12.5]
        """
        return self._evaluated(validate.products(product, self.shape, self.run_shape))[0]

    def gradient(self, product: npt.ArrayLike) -> WeightArray:
        """Return the gradient of the loss by the end-to-end matrix, in one call of the function.

        Parameters
        ----------
        product : array_like, shape (*batch, out, in)
            End-to-end matrices; ``batch`` broadcasts with the run axes.

        Returns
        -------
        ndarray, shape (*batch, out, in)
            In the precision of `product`, if that is a floating-point one.
        """
        matrix = validate.products(product, self.shape, self.run_shape)
        with np.errstate(over="ignore"):
            return self._evaluated(matrix)[1].astype(np.result_type(matrix, np.float32))

    def _evaluated(self, matrix: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        """Return values (*batch) and gradients (*batch, out, in)."""
        runs = np.broadcast_shapes(matrix.shape[:-2], self.run_shape)
        n = int(np.prod(runs, dtype=np.int64))
        products = np.broadcast_to(matrix, (*runs, *self.shape)).reshape(n, *self.shape)
        rows = self.parameters
        if rows is not None:
            rows = np.array(np.broadcast_to(rows, (*runs, rows.shape[-1])).reshape(n, -1))
        if n == 0:
            return np.zeros(runs), np.zeros((*runs, *self.shape))
        found = self._found
        call = _compiled(found) if isinstance(found, LowLevelCallable) else self._called
        values, gradients = call(np.array(products, np.float64), rows)
        return values.reshape(runs), gradients.reshape(*runs, *self.shape)

    def _called(
        self, products: FloatArray, parameters: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Call the Python function and check what it returns; the core calls this."""
        arguments = (products,) if parameters is None else (products, parameters)
        shape = products.shape  # it may do with the array what it likes
        # What diverges may be huge.
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                found = self._found(*arguments)
            except Exception as error:
                error.add_note(f"raised by the function of a CustomLoss, for {shape[0]} products")
                raise
            if not isinstance(found, tuple | list) or len(found) != 2:
                msg = f"function must return (values, gradients), got {validate.brief(found)}"
                raise TypeError(msg)
            return (
                _returned("values", found[0], shape[:1]),
                _returned("gradients", found[1], shape),
            )


def _returned(name: str, value: object, shape: Shape) -> FloatArray:
    array = validate.numbers(f"{name} that function returns", value)
    if array.shape != shape:
        msg = f"{name} that function returns must have shape {shape}, got {array.shape}"
        raise ValueError(msg)
    return np.ascontiguousarray(array, np.float64)


def _check(function: object, has_parameters: bool) -> None:
    """Refuse what cannot be called, and compiled functions of another signature."""
    if isinstance(function, LowLevelCallable):
        _check_signature(function.signature, has_parameters)
        return
    if isinstance(function, _C_FUNCTION) or hasattr(function, "native_name"):
        got = type(function).__name__
        msg = (
            f"function must be wrapped in scipy.LowLevelCallable to be called compiled, got a {got}"
        )
        raise TypeError(msg)
    if not callable(function):
        expected = "callable, a LowLevelCallable or an import path"
        msg = f"function must be {expected}, got {validate.shown(function)}"
        raise TypeError(msg)


def _check_signature(signature: str, has_parameters: bool) -> None:
    expected = [*_ARGUMENTS, *(["double *"] if has_parameters else [])]
    if _arguments(signature) not in (expected, [*expected, "void *"]):
        told = f"'double ({', '.join(expected)})', with 'void *' at the end or without"
        without = "" if has_parameters else "out"
        msg = (
            f"function must have the signature {told}, with{without} parameters; got '{signature}'"
        )
        raise ValueError(msg)


def _arguments(signature: str) -> list[str]:
    """Return the types of the arguments of a function that returns a double; of others none."""
    known = re.fullmatch(r"\s*double\s*\((.*)\)\s*", signature, re.DOTALL)
    return [_plain_type(part) for part in known[1].split(",")] if known else []


def _plain_type(text: str) -> str:
    """Return a type of C as this module writes it."""
    words = re.sub(r"\bconst\b", " ", text).replace("*", " * ").split()
    name = " ".join(words)
    return "intptr_t" if name in _INTEGERS else name


def _compiled(function: LowLevelCallable) -> Called:
    """Return a compiled function as one on arrays; it is called through ctypes."""
    capsule = tuple.__getitem__(function, 0)
    name = function.signature.encode()
    taken = (ctypes.py_object, ctypes.c_char_p)
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, *taken)
    address = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, name)
    context = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)
    data = context(("PyCapsule_GetContext", ctypes.pythonapi))(capsule)
    kinds = [_C_TYPES[kind] for kind in _arguments(function.signature)]
    called = ctypes.CFUNCTYPE(ctypes.c_double, *kinds)(address)

    def call(products: FloatArray, parameters: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        values, gradients = np.empty(len(products)), np.zeros_like(products)
        for k, product in enumerate(products):
            arrays = [product, gradients[k], *([] if parameters is None else [parameters[k]])]
            arguments = [*product.shape, *(array.ctypes.data for array in arrays), data]
            values[k] = called(*arguments[: len(kinds)])
        return values, gradients

    return call


_C_TYPES: Mapping[str, Any] = {
    "intptr_t": ctypes.c_ssize_t,
    "double *": ctypes.c_void_p,
    "void *": ctypes.c_void_p,
}
