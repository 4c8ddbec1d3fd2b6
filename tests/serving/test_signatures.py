"""The whole way: exported, served over loopback with the official protos, asked by the client."""

import concurrent.futures
import dataclasses
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from benchmark import load
from local_server.server import LocalServer

from nst_tf import errors
from nst_tf.config import presets
from nst_tf.engine import stylizer
from nst_tf.io import masks, pictures
from nst_tf.serving import client, export, record
from nst_tf.serving.settings import Limits
from tests import conftest
from tests.support import served

LIMITS = Limits(64 * 64, 100_000)
SETTINGS = client.Settings(
    num_steps=sum(served.CONFIG.scales.steps),
    size=served.CONFIG.scales.size,
    seed=0,
    content_weight=served.CONFIG.content.weight,
    style_weight=served.CONFIG.style.weight,
    total_variation_weight=0.0,
)
CLIENTS = 16  # at a time
CONTENT, STYLE = served.decode(served.CONTENT), served.decode(served.STYLE)


@pytest.fixture(scope="module")
def model(tmp_path_factory, narrow_weights):
    """A model's folder, with version 1."""
    folder = tmp_path_factory.mktemp("models") / "nst"
    export.export(served.CONFIG, folder, limits=LIMITS, vgg_weights=narrow_weights)
    return folder


@pytest.fixture(scope="module")
def server(model):
    # Of either kind one listens.
    with LocalServer(model, grpc_max_threads=CLIENTS + 1, rest_api_num_threads=CLIENTS + 1) as running:
        yield running


@pytest.fixture(scope="module")
def addresses(server):
    """The same server by both protocols."""
    return f"grpc://127.0.0.1:{server.grpc_port}", f"http://127.0.0.1:{server.rest_port}"


@pytest.fixture(scope="module")
def local_picture(narrow_weights):
    images = [pictures.read(picture) for picture in (CONTENT, STYLE)]
    run = stylizer.Stylizer(images[0], [images[1]], served.CONFIG, narrow_weights)
    run.run()
    return pictures.to_uint8(run.picture()), [float(value) for value in run.evaluate()]


@pytest.mark.parametrize("settings", [None, SETTINGS])
def test_both_protocols_bring_the_local_picture(settings, addresses, local_picture):
    for address in addresses:
        answer = client.request_stylization(address, CONTENT, STYLE, settings=settings)
        np.testing.assert_array_equal(pictures.to_uint8(answer.image), local_picture[0])
        np.testing.assert_allclose(answer.losses, local_picture[1], rtol=1e-6)


OTHER_STYLE = served.decode(served.encode(conftest.smooth_picture(7, 40, 60)))


@pytest.mark.slow
@pytest.mark.parametrize("color", [None, "luminance"])
def test_both_protocols_bring_the_local_picture_of_several_styles(color, addresses, narrow_weights):
    weights = (0.1, 0.7)  # which float32 rounds
    chosen = presets.get(served.CONFIG, style_blend_weights=weights, color=color or served.CONFIG.color.mode)
    images = [pictures.read(picture) for picture in (CONTENT, STYLE, OTHER_STYLE)]
    run = stylizer.Stylizer(images[0], images[1:], chosen, narrow_weights)
    run.run()
    for address in addresses:
        answer = client.request_stylization(
            *(address, CONTENT, [STYLE, OTHER_STYLE]),
            style_blend_weights=weights,
            color=color,
            settings=SETTINGS,
        )
        np.testing.assert_array_equal(pictures.to_uint8(answer.image), pictures.to_uint8(run.picture()))
        np.testing.assert_allclose(answer.losses, run.evaluate(), rtol=1e-6)


@pytest.mark.slow
def test_both_protocols_bring_the_local_picture_of_regions_in_parts(addresses, narrow_weights, tmp_path):
    """Another client goes on with each part, by the checkpoint that the one before left."""
    labels = served.stripes((255, 0, 0), (0, 0, 255))
    chosen = presets.get(served.CONFIG, style_blend_weights=(3.0, 7.0))
    images = [pictures.read(picture) for picture in (CONTENT, STYLE, OTHER_STYLE)]
    sizes = [image.shape[1:3] for image in images]
    planned = masks.plan(sizes[0], sizes[1:], content_regions=labels, style_regions=["#ff0000", "#0000ff"])
    run = stylizer.Stylizer(images[0], images[1:], chosen, narrow_weights, regions=planned)
    run.run()
    for address in addresses:
        answer = None
        for _ in range(3):
            answer = client.request_stylization(
                *(address, CONTENT, [STYLE, OTHER_STYLE]),
                style_blend_weights=(3, 7),
                content_regions=labels,
                style_regions=["#ff0000", "#0000ff"],
                settings=SETTINGS,
                steps_now=4,
                checkpoint=tmp_path / "picture.checkpoint",
                on_progress=lambda _: True,
            )
        assert answer is not None
        assert answer.step == 9
        np.testing.assert_array_equal(pictures.to_uint8(answer.image), pictures.to_uint8(run.picture()))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_the_model_refuses_of_a_blend_is_said_in_a_line(addresses):
    for address in addresses:
        with pytest.raises(
            errors.InputError, match=r"refused: style_blend_weights: 1, .*of which 1 to 16 above"
        ):
            client.request_stylization(address, CONTENT, [STYLE] * 17, settings=SETTINGS)


@pytest.mark.slow
def test_a_run_in_parts_brings_it_too(addresses, local_picture):
    for address in addresses:
        seen: list[client.Answer] = []
        answer = client.request_stylization(
            address, CONTENT, STYLE, settings=SETTINGS, steps_now=4, on_progress=seen.append
        )
        np.testing.assert_array_equal(pictures.to_uint8(answer.image), local_picture[0])
        assert [each.step for each in seen] == [4, 8, 9]


