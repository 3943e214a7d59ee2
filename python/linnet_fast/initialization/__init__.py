"""Start weights: drawn at random, orthogonal, balanced, or aligned with the data."""

from __future__ import annotations

from linnet_fast.initialization.draws import aligned, balanced, gaussian, orthogonal

__all__ = ["aligned", "balanced", "gaussian", "orthogonal"]
