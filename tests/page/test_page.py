"""The page as programs meet it: by Gradio's own client, and by plain requests."""

import contextlib
import json
import os
import pathlib
import tempfile
import time

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
import gradio_client

import nst_tf
from nst_tf.io import pictures, samples
from nst_tf.page import backends, film, runs, server
from nst_tf.page.limits import Limits
from nst_tf.video import frames
from tests import conftest
from tests.page.test_session import Fake

SETTINGS = {
    "weights": "builtin",
    "precision": "float32",
    "size": "48",
    "steps": "4,8,10",
    "content_layers": "relu2_1",
    "style_layers": "relu1_1,relu3_1",
    "style_layer_weights": "1,1",
}


@contextlib.contextmanager
def _page(backend, limits=None, people=()):
    with server.Page(backend, limits or Limits(), "127.0.0.1", 0, dict(people)) as page:
        yield page


@pytest.fixture
def folder(tmp_path):
    """A folder with a photograph and a painting."""
    for name, seed in (("photo.png", 2), ("painting.png", 3)):
        pixels = np.rint(conftest.smooth_picture(seed, 48, 64) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def client_of(tmp_path):
    """Returns clients of a page, which are closed at the end."""
    with contextlib.ExitStack() as ending:

        def connect(page, **options):
            client = gradio_client.Client(
                page.address, verbose=False, download_files=str(tmp_path), **options
            )
            ending.callback(client.close)
            return client

        yield connect


@pytest.mark.slow
def test_a_program_has_a_film_painted(folder, client_of):
    pytest.importorskip("av")
    pytest.importorskip("cv2")
    from tests.support import sample_films

    sample_films.write(folder / "film.mp4", sample_films.moving(5), sound="aac")
    sent = {**_files(folder), "content": gradio_client.handle_file(folder / "film.mp4")}
    with _page(backends.Here(Limits())) as page:
        client = client_of(page)
        painted = client.predict(
            **sent, preset="gram", settings={**SETTINGS, "steps": "4", "scales": "1"}, duration=0.12, fps=25,
            api_name="/film",
        )  # fmt: skip
        with pytest.raises(
            gradio_client.exceptions.AppError,
            match="film: 9 s of 12 frames a second, 108 frames; allowed on this page: 96",
        ):
            client.predict(**sent, preset="gram", duration=9, api_name="/film")
    shown = list(frames.of(pathlib.Path(painted)))
    assert [frame.picture.shape for frame in shown] == [(36, 48, 3)] * 3


def _files(folder):
    return {
        "content": gradio_client.handle_file(folder / "photo.png"),
        "styles": [gradio_client.handle_file(folder / "painting.png")],
    }


def test_a_program_paints_goes_on_and_takes_the_picture_home(folder, client_of):
    with _page(backends.Here(Limits())) as page:
        client = client_of(page)
        names = sorted(client.view_api(return_format="dict")["named_endpoints"])
        assert names == [*(["/film"] if film.is_there() else []), "/go_on", "/larger", "/paint", "/stop"]
        picture, sidecar = client.predict(
            **_files(folder), preset="gram", settings=SETTINGS, api_name="/paint"
        )
        larger, _ = client.predict(steps=3, api_name="/larger")
    settings = {
        **conftest.SHALLOW,
        "weights": "builtin",
        "precision": "float32",
        "size": 48,
        "steps": (4, 8, 10),
    }
    expected = nst_tf.stylize(folder / "photo.png", folder / "painting.png", preset="gram", **settings)
    with Image.open(picture) as opened:
        np.testing.assert_array_equal(np.asarray(opened), pictures.to_uint8(expected.image))
    with open(sidecar, encoding="utf-8") as file:
        assert json.load(file)["inputs"]["content"]["name"] == "photo.png"
    with Image.open(larger) as opened:
        assert opened.size == (96, 72)


@pytest.fixture(scope="module")
def shared():
    """A page for all tests that change nothing of it, and its backend, which paints grey."""
    fake = Fake()
    with _page(fake, Limits(max_upload_mb=1, max_queue=1)) as page:
        yield page, fake


@pytest.fixture
def page(shared):
    return shared[0]


@pytest.fixture
def fake(shared):
    """The page's backend, as new."""
    shared[1].__init__()
    return shared[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "no_such"}, "preset: 'no_such' is not one of default"),
        ({"settings": {"size": "big"}}, "size: 'big'; allowed: a whole number"),
        ({"settings": {"weights": "/etc/passwd"}}, "weights: '/etc/passwd' is not one of"),
        ({"settings": {"max_memory": "1GiB"}}, "setting: 'max_memory' is not one of"),
    ],
)
def test_a_mistake_is_one_line(page, fake, folder, client_of, changes, message):
    with pytest.raises(gradio_client.exceptions.AppError) as raised:
        client_of(page).predict(**{**_files(folder), **changes}, api_name="/paint")
    text = str(raised.value).replace("&#x27;", "'")
    assert message in text
    assert "\n" not in text
    assert fake.orders == []


def _call(page, data, endpoint="paint"):
    """Returns the answer's last event of a call whose data no client of Gradio would send."""
    url = f"{page.address}gradio_api/call/{endpoint}"
    event = httpx.post(url, json={"data": data}, timeout=NEVER_S).json()["event_id"]
    return httpx.get(f"{url}/{event}", timeout=NEVER_S).text


