"""The page in a real Chromium, by Playwright: pip install playwright, and the system's own chromium.

Screenshots of every step are in pytest's temporary folder (`--basetemp`), to be looked at.
"""

import contextlib
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import nst_tf
from nst_tf.io import manifest, pictures, samples
from nst_tf.page import backends, quota, runs
from nst_tf.page.limits import Limits
from tests.page.test_session import Fake

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
server = pytest.importorskip("nst_tf.page.server")

CHROMIUM = shutil.which("chromium") or ""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no chromium"),
]

# Enough for a machine that does much else at the same time.
TIMEOUT_MS = 300_000

DESKTOP, PHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}


class Switch:
    """A backend that passes what it is asked for to another, `to`."""

    takes_pictures = True
    to: backends.Backend = Fake()

    def paint(self, order, checkpoint, report):
        return self.to.paint(order, checkpoint, report)

    def film(self, order, output, part, report):
        return self.to.film(order, output, part, report)


@pytest.fixture(scope="module")
def backend():
    return Switch()


@pytest.fixture(scope="module")
def page(backend):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NST_TF_WEIGHTS", "builtin")
        patch.setattr(runs, "PREVIEW_S", 0.2)
        with server.Page(backend, Limits(max_queue=2), "127.0.0.1", 0, {}) as served:
            yield served


@pytest.fixture(autouse=True)
def builtin_weights(no_weights_from_the_environment, monkeypatch):
    del no_weights_from_the_environment
    monkeypatch.setenv("NST_TF_WEIGHTS", "builtin")


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab_of(chromium, page, tmp_path):
    """Opens tabs on the page; no request may go elsewhere."""
    elsewhere = []
    with contextlib.ExitStack() as ending:

        def open_tab(size=DESKTOP, scheme="light"):
            context = chromium.new_context(viewport=size, color_scheme=scheme, accept_downloads=True)
            ending.callback(context.close)
            context.set_default_timeout(TIMEOUT_MS)
            context.on("request", lambda request: elsewhere.append(request.url))
            tab = context.new_page()
            tab.goto(page.address)
            tab.wait_for_selector("#paint")
            return Tab(tab, tmp_path)

        yield open_tab
    own = (page.address, "data:", "blob:", "about:")
    assert [url for url in elsewhere if not url.startswith(own)] == []


class Tab:
    """A tab, and what a person does in it."""

    def __init__(self, tab, shots: pathlib.Path):
        """Takes Playwright's page, and the folder for screenshots."""
        self.tab, self._shots, self._count = tab, shots, 0

    def shot(self, name, whole=True):
        """Takes a screenshot, to be looked at."""
        self._count += 1
        self.tab.screenshot(path=self._shots / f"{self._count:02d}-{name}.png", full_page=whole)

    def upload(self, *, photograph=None, paintings=()):
        if photograph:
            self.tab.set_input_files("#photograph input[type=file]", photograph)
            self.tab.wait_for_selector("#photograph img")
        if paintings:
            self.tab.set_input_files("#paintings input[type=file]", list(paintings))
            self.tab.wait_for_selector("#paintings img")

    def samples(self):
        self.click("#sample-town")
        self.tab.wait_for_selector("#photograph img")
        self.click("#sample-strokes")
        self.tab.wait_for_selector("#paintings img")

    def click(self, selector):
        """Clicks, without a wait for the rest of the page to be still."""
        self.tab.locator(selector).first.evaluate("element => element.click()")

    def set(self, selector, value):
        field = self.tab.locator(
            f"{selector} input[type=number], {selector} textarea, {selector} input"
        ).first
        field.fill(str(value))
        field.press("Tab")

    def fold(self, name):
        self.tab.get_by_role("button", name=name).first.evaluate("element => element.click()")

    def setting(self, name, value):
        """Types a setting into the folded part."""
        self.fold("All other settings")
        self.tab.wait_for_selector(f"#setting-{name}")
        self.set(f"#setting-{name}", value)
        self.fold("All other settings")

    def status(self):
        return self.tab.locator("#status p").inner_text()

    def wait_for(self, pattern, status="#status"):
        """Waits for a status; returns it."""
        said = self.tab.locator(f"{status} p")
        playwright.expect(said).to_have_text(re.compile(pattern), timeout=TIMEOUT_MS)
        return said.inner_text()

    def preview(self):
        """Returns the address of the picture so far, which is its hash."""
        shown = self.tab.locator("#picture img")
        return shown.first.get_attribute("src") if shown.count() else None


def _sample(name):
    return str(samples.to_path(f"sample:{name}"))


