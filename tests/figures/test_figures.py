"""The papers' experiments: every claim holds, files are whole, bad requests are refused."""

from __future__ import annotations

import gzip
import re
import struct
from functools import cache

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure as Picture
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast import datasets
from linnet_fast.cli.main import main
from linnet_fast.figures import About, Claim, Figure, Settings, report, reproduce
from linnet_fast.figures.arora2019 import experiments as arora2019
from linnet_fast.figures.cohen2021 import experiments as cohen2021
from linnet_fast.figures.dai2021 import experiments as dai2021
from linnet_fast.figures.domine2024 import experiments as domine2024
from linnet_fast.figures.double_descent import experiments as double_descent
from linnet_fast.figures.gidel2019 import experiments as gidel2019
from linnet_fast.figures.haochen2021 import experiments as haochen2021
from linnet_fast.figures.lin2021 import experiments as lin2021
from linnet_fast.figures.muon import experiments as muon
from linnet_fast.figures.pesme2021 import experiments as pesme2021
from linnet_fast.figures.saxe2014 import experiments as saxe2014
from linnet_fast.figures.soudry2018 import experiments as soudry2018
from linnet_fast.figures.woodworth2020 import experiments as woodworth2020

# Each with a number of claims.
PAPERS = {
    "gidel2019": (gidel2019, 36),
    "dai2021": (dai2021, 71),
    "lin2021": (lin2021, 211),
    "arora2019": (arora2019, 21),
    "soudry2018": (soudry2018, 27),
    "cohen2021": (cohen2021, 49),
    "domine2024": (domine2024, 20),
    "haochen2021": (haochen2021, 16),
    "muon": (muon, 32),
    "pesme2021": (pesme2021, 14),
    "woodworth2020": (woodworth2020, 8),
    "double_descent": (double_descent, 9),
    "saxe2014": (saxe2014, 8),
}
EXPERIMENTS = [
    (paper, name) for paper, (module, _) in PAPERS.items() for name in module.EXPERIMENTS
]


@pytest.fixture(scope="module")
def seen():
    """Return what was seen of every picture as it was written: (folder, name) -> faults and title."""
    return {}


@pytest.fixture(scope="module")
def quick(tmp_path_factory, seen):
    """Return a function that runs a paper's experiments once, in small."""
    plain = Picture.savefig

    def savefig(picture, file, **options):
        plain(picture, file, **options)
        seen[file.parent.name, file.name.strip(".").split(".")[0]] = look_at(picture)

    @cache
    def run(paper):
        folder, lines = tmp_path_factory.mktemp(paper), []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Picture, "savefig", savefig)
            claims = reproduce(paper, folder, Settings(quick=True), tell=lines.append)
        return folder, claims, lines

    return run


def look_at(picture):
    """Return the title of a picture, and what it does not explain or does not show whole."""
    picture.canvas.draw()
    faults = []
    texts = [picture._suptitle, *picture.legends]
    for n, ax in enumerate(picture.axes):
        legends = [legend for legend in (ax.get_legend(), *picture.legends) if legend]
        if not all(text.get_text() for legend in legends for text in legend.get_texts()):
            faults.append(f"panel {n}: an entry of a legend says nothing")
        texts += [ax.title, ax.get_legend()]
        flat = ax.name == "rectilinear" and ax.axison
        for axis in (ax.xaxis, ax.yaxis) if flat else ():
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks() if axis.get_visible() else []
            inside = [t.label1 for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()]
            shared = axis.get_tick_params().get(
                "labelbottom" if axis is ax.xaxis else "labelleft", True
            )
            if shared and ticks and len(inside) < 2:
                faults.append(f"panel {n}: {axis.axis_name} axis of {len(inside)} ticks")
            texts += [axis.label, *inside]
    whole = picture.bbox
    for text in texts:
        if text is None or not text.get_visible():
            continue
        box = text.get_window_extent()
        if box.width and not (
            whole.x0 - 1 <= box.x0
            and box.x1 <= whole.x1 + 1
            and whole.y0 - 1 <= box.y0
            and box.y1 <= whole.y1 + 1
        ):
            faults.append(f"clipped: {text.get_text() if hasattr(text, 'get_text') else text}")
    title = picture._suptitle
    return (title.get_text() if title else ""), faults


