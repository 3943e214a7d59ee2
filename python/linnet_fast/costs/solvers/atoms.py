"""Atoms of norms whose unit balls are polytopes: the rows of fixed dictionaries."""

from __future__ import annotations

import itertools

import numpy as np

from linnet_fast._base.validate import FloatArray


def sign_vectors(n: int) -> FloatArray:
    """Return all vectors of signs that begin with 1."""
    return np.array([(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=n - 1)])


def owl_atoms(weights: FloatArray) -> FloatArray:
    """Return the atoms of an OWL norm: signed subsets, of size 1 over the sum of weights."""
    n, sums, atoms = len(weights), np.cumsum(weights), []
    for signs in itertools.product((0.0, 1.0, -1.0), repeat=n):
        some = np.flatnonzero(signs)
        if len(some) and signs[some[0]] > 0:
            atoms.append(np.array(signs) / sums[len(some) - 1])
    return np.array(atoms)
