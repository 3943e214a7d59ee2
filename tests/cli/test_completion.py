"""Completion in a shell: what bash offers after the tab key."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

import pytest

from linnet_fast.cli import main

bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
CASES = {
    "commands": ("s", {"sweep", "show"}),
    "options": ("train --sch", {"--schedule", "--schedule-option"}),
    "choices": ("train --init o", {"orthogonal"}),
    "papers": ("reproduce s", {"soudry2018", "saxe2014"}),
    "files": ("sweep s", {"small.toml"}),
    "files of options": ("train --x s", {"small.toml"}),
    "folders": ("reproduce saxe2014 --out f", {"folder"}),
    "shells": ("completion z", {"zsh"}),
}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """What is printed for bash, in a file of a folder with a file and a folder."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "small.toml").touch()
    (folder / "folder").mkdir()
    command = [sys.executable, "-m", "linnet_fast", "completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (folder / ".bash").write_text(done.stdout)
    return folder / ".bash"


@bash
@pytest.mark.parametrize("case", CASES)
def test_bash_completes(case, script):
    line, expected = CASES[case]
    words = ["linnet-fast", *line.split()]
    # As bash calls it: the words, which of them the cursor is on, and then the answers.
    lines = [
        f"source {shlex.quote(str(script))}",
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}",
        "_shtab_linnet_fast",
        "printf '%s\\n' \"${COMPREPLY[@]}\"",
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=True,
        cwd=script.parent,
    )
    assert set(done.stdout.split()) == expected


def test_zsh_has_a_script(capsys):
    assert main.main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef linnet-fast\n")


def test_of_other_shells_nothing_is_known(capsys):
    assert main.main(["completion", "cmd.exe"]) == 2
    assert "invalid choice: 'cmd.exe'" in capsys.readouterr().err


def test_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main.main(["completion", "bash"]) == 1
    assert 'pip install "shtab' in capsys.readouterr().err
