"""The papers' experiments, end to end on the core: pictures, data, and a verdict per claim."""

from __future__ import annotations

from linnet_fast.figures.report import PAPERS, About, Claim, Figure, Settings, reproduce

__all__ = ["PAPERS", "About", "Claim", "Figure", "Settings", "reproduce"]
