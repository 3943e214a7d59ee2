"""Pages of sweeps: what they hold, that they need no network, and what a browser makes of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import linnet_fast as lf
from linnet_fast.cli.main import main
from linnet_fast.plot import page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def training(**options):
    loss = lf.SquaredLoss(np.eye(3), np.diag([3.0, 2.0, 1.0]), 14.0)
    method = lf.GradientDescent(0.05)
    network = lf.Dense((3, 5, 3))
    return lf.Training(network, loss, lf.Start("gaussian"), method=method, n_steps=60, **options)


@pytest.fixture(scope="module")
def data():
    spec = lf.grid(
        training(record=lf.Record.geomspace(12, observables=("loss", "singular_values"))),
        {"start.scale": [1e-6, 1e-3, 1.0], "method.step_size": [0.05, 0.1, 2.0], "network.n_layers": [2, 3]},
        replicates=4,
        derived=("final_loss", "learning_times"),
    )  # fmt: skip
    return lf.sweep(spec, progress=False)


def content(file):
    text = file.read_text(encoding="utf-8")
    (found,) = re.findall(
        r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(found)


def test_numbers_are_those_of_the_sweep(data, tmp_path):
    page(data, tmp_path / "page.html", title="a </script> & <b>")
    found = content(tmp_path / "page.html")
    assert found["title"] == "a </script> & <b>"
    assert found["n_seeds"] == 4
    names = [dim["name"] for dim in found["dims"]]
    assert names == ["n_layers", "scale", "step_size", "mode"]
    assert found["dims"][1]["values"] == ["1e-06", "0.001", "1"]
    status = data["status"].to_numpy()
    assert found["diverged"] == (status == lf.Status.DIVERGED).sum(-1).ravel().tolist()
    assert max(found["diverged"]) == 4
    maps = {one["name"]: one for one in found["maps"]}
    assert next(iter(maps)) == "final_loss"
    for name, dims in (("final_loss", names[:3]), ("learning_times", names)):
        kept = data[name].where(data["status"] != lf.Status.DIVERGED)
        medians = kept.median("seed").transpose(*dims).to_numpy().ravel()
        shown = np.array([np.nan if x is None else x for x in maps[name]["values"]])
        seen = np.isfinite(medians)
        assert maps[name]["dims"] == dims
        np.testing.assert_allclose(shown[seen], medians[seen], rtol=1e-5)
        assert np.isnan(shown[~seen]).all()
        assert seen.any()
    loss, values = found["curves"]
    assert (loss["name"], values["name"]) == ("loss", "singular_values")
    assert values["inner"][0]["name"] == "mode"
    ran = data.sel(step_size=0.05, n_layers=2, scale=1e-3)
    for band, q in zip(values["bands"], (0.25, 0.5, 0.75), strict=True):
        array = np.array(band, dtype=float).reshape(2, 3, 3, 3, -1)
        exact = ran["singular_values"].quantile(q, "seed").transpose("mode", "step")
        np.testing.assert_allclose(array[0, 1, 0], exact, rtol=1e-5)


def test_a_page_needs_no_network(data, tmp_path):
    page(data, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>/\*\*\n\* plotly\.js.*?</script>", "", text, flags=re.DOTALL)
    assert len(own) < 200_000 < len(text)
    assert not re.search(r"https?://|src=|@import|<link", own)


def test_points_and_curves_alone(tmp_path):
    spec = lf.paired(
        training(), {"start.scale": [0.1, 0.2, 0.3], "method.step_size": [0.01, 0.02, 0.03]}
    )
    page(lf.sweep(spec, progress=False), tmp_path / "page.html")
    points = content(tmp_path / "page.html")["points"]
    assert [one["values"] for one in points] == [[0.1, 0.2, 0.3], [0.01, 0.02, 0.03]]
    recorded = training(record=lf.Record.every(10))
    spec = lf.grid(recorded, {"start.scale": [0.1, 0.2]}, derived=())
    page(lf.sweep(spec, progress=False)[["loss", "status"]], tmp_path / "page.html")
    assert content(tmp_path / "page.html")["maps"] == []


def test_medians_are_over_all_seeds(tmp_path):
    teacher = lf.Teacher("gaussian", n_inputs=3, n_outputs=2)
    drawn = lf.Training(
        lf.Dense((3, 2)), teacher, lf.Start("gaussian"), method=lf.GradientDescent(0.1), n_steps=5
    )
    axes = {"start.scale": [0.1, 1.0], "data_seed": range(3)}
    made = lf.sweep(lf.grid(drawn, axes, replicates=2, derived="final_loss"), progress=False)
    page(made, tmp_path / "page.html")
    found = content(tmp_path / "page.html")
    assert [dim["name"] for dim in found["dims"]] == ["scale"]
    assert found["n_seeds"] == 6
    medians = made["final_loss"].median(["seed", "data_seed"])
    np.testing.assert_allclose(found["maps"][0]["values"], medians, rtol=1e-5)


def test_bad_input(data, tmp_path):
    with pytest.raises(ValueError, match=r"file must end in \.html, got"):
        page(data, tmp_path / "page.txt")
    with pytest.raises(TypeError, match="title must be"):
        page(data, tmp_path / "page.html", title=3)
    with pytest.raises(ValueError, match="data must have the variable status"):
        page(data[["final_loss"]], tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line(tmp_path, capsys):
    spec = lf.grid(training(), {"start.scale": [0.1, 0.2]}, derived=("final_loss",))
    lf.sweep(spec, tmp_path / "s.zarr", progress=False)
    main(["show", str(tmp_path / "s.zarr"), "--html", str(tmp_path / "page.html")])
    assert "page.html" in capsys.readouterr().out
    assert content(tmp_path / "page.html")["title"] == "s"
    assert main(["show", str(tmp_path / "s.zarr"), "--html", "page.htm"]) == 2


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_in_a_browser(data, tmp_path):
    """A click chooses a cell, sliders move on, and nothing fails."""
    page(data, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    act = """<script>
      document.getElementById("map").emit("plotly_click", { points: [{ x: "0.001", y: "0.1" }] });
      const sliders = [...document.querySelectorAll("input[type=range]")];
      sliders[0].value = 1;
      sliders[0].dispatchEvent(new Event("input"));
    </script></body>"""
    (tmp_path / "page.html").write_text(text.replace("</body>", act), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--virtual-time-budget=4000", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "Uncaught" not in done.stderr
    final = data["final_loss"].sel(n_layers=3, scale=1e-3, step_size=0.1).median("seed").item()
    (said,) = re.findall(r'<p id="cell"[^>]*>(.*?)</p>', done.stdout)
    assert said == (
        f"Chosen: number of layers 3, scale 0.001, step size 0.1; final loss {final:.6g}; 0 of 4 diverged."
    )
    assert done.stdout.count('class="main-svg"') >= 2
