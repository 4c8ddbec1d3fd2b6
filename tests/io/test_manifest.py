"""Manifests: what they say, and that they make the same picture again."""

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nst_tf
from nst_tf import errors
from nst_tf.config import config, presets, settings
from nst_tf.io import manifest, pictures
from tests import conftest

CONTENT, STYLE = (conftest.smooth_picture(seed, 32, 48) for seed in (2, 3))
CHOSEN = presets.get("default", weights="/somewhere/private/vgg.h5", size=48)
INPUTS = manifest.describe_inputs({"content": CONTENT})
MADE = manifest.make(CHOSEN, INPUTS, {"name": "x", "sha256": "0"}, {"total": 1.0})


def test_it_holds_the_complete_config_and_no_folder():
    again = json.loads(manifest.to_text(MADE))
    assert "private" not in manifest.to_text(MADE)
    assert set(again["config"]) == {"preset", *settings.SETTINGS}
    assert again["config"]["weights"] == "vgg.h5"
    assert list(again["inputs"]) == ["content"]
    assert {"python", "nst_tf", "tensorflow", "keras", "numpy", "pillow"} == set(again["versions"])


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_config_survives(name, tmp_path):
    chosen = presets.get(name, weights="builtin", precision="float32")
    made = manifest.make(chosen, {}, {"name": "x", "sha256": "0"}, {})
    (tmp_path / "a.json").write_text(manifest.to_text(made))
    assert manifest.to_config(manifest.read(tmp_path / "a.json"), "a.json") == chosen


def test_one_that_was_written_before_the_config_had_groups_still_loads():
    path = conftest.ROOT / "tests" / "support" / "manifest_of_flat_config.json"
    expected = presets.get("crowsonkb", weights="builtin", precision="float32", large_inputs="whole")
    found = manifest.read(path)
    assert manifest.to_config(found, path) == expected
    later = {"large_inputs", "max_memory", "pyramid_levels", "detail_content_weight", "temporal_weight"}
    later |= {field.metadata["name"] for field in dataclasses.fields(settings.Neighbors)}
    assert manifest.make(expected, {}, {}, {})["config"].keys() == {*found["config"], *later}


def test_it_names_the_earlier_pictures_of_a_chain(tmp_path):
    earlier = [{"name": f"picture-{n}.png", "sha256": str(n) * 64} for n in (1, 2)]
    made = manifest.with_earlier(MADE, earlier)
    (tmp_path / "a.json").write_text(manifest.to_text(made))
    found = manifest.read(tmp_path / "a.json")
    assert (found["earlier"], found["config"]) == (earlier, json.loads(manifest.to_text(MADE))["config"])


@pytest.mark.parametrize("earlier", [{}, ["picture-1.png"], [{"name": "picture-1.png"}], 3])
def test_a_chain_that_is_none_is_refused(earlier, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({**MADE, "earlier": earlier}))
    with pytest.raises(errors.InputError, match="its 'earlier' is not as this program writes it"):
        manifest.read(tmp_path / "a.json")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_it_travels_inside_the_picture(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    pictures.write(CONTENT, path, text=manifest.to_text(MADE))
    assert manifest.read(path) == json.loads(manifest.to_text(MADE))


def test_the_sidecar_is_named_after_the_picture():
    assert manifest.sidecar("some/where/picture.png") == pathlib.Path("some/where/picture.png.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no manifest"),
        ("{", "no manifest"),
        ("[]", "no manifest"),
        ("{}", "no manifest"),
        ('{"config": 3}', "no manifest"),
        ('{"config": {"preset": "default"}}', "lacks content_layers"),
        ('{"config": {"stile_weight": 3}}', "did you mean 'style_weight'"),
    ],
)
def test_a_broken_one_gets_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(errors.InputError, match=message) as caught:
        manifest.to_config(manifest.read(tmp_path / "a.json"), "a.json")
    assert "\n" not in str(caught.value)


ENTRY = {"name": "x", "sha256": "0"}


# {part of a manifest: values that it does not have}.
MISSHAPEN: dict[str, list[Any]] = {
    "weights": [None, [], 3, "x", {"name": "x"}, {"name": 3, "sha256": "0"}],
    "inputs": [None, [1], 3, {"content": 1}, {"content": {**ENTRY, "name": None}}],
    "losses": [None, [1.0], {"total": "x"}, {"total": True}, {"total": {}}],
    "versions": [None, [], {"python": 3}],
}


