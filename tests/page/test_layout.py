"""What stands on the page, with either of its backends; no browser is needed."""

import pytest

from nst_tf.page import files, film, session
from nst_tf.page.limits import Limits
from tests.page.test_session import Fake

layout = pytest.importorskip("nst_tf.page.layout")


@pytest.fixture
def store():
    store = files.Store()
    yield store
    store.close()


def _shown(store, backend, limits=None):
    """Returns {label: component} of what a page shows, with its folded parts by theirs."""
    blocks = layout.build(session.Sessions(backend, store), limits or Limits())
    components = blocks.get_config_file()["components"]
    return {
        each["props"]["label"]: each["props"]
        for each in components
        if each["props"].get("label") and each["props"].get("visible", True)
    }


def test_what_people_reach_for_first_stands_open(store):
    shown = _shown(store, Fake())
    labels = {"Photograph", "Painting, or several", "Preset", "How much of the photograph", "Size of strokes"}
    assert labels | {"Size", "Colours", "Picture", "More steps"} <= set(shown)
    folded = {label: props["open"] for label, props in shown.items() if "open" in props}
    assert folded == dict.fromkeys(folded, False)
    assert len(folded) == 4 + film.is_there()
    assert {"learning_rate", "style_layers", "tile"} <= set(shown)


def test_a_page_by_a_server_has_no_control_that_servers_do_not_heed(store):
    shown = _shown(store, Fake(takes_pictures=False))
    assert [label for label, props in shown.items() if "open" in props] == [
        "Regions: where which painting goes"
    ]
    assert "Size of strokes" not in shown
    assert "Colours" in shown


def test_films_are_there_where_their_libraries_are(store, monkeypatch):
    monkeypatch.setattr(film, "is_there", lambda: True)
    assert {"Film", "Begin (s)", "Length (s)", "Frames a second"} <= set(_shown(store, Fake()))
    monkeypatch.setattr(film, "is_there", lambda: False)
    assert "Film" not in _shown(store, Fake())


def test_the_size_ends_where_the_limit_of_pixels_does(store):
    assert _shown(store, Fake(), Limits(max_pixels=64 * 500))["Size"]["maximum"] == 500


def test_nothing_of_gradio_is_asked_of_other_servers():
    assert all("://" not in part for part in layout.THEME._font_css + layout.THEME._stylesheets)
