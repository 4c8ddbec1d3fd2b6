"""Rows: what folders, patterns and lists become, how outputs are named, what is refused before anything."""

import csv
import os
import pathlib
from typing import Any

import fsspec
import pytest

from nst_tf import errors
from nst_tf.batch import rows
from nst_tf.config import presets


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photographs, paintings and what is neither; no file is a picture yet."""
    for name in (
        "photos/b.jpg",
        "photos/a.PNG",
        "photos/.hidden.jpg",
        "photos/notes.doc",
        "photos/deep/c.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "paintings").mkdir()
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / "paintings" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _common(**changes):
    return rows.Common(**{"output": "painted", "styles": ["paintings/one.jpg"], **changes})


def _outputs(planned, folder):
    return [os.path.relpath(row.output, folder / "painted") for row in planned]


@pytest.mark.parametrize(
    ("contents", "expected"),
    {
        "a folder": (["photos"], ["a_one.png", "b_one.png"]),
        "a file": (["photos/b.jpg"], ["b_one.png"]),
        "a pattern": (["photos/*.jpg"], ["b_one.png"]),
        "folders within": (["photos/**/*.jpg"], ["b_one.png", "c_one.png"]),
        "several": (["photos/deep", "photos/b.jpg"], ["c_one.png", "b_one.png"]),
        "a sample": (["sample:town"], ["town_one.png"]),
        "a URL of this machine": (["file://{folder}/photos/b.jpg"], ["b_one.png"]),
    }.values(),
)
def test_contents(contents, expected, folder):
    planned = rows.plan([each.format(folder=folder) for each in contents], _common())
    assert _outputs(planned, folder) == expected
    assert [row.number for row in planned] == list(range(len(expected)))
    assert all(row.styles == (str(folder / "paintings/one.jpg"),) for row in planned)


def test_each_photograph_in_each_style(folder):
    planned = rows.plan(["photos"], _common(styles=[], each_style=["paintings/*.jpg"]))
    assert _outputs(planned, folder) == ["a_one.png", "a_two.png", "b_one.png", "b_two.png"]
    assert [len(row.styles) for row in planned] == [1] * 4
    blended = rows.plan(["photos/b.jpg"], _common(styles=["paintings/one.jpg", "paintings/two.jpg"]))
    assert _outputs(blended, folder) == ["b_one+two.png"]


def test_names_of_outputs(folder):
    names = "{style}/{folder}-{content}-{number:03d}.jpg"
    planned = rows.plan(["photos/**/*.jpg"], _common(names=names))
    assert _outputs(planned, folder) == ["one/photos-b-001.jpg", "one/deep-c-002.jpg"]


def test_a_list_with_overrides(folder):
    (folder / "lists").mkdir()
    with open("lists/list.csv", "w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(["content", "style", "output", "mask", "init", "preset", "size", "scales", "outside"])
        table.writerow(["../photos/b.jpg", "../paintings/one.jpg,../paintings/two.jpg", *[""] * 7])
        table.writerow(["sample:town", "", "x/y.jpg", "m.png", "start.png", "gram", "64", "0.5,1", "free"])
    first, second = rows.plan(["lists/list.csv"], _common())
    assert [os.path.normpath(path) for path in (first.content, *first.styles)] == [
        str(folder / name) for name in ("photos/b.jpg", "paintings/one.jpg", "paintings/two.jpg")
    ]
    assert (first.output, first.own) == (str(folder / "painted/b_one+two.png"), {})
    assert second.output == str(folder / "painted/x/y.jpg")
    assert second.styles == (str(folder / "paintings/one.jpg"),)
    assert second.content_mask == str(folder / "lists/m.png")
    init = str(folder / "lists/start.png")
    config = rows.Settings("default", {"size": 32, "seed": 3}).config(second)
    own = {"init": init, "size": 64, "scales": (0.5, 1.0), "outside": "free", "seed": 3}
    assert config == presets.get("gram", **own)
    assert rows.Settings("default", {"size": 32}).config(first) == presets.get("default", size=32)
    assert rows.Row.from_json(second.to_json()) == second


def test_a_list_of_names_alone(folder):
    pathlib.Path("list.txt").write_bytes(b"photos/b.jpg\r\n\n photos/a.PNG\n\xff.jpg\n")
    planned = rows.plan(["list.txt"], _common())
    assert [row.content for row in planned] == [
        str(folder / "photos/b.jpg"),
        str(folder / " photos/a.PNG"),
        os.fsdecode(bytes(folder) + b"/\xff.jpg"),
    ]
    assert rows.Row.from_json(planned[2].to_json()) == planned[2]


def test_records_in_place_of_a_list(folder):
    records = [{"content": pathlib.Path("photos/b.jpg"), "style": ["paintings/two.jpg"], "steps": (3, 4)}]
    (row,) = rows.of_records(records, _common())
    assert row.output == str(folder / "painted/b_two.png")
    assert row.own == {"steps": (3, 4)}


def test_urls_of_a_store():
    store = fsspec.filesystem("memory")
    for name in ("b.jpg", "a.png", "notes.txt", "deep/c.jpg"):
        store.pipe_file(f"/photos/{name}", b"")
    store.pipe_file("/photos/list.csv", b"content,size\na.png,16\nmemory://photos/deep/c.jpg,\n")
    common = rows.Common(output="memory://painted", styles=["sample:strokes"])
    expected = ["memory://painted/a_strokes.png", "memory://painted/b_strokes.png"]
    assert [row.output for row in rows.plan(["memory://photos"], common)] == expected
    assert [row.output for row in rows.plan(["memory://photos/*.jpg"], common)] == expected[1:]
    first, second = rows.plan(["memory://photos/list.csv"], common)
    assert (first.content, first.own) == ("memory://photos/a.png", {"size": 16})
    assert second.content == "memory://photos/deep/c.jpg"


TABLES = {
    "content,colour\nphotos/b.jpg,red\n": "'colour' is not one of content, style",
    "content,size\nphotos/b.jpg,large\n": "size: 'large'; allowed: a whole number",
    "content,clip\nphotos/b.jpg,perhaps\n": "clip: 'perhaps'; allowed: true or false",
    "content,size\nphotos/b.jpg\n": "line 2 has not as many entries as the first line",
    "content,size\nphotos/b.jpg,3,4\n": "line 2 has not as many entries as the first line",
    "size\n3\n": "line 2 names no photograph, in a column 'content'",
    'content\n"photos/b.jpg\n': "is no table",
    "": "there are no rows",
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.usefixtures("folder")
def test_a_wrong_list(table):
    pathlib.Path("list.csv").write_text(table, encoding="utf-8")
    with pytest.raises(errors.InputError, match=TABLES[table]):
        rows.plan(["list.csv"], _common())


REFUSED: dict[str, Any] = {
    "nothing there": (["nowhere/*.jpg"], {}, "names no picture"),
    "no painting there": (["photos"], {"styles": ["no.jpg"]}, "style: there is no file"),
    "both kinds of styles": (["photos"], {"each_style": ["paintings"]}, "styles: beside style"),
    "two of one name": (["photos", "photos/b.jpg"], {}, "b_one.png would be that of row 3"),
    "an input's name": (
        ["photos/deep/c.jpg"],
        {"output": "photos", "names": "b.jpg", "styles": ["photos/b.jpg"]},
        "is the style of row 1",
    ),
    "among the photographs": (["photos"], {"output": "photos"}, "photos has the photographs"),
    "an unknown part of a name": (["photos"], {"names": "{name}.png"}, "allowed: a name with {content}"),
    "half a part": (["photos"], {"names": "{content.png"}, "allowed: a name with {content}"),
    "a store that nobody knows": (["nostore://a/b.jpg"], {}, "cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("folder")
def test_what_is_refused(case):
    contents, changes, message = REFUSED[case]
    with pytest.raises(errors.InputError, match=message):
        rows.plan(contents, _common(**changes))


CHECKED: dict[str, Any] = {
    "a format": ({"names": "{content}.xyz"}, {}, "output format: '.xyz'"),
    "a setting": ({}, {"size": -1}, "size: -1"),
    "a number of weights": ({}, {"style_blend_weights": (1, 2)}, "2 for 1 style pictures"),
    "no painting": ({"styles": []}, {}, "style: there is none"),
}


@pytest.mark.parametrize("case", CHECKED)
@pytest.mark.usefixtures("folder")
def test_what_is_checked_before_anything_is_painted(case):
    changes, overrides, message = CHECKED[case]
    with pytest.raises(errors.InputError, match=message):
        rows.check(rows.plan(["photos"], _common(**changes)), rows.Settings("default", overrides))


def test_settings_mean_the_same_in_another_folder(folder, monkeypatch):
    monkeypatch.setenv("NST_TF_WEIGHTS", "w.npz")
    chosen = rows.Settings.of("gram", {"init": "start.png"}).with_weights({})
    (row,) = rows.plan(["photos/b.jpg"], _common())
    monkeypatch.delenv("NST_TF_WEIGHTS")
    config = chosen.config(row)
    assert (config.network.weights, config.start.init) == (str(folder / "w.npz"), str(folder / "start.png"))
