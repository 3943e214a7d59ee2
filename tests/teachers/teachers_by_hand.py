"""Teachers and their data in plain NumPy and SciPy, one data seed at a time: shares only Philox and the recipe."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

TEACHER, INPUT_COV, INPUTS, NOISE, SECOND = range(5)


class Numbers:
    """What is drawn for one data seed."""

    def __init__(self, seed, rng=0):
        self.words = np.random.default_rng(rng).integers(0, 2**64, 18, dtype=np.uint64)[2:]
        self.seed = seed

    def uniform(self, purpose, shape, variant=0):
        key = self.words[2 * purpose : 2 * purpose + 2].copy()
        key[1] ^= np.uint64(variant)
        n = int(np.prod(shape))
        counter = self.seed * -(-n // 4)
        source = np.random.Generator(np.random.Philox(key=key, counter=counter))
        return (source.random(n) + 2.0**-54).reshape(shape)

    def normal(self, purpose, shape, variant=0):
        return ndtri(self.uniform(purpose, shape, variant))


def haar(normal):
    """Return orthonormal columns of which the triangular factor has a positive diagonal."""
    q, r = np.linalg.qr(normal)
    return q * np.sign(np.diag(r))


def matrix(teacher, numbers):
    """Return P_0, (out, in)."""
    out, n = teacher.n_outputs, teacher.n_inputs
    k = min(out, n)
    result = np.zeros((out, n))
    if teacher.kind == "gaussian":
        result = numbers.normal(TEACHER, (out, n)) / np.sqrt(n)
    elif teacher.kind == "low_rank":
        left = numbers.normal(TEACHER, (out, teacher.rank))
        result = left @ numbers.normal(SECOND, (teacher.rank, n)) / np.sqrt(teacher.rank * n)
    elif teacher.kind == "diagonal":
        entries = teacher.strengths
        np.fill_diagonal(result, numbers.normal(TEACHER, (k,)) if entries is None else entries)
    elif teacher.kind == "power_law":
        left, right = haar(numbers.normal(TEACHER, (out, k))), haar(numbers.normal(SECOND, (n, k)))
        for i in range(k):
            result += float(i + 1) ** -teacher.exponent * np.outer(left[:, i], right[:, i])
    elif teacher.kind == "sparse":
        uniform = numbers.uniform(TEACHER, (out * n,))
        order = np.argsort(np.where(uniform < 0.5, 2 * uniform, 2 * uniform - 1))
        for place in order[: teacher.n_nonzero]:
            sign = 1 if uniform[place] >= 0.5 or teacher.positive else -1
            result.flat[place] = sign * np.sqrt(out / teacher.n_nonzero)
    else:
        result = teacher.matrix.copy()
    return float(teacher.scale) * result


def pivoted(cov):
    """Return F with F^T F = cov by Cholesky's method, the largest variance that is left first."""
    rest, rows = cov.copy(), np.zeros_like(cov)
    for _ in cov:
        j = np.argmax(np.diag(rest))
        rows[j] = rest[j] / np.sqrt(rest[j, j])
        rest -= np.outer(rows[j], rows[j])
    return rows


def input_cov(teacher, numbers):
    """Return the covariance of the inputs, and A with inputs A^T z."""
    n, law = teacher.n_inputs, teacher.input_cov
    if law is None:
        return np.eye(n), np.eye(n)
    if isinstance(law, np.ndarray):
        return law, pivoted(law)
    if law[0] == "power_law":
        variances = np.arange(1.0, n + 1) ** -law[1]
        return np.diag(variances), np.diag(np.sqrt(variances))
    samples = numbers.normal(INPUT_COV, (law[1], n), law[1])
    return samples.T @ samples / law[1], samples / np.sqrt(law[1])


def samples(teacher, seed, rng=0):
    """Return X (n, in), Y (n, out) and P_0."""
    numbers, n = Numbers(seed, rng), teacher.n_samples
    p = matrix(teacher, numbers)
    root = input_cov(teacher, numbers)[1]
    x = numbers.normal(INPUTS, (n, len(root)), n) @ root
    y = x @ p.T
    if teacher.target == "values":
        y = y + float(teacher.noise) * numbers.normal(NOISE, y.shape, n)
    elif teacher.target == "signs":
        y = np.where(y < 0, -1, 1)
        y = np.where(numbers.uniform(NOISE, y.shape, n) < teacher.noise, -y, y)
    else:
        uniform, classes = numbers.uniform(NOISE, (n,), n), y.argmax(axis=1)
        for i in range(n):
            if uniform[i] < teacher.noise:
                classes[i] = int(uniform[i] / float(teacher.noise) * teacher.n_outputs)
        y = np.eye(teacher.n_outputs)[classes]
    return x, y, p


def risk(teacher, seed, product, rng=0):
    """Return the loss of infinitely many samples of values."""
    numbers = Numbers(seed, rng)
    apart = product - matrix(teacher, numbers)
    cov = input_cov(teacher, numbers)[0]
    return 0.5 * np.trace(apart @ cov @ apart.T) + 0.5 * teacher.n_outputs * teacher.noise**2