def test_every_paper_is_tested():
    assert set(PAPERS) == set(report.PAPERS)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_claim_of_a_quick_run_holds(quick, paper):
    _, claims, lines = quick(paper)
    failed = [str(claim) for claim in claims if not claim.holds]
    assert not failed
    module, at_least = PAPERS[paper]
    assert len(claims) >= at_least
    told = [line for line in lines if not line.endswith("s so far")]
    assert len(told) == len(claims) + len(module.EXPERIMENTS)


@pytest.mark.parametrize(("paper", "name"), EXPERIMENTS)
def test_every_experiment_leaves_picture_and_data(quick, paper, name):
    folder, _, _ = quick(paper)
    picture = (folder / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    with np.load(folder / f"{name}.npz", allow_pickle=False) as data:
        assert len(data.files) >= 3
        for key in data.files:
            assert data[key].size > 0


@pytest.mark.parametrize(("paper", "name"), EXPERIMENTS)
def test_every_picture_explains_itself(quick, seen, paper, name):
    folder, _, _ = quick(paper)
    title, faults = seen[folder.name, name]
    assert not faults
    data, network, method = " ".join(title.split()).split("; ", 2)
    assert title[0] == title[0].upper()
    assert min(map(len, (data, network, method))) >= 3
    # The report has it, too.
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert " ".join(title.split()) + "." in text


def test_faults_of_pictures_are_seen():
    picture, ax = plt.subplots(layout="constrained")
    ax.legend(ax.plot([1, 2], [1, 2]), [""])
    ax.set(xticks=[1], title="a panel")
    picture.suptitle("x" * 200)
    title, faults = look_at(picture)
    plt.close(picture)
    assert title == "x" * 200
    assert len(faults) == 3
    for fault, part in zip(
        faults, ("entry of a legend", "x axis of 1 ticks", "clipped: xxx"), strict=True
    ):
        assert part in fault


@pytest.mark.parametrize("paper", PAPERS)
def test_the_report_lists_claims_and_pictures(quick, paper):
    folder, claims, _ = quick(paper)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {paper}: {report.PAPERS[paper]}")
    for name in PAPERS[paper][0].EXPERIMENTS:
        assert f"![{name}]({name}.png)" in text
    assert len(re.findall(r"\| holds \|$", text, re.MULTILINE)) == len(claims)
    # Bars of norms are no ends of cells.
    rows = [line for line in text.splitlines() if line.endswith("| holds |")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}


def test_verdicts_come_from_the_numbers():
    assert report.at_most("x", 1.0, 1.0).holds
    assert not report.at_most("x", 1.1, 1.0).holds
    assert not report.at_most("x", float("nan"), 1.0).holds
    assert report.at_least("x", 1.0, 1.0).holds
    assert not report.at_least("x", float("nan"), 1.0).holds
    assert report.near("x", -1.01, -1.0, 0.02).holds
    assert not report.near("x", 1.03, 1.0, 0.02).holds
    assert not report.near("x", float("nan"), 1.0, 0.02).holds
    assert report.as_printed("x", 6.2249e-3, "6.22e-3").holds
    assert not report.as_printed("x", 6.2251e-3, "6.22e-3").holds
    assert report.as_printed("x", 0.45247, ".45247").holds
    assert report.as_printed("x", -2.657, "-2.7").holds
    assert not report.as_printed("x", -2.6, "-2.7").holds
    assert report.as_printed("x", 1.4, "1").holds
    assert not report.as_printed("x", float("nan"), "1").holds
    assert str(report.at_most("a thing", 2.0, 1.0)).startswith("FAILS  a thing: expected <= 1")


def test_a_claim_that_fails_is_an_exit_code(tmp_path, monkeypatch, capsys):
    def experiment(_settings):
        claim = Claim("the moon is cheese", "1", 0.0, holds=False)
        about = About("craters", "no network", "telescope")
        return Figure("moon", about, "A moon.", plt.figure(), {"x": np.ones(1)}, (claim,))

    monkeypatch.setattr(gidel2019, "EXPERIMENTS", {"moon": experiment})
    assert main(["reproduce", "gidel2019", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "FAILS  the moon is cheese" in shown
    assert "0 of 1 claims hold" in shown
    assert "**fails**" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_command_runs_one_experiment(tmp_path, capsys):
    options = ["--quick", "--only", "depth", "--out", str(tmp_path / "new" / "folder")]
    assert main(["reproduce", "gidel2019", *options]) == 0
    shown = capsys.readouterr().out
    assert "depth (" in shown
    assert re.search(r"(\d+) of \1 claims hold; wrote", shown)
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "depth.npz",
        "depth.png",
        "report.md",
    ]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["gidel2019", "--only", "dept"], 2, "did you mean 'depth'"),
        (["gidel2018"], 2, "invalid choice: 'gidel2018'"),
        (["gidel2019", "--threads", "0"], 2, "--threads"),
        (["gidel2019", "--only", "assumption", "--mnist", "nowhere"], 1, "nowhere holds none of"),
        (["gidel2019", "--only", "assumption", "--cifar10", "nowhere"], 1, "no data_batch"),
    ],
)
def test_bad_requests(options, code, message, tmp_path, capsys):
    assert main(["reproduce", *options, "--quick", "--out", str(tmp_path)]) == code
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    options = ["--quick", "--only", "depth", "--out", str(tmp_path / "file")]
    assert main(["reproduce", "gidel2019", *options]) == 1
    assert "file" in capsys.readouterr().err


