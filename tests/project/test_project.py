from __future__ import annotations

import doctest
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import linnet_fast as lf

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


LEVELS = ("v2", "v3", "v4")


def nox_sessions():
    """Return the names of sessions, those by instruction set also as nox names each."""
    text = read("noxfile.py")
    names = set(re.findall(r"^@nox\.session.*\n(?:@.*\n)?def (\w+)", text, re.MULTILINE))
    by_level = re.findall(r"^@nox\.parametrize.*LEVELS.*\ndef (\w+)", text, re.MULTILINE)
    return names | {f"{name}({level})" for name in by_level for level in LEVELS}


def presets():
    kinds = json.loads(read("CMakePresets.json"))
    named = [
        {preset["name"] for preset in kinds[kind] if not preset.get("hidden")}
        for kind in ("configurePresets", "buildPresets", "testPresets")
    ]
    assert named[0] == named[1] == named[2]
    return named[0]


def test_version_is_the_same_everywhere():
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert lf.__version__ == version
    assert re.search(r"^version: (.+)$", read("CITATION.cff"), re.MULTILINE)[1] == version
    assert re.search(rf"^## \[{re.escape(version)}\] - ", read("CHANGELOG.md"), re.MULTILINE)


def test_readme_runs_the_main_job_and_the_tests_by_one_line_each():
    blocks = re.findall(
        r"^```(?:sh|bash|console)?\n(.*?)\n```$", read("README.md"), re.DOTALL | re.MULTILINE
    )
    lines = [line for block in blocks for line in block.splitlines() if "install" in line]
    assert any("linnet-fast sweep examples/scale_step_digits.toml" in line for line in lines)
    assert any("pytest" in line for line in lines)


def test_every_public_name_is_in_the_api_page():
    listed = re.findall(r"[\w.]+", read("docs/api.md"))
    missing = {name for name in lf.__all__ if not {name, f"linnet_fast.{name}"} & set(listed)}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_the_documentation_run(page):
    blocks = re.findall(
        r"^```pycon\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    output = []
    runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_is_in_the_table_of_contents(page):
    index = read("docs/index.md")
    assert page.stem == "index" or re.search(rf"^{page.stem}$", index, re.MULTILINE)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/engines").glob("*.md")), ids=lambda p: p.stem)
def test_every_engine_has_its_page_in_the_table_of_sweeps(page):
    assert f"(engines/{page.name})" in read("docs/sweeps.md")
    assert re.search(rf"^engines/{page.stem}$", read("docs/sweeps.md"), re.MULTILINE)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_name_sessions_that_exist_and_pin_actions(workflow):
    text = workflow.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content["permissions"] == {}
    for job in content["jobs"].values():
        commands = [step["run"] for step in job["steps"] if "run" in step]
        sessions = set(re.findall(r"nox -s (\w+)", " ".join(commands)))
        sessions |= set(job.get("strategy", {}).get("matrix", {}).get("session", ()))
        assert sessions <= nox_sessions()
        assert set(job.get("needs", ())) <= set(content["jobs"])
    for action in re.findall(r"uses: (.+)", text):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action)


def test_every_instruction_set_has_its_sanitizers():
    """As presets of that set alone, as sessions, and in CI."""
    kinds = json.loads(read("CMakePresets.json"))["configurePresets"]
    by_name = {preset["name"]: preset for preset in kinds}
    in_ci = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["checks"]["strategy"]
    for kind in ("asan", "tsan"):
        for level in LEVELS:
            preset = by_name[f"{kind}-{level}"]
            assert preset["cacheVariables"] == {"LINNET_ISA_LEVELS": level}
            assert preset["inherits"] == kind
            assert f"{kind}({level})" in in_ci["matrix"]["session"]


def test_every_job_of_ci_is_behind_the_gate():
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    assert set(jobs["pass"]["needs"]) == set(jobs) - {"pass"}


def test_contributing_and_nox_name_what_exists():
    text = read("CONTRIBUTING.md")
    assert set(re.findall(r"nox -s (\w+)", text)) <= nox_sessions()
    assert set(re.findall(r"--preset (\w+)", text)) <= presets()
    built = set(re.findall(r'build\(session, f?"([^"]+)"\)', read("noxfile.py")))
    built |= set(re.findall(r"--preset (\w+)", read(".ci/run")))
    assert {n.format(level=level) for n in built for level in LEVELS} == presets()
    for path in re.findall(r"`([\w./]+/|[\w/]+\.(?:py|hpp|cpp|toml|yml|md|cff))`", text):
        places = (
            ROOT,
            ROOT / "python" / "linnet_fast",
            ROOT / "cpp" / "bindings",
            ROOT / "cpp" / "src",
            ROOT / ".github" / "workflows",
        )
        assert any((place / path).exists() for place in places), path


def test_files_of_the_project_do_not_point_outside_it():
    for path in [
        *PAGES,
        *WORKFLOWS,
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).resolve().is_relative_to(ROOT), target
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_repository_has_one_address():
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *map(ROOT.joinpath, ("pyproject.toml", "CITATION.cff")),
    ]
    text = "".join(path.read_text(encoding="utf-8") for path in pages)
    assert len(set(re.findall(r"github\.com/[\w-]+/linnet\w*", text))) == 1


def test_nothing_large_is_kept():
    """A core dump was, once."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("is no checkout")
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).exists():
            assert (ROOT / name).stat().st_size < 500_000, name