def _pixels(path):
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_the_whole_way(tab_of, backend, tmp_path):
    backend.to = backends.Here(Limits())
    own = tab_of()
    own.shot("empty")
    own.upload(photograph=_sample("town"), paintings=[_sample("strokes")])
    own.set("#size", 64)
    own.setting("steps", 90)
    own.click("#paint")
    previews: set[str | None] = set()
    own.wait_for(r"Step \d+ of 90")
    while len(previews) < 3:
        previews.add(own.preview())
        assert "Finished" not in own.status()
        own.tab.wait_for_timeout(50)
    own.shot("painting")
    own.click("#stop")
    stopped = re.search(r"after (\d+) steps: 64 x 48", own.wait_for("Stopped after"))
    assert stopped is not None
    assert int(stopped[1]) < 90
    own.shot("stopped")
    own.click("#go-on")
    own.wait_for("Finished after 90 steps: 64 x 48 pixels")
    own.set("#steps", 5)
    own.click("#larger")
    own.wait_for("Finished after 6 steps: 128 x 96 pixels")
    with own.tab.expect_download() as download:
        own.click("#download")
    taken = tmp_path / download.value.suggested_filename
    download.value.save_as(taken)
    for name in ("Before and after", "Losses", "This session", "Take home"):
        own.tab.get_by_role("tab", name=name).click()
        own.tab.wait_for_timeout(1000)
        own.shot(name.replace(" ", "-").lower())
    found = manifest.read(taken)
    assert [each["name"] for each in found["earlier"]] == ["picture-1.png", "picture-2.png"]
    assert found["inputs"]["init"] == found["earlier"][1]
    command = own.tab.locator("#command").inner_text()
    assert "--content=sample:town" in command
    # The picture before it, which its manifest names by hash, from the history.
    own.tab.get_by_role("tab", name="This session").click()
    own.click("#history .thumbnail-item >> nth=1")
    own.wait_for("Finished after 90 steps")
    with own.tab.expect_download() as download:
        own.click("#download")
    earlier = tmp_path / download.value.suggested_filename
    download.value.save_as(earlier)
    again = {"content": _sample("town"), "style": _sample("strokes")}
    for path, init in ((earlier, {}), (taken, {"init": earlier})):
        config = manifest.to_config(manifest.read(path), path)
        made = nst_tf.stylize(*again.values(), preset=config, **init)
        np.testing.assert_array_equal(_pixels(path), pictures.to_uint8(made.image))


def test_a_bad_file_breaks_nothing(tab_of, backend, tmp_path):
    backend.to = backends.Here(Limits())
    own = tab_of()
    own.click("#paint")
    own.wait_for("photograph: none; allowed: one: upload it, or take the sample")
    bad = tmp_path / "holiday.jpg"
    bad.write_text("<html>no picture</html>")
    own.upload(photograph=str(bad), paintings=[_sample("strokes")])
    own.click("#paint")
    said = own.wait_for("which is not read")
    assert said == "photograph: holiday.jpg is a web page, which is not read; convert it to PNG, JPEG or TIFF"
    own.shot("bad-file")
    own.click("#sample-town")
    own.set("#size", 64)
    own.setting("steps", 8)
    own.click("#paint")
    own.wait_for("Finished after 8 steps")


def test_regions_are_drawn(tab_of, backend):
    backend.to = backends.Here(Limits())
    own = tab_of({"width": 480, "height": 800})
    own.samples()
    own.click("#sample-mosaic")
    own.set("#size", 64)
    own.setting("steps", 12)
    own.fold("Regions: where which painting goes")
    own.tab.wait_for_selector("#regions canvas")
    own.tab.wait_for_timeout(3000)
    own.click("#regions [aria-label=Color]")
    own.tab.wait_for_timeout(500)
    own.click("#regions button.color >> nth=1")
    own.click("#regions [aria-label=Color]")
    own.tab.locator("#regions canvas").first.evaluate("element => element.scrollIntoView({block: 'center'})")
    box = own.tab.locator("#regions canvas").first.bounding_box()
    water = box["y"] + box["height"] * 0.68  # below the brushes to choose from
    own.tab.mouse.move(box["x"] + box["width"] * 0.5, water)
    own.tab.mouse.down()
    own.tab.mouse.move(box["x"] + box["width"] * 0.8, water, steps=3)
    own.tab.mouse.up()
    own.tab.wait_for_timeout(2000)
    own.shot("drawn", whole=False)
    own.click("#paint")
    own.wait_for("Finished after 12 steps")
    command = own.tab.locator("#command").inner_text()
    assert "--content_regions=regions-1.png" in command
    assert "--style_regions=#e6194b,#3cb44b" in command.replace("'", "")
    own.shot("regions")


def test_settings_are_compared(tab_of, backend):
    backend.to = backends.Here(Limits())
    own = tab_of()
    own.samples()
    own.set("#size", 64)
    own.setting("steps", 12)
    own.fold("Compare settings")
    own.tab.wait_for_selector("#compared-values")
    own.set("#compared-values", "0.2,25")
    own.click("#compare")
    own.tab.wait_for_selector("#sheet img")
    own.tab.wait_for_timeout(1000)
    own.shot("compared")
    own.set("#compared-values", "1")
    own.click("#compare")
    own.wait_for("compare: 1 values; allowed: 2 to 4")


