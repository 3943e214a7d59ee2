"""Damaged stores are made good or refused; what is no store is left alone; nothing is unpickled."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
import zarr
from support import cover, few
from sweep_problems import (
    Listener,
    assert_equal,
    assert_same_chunks,
    chunk_files,
    expected,
    in_memory,
    plain,
    snapshot,
    spec_of,
    sweep,
)

import linnet_fast as lf

# -- what is not a store ---------------------------------------------------------------------------


def _directory(path):
    path.mkdir()
    (path / "thesis.tex").write_text("\\section{Results}")


def _file(path):
    path.write_text("all my results")


def _zarr_group(path):
    xr.Dataset({"x": ("t", np.arange(3))}).to_zarr(path, zarr_format=3, consolidated=False)


def _old_zarr_group(path):
    xr.Dataset({"x": ("t", np.arange(3))}).to_zarr(path, zarr_format=2, consolidated=False)


def _zarr_array(path):
    zarr.create_array(path, data=np.arange(4))


def _no_json(path):
    path.mkdir()
    (path / "zarr.json").write_text("{")


def _list_json(path):
    path.mkdir()
    (path / "zarr.json").write_text("[1, 2]")


def _no_text(path):
    path.mkdir()
    (path / "zarr.json").write_bytes(b"\xff\xfe\x00")


def _marked(path):
    path.mkdir()
    note = {"linnet_fast_sweep": 3}
    text = json.dumps({"attributes": note, "zarr_format": 3, "node_type": "group"})
    (path / "zarr.json").write_text(text)


def _marked_list(path):
    path.mkdir()
    note = ["linnet_fast_sweep"]
    text = json.dumps({"attributes": note, "zarr_format": 3, "node_type": "group"})
    (path / "zarr.json").write_text(text)


def _link(path):
    target = path.with_name("target")
    target.mkdir()
    (target / "thesis.tex").write_text("\\section{Results}")
    path.symlink_to(target)


FOREIGN = (
    _directory,
    _file,
    _zarr_group,
    _old_zarr_group,
    _zarr_array,
    _no_json,
    _list_json,
    _no_text,
    _marked,
    _marked_list,
    _link,
)


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_what_is_not_ours_is_left_alone(make, tmp_path):
    path = tmp_path / "s.zarr"
    make(path)
    before = snapshot(tmp_path)
    for options in ({}, {"extend": True}, {"shard": (1, 2)}):
        with pytest.raises(lf.SweepError, match=r"s\.zarr"):
            sweep(spec_of("single"), path, **options)
    with pytest.raises(lf.SweepError, match=r"s\.zarr"):
        lf.open_sweep(path)
    assert snapshot(tmp_path) == before


def test_an_empty_directory_becomes_a_store(tmp_path):
    (tmp_path / "s.zarr").mkdir()
    assert_equal(sweep(spec_of("paired"), tmp_path / "s.zarr"), expected("paired"))
    (tmp_path / "new").mkdir()
    assert_equal(sweep(spec_of("paired"), str(tmp_path / "new" / "a" / "b")), expected("paired"))


def test_no_store_is_an_error(tmp_path):
    with pytest.raises(lf.SweepError, match=r"none\.zarr"):
        lf.open_sweep(tmp_path / "none.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(lf.SweepError, match="empty"):
        lf.open_sweep(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(lf.SweepError, match="file"):
        sweep(spec_of("single"), tmp_path / "file" / "s.zarr")


def test_a_link_to_a_store_is_a_store(copy, tmp_path):
    store = copy("paired", 3)
    (store / "status" / "c.0.0").unlink()
    (tmp_path / "link").symlink_to(store)
    assert_equal(sweep(spec_of("paired"), tmp_path / "link"), expected("paired"))
    assert_equal(lf.open_sweep(store), expected("paired"))


# -- damage ----------------------------------------------------------------------------------------

VARIABLES = ("final_loss", "final_product", "stopped_at", "status")
"""Of the design "stopped"."""


def _truncated(file, rng):
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def _emptied(file, _):
    file.write_bytes(b"")


def _longer(file, _):
    file.write_bytes(file.read_bytes() + b"\0")


def _flipped(file, rng):
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def _removed(file, _):
    file.unlink()


def _zeros(file, _):
    file.write_bytes(bytes(file.stat().st_size))


DAMAGE = (_truncated, _emptied, _longer, _flipped, _removed, _zeros)


def damages(name, values, n=0):
    """Parametrize with kinds of damage, and with values of another name."""
    ids = lambda x: x if isinstance(x, str) else getattr(x, "__name__", None)
    return pytest.mark.parametrize(("damage", name), cover(DAMAGE, values, n=n), ids=ids)


@damages("variable", VARIABLES, 8)
def test_a_damaged_chunk_is_done_again_and_only_that(damage, variable, copy, clean):
    rng = random.Random(f"{damage.__name__} {variable}")
    store = copy("stopped", 3)
    files = sorted((store / variable).glob("c.*"))
    file = rng.choice(files)
    damage(file, rng)
    place = ".".join(file.name.split(".")[:4])  # of the chunk; what follows is within a result
    before = {name: state for name, state in snapshot(store).items() if f"/{place}" not in name}
    assert len(before) == len(snapshot(store)) - len(VARIABLES) + (damage is _removed)
    if damage in (_flipped, _zeros):
        with pytest.raises((lf.SweepError, ValueError)):
            lf.open_sweep(store).load()
    listener = Listener()
    assert_equal(sweep(spec_of("stopped"), store, progress=listener), expected("stopped"))
    after = snapshot(store)
    for name, state in before.items():
        if state[0] is not None:  # directories do change
            assert after[name] == state, name
    listener.check(27, 9)
    assert_same_chunks(store, clean("stopped", 3))


@pytest.mark.parametrize("damage", few(DAMAGE, 3), ids=lambda damage: damage.__name__)
def test_many_damaged_chunks_some_without_a_status(damage, copy, clean):
    rng = random.Random(damage.__name__)
    store = copy("stopped", 3)
    files = [store / name for name in chunk_files(store) if name.split("/")[0] in VARIABLES]
    for file in rng.sample(files, len(files) // 2):
        damage(file, rng)
    for file in rng.sample(sorted((store / "status").glob("c.*")), 5):
        file.unlink()
    assert_equal(sweep(spec_of("stopped"), store), expected("stopped"))
    assert_same_chunks(store, clean("stopped", 3))


def test_a_damaged_chunk_at_the_end_of_a_dimension(tmp_path):
    """There the chunk is larger than the sweep."""
    spec, store = plain(replicates=5), tmp_path / "s.zarr"
    whole = in_memory(spec)
    sweep(spec, store, chunk_runs=3)
    wanted = chunk_files(store)
    for damage, variable in cover(DAMAGE, ("final_loss", "stopped_at", "status")):
        rng = random.Random(variable)
        damage(store / variable / "c.1.1", rng)
        if variable != "status":
            (store / "status" / "c.1.1").unlink(missing_ok=True)
        assert_equal(sweep(spec, store), whole)
        assert chunk_files(store) == wanted


def test_a_damaged_chunk_by_workers(copy, clean):
    store = copy("stopped", 1)
    rng = random.Random(0)
    for variable in VARIABLES:
        for damage in DAMAGE:
            damage(rng.choice(sorted((store / variable).glob("c.*"))), rng)
    with ThreadPoolExecutor(3) as pool:
        assert_equal(sweep(spec_of("stopped"), store, pool), expected("stopped"))
    assert_same_chunks(store, clean("stopped", 1))


def _right(act, wanted, store):
    """Return whether an act gave what is right; else it must have been refused in words."""
    try:
        data = act()
    except lf.SweepError as error:
        refusal = str(error)
    else:
        assert_equal(data, wanted)
        return True
    assert str(store) in refusal
    return False


def _both_right(store, design):
    """Return whether a store can be gone on with and read, each being right or refused."""
    wanted = expected(design)
    return [
        _right(lambda: sweep(spec_of(design), store), wanted, store),
        _right(lambda: lf.open_sweep(store), wanted, store),
    ] == [True, True]


@damages(
    "name",
    [
        "zarr.json",
        "final_loss/zarr.json",
        "status/zarr.json",
        "scale/zarr.json",
        "spec/zarr.json",
    ],
    10,
)
def test_damaged_metadata_are_refused_or_made_good(damage, name, copy):
    store = copy("grid", 72)
    damage(store / name, random.Random(name))
    _both_right(store, "grid")


def test_any_flipped_bit_of_metadata_is_refused_or_harmless(copy, clean):
    rng = random.Random(2)
    store = copy("sampled", 40)
    files = sorted(store.rglob("zarr.json"))
    refused, n_flips = 0, len(few(range(150), 60))
    for _ in range(n_flips):
        file = rng.choice(files)
        original = file.read_bytes()
        _flipped(file, rng)
        refused += not _both_right(store, "sampled")
        file.write_bytes(original)
    assert refused > n_flips / 7.5
    assert _both_right(store, "sampled")
    assert_same_chunks(store, clean("sampled", 40))


@damages("name", ["scale", "step_size", "hidden", "seed"], 8)
def test_damaged_coordinates_are_refused_or_made_good(damage, name, copy):
    store = copy("grid", 72)
    damage(store / name / "c.0", random.Random(name))
    _both_right(store, "grid")


@damages("with_workers", [False, True])
def test_damaged_data_of_the_spec_never_train_another_sweep(damage, with_workers, copy):
    """Workers read the loss from the store, if it is large."""
    store = copy("sgd", 5)
    file = max(
        (store / "spec").rglob("c*"), key=lambda file: file.is_file() and file.stat().st_size
    )
    damage(file, random.Random(1))
    for chunk in (store / "status").glob("c.*.1.*"):
        chunk.unlink()
    with ThreadPoolExecutor(2) if with_workers else contextlib.nullcontext() as pool:
        _right(lambda: sweep(spec_of("sgd"), store, pool), expected("sgd"), store)


@pytest.mark.parametrize("with_workers", [False, True])
def test_a_spec_that_was_edited_never_trains_another_sweep(with_workers, copy):
    store = copy("paired", 3)
    (store / "status" / "c.1.0").unlink()
    text = (store / "zarr.json").read_text()
    edited = re.sub(r'"scale": 1\.0|"scale": 0\.1|"step_size": 0\.05', lambda m: m[0] + "1", text)
    assert edited != text
    (store / "zarr.json").write_text(edited)
    with ThreadPoolExecutor(2) if with_workers else contextlib.nullcontext() as pool:
        _right(lambda: sweep(spec_of("paired"), store, pool), expected("paired"), store)


# -- trust -----------------------------------------------------------------------------------------


def _refuse(*_, **__):
    msg = "something was unpickled"
    raise AssertionError(msg)


@pytest.mark.parametrize("design", few(["losses", "grid", "sgd"], 1))
def test_nothing_is_unpickled(design, copy, clean, monkeypatch):
    store = copy(design, 7)
    next((store / "status").glob("c.*")).unlink()
    next((store / "stopped_at").glob("c.*")).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    wanted, spec = expected(design), spec_of(design)
    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, _refuse)
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(b"N.")
    assert_equal(sweep(spec, store), wanted)
    assert_equal(lf.open_sweep(store), wanted)
    assert_same_chunks(store, clean(design, 7))


@pytest.mark.parametrize(
    ("change", "name"),
    cover(
        [
            {"codecs": [{"name": "pickle"}]},
            {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
            {"codecs": [{"name": "numcodecs.pickle"}, {"name": "bytes"}]},
            {"codecs": [{"name": "vlen-utf8"}]},
            {"data_type": "object"},
            {"data_type": "|O"},
            {"data_type": {"name": "numpy.object", "configuration": {}}},
            {"storage_transformers": [{"name": "pickle"}]},
        ],
        ["final_loss", "status", "scale"],
    ),
    ids=str,
)
def test_a_store_that_asks_for_pickle_is_refused(change, name, copy, tmp_path):
    store = copy("grid", 72)
    file = store / name / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    command = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()"
    payload = (
        b"cbuiltins\nexec\n(" + pickle.dumps(command, 0)[:-1].replace(b"\np0\n", b"\n") + b"tR."
    )
    for chunk in (store / name).glob("c.*"):
        chunk.write_bytes(payload)
    before = snapshot(store)
    for act in (lambda: sweep(spec_of("grid"), store), lambda: lf.open_sweep(store).load()):
        with pytest.raises(lf.SweepError, match=r"s\.zarr"):
            act()
    assert snapshot(store) == before
    assert not (tmp_path / "ran").exists()


# -- reading ---------------------------------------------------------------------------------------


@damages("variable", VARIABLES[:-1])
def test_a_damaged_chunk_that_is_read_is_named_with_what_to_do(damage, variable, copy):
    rng = random.Random(f"{damage.__name__} {variable}")
    store = copy("stopped", 3)
    file = rng.choice(sorted((store / variable).glob("c.*")))
    data = lf.open_sweep(store)
    damage(file, rng)
    what = "it is missing" if damage is _removed else "its checksum does not fit"
    expected_message = (
        f"{file} is damaged: {what}; the same sweep into {store} trains the runs of this chunk anew"
    )
    for read in (data, lf.open_sweep(store)):
        with pytest.raises(lf.SweepError) as caught:
            read[variable].to_numpy()
        assert str(caught.value) == expected_message
    assert_equal(sweep(spec_of("stopped"), store), expected("stopped"))


def test_many_flips_of_chunks_are_refused_when_they_are_read(copy):
    rng = random.Random(5)
    store = copy("stopped", 9)
    files = [store / name for name in chunk_files(store) if not name.startswith("spec/")]
    for _ in few(range(200), 80):
        file = rng.choice(files)
        original = file.read_bytes()
        _flipped(file, rng)
        with pytest.raises(lf.SweepError, match=re.escape(str(file))):
            lf.open_sweep(store).load()
        file.write_bytes(original)
    assert_equal(lf.open_sweep(store), expected("stopped"))


def test_an_open_store_can_be_sent_to_other_processes(copy):
    data = pickle.loads(pickle.dumps(lf.open_sweep(copy("stopped", 3))))
    assert_equal(data, expected("stopped"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["zarr.json", "status/zarr.json", "final_loss/c.0.0.0"])
def test_a_pipe_in_a_store_is_not_waited_for(name, copy):
    store = copy("stopped", 3)
    file = store / name
    file.unlink()
    os.mkfifo(file)
    if name.endswith("zarr.json"):
        for act in (lambda: sweep(spec_of("stopped"), store), lambda: lf.open_sweep(store)):
            with pytest.raises(lf.SweepError, match="zarr"):
                act()
    else:
        with pytest.raises(lf.SweepError, match=f"{name} is damaged: it is no regular file"):
            lf.open_sweep(store).load()
        assert_equal(sweep(spec_of("stopped"), store), expected("stopped"))
