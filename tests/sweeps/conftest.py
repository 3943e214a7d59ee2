"""Fixtures of the tests of sweeps."""

from __future__ import annotations

import copy

import pytest
from sweep_files import BASE, key_of, toml

from linnet_fast.sweeps.file import reader


@pytest.fixture
def make(tmp_path):
    """Write a file of tables, those of BASE replaced, and read it."""

    def made(*settings, without=(), text=None, **tables):
        path = tmp_path / "sweep.toml"
        if text is None:
            tree = {k: v for k, v in (copy.deepcopy(BASE) | tables).items() if k not in without}
            text = "\n".join(f"{key_of(k)} = {toml(v)}" for k, v in tree.items())
        path.write_text(text, encoding="utf-8")
        return reader.read(path, settings)

    return made
