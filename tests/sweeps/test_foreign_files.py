"""Going on in a store deletes what a killed process of the same store left, and nothing of others."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from sweep_problems import assert_equal, assert_same_chunks, expected, spec_of, sweep

import linnet_fast as lf
from linnet_fast.training import plain

HEX = "0123456789abcdef0123456789abcdef"


def old(file, content=b"{"):
    """Write a file of long ago: what is young may still be someone's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (0, 0))
    return file


def go_on(store, design="grid"):
    """Lose a chunk, and sweep again."""
    next((store / "status").glob("c.*")).unlink()
    assert_equal(sweep(spec_of(design), store), expected(design))


OWN = ("zarr", "spec/zarr", "status/zarr", "status/c.0.0.0.0", "final_loss/c.1.1.0.0",
       "final_singular_values/c.0.0.0.0.0", "scale/c", "seed/zarr")  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_what_a_killed_process_was_writing_is_deleted(name, copy):
    store = copy("grid", 7)
    rubbish = old(store / f"{name}.{HEX}.partial")
    young = store / f"{name}.{HEX[::-1]}.partial"
    young.write_bytes(b"{")
    go_on(store)
    assert not rubbish.exists()
    assert young.exists()


FOREIGN = ("thesis.partial", "film.mkv.partial", "status/notes.partial", "status/c.0.partial",
           f"status/c.0.0.0.0.{HEX[1:]}.partial", f"status/c.0.0.{HEX}.partial",
           f"status/c.0.0.0.0.{HEX.upper()}.partial", f"status/thesis.{HEX}.partial",
           f"c.0.0.0.0.{HEX}.partial", f"mine/c.0.0.0.0.{HEX}.partial",
           f"mine/zarr.{HEX}.partial", f"scale/c.0.{HEX}.partial")  # fmt: skip


def test_files_of_others_stay(copy):
    store = copy("grid", 7)
    foreign = [old(store / name, b"my thesis") for name in FOREIGN]
    go_on(store)
    for file in foreign:
        assert file.read_bytes() == b"my thesis", file


def test_links_are_neither_followed_nor_deleted(copy, tmp_path):
    store, name = copy("grid", 7), f"c.0.0.0.0.{HEX}.partial"
    files = [old(tmp_path / "elsewhere" / n, b"mine") for n in (name, f"zarr.{HEX}.partial", "x")]
    folder, file = files[0].parent, files[-1]
    links = {
        store / "mine": folder,
        store / f"zarr.{HEX}.partial": file,
        store / "status" / name: file,
        store / "final_loss" / name: tmp_path / "nowhere",
        store / "learned_rank" / name: folder,
    }
    for link, target in links.items():
        link.symlink_to(target)
    (store / "final_loss" / f"zarr.{HEX}.partial").mkdir()
    go_on(store)
    assert all(link.readlink() == target for link, target in links.items())
    assert all(file.read_bytes() == b"mine" for file in files)
    assert (store / "final_loss" / f"zarr.{HEX}.partial").is_dir()


@pytest.mark.parametrize("name", ["status", "final_loss", "scale", "spec"])
def test_a_store_that_is_partly_elsewhere_is_read_and_never_written(name, copy, tmp_path):
    """A chunk that looks damaged would be deleted there."""
    store, other = copy("grid", 7), tmp_path / "other" / name
    other.parent.mkdir()
    shutil.move(store / name, other)
    (store / name).symlink_to(other)
    assert_equal(lf.open_sweep(store), expected("grid"))
    rubbish = old(other / f"zarr.{HEX}.partial")
    for chunk in other.glob("c.*"):
        chunk.write_bytes(b"another sweep's")
    before = {file: file.stat().st_mtime_ns for file in other.iterdir()}
    with pytest.raises(lf.SweepError, match=f"s.zarr/{name} must be a folder .* a symbolic link"):
        sweep(spec_of("grid"), store)
    assert {file: file.stat().st_mtime_ns for file in other.iterdir()} == before
    assert rubbish.exists()


def test_chunks_that_are_links_are_replaced_and_what_they_point_to_stays(copy, clean, tmp_path):
    """As ``cp -rs`` makes them."""
    store, original = copy("grid", 7), tmp_path / "original.zarr"
    shutil.copytree(store, original)
    chunk = next((original / "final_loss").glob("c.*"))
    chunk.write_bytes(b"damaged")
    (store / "final_loss" / chunk.name).unlink()
    (store / "final_loss" / chunk.name).symlink_to(chunk)
    assert_equal(sweep(spec_of("grid"), store), expected("grid"))
    assert chunk.read_bytes() == b"damaged"
    assert_same_chunks(store, clean("grid", 7))


@pytest.mark.parametrize("kind", ["variables", "coordinates"])
@pytest.mark.parametrize("outside", ["absolute", "../other/final_loss", "..", "", "a/b"])
def test_names_that_lead_out_of_a_store_are_refused(outside, kind, copy, tmp_path):
    store, other = copy("grid", 7), tmp_path / "other"
    shutil.copytree(store, other)
    name = str(other / "final_loss") if outside == "absolute" else outside
    file = store / "zarr.json"
    group = json.loads(file.read_text())
    note = group["attributes"]["linnet_fast_sweep"]
    if kind == "variables":
        note["variables"][0]["name"] = name
    else:
        note["coordinates"][name] = note["coordinates"].pop("scale")
    note.pop("digest")
    note["digest"] = plain.digest(note)  # by someone who knows how
    file.write_text(json.dumps(group))
    for chunk in (other / "final_loss").glob("c.*"):
        chunk.write_bytes(b"mine")
    for act in (lambda: sweep(spec_of("grid"), store), lambda: lf.open_sweep(store)):
        with pytest.raises(lf.SweepError, match="is no name of an array"):
            act()
    assert all(chunk.read_bytes() == b"mine" for chunk in (other / "final_loss").glob("c.*"))
