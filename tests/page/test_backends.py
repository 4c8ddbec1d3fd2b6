"""What paints for a page: the api in this process, and a model server; in sessions, as the page has them."""

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf import client, errors
from nst_tf.engine import stylizer
from nst_tf.io import manifest, pictures
from nst_tf.page import backends, files, regions, session
from nst_tf.page.limits import Limits
from nst_tf.page.order import Order
from tests import conftest
from tests.serving import test_access
from tests.serving.test_client import FakeModel, serve_rest

SETTINGS: dict[str, Any] = {
    "weights": "builtin",
    "precision": "float32",
    "size": 48,
    "steps": (4, 8, 10),
    **conftest.SHALLOW,
}


@pytest.fixture
def store():
    store = files.Store()
    yield store
    store.close()


@pytest.fixture
def order(store):
    """An order of two uploads; the photograph says where it was taken, by which camera."""
    exif = Image.Exif()
    exif[0x010F] = "Camera works"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 12.5), 3: "E", 4: (13.0, 22.0, 7.25)})
    folder = store.uploads / "hash"
    folder.mkdir()
    for name, seed in (("photo.jpg", 2), ("painting.jpg", 3), ("other.jpg", 4)):
        pixels = np.rint(conftest.smooth_picture(seed, 48, 64) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, exif=exif)
    return Order(
        content=folder / "photo.jpg", styles=(folder / "painting.jpg",), preset="gram", overrides=SETTINGS
    )


def _session(store, limits=None, backend=None):
    return session.Session(store.session_folder(), backend or backends.Here(limits or Limits()))


class _Stopping:
    """A backend whose first run is stopped at a step, or at the next report."""

    def __init__(self, backend, step):
        self.takes_pictures, self._backend, self._step = backend.takes_pictures, backend, step

    def paint(self, order, checkpoint, report):
        step, self._step = self._step, 10**9
        return self._backend.paint(order, checkpoint, lambda each: report(each) or each.step >= step)


def _follow(updates):
    """Follows a run to its end."""
    return list(updates)


def _again(painted, **changes):
    """Returns the picture that the manifest in a downloaded file makes, uint8."""
    config = manifest.to_config(manifest.read(painted.path), painted.path)
    paths = painted.order.paths()
    init = {} if paths.init is None else {"init": paths.init}
    made = nst_tf.stylize(paths.content, list(paths.styles), preset=config, **init, **changes)
    return pictures.to_uint8(made.image)


def test_the_picture_is_that_of_the_library_and_its_manifest_repeats_it(store, order):
    own = _session(store)
    _follow(own.paint(order))
    with Image.open(own.current.path) as opened:
        shown = np.asarray(opened)
    expected = nst_tf.stylize(order.content, list(order.styles), preset="gram", **SETTINGS)
    np.testing.assert_array_equal(shown, pictures.to_uint8(expected.image))
    np.testing.assert_array_equal(shown, _again(own.current))
    found = json.loads(own.current.sidecar().read_text())
    assert found == json.loads(manifest.to_text(expected.manifest))


def test_a_result_says_nothing_of_where_and_with_what_the_photograph_was_taken(store, order):
    own = _session(store)
    _follow(own.paint(order))
    data = own.current.path.read_bytes()
    with Image.open(io.BytesIO(data)) as opened:
        exif = opened.getexif()
        assert not exif.get_ifd(0x8825)
        assert 0x010F not in exif
    assert b"Camera works" not in data


def test_stop_go_on_and_larger_with_their_manifests(store, order, monkeypatch):
    monkeypatch.setattr(stylizer, "_CHUNK_S", 0.0)  # a report after every step
    own = _session(store, backend=_Stopping(backends.Here(Limits()), 6))
    _follow(own.paint(order))
    stopped = own.current
    assert stopped.outcome == "stopped"
    assert stopped.steps == 6
    with Image.open(stopped.path) as opened:
        np.testing.assert_array_equal(np.asarray(opened), _again(stopped))
    recorded = manifest.read(stopped.path)["config"]["steps"]
    assert sum(recorded) == stopped.steps

    _follow(own.go_on(5))  # its run, to the end
    whole = nst_tf.stylize(order.content, list(order.styles), preset="gram", **SETTINGS)
    with Image.open(own.current.path) as opened:
        np.testing.assert_array_equal(np.asarray(opened), pictures.to_uint8(whole.image))
    assert manifest.read(own.current.path)["earlier"] == list(stopped.chain())

    _follow(own.go_on(5))
    _follow(own.larger(72, 3))
    more, larger = own.history[-2:]
    assert (more.size, more.steps, larger.size, larger.steps) == ((36, 48), 5, (54, 72), 4)
    for painted in (more, larger):
        with Image.open(painted.path) as opened:
            np.testing.assert_array_equal(np.asarray(opened), _again(painted))
    found = manifest.read(larger.path)
    assert [each["name"] for each in found["earlier"]] == ["picture-1.png", "picture-2.png", "picture-3.png"]
    assert found["inputs"]["init"] == found["earlier"][-1]


