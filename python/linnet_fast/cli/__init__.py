"""The command ``linnet-fast``."""
