"""Expected test errors of linear regression on independent normal inputs, with a random teacher of norm 1."""

from __future__ import annotations

import numpy as np

from linnet_fast._base.validate import FloatArray


def least_norm_error(n_samples: FloatArray, n_inputs: int, noise: float) -> FloatArray:
    """Return the expected squared distance to the teacher of the predictor of least norm that fits best.

    Exact for n <= in - 2 and n >= in + 2, where traces of inverse Wishart matrices have means; inf between.
    """
    n, d = np.asarray(n_samples, float), float(n_inputs)
    with np.errstate(divide="ignore", invalid="ignore"):
        few = 1 - n / d + noise**2 * n / (d - n - 1)
        many = noise**2 * d / (n - d - 1)
    return np.where(n < d - 1, few, np.where(n > d + 1, many, np.inf))


def course_error(
    eigenvalues: FloatArray, n_samples: int, noise: float, steps: FloatArray, step_size: float
) -> FloatArray:
    """Return the expected squared distance to the teacher along descent from zero, over teachers and noise.

    Parameters
    ----------
    eigenvalues : ndarray, shape (*run, in)
        Of the second moments of the inputs.
    n_samples : int
    noise : float
    steps : ndarray, shape (n_steps,)
    step_size : float

    Returns
    -------
    ndarray, shape (*run, n_steps)
        What is left of the teacher, and what has been learned of the noise, in each direction.
    """
    known = np.maximum(eigenvalues, 0.0)[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        left = (1 - step_size * known) ** steps[:, None]
        learned = np.where(known > 1e-12, noise**2 / n_samples * (1 - left) ** 2 / known, 0.0)
    mean: FloatArray = (left**2 / eigenvalues.shape[-1] + learned).sum(axis=-1)
    return mean


def ridge_error(eigenvalues: FloatArray, n_samples: int, noise: float) -> FloatArray:
    """Return the expected squared distance to the teacher of the best predictor there is: ridge regression.

    Its penalty is noise^2 in / n, that of the posterior mean.
    """
    d = eigenvalues.shape[-1]
    penalty = noise**2 * d / n_samples
    mean: FloatArray = (penalty / (np.maximum(eigenvalues, 0.0) + penalty)).sum(axis=-1) / d
    return mean
