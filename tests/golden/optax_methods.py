"""Makes optax_methods.npz: where optimisers of optax are that PyTorch has not, in float64.

Run by hand, with optax 0.2: ``python tests/golden/optax_methods.py``. The tests need the numbers only. Steps of
signs are so few that no gradient comes near to 0, where rounding would decide. Muon is without Nesterov's look
ahead: optax corrects the bias of its mean, ours is the sum that Muon was published with. Its `eps` is no part of ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
WIDTH = 4
N_STEPS = {"lion": 120, "signs": 120, "muon": 300}


def problem():
    """Return inputs, targets, and start weights of two square layers."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((12, WIDTH))
    y = 3 * rng.standard_normal((12, WIDTH))
    return x, y, [0.6 * rng.standard_normal((WIDTH, WIDTH)) for _ in range(2)]


def main():
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    x, y, start = problem()
    axes = dict.fromkeys(("first", "second"), optax.contrib.MuonDimensionNumbers())
    made = {
        "lion": optax.lion(0.001, b1=0.9, b2=0.99, weight_decay=0.1),
        "signs": optax.sign_sgd(0.001),
        "muon": optax.contrib.scale_by_muon(
            beta=0.9, nesterov=False, eps=0.0, weight_dimension_numbers=axes
        ),
    }
    made["muon"] = optax.chain(made["muon"], optax.scale(-0.002))

    def loss(weights):
        first, second = weights["first"], weights["second"]
        return ((x @ (second @ first).T - y) ** 2).sum() / (2 * len(x))

    results = {}
    for name, rule in made.items():
        weights = {k: jax.numpy.asarray(w) for k, w in zip(("first", "second"), start, strict=True)}
        known = rule.init(weights)

        def step(weights, known, rule=rule):
            moves, known = rule.update(jax.grad(loss)(weights), known, weights)
            return optax.apply_updates(weights, moves), known

        step = jax.jit(step)
        for _ in range(N_STEPS[name]):
            weights, known = step(weights, known)
        for layer, w in enumerate(weights.values()):
            results[f"{name}_{layer}"] = np.asarray(w)
    np.savez(FILE, **results)


if __name__ == "__main__":
    main()