@pytest.mark.parametrize(
    ("part", "value"), [(part, value) for part, values in MISSHAPEN.items() for value in values]
)
def test_a_part_of_another_shape_is_refused_on_reading(tmp_path, part, value):
    (tmp_path / "a.json").write_text(json.dumps({**MADE, part: value}))
    with pytest.raises(errors.InputError, match=f"a.json: its '{part}' is not as this program writes it$"):
        manifest.read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000, "holds no manifest"),
        (b'{"config": ' * 20_000 + b"3" + b"}" * 20_000, "holds no manifest"),
        (b'{"config": {"steps": ' + b"9" * 5000 + b"}}", "holds no manifest"),
        (b" " * 2**20 + b'{"config": {}}', "holds no manifest"),
        (b"\xff\xfe{", "cannot be read"),
        (b'{"config": {"preset": "\xe9"}}', "cannot be read"),
    ],
)
def test_what_python_cannot_take_for_json_gets_one_line(tmp_path, data, message):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(errors.InputError, match=message) as caught:
        manifest.read(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
    if b"\xff" not in data and b"\xe9" not in data:  # the same in a picture
        pictures.write(CONTENT, tmp_path / "a.tif", text=data.decode())
        with pytest.raises(errors.InputError, match=message):
            manifest.read(tmp_path / "a.tif")


NESTED = json.loads("[" * 800 + "]" * 800)
ODD: list[Any] = [{"a": 1}, [[1]], [], None, True, -1, math.nan, math.inf, 10**4000, [4, {"a": 1}], NESTED]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", ["steps", "size", "style_weight", "weights", "preset"])
def test_a_setting_of_another_type_gets_one_line(tmp_path, name, value):
    (tmp_path / "a.json").write_text(json.dumps({**MADE, "config": {**MADE["config"], name: value}}))
    with pytest.raises(errors.InputError, match=f"^{name}: |^content_weight|^scales: ") as caught:
        manifest.to_config(manifest.read(tmp_path / "a.json"), "a.json")
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_missing_parts_are_no_mistake(tmp_path):
    text = json.dumps({"config": MADE["config"]})
    (tmp_path / "a.json").write_text(text, encoding="utf-8-sig")
    found = manifest.read(tmp_path / "a.json")
    assert found == {**json.loads(text), "weights": {}, "inputs": {}, "losses": {}, "versions": {}}
    assert "weights are not those" in manifest.differences(found, MADE)[-1]


@pytest.mark.parametrize("name", ["a.json", "a.png"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(errors.InputError, match="is not an ordinary file; name another"):
        manifest.read(tmp_path / name)


def test_a_loss_that_is_no_number_is_null():
    made = manifest.make(CHOSEN, {}, ENTRY, {"total": math.nan, "style": 1e30, "content": math.inf})
    assert json.loads(manifest.to_text(made))["losses"] == {"total": None, "style": 1e30, "content": None}


def test_weights_with_a_name_that_no_file_can_have_are_looked_for_elsewhere():
    named = presets.get(presets.DEFAULT, weights="x" * 300 + ".h5")
    assert manifest.find_weights(named, None) == named
    assert manifest.find_weights(named, "elsewhere.h5").network.weights == "elsewhere.h5"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)


@given(st.sampled_from(sorted(config.Config.__dataclass_fields__)), json_values)
def test_any_value_of_any_field_is_taken_or_refused_in_one_line(name, value):
    changed = {"config": {**MADE["config"], name: value}}
    message = ""
    try:
        manifest.to_config(changed, "a.json")
    except errors.InputError as error:
        message = str(error)
    assert "\n" not in message


def test_a_picture_without_a_manifest_says_so(tmp_path):
    pictures.write(CONTENT, tmp_path / "a.png")
    with pytest.raises(errors.InputError, match="no manifest"):
        manifest.read(tmp_path / "a.png")
    with pytest.raises(errors.InputError, match="there is no file"):
        manifest.read(tmp_path / "b.png")
    with pytest.raises(errors.InputError, match="cannot be read"):
        manifest.read(tmp_path / "b.json")


def test_differences_are_named():
    inputs = manifest.describe_inputs({"content": STYLE})
    other = manifest.make(CHOSEN, inputs, {"name": "y", "sha256": "1"}, {})
    assert manifest.differences(MADE, MADE) == []
    lines = manifest.differences(MADE, other)
    assert len(lines) == 2
    assert "content is not the picture" in lines[0]
    assert "weights are not those" in lines[1]


def test_weights_in_a_file_are_found_where_the_environment_says(tmp_path):
    (tmp_path / "here.h5").write_bytes(b"")
    named = presets.get(presets.DEFAULT, weights="gone.h5")
    assert manifest.find_weights(named, None).network.weights == "gone.h5"
    assert manifest.find_weights(named, "elsewhere.h5").network.weights == "elsewhere.h5"
    there = presets.get(presets.DEFAULT, weights=str(tmp_path / "here.h5"))
    assert manifest.find_weights(there, "elsewhere.h5") == there
    assert manifest.find_weights(presets.DEFAULT, "elsewhere.h5") == presets.DEFAULT


@pytest.mark.parametrize(
    "color",
    [pytest.param(name, marks=() if name == "style" else pytest.mark.slow) for name in settings.COLORS],
)
def test_the_same_manifest_makes_the_same_picture_bit_for_bit(tmp_path, color):
    options: dict[str, Any] = {
        **conftest.SHALLOW,
        "size": 48,
        "steps": 9,
        "weights": "builtin",
        "precision": "float32",
        "init": "noise",
        "color": color,
    }
    first = nst_tf.stylize(CONTENT, STYLE, seed=5, **options)
    first.save(tmp_path / "first.png")
    for source in ("first.png", "first.png.json"):
        read = manifest.read(tmp_path / source)
        second = nst_tf.stylize(CONTENT, STYLE, preset=manifest.to_config(read, source))
        np.testing.assert_array_equal(second.image, first.image)
        assert manifest.differences(read, second.manifest) == []