def _file(path):
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "https://example.org/a.png", "../../secret", "photo.png", "data:image/png;base64,AA"],
)
def test_no_path_of_a_request_is_read(page, fake, path):
    sample = _file(samples.to_path("sample:town"))
    answer = _call(page, [_file(path), [sample], "draft", {}])
    assert "event: error" in answer
    assert fake.orders == []
    answer = _call(page, [sample, [_file(path)], "draft", {}])
    assert "event: error" in answer
    assert fake.orders == []


def test_only_files_of_the_page_are_served(page, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    base = f"{page.address}gradio_api/file="
    assert os.listdir() == []  # the process works in an empty folder
    for path in ("/etc/passwd", tmp_path / "secret.png", "../sessions", "/proc/self/environ"):
        assert httpx.get(f"{base}{path}").status_code in (403, 404), path
    for elsewhere in ("file=https://example.org/a.png", "%66ile=https%3A//example.org/a.png"):
        answer = httpx.get(f"{page.address}gradio_api/{elsewhere}", follow_redirects=False)
        assert (answer.status_code, answer.text) == (403, "this page fetches nothing from elsewhere")
    assert httpx.get(f"{base}{samples.to_path('sample:town')}").status_code == 200


def test_thumbnails_stay_as_long_as_the_page(page):
    config = httpx.get(f"{page.address}config").json()
    (gallery,) = (each for each in config["components"] if each["props"].get("elem_id") == "presets")
    shown = [each["image"]["url"] for each in gallery["props"]["value"]]
    assert len(shown) >= 8
    page.sessions.store.sweep(time.time() + 2 * 3600)
    assert {httpx.get(each).status_code for each in shown} == {200}


def test_large_uploads_are_refused(page, folder, client_of):
    for size in (1_500_000, 3_000_000):  # by Gradio, file by file; and by the page, before anything is read
        sent = {"files": ("a.png", b"\0" * size)}
        assert httpx.post(f"{page.address}gradio_api/upload", files=sent).status_code == 413
    client_of(page).predict(**_files(folder), api_name="/paint")


def test_a_run_may_be_stopped_and_goes_on(page, fake, folder, client_of):
    fake.steps, fake.step_s = 10_000, 0.01
    client = client_of(page)
    job = client.submit(**_files(folder), api_name="/paint")
    _until(lambda: fake.orders)
    client.predict(api_name="/stop")
    picture, _ = job.result(timeout=NEVER_S)
    fake.steps, fake.step_s = 10_001, 0.0
    client.predict(api_name="/go_on")
    assert [order.overrides for order in fake.orders] == [{}, {}]  # both of the same run
    assert picture.endswith("picture-1.png")


# Seconds after which what has not come will not: tests wait for events, on a machine with much else to do.
NEVER_S = 120


def _until(condition):
    """Waits until a condition holds."""
    end = time.monotonic() + NEVER_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_client_that_goes_away_ends_its_run(page, fake, folder):
    fake.steps, fake.step_s = 10**9, 0.01
    client = gradio_client.Client(page.address, verbose=False)
    client.submit(**_files(folder), api_name="/paint")
    _until(lambda: fake.orders)
    assert client.session_hash in page.sessions
    client.close()
    assert fake.ended.wait(NEVER_S)
    _until(lambda: client.session_hash not in page.sessions)


@pytest.mark.slow
def test_one_run_at_a_time_and_a_queue_that_has_an_end(page, fake, folder, client_of):
    fake.steps, fake.step_s = 10**9, 0.01
    clients = [client_of(page) for _ in range(3)]
    jobs = [clients[0].submit(**_files(folder), api_name="/paint")]
    _until(lambda: fake.orders)
    jobs.append(clients[1].submit(**_files(folder), api_name="/paint"))
    _until(lambda: jobs[1].status().rank is not None)
    with pytest.raises(Exception, match="ueue is full"):
        clients[2].predict(**_files(folder), api_name="/paint")
    assert len(fake.orders) == 1
    clients[0].close()  # which ends its run; "/stop" itself would need a place in the queue
    _until(lambda: len(fake.orders) == 2)
    clients[1].predict(api_name="/stop")
    jobs[1].result(timeout=NEVER_S)


def test_sessions_see_their_own_pictures_only(page, fake, folder, client_of):
    del fake
    one, two = client_of(page), client_of(page)
    one.predict(**_files(folder), api_name="/paint")
    with pytest.raises(Exception, match="picture: none yet"):
        two.predict(api_name="/go_on")


def test_with_passwords_nothing_is_open_to_others_and_the_folder_goes_with_the_page(folder, client_of):
    before = (os.getcwd(), dict(os.environ), Image.MAX_IMAGE_PIXELS, tempfile.gettempdir())
    with _page(Fake(), people={"ann": "secret"}) as page:
        for path in ("config", "gradio_api/info", f"gradio_api/file={samples.to_path('sample:town')}"):
            assert httpx.get(f"{page.address}{path}").status_code in (401, 403), path
        for people in ({"username": "ann", "password": "wrong"}, {"username": "bob", "password": "secret"}):
            assert httpx.post(f"{page.address}login", data=people).status_code == 400
        client_of(page, auth=("ann", "secret")).predict(**_files(folder), api_name="/paint")
        root = page.sessions.store.uploads.parent
        assert root.is_dir()
    assert not root.exists()
    assert (os.getcwd(), dict(os.environ), Image.MAX_IMAGE_PIXELS, tempfile.gettempdir()) == before


def test_the_page_names_no_other_host(page):
    text = httpx.get(page.address).text
    config = httpx.get(f"{page.address}config").json()
    assert config["analytics_enabled"] is False
    assert "fonts.googleapis" not in text
    assert runs.PREVIEW_S == 1.0