def test_what_the_model_refuses_is_said_in_a_line(addresses):
    too_large = presets.get("gram", size=65)
    settings = client.Settings(
        num_steps=3,
        size=too_large.scales.size,
        seed=0,
        content_weight=1.0,
        style_weight=1.0,
        total_variation_weight=0.0,
    )
    for address in addresses:
        with pytest.raises(errors.InputError, match="allowed: at most 4096 in all") as caught:
            client.request_stylization(address, np.zeros((65, 65, 3)), STYLE, settings=settings)
        assert "\n" not in str(caught.value)
        assert "{{node" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (served.CONTENT[:200], "content: the file was cut short, after 200 bytes"),
        (served.CONTENT[:300] + bytes(200) + served.CONTENT[500:], "content: the file is damaged, or of a"),
    ],
)
def test_a_picture_that_was_damaged_on_the_way_is_named(content, name, addresses, monkeypatch):
    encode = record._png
    monkeypatch.setattr(
        record, "_png", lambda pixels: content if pixels.shape == CONTENT.shape else encode(pixels)
    )
    for address in addresses:
        with pytest.raises(errors.InputError, match=f"refused: {re.escape(name)}"):
            client.request_stylization(address, CONTENT, STYLE, settings=SETTINGS)


@pytest.mark.slow
def test_many_clients_at_once_get_what_each_gets_alone(addresses):
    """Half of them by each protocol, each with a size of its own."""

    def ask(number):
        own = dataclasses.replace(SETTINGS, size=32 + 2 * number, num_steps=6 + number % 3)
        return client.request_stylization(addresses[number % 2], CONTENT, STYLE, settings=own).image

    alone = [ask(number) for number in range(CLIENTS)]
    assert len({image.shape for image in alone}) == CLIENTS
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        for expected, image in zip(alone, pool.map(ask, range(CLIENTS)), strict=True):
            np.testing.assert_array_equal(image, expected)


# Of a server whose memory is watched; a graph or a session that stayed would take as much in two of them.
REQUESTS, MOST_GROWTH_MB = 200, 10


@pytest.mark.slow
def test_the_memory_of_a_server_does_not_grow(model):
    """Over pictures of several sizes, in parts, of regions, and over refused ones, by both protocols."""
    labels = served.stripes((255, 0, 0), (0, 0, 255))
    kinds: list[dict[str, Any]] = [
        {"style": STYLE},
        {"style": STYLE, "on_progress": lambda _: False, "steps_now": 4},
        {"style": [STYLE, STYLE], "content_regions": labels, "style_regions": ["#ff0000", "#0000ff"]},
        {"style": STYLE, "settings": dataclasses.replace(SETTINGS, size=65)},
    ]
    resident, refused = [], 0
    with load._serving(model, CLIENTS) as process:
        addresses = f"grpc://{process.grpc}", process.rest.partition("/v1/")[0]
        for number in range(REQUESTS):
            own = {"settings": dataclasses.replace(SETTINGS, size=40 + 4 * (number % 3), num_steps=6)}
            try:
                client.request_stylization(
                    addresses[number % 2], CONTENT, **own | kinds[number // 2 % len(kinds)]
                )
            except errors.InputError:
                refused += 1
            resident.append(process.resident_mb())
    print(resident)
    assert refused == REQUESTS / len(kinds)
    assert load.growth(resident)["growth_mb"] < MOST_GROWTH_MB


def test_a_deadline_ends_a_long_run(addresses):
    endless = client.Settings(
        num_steps=100_000,
        size=48,
        seed=0,
        content_weight=1.0,
        style_weight=1.0,
        total_variation_weight=0.0,
    )
    for address in addresses:
        with pytest.raises(client.ServerError, match="gave no answer within 1 s"):
            client.request_stylization(address, CONTENT, STYLE, settings=endless, timeout_s=1.0)


def _post(address, document):
    """Returns the HTTP code and the JSON of a prediction asked for by hand."""
    request = urllib.request.Request(f"{address}/v1/models/nst:predict", json.dumps(document).encode())
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    st.sampled_from([b"", served.CONTENT[:8], served.CONTENT[:33], served.STYLE[:30]]),
    st.binary(max_size=100),
)
def test_hostile_bytes_get_a_400(addresses, start, rest):
    import base64

    text = base64.b64encode(start + rest).decode()
    instance = {"content_bytes": {"b64": text}, "style_bytes": {"b64": text}}
    code, answer = _post(addresses[1], {"instances": [instance]})
    assert code == 400
    assert answer["error"]


def _served_version(address):
    """Returns the number of the version that the server has available."""
    with urllib.request.urlopen(f"{address}/v1/models/nst") as response:
        statuses = json.load(response)["model_version_status"]
    return max(int(status["version"]) for status in statuses if status["state"] == "AVAILABLE")


@pytest.mark.slow
def test_a_new_version_takes_over_without_a_failure(model, addresses, local_picture):
    """Requests run all the while; each is answered by one version or the other."""
    shutil.copytree(model / "1", model / "incoming")
    (model / "incoming").rename(model / "2")
    answers: list[np.ndarray] = []
    before = _served_version(addresses[1])
    deadline = time.monotonic() + 120
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        while _served_version(addresses[1]) == before and time.monotonic() < deadline:
            answers += pool.map(
                lambda address: client.request_stylization(address, CONTENT, STYLE).image, addresses
            )
    assert (before, _served_version(addresses[1])) == (1, 2)
    answers.append(client.request_stylization(addresses[0], CONTENT, STYLE).image)
    assert len(answers) > 2
    for image in answers:
        np.testing.assert_array_equal(pictures.to_uint8(image), local_picture[0])