def test_two_tabs_wait_for_each_other_and_a_closed_one_ends_its_run(tab_of, backend):
    backend.to = Fake(steps=10**9, step_s=0.02)
    one, two = tab_of(), tab_of()
    for own in (one, two):
        own.samples()
    one.click("#paint")
    one.wait_for("Step ")
    two.click("#paint")
    two.wait_for("Waits for its turn")
    two.tab.wait_for_timeout(1500)
    two.shot("waits")
    assert len(backend.to.orders) == 1
    assert not backend.to.ended.is_set()
    one.tab.close()
    assert backend.to.ended.wait(10)
    two.wait_for("Step ")
    two.click("#stop")
    two.wait_for("Stopped after")


def test_a_reload_begins_anew(tab_of, backend, page):
    backend.to = Fake(steps=10**9, step_s=0.02)
    own = tab_of()
    own.samples()
    own.click("#paint")
    own.wait_for("Step ")
    own.tab.reload()
    own.tab.wait_for_selector("#paint")
    assert backend.to.ended.wait(10)
    own.wait_for("Drop a photograph and a painting")
    backend.to = Fake(steps=3)
    own.samples()
    own.click("#paint")
    own.wait_for("Finished after 3 steps")
    del page


def test_a_film_is_painted(tab_of, backend, tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("cv2")
    from benchmark import town_film

    from tests.support import sample_films

    sample_films.write(tmp_path / "holiday.mp4", town_film.make(12, 192, 256).frames, sound="aac")
    backend.to = backends.Here(Limits())
    own = tab_of()
    own.samples()
    own.set("#size", 96)
    own.setting("steps", 30)
    own.fold("Film: a short one, frame by frame")
    own.tab.wait_for_selector("#paint-film")
    own.click("#paint-film")
    own.wait_for("film: none; allowed: one: upload it", "#film-status")
    own.tab.set_input_files("#film input[type=file]", tmp_path / "holiday.mp4")
    own.tab.wait_for_selector("#film video")
    own.click("#paint-film")
    own.wait_for(r"Frame [3-6] of 6, shot 1, 96 x 72", "#film-status")
    own.shot("film")
    own.click("#stop-film")
    own.wait_for(r"Stopped after \d of 6 frames", "#film-status")
    own.shot("film-stopped")
    own.click("#paint-film")
    own.wait_for("Finished: 6 frames of 96 x 72 pixels", "#film-status")
    own.tab.wait_for_function("() => document.querySelector('#painted-film video')?.duration > 0.4")
    own.shot("film-painted")
    assert "--duration=4 --fps=12" in own.tab.locator("#film-command").inner_text()
    phone = tab_of(PHONE, "dark")
    phone.fold("Film: a short one, frame by frame")
    phone.tab.wait_for_selector("#paint-film")
    phone.tab.wait_for_timeout(500)
    phone.shot("film-phone")
    assert phone.tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_an_upload_too_much_is_said(tab_of, backend, monkeypatch):
    backend.to = Fake(steps=3)
    own = tab_of()
    with monkeypatch.context() as patch:
        patch.setattr(quota, "MOST_UPLOADS", 0)
        own.tab.set_input_files("#photograph input[type=file]", _sample("town"))
        own.tab.get_by_text("too much was uploaded within an hour").first.wait_for()
        own.tab.wait_for_timeout(1000)
        own.shot("quota", whole=False)
    own.samples()
    own.click("#paint")
    own.wait_for("Finished after 3 steps")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_all_of_it_on_its_width(tab_of, backend, scheme):
    backend.to = Fake(steps=3)
    own = tab_of(PHONE, scheme)
    own.samples()
    own.click("#paint")
    own.wait_for("Finished after 3 steps")
    own.tab.wait_for_timeout(1000)
    own.shot(f"phone-{scheme}")
    assert own.tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    desk = tab_of(DESKTOP, scheme)
    desk.samples()
    desk.fold("Presets")
    desk.tab.wait_for_function("() => document.querySelector('#presets img')?.naturalWidth > 0")
    desk.tab.wait_for_timeout(1500)
    desk.shot(f"desktop-{scheme}")


def test_every_control_has_a_name_and_the_keyboard_reaches_paint(tab_of, backend):
    backend.to = Fake(steps=3)
    own = tab_of()
    own.samples()
    nameless = own.tab.evaluate(
        """() => [...document.querySelectorAll('input:not([type=file]):not([type=hidden]), textarea, select')]
            .filter(each => each.offsetParent !== null)
            .filter(each => !(each.labels && each.labels.length) && !each.getAttribute('aria-label')
                && !each.getAttribute('aria-labelledby') && !each.closest('label') && !each.title)
            .map(each => each.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    own.tab.locator("#paint").focus()
    own.tab.keyboard.press("Enter")
    own.wait_for("Finished after 3 steps")
