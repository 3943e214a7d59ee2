"""The sections of the benchmark: what each one measures, on which problem, against whom."""

from __future__ import annotations