# --- images given by the user


def idx(values):
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def mnist(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 6, 6), dtype=np.uint8)
    labels = (np.arange(200) % 10).astype(np.uint8)
    images[np.arange(200), labels % 6, labels % 5] = 255
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path, images, labels


def test_mnist_is_read(mnist):
    folder, images, labels = mnist
    x, y, description = datasets.load_mnist(folder)
    assert_allclose(x, images.reshape(200, 36) / 255)
    assert_array_equal(y.argmax(axis=1), labels)
    assert description == "MNIST: 200 images, 36 pixels -> 10 classes (one-hot)"


def test_cifar10_is_read(tmp_path):
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (30, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(30) % 10
    (tmp_path / "data_batch_1.bin").write_bytes(records[:10].tobytes())
    (tmp_path / "data_batch_2.bin").write_bytes(records[10:].tobytes())
    x, y, description = datasets.load_cifar10(tmp_path)
    assert_allclose(x, records[:, 1:] / 255)
    assert_array_equal(y.argmax(axis=1), records[:, 0])
    assert description == "CIFAR-10: 30 images, 3072 pixels -> 10 classes (one-hot)"


def test_damaged_images_are_refused(mnist):
    folder, images, _ = mnist
    file = folder / "train-images-idx3-ubyte"
    for damage, message in (
        (idx(images)[:-1], "cannot be read"),
        (b"\x00\x00\x0d" + idx(images)[3:], "no IDX file of unsigned bytes"),
        (b"", "cannot be read"),
        (idx(images[:100]), "as many labels"),
    ):
        file.write_bytes(damage)
        with pytest.raises(ValueError, match=message):
            datasets.load_mnist(folder)
    (folder / "data_batch_1.bin").write_bytes(bytes(3074))
    with pytest.raises(ValueError, match="records of 3073 bytes"):
        datasets.load_cifar10(folder)


def test_the_table_takes_users_images(mnist, tmp_path):
    claims = reproduce(
        "gidel2019", tmp_path / "out", Settings(quick=True, mnist=mnist[0]), only=["assumption"]
    )
    assert any(claim.text.startswith("MNIST") for claim in claims)


@pytest.mark.parametrize(
    ("ends", "labels"), [((0.018, 0.5), {"0.02", "0.05", "0.1", "0.2", "0.5"}), ((5e-4, 0.2), None)]
)
def test_logarithmic_axes_have_two_ticks_or_more(ends, labels):
    picture, ax = plt.subplots()
    ax.loglog(ends, ends)
    ax.set_xlim(ends)
    report._quiet_axes(picture)
    picture.canvas.draw()
    low, high = ends
    seen = [t for t in ax.xaxis.get_ticklabels() if low <= t.get_position()[0] <= high]
    texts = {t.get_text() for t in seen if t.get_text()}
    assert len(texts) >= 2
    assert labels is None or texts == labels
    plt.close(picture)
