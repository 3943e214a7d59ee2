"""``python -m linnet_fast`` is the command ``linnet-fast``."""

from __future__ import annotations

import sys

from linnet_fast.cli.main import entry_point

if __name__ == "__main__":
    sys.exit(entry_point())
