"""How wheels and the source distribution are made: one compiler, whoever builds them, and nothing left out."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib

import pytest
from support import ROOT

TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
LINUX = TOOLS["cibuildwheel"]["linux"]


def test_wheels_are_built_by_one_compiler_of_one_version():
    """Bits depend on it: the session takes from the settings of cibuildwheel what it is."""
    assert re.fullmatch(r"pip install ziglang==\d+\.\d+\.\d+", LINUX["before-build"])
    assert LINUX["environment"]["CXX"] == "python-zig c++"
    session = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert 'settings["linux"]["environment"]' in session
    assert 'settings["linux"]["before-build"]' in session


def test_the_c_library_is_that_of_the_name():
    glibc = re.search(
        r"--target=\$\(uname -m\)-linux-gnu\.2\.(\d+)", LINUX["environment"]["CXXFLAGS"]
    )
    session = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert f"manylinux_2_{glibc[1]}_" in session
    for page in ("docs/install.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert set(re.findall(r"manylinux_2_(\d+)", text)) == {glibc[1]}, page


def test_wheels_have_every_core():
    assert TOOLS["cibuildwheel"]["config-settings"] == {"cmake.define.LINNET_ISA_LEVELS": "all"}


def test_the_source_distribution_leaves_out_nothing_that_is_kept():
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [name for name in done.stdout.split("\0") if name]
    if done.returncode or not files:  # an unpacked one, in a checkout or not
        pytest.skip("is no checkout")
    assert {"LICENSE", "bench/goals.toml", "tests/support.py", ".github/workflows/ci.yml"} <= set(
        files
    )
    for pattern in TOOLS["scikit-build"]["sdist"]["exclude"]:
        left_out = [name for name in files if fnmatch.fnmatch(f"{name}/", f"{pattern}/*")]
        assert left_out == [], pattern
