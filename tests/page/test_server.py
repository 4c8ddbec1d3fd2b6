"""The process of a page: who may come in, what it listens at, which requests it refuses."""

import asyncio
import socket

import pytest

from nst_tf import errors
from nst_tf.page import server
from nst_tf.page.limits import Limits


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.5", False),
        ("example.org", False),
    ],
)
def test_which_addresses_no_other_machine_reaches(host, own):
    assert server.is_loopback(host) is own


def test_a_port_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            errors.InputError, match=f"port: 127.0.0.1:{port} cannot be listened at: .*in use"
        ):
            server.check_address("127.0.0.1", port)
    server.check_address("127.0.0.1", port)


@pytest.mark.parametrize("host", ["256.1.1.1", "nowhere.invalid", "a" * 70 + ".org"])
def test_a_host_that_is_none_is_one_line(host):
    with pytest.raises(errors.InputError, match="name another --port or --host"):
        server.check_address(host, 7860)


def test_people_are_read(tmp_path):
    path = tmp_path / "people"
    path.write_text("ann:one:two\n\n bob : x \n")
    assert server.read_people(path) == {"ann": "one:two", "bob": " x "}


@pytest.mark.parametrize("text", ["", "\n", "ann", "ann:", ":secret", "ann:x\nbob"])
def test_a_password_file_with_another_line_is_refused(tmp_path, text):
    path = tmp_path / "people"
    path.write_text(text)
    with pytest.raises(errors.InputError, match=r"password_file: .*NAME:PASSWORD") as refused:
        server.read_people(path)
    assert "secret" not in str(refused.value)


def test_a_password_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(errors.InputError, match=r"password_file: .* cannot be read: .*No such file"):
        server.read_people(tmp_path / "nowhere")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(errors.InputError, match=r"password_file: .* cannot be read"):
        server.read_people(tmp_path / "bytes")


def _guard(limits, status=200):
    """Returns a guard of an application that answers everything with a status."""

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return server.Guard(app, limits)


def _answer(path, method="GET", length=None, guard=None, sender="10.0.0.1"):
    """Returns the status of a request, and the text of the answer; 200 where it is passed on."""
    sent = []

    async def send(message):
        sent.append(message)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    guard = guard or _guard(Limits(max_upload_mb=1))
    asyncio.run(guard({**scope, "client": (sender, 50000)}, None, send))
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=https://example.org/a.png",
        "/gradio_api/file=HTTP://example.org/a.png",
        "/gradio_api/file=//example.org/a.png",
        "/gradio_api/file=ftp://example.org/a.png",
        "/gradio_api/proxy=https://example.org/",
    ],
)
def test_the_page_fetches_nothing_from_elsewhere(path):
    assert _answer(path)[0] == 403


def test_other_requests_are_passed_on():
    assert _answer("/")[0] == 200
    assert _answer("/gradio_api/file=/tmp/a.png")[0] == 200
    assert _answer("/gradio_api/upload", "POST", 1000)[0] == 200


@pytest.mark.parametrize(("length", "status"), [(2_100_000, 413), (None, 411), (-5, 411)])
def test_what_is_sent_is_bounded_before_it_is_read(length, status):
    assert _answer("/gradio_api/upload", "POST", length)[0] == status


def test_what_an_address_uploads_within_an_hour_is_bounded():
    guard = _guard(Limits(max_hourly_mb=1))
    for path in ("/gradio_api/upload", "/gradio_api/upload/"):
        assert _answer(path, "POST", 400_000, guard)[0] == 200
    assert _answer("/gradio_api/upload", "POST", 400_000, guard) == (
        429,
        "too much was uploaded within an hour; this page takes 1 MB; wait, then try again",
    )
    assert _answer("/gradio_api/upload", "POST", 400_000, guard, sender="10.0.0.2")[0] == 200
    assert _answer("/gradio_api/queue/join", "POST", 400_000, guard)[0] == 200


def test_an_upload_that_was_not_let_in_does_not_count():
    guard = _guard(Limits(max_hourly_mb=1), status=401)
    for _ in range(3):
        assert _answer("/gradio_api/upload", "POST", 900_000, guard)[0] == 401
