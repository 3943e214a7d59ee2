"""Which of the compiled modules is loaded, and what is said when none can be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import python

import linnet_fast as lf
from linnet_fast import _core
from linnet_fast._base.config import config
from linnet_fast._core import levels

EVERY = ["generic", "v2", "v3", "v4"]


@pytest.fixture
def machine(monkeypatch):
    """Let the installation be built for some levels, and the processor run some."""

    def pretend(built, supported, forced=None):
        monkeypatch.setattr(levels, "built", lambda: built)
        monkeypatch.setattr(levels, "supported", lambda: supported)
        monkeypatch.delenv("LINNET_FAST_ISA", raising=False)
        if forced is not None:
            monkeypatch.setenv("LINNET_FAST_ISA", forced)

    return pretend


@pytest.mark.parametrize(
    ("built", "supported", "forced", "chosen"),
    [
        (["v2", "v3", "v4"], EVERY, None, "v4"),
        (["v2", "v3", "v4"], EVERY[:3], None, "v3"),
        (["v2", "v3", "v4"], EVERY, "v2", "v2"),
        (["v3"], EVERY, None, "v3"),
        (["generic"], ["generic"], None, "generic"),
        (["v4"], EVERY, "", "v4"),
    ],
)
def test_the_best_that_runs_is_loaded_or_the_one_that_is_named(
    machine, built, supported, forced, chosen
):
    machine(built, supported, forced)
    assert levels.choose() == chosen


def test_levels_are_what_the_system_says_of_the_processor():
    """The module asks the processor itself."""
    cpuinfo = Path("/proc/cpuinfo")
    said = (
        re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
        if cpuinfo.exists()
        else None
    )
    if said is None:
        pytest.skip("is no Linux on x86-64")
    flags = set(said[1].split())
    needs = {
        "v2": {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"},
        "v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
        "v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    }
    expected, wanted = ["generic"], set()
    for level, more in needs.items():
        wanted |= more
        if wanted <= flags:
            expected.append(level)
    assert levels.supported() == expected


def test_a_build_for_a_newer_processor_says_so_and_names_the_way_out(machine):
    machine(["v4"], EVERY[:3])
    with pytest.raises(
        ImportError,
        match=r"compiled for v4, and this processor runs generic, v2, v3: install it again on this "
        r"machine .*pip install --force-reinstall .*LINNET_ISA_LEVELS=all",
    ):
        levels.choose()


def test_a_level_that_was_not_compiled_says_what_there_is_and_how_to_build_it(machine):
    machine(["v4"], EVERY, "v3")
    with pytest.raises(
        ImportError, match=r"one of v4 here, got 'v3': it was not compiled; .*LINNET_ISA_LEVELS=all"
    ):
        levels.choose()


def test_a_level_that_does_not_run_says_what_does(machine):
    machine(["v2", "v3", "v4"], EVERY[:3], "v4")
    with pytest.raises(
        ImportError, match=r"one of v2, v3 here, got 'v4': this processor runs generic, v2, v3$"
    ):
        levels.choose()


def test_a_level_that_does_not_exist_is_refused_at_the_import():
    one_of = "LINNET_FAST_ISA must be one of "
    done = python("import linnet_fast", LINNET_FAST_ISA="v9", check=False)
    assert done.returncode != 0
    assert one_of in done.stderr
    assert "got 'v9'" in done.stderr


def test_info_tells_what_was_built(capsys, monkeypatch):
    assert config()["built_for"] == ", ".join(levels.built())
    assert _core.build_info()["isa"] in levels.built()
    monkeypatch.setattr(levels, "built", lambda: ["v2", "v3", "v4"])
    lf.show_config()
    assert "built_for        v2, v3, v4\n" in capsys.readouterr().out
    monkeypatch.setattr(levels, "built", lambda: ["v3"])
    lf.show_config()
    out = capsys.readouterr().out
    assert f"built_for        v3 only; for every processor: {levels.BUILD_ALL}\n" in out