def test_regions_give_each_painting_its_place(store, order):
    strokes = Image.new("RGBA", (64, 48))
    strokes.paste(regions.BRUSHES[1], (0, 0, 32, 48))
    strokes.paste(regions.KEEP, (32, 0, 64, 24))
    drawn = regions.read([strokes], 2)
    path = store.session_folder() / "regions.png"
    assert drawn.labels is not None
    drawn.labels.save(path)
    styles = (order.styles[0], order.styles[0].with_name("other.jpg"))
    with_regions = Order(
        content=order.content, styles=styles, preset="gram", overrides=SETTINGS, regions=path,
        style_regions=drawn.colors,
    )  # fmt: skip
    own = _session(store)
    _follow(own.paint(with_regions))
    expected = nst_tf.stylize(
        order.content, list(styles), preset="gram", content_regions=path, style_regions=list(drawn.colors),
        **SETTINGS,
    )  # fmt: skip
    with Image.open(own.current.path) as opened:
        np.testing.assert_array_equal(np.asarray(opened), pictures.to_uint8(expected.image))


def test_limits_hold_before_anything_is_computed(store, order):
    own = _session(store, Limits(max_steps=21))
    with pytest.raises(errors.InputError, match="steps: 22 in all; allowed on this page: 21"):
        _follow(own.paint(order))
    own = _session(store, Limits(max_pixels=36 * 48))
    _follow(own.paint(order))
    with pytest.raises(errors.InputError, match="size: 50 x 38 pixels; allowed on this page: 1,728"):
        _follow(own.larger(50, 3))


def test_a_picture_that_cannot_be_read_is_one_line(store, order):
    order.content.write_bytes(b"<html>no picture</html>")
    with pytest.raises(errors.InputError, match=r"content: .*photo\.jpg is a web page, which is not read"):
        _follow(_session(store).paint(order))


def test_colours_alone_take_no_steps(store, order):
    own = _session(store)
    recolored = order.with_setting("color", "only")
    _follow(own.paint(recolored))
    assert (own.current.outcome, own.current.steps) == ("finished", 0)


def test_a_model_server_paints_in_parts_and_a_stopped_run_goes_on(store, order):
    model = FakeModel()
    port, stop = serve_rest(model)
    asked = Order(
        content=order.content,
        styles=order.styles,
        preset="gram",
        overrides={"size": 64, "steps": 25, "seed": 3},
    )
    backend = backends.Server(f"http://127.0.0.1:{port}", Limits())
    own = _session(store, backend=_Stopping(backend, 10))
    _follow(own.paint(asked))
    assert (own.current.outcome, own.current.steps) == ("stopped", 10)
    _follow(own.go_on(5))
    stop()
    assert (own.current.outcome, own.current.steps, own.current.size) == ("finished", 25, (24, 32))
    assert [signature for signature, _ in model.calls] == ["start", "advance", "advance", "advance"]
    _, sent = model.calls[0]
    assert (int(sent["num_steps"]), int(sent["size"]), int(sent["seed"])) == (25, 64, 3)
    with Image.open(io.BytesIO(sent["content_bytes"])) as content, Image.open(order.content) as photo:
        np.testing.assert_array_equal(np.asarray(content), np.asarray(photo))
    assert own.current.sidecar() is None


def test_a_model_server_is_asked_as_the_page_was_told_to(store, order):
    asked = dataclasses.replace(order, overrides={"size": 64})
    secret = "open-sesame-open"
    with test_access._rest(answer=(403, f"no {secret}")) as server:
        backend = backends.Server(server.address, Limits(), {"headers": {"x-key": secret}})
        with pytest.raises(errors.InputError, match="wants a login other than x-key sent") as refused:
            _follow(_session(store, backend=backend).paint(asked))
        assert server.seen[0]["x-key"] == secret
    assert secret not in f"{refused.value} {backend}"
    with pytest.raises(errors.InputError, match="model: ''; allowed: a name"):
        client.check_call("http://127.0.0.1:8501", model="")
