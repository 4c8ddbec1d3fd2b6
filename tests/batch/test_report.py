"""The page about a batch, as Python's own parser of HTML reads it."""

import base64
import dataclasses
import html.parser
import io
import os
import pathlib
import random
import urllib.parse

import pytest
from PIL import Image

from nst_tf.batch import outcomes, report
from tests.batch.test_outcomes import HOSTILE, done, failed

# Elements without an end.
VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """A page: its elements, each checked to be ended where it should be, and its text."""

    def __init__(self, text):
        """Reads a page."""
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data

    def all(self, tag):
        """Returns the attributes of each element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(listed, folder="painted", total=None):
    """Returns the page about outcomes, read."""
    made = report.Report(folder, len(listed) if total is None else total)
    for outcome in listed:
        made.add(outcome)
    return Page(made.page())


def links(page):
    return [attributes["href"] for attributes in page.all("a")]


def _read(address):
    """Returns the text of the file at an address, as a browser opens it: by the bytes of its name."""
    return pathlib.Path(
        os.fsdecode(urllib.parse.unquote_to_bytes(urllib.parse.urlsplit(address).path))
    ).read_text()


def jpeg(side=192):
    file = io.BytesIO()
    Image.new("RGB", (side, side * 3 // 4), (200, 100, 50)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        *(name.replace("/", "") for name in HOSTILE),
        "a b#c?d%20e&f.png",
        "javascript:alert(1)",
        "https:",
        "'\" onerror='alert(1)'.png",
    ],
)
def test_each_picture_is_a_link_to_its_file_whatever_that_is_called(name, tmp_path):
    folder = tmp_path / "painted #1"
    (folder / "deep").mkdir(parents=True)
    made = [folder / name, folder / "deep" / name, tmp_path / name]
    for number, path in enumerate(made):
        path.write_text(str(number))
    page = page_of([done(n, name, str(path)) for n, path in enumerate(made)], str(folder))
    base = (folder / report.NAME).as_uri()
    assert [_read(urllib.parse.urljoin(base, link)) for link in links(page)] == ["0", "1", "2"]
    assert all(link.isascii() and not urllib.parse.urlsplit(link).scheme for link in links(page))


@pytest.mark.parametrize(
    ("output", "folder", "link"),
    [
        ("s3://bucket/painted/a b.png", "s3://bucket/painted", "a%20b.png"),
        ("s3://bucket/painted/a.png", "s3://bucket/painted/", "a.png"),
        ("s3://bucket/other/a.png", "s3://bucket/painted", "../other/a.png"),
        ("s3://another/a b.png", "s3://bucket/painted", "s3://another/a%20b.png"),
        ("memory://painted/x/a.png", "memory://painted", "x/a.png"),
        ("painted/a.png", "painted", "a.png"),
        ("painted/a.png", "./painted/", "a.png"),
    ],
)
def test_links_are_relative_to_the_page(output, folder, link):
    assert links(page_of([done(0, output=output)], folder)) == [link]


def test_a_local_picture_of_a_page_at_a_url_is_named_whole():
    (link,) = links(page_of([done(0, output="local/a b.png")], "s3://bucket/painted"))
    assert link == pathlib.Path("local/a b.png").absolute().as_uri()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_and_reasons_are_text_and_nothing_else(name):
    why = f"no picture: {name}"
    made = [done(0, name), dataclasses.replace(done(1), styles=(name,)), failed(2, name, why)]
    plain = page_of([done(0), done(1), failed(2)])
    page = page_of(made)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert {key for _, found in page.elements for key in found} == {
        key for _, found in plain.elements for key in found
    }
    assert outcomes.one_line(why) in page.text
    assert all(char.isprintable() or char == "\n" for char in page.text)


def test_the_page_runs_and_loads_nothing():
    page = page_of([done(0, thumbnail=jpeg()), failed(1)])
    policy = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "form"})
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in page.all("img"))


def test_thumbnails_are_in_the_page():
    thumbnail = jpeg()
    page = page_of([done(0, thumbnail=thumbnail), done(1)])
    (image,) = page.all("img")
    assert base64.b64decode(image["src"].partition(",")[2]) == thumbnail
    assert len(links(page)) == 2


def test_it_tells_counts_times_and_what_is_of_which_picture(monkeypatch):
    seconds = iter([100.0, 400.0])
    monkeypatch.setattr("nst_tf.batch.report.time.monotonic", lambda: next(seconds))
    listed = [done(0), done(1, "photos/two.jpg"), dataclasses.replace(done(2), status="skipped"), failed(3)]
    text = " ".join(page_of(listed, total=6).text.split())
    assert "4 of 6 pictures: 2 done, 1 skipped, 1 failed" in text
    assert "2 are left: the same command goes on with them." in text
    assert "Time05:00" in text
    assert "Rate0.4 pictures a minute" in text
    assert "Painting2 s a picture" in text
    assert "two.jpgin the style of one.jpg" in text


def test_nothing_is_said_to_be_left_when_nothing_is():
    page = page_of([done(0)])
    assert "left" not in page.text
    assert "Failures" not in page.text


def test_failures_are_listed_in_the_order_of_rows():
    page = page_of([failed(5, "five.jpg", "why 5"), failed(1, "one.jpg", "why 1")])
    assert page.text.index("why 1") < page.text.index("why 5")
    assert "one.jpg" in page.text
    assert links(page) == [outcomes.FAILURES]


def test_a_screen_reader_finds_its_way():
    page = page_of([done(0, thumbnail=jpeg()), failed(1)])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [section["aria-labelledby"] for section in page.all("section")] == ids
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    # The link's own text says what the picture is of, so that the image says nothing.
    assert all(image["alt"] == "" for image in page.all("img"))
    assert [head["scope"] for head in page.all("th")] == ["col", "col", "col", "row"]
    assert len(page.all("caption")) == 1


def test_a_phone_and_a_dark_screen_are_provided_for():
    page = page_of([done(0)])
    named = {each["name"]: each["content"] for each in page.all("meta") if "name" in each}
    assert named == {"viewport": "width=device-width, initial-scale=1", "color-scheme": "light dark"}


def test_a_page_about_many_pictures_has_a_size_and_shows_the_first():
    made = report.Report("painted", 3000)
    numbers = list(range(2900))
    random.Random(7).shuffle(numbers)
    for number in numbers:
        made.add(done(number, f"photo{number}.jpg", thumbnail=bytes(7000)))
    for number in range(2900, 3000):
        made.add(dataclasses.replace(done(number), status="skipped"))
    text = made.page()
    page = Page(text)
    assert len(text) < 12_000_000
    assert "The first 1,000 of 3,000." in page.text
    assert links(page) == [f"{number}.png" for number in range(1000)]


def test_large_thumbnails_do_not_make_a_page_larger():
    made = report.Report("painted", 100)
    for number in range(100):
        made.add(done(number, thumbnail=bytes(1_000_000)))
    text = made.page()
    assert len(text) < 12_000_000
    assert "The first 8 of 100." in Page(text).text


def test_many_failures_are_cut_short_in_the_page_and_whole_in_the_list():
    made = report.Report("painted", 2000)
    for number in range(2000):
        made.add(failed(number))
    written = made.files()
    page = Page(written[report.NAME].decode("utf-8"))
    assert len(page.all("tr")) == 1001
    assert "The first 1,000 of 2,000; failed.jsonl lists all" in page.text
    assert len(written[outcomes.FAILURES].splitlines()) == 2000


def test_the_files_have_what_has_come_by_then(tmp_path):
    made = report.Report(str(tmp_path), 2)
    made.add(failed(0, content="not unicode \udcff.jpg"))
    assert b"1 of 2 pictures" in made.files()[report.NAME]
    made.add(done(1, output=str(tmp_path / "not unicode \udcff.png")))
    written = made.files()
    assert sorted(written) == ["failed.jsonl", "report.html"]
    assert b"2 of 2 pictures" in written[report.NAME]
    assert len(written[outcomes.FAILURES].splitlines()) == 1
