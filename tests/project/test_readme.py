"""The README: its Python runs, its command lines parse, its output is what the command prints."""

from __future__ import annotations

import re
import runpy
import shlex

import pytest
from support import ROOT

from linnet_fast.cli import main, train

README = (ROOT / "README.md").read_text(encoding="utf-8")
SWEEPS = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")


def blocks(language, page=README):
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def commands():
    """Return the arguments of each use of linnet-fast."""
    parts = [part.strip() for block in blocks("sh") for part in re.split(r"&&|\n", block)]
    words = [shlex.split(part) for part in parts if "linnet-fast" in part]
    return [line[1:] for line in words if line[0].endswith("linnet-fast")]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs_and_prints_what_its_comments_say(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readme.py").write_text(code, encoding="utf-8")
    runpy.run_path("readme.py")
    printed = capsys.readouterr().out.splitlines()
    said = re.findall(r"^print\(.*\)\s+# ([^:\n]*(?:: \d+ completed)?)", code, re.MULTILINE)
    assert len(said) == len(printed) > 0
    for line, comment in zip(printed, said, strict=True):
        assert line == comment


def test_there_is_python():
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_command_lines_parse(arguments):
    if "--help" not in arguments:
        assert main.parser().parse_args(arguments).command in (
            "train",
            "sweep",
            "show",
            "cost",
            "reproduce",
            "info",
        )


def test_all_command_lines_are_found():
    assert ["sweep", "examples/scale_step_digits.toml"] in commands()
    assert ["info"] in commands()
    assert len(commands()) == 11


def test_examples_of_the_help_parse():
    lines = re.findall(r"^  linnet-fast (.*)$", train._EPILOG, re.MULTILINE)
    assert len(lines) == 16
    for line in lines:
        assert main.parser().parse_args(shlex.split(line)).command == "train"


def test_the_test_command_is_marked():
    (command,) = re.findall(r"<!-- test command -->\n```sh\n(.*)\n```", README)
    assert command.endswith("-m pytest -n auto --dist loadfile")
    assert "[test]" in command


def test_output_is_of_the_main_job():
    (output,) = (block for block in blocks("text", SWEEPS) if block.startswith("data "))
    assert "9,176 = 37 scale x 31 step_size x 8 seed, 500 steps each" in output
    assert "9,176 runs: 7,562 completed, 1,614 diverged" in output


def test_it_is_read_in_a_few_minutes():
    assert len(README.split()) < 700


def test_picture_is_there_and_small():
    (path,) = re.findall(r"!\[.*\]\((.*)\)", README)
    assert 20_000 < (ROOT / path).stat().st_size < 200_000


def test_the_lasso_path_is_that_of_training(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    runpy.run_path(str(ROOT / "examples" / "lasso_path.py"), run_name="__main__")
    deviation = re.search(r"differ by (\S+) at most", capsys.readouterr().out)
    assert float(deviation[1]) < 1e-6
    assert (tmp_path / "linnet_fast_lasso_path.png").stat().st_size > 10_000


def test_what_moves_in_a_wide_layer(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    runpy.run_path(str(ROOT / "examples" / "what_moves.py"), run_name="__main__")
    assert capsys.readouterr().out == "widths 64-400-10 trained as 64-71-10\n"
    assert (tmp_path / "linnet_fast_what_moves.png").stat().st_size > 10_000


def test_deeper_networks_find_the_direction_sooner(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    runpy.run_path(str(ROOT / "examples" / "direction_and_depth.py"), run_name="__main__")
    lines = re.findall(
        r"^(\d) layers: .* below 1e-3 at (\S+)$", capsys.readouterr().out, re.MULTILINE
    )
    times = [float(time) for _, time in lines]
    assert [number for number, _ in lines] == ["1", "2", "3", "4"]
    assert times == sorted(times, reverse=True)
    assert (tmp_path / "linnet_fast_direction_and_depth.png").stat().st_size > 10_000
