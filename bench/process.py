"""Measures sections in a process whose libraries all get the same threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.timing import Settings


class MeasuringError(Exception):
    """A process that measured has failed, and has said why."""


def measured(
    goals: Mapping[str, list[dict[str, Any]]],
    settings: Settings,
    *,
    quick: bool = False,
    library: Path | None = None,
) -> dict[str, Any]:
    """Return the results of some sections, in a process of their own.

    Parameters
    ----------
    goals
        Rows of goals.toml, by section.
    settings
        How long and against whom; the section `single` by itself gets one thread.
    quick
        Whether compilers of rivals should hurry, as nobody looks at the numbers.
    library
        A folder that holds another `linnet_fast`, or a Python that imports another.

    Raises
    ------
    MeasuringError
        If the process fails.
    """
    if list(goals) == ["single"]:
        settings = replace(settings, n_threads=1)
    n_threads = settings.n_threads
    names = ("OMP", "MKL", "OPENBLAS", "NUMBA", "VECLIB_MAXIMUM")
    environment = os.environ | {f"{name}_NUM_THREADS": str(n_threads) for name in names}
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    flags = [f"--xla_force_host_platform_device_count={n_threads}"]
    if quick:
        environment["NUMBA_OPT"] = "0"
        flags.append("--xla_backend_optimization_level=0")
    environment["XLA_FLAGS"] = " ".join(flags)
    python = sys.executable
    if library is not None and library.is_dir():
        paths = [str(library.absolute()), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    elif library is not None:
        python = str(library.absolute())
        environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "results.json"
        job = {"goals": goals, "settings": asdict(settings), "output": str(output)}
        try:
            subprocess.run(
                [python, "-X", "faulthandler", "-m", "bench.worker"],
                input=json.dumps(job),
                text=True,
                check=True,
                cwd=Path(__file__).parents[1],
                env=environment,
                stdout=sys.stderr,
            )
        except subprocess.CalledProcessError as error:
            msg = f"sections {', '.join(goals)} failed with exit status {error.returncode}"
            raise MeasuringError(msg) from error
        results: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return results
