"""The whole training again in slow, readable NumPy: what the fast core is tested against."""

from __future__ import annotations

from linnet_fast.reference.loop import end_to_end, gradients, observe, train

__all__ = ["end_to_end", "gradients", "observe", "train"]
