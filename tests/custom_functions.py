"""Losses that a user might write, for the tests that call them: in Python, by ctypes, compiled."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
from pathlib import Path

import numpy as np
from scipy import LowLevelCallable

NUMBER, NUMBERS = ctypes.c_double, ctypes.POINTER(ctypes.c_double)
SIZES = (ctypes.c_ssize_t, ctypes.c_ssize_t)

INPUTS = np.array([[1.0, -0.5, 0.25], [0.0, 2.0, 1.0], [-1.0, 0.5, 1.5], [0.75, 1.0, -1.0]])
TARGETS = np.array([[1.0, -1.0], [0.5, 2.0], [0.0, 0.25], [-1.0, 1.0]])
LABELS = np.array([1.0, -1.0, -1.0, 1.0])


def squared(products):
    """Return the squared loss of INPUTS and TARGETS, out = 2, in = 3."""
    apart = INPUTS @ products.mT - TARGETS
    return (apart**2).sum(axis=(1, 2)) / (2 * len(INPUTS)), apart.mT @ INPUTS / len(INPUTS)


def logistic(products):
    """Return the logistic loss of INPUTS and LABELS, out = 1, in = 3."""
    margins = (products @ INPUTS.T) * LABELS
    slopes = -LABELS / (1 + np.exp(margins))
    return np.logaddexp(0, -margins).mean(axis=(1, 2)), slopes @ INPUTS / len(INPUTS)


def to_target(products, parameters):
    """Return half the squared distance to the matrix that the parameters of a run are."""
    apart = products - parameters.reshape(products.shape)
    return 0.5 * (apart**2).sum(axis=(1, 2)), apart


def pseudo_huber(products):
    """Return the sum of sqrt(1 + P^2) - 1 over entries."""
    root = np.sqrt(1 + products**2)
    return (root - 1).sum(axis=(1, 2)), products / root


def _called_back(function, out, n_in, product, gradient, parameters=None):
    size = out * n_in
    products = np.ctypeslib.as_array(product, (size,)).reshape(1, out, n_in)
    given = [] if parameters is None else [np.ctypeslib.as_array(parameters, (1, size))]
    values, gradients = function(products, *given)
    np.ctypeslib.as_array(gradient, (size,))[:] = gradients.ravel()
    return float(values[0])


def by_ctypes(function, *, has_parameters=False, user_data=None):
    """Return a function of Python as one that is called as if it were compiled."""
    kinds = [*SIZES, NUMBERS, NUMBERS]
    if has_parameters:
        kinds.append(NUMBERS)
    n = len(kinds)
    if user_data is not None:
        kinds.append(ctypes.c_void_p)
    made = ctypes.CFUNCTYPE(NUMBER, *kinds)(lambda *given: _called_back(function, *given[:n]))
    return LowLevelCallable(made) if user_data is None else LowLevelCallable(made, user_data)


to_target_by_ctypes = by_ctypes(to_target, has_parameters=True)

SOURCE = r"""
#include <math.h>
#include <stdint.h>
/* Half the squared distance to the parameters; user_data: a number by which it is multiplied. */
double to_target(intptr_t out, intptr_t in, const double* product, double* gradient,
                 const double* parameters, void* user_data) {
    double sum = 0, factor = *(double*)user_data;
    for (intptr_t i = 0; i < out * in; ++i) {
        double apart = product[i] - parameters[i];
        sum += apart * apart;
        gradient[i] = factor * apart;
    }
    return factor * sum / 2;
}
/* The square of the first entry alone: nothing else is written. */
double first_entry(intptr_t out, intptr_t in, const double* product, double* gradient) {
    gradient[0] = 2 * product[0];
    return product[0] * product[0];
}
/* One that takes its time. */
double slow(intptr_t out, intptr_t in, const double* product, double* gradient) {
    double x = 0;
    for (int i = 0; i < 300000; ++i) x = sin(x + product[0]);
    gradient[0] = 1e-300 * x;
    return x;
}
"""


@functools.cache
def library(folder):
    """Return a library of the functions of SOURCE, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    source, target = Path(folder) / "functions.c", Path(folder) / "functions.so"
    source.write_text(SOURCE, encoding="utf-8")
    command = [compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(target), "-lm"]
    subprocess.run(command, check=True)
    found = ctypes.CDLL(str(target))
    for name, more in (
        ("to_target", [NUMBERS, ctypes.c_void_p]),
        ("first_entry", []),
        ("slow", []),
    ):
        function = getattr(found, name)
        function.restype, function.argtypes = NUMBER, [*SIZES, NUMBERS, NUMBERS, *more]
    return found


def raises(products):
    """Raise what a user's mistake might."""
    return products, 1 // 0
