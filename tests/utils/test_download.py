"""Downloads, against a server of our own that breaks off, changes its file, or knows no ranges."""

import hashlib
import socketserver

import pytest

from d2lite.data.datasets.published import PUBLISHED
from d2lite.utils import download as module
from d2lite.utils.download import cached_path, download
from d2lite.utils.errors import DataError, MissingFileError, OutputError
from d2lite.utils.file_io import PathManager
from d2lite.utils.licences import licence_of
from tests.file_server import file_server, serving

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server(monkeypatch):
    made = file_server(lambda path: None if path.startswith("/gone") else made.content)
    made.content = CONTENT
    with serving(made, monkeypatch):
        yield made


def test_a_file_comes_whole_and_leaves_nothing_else(server, tmp_path):
    path = download(f"{server.url}/a.pth", tmp_path / "deep" / "a.pth")
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["a.pth"]


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"mine")
    assert download(f"{server.url}/a.pth", tmp_path / "a.pth").read_bytes() == b"mine"
    assert not server.requests
    assert download(f"{server.url}/a.pth", tmp_path / "a.pth", force=True).stat().st_size > 4


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    server.limits = [3000, 1000]
    path = download(f"{server.url}/a.pth", tmp_path / "a.pth")
    assert path.read_bytes() == CONTENT
    assert [r.get("Range") for r in server.requests] == [None, "bytes=3000-", "bytes=4000-"]


def test_a_later_run_goes_on_with_what_is_kept(server, tmp_path):
    server.limits = [100] * 4
    with pytest.raises(MissingFileError, match=r"ended early.*are kept"):
        download(f"{server.url}/a.pth", tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()
    assert (tmp_path / "a.pth.part").stat().st_size == 400
    assert download(f"{server.url}/a.pth", tmp_path / "a.pth").read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == "bytes=400-"


@pytest.mark.parametrize("change", ["another file", "no ranges", "no mark"])
def test_halves_of_two_files_are_never_joined(server, tmp_path, change):
    server.limits = [100] * 4
    if change == "no mark":
        server.tag = ""
    with pytest.raises(MissingFileError):
        download(f"{server.url}/a.pth", tmp_path / "a.pth")
    server.content = CONTENT[::-1]
    if change == "another file":
        server.tag = '"two"'
    server.knows_ranges = change != "no ranges"
    assert download(f"{server.url}/a.pth", tmp_path / "a.pth").read_bytes() == CONTENT[::-1]


def test_a_hash_in_the_name_is_checked(server, tmp_path):
    right = hashlib.sha256(CONTENT).hexdigest()[:8]
    download(f"{server.url}/a", tmp_path / f"net-{right}.pth")
    with pytest.raises(DataError, match=rf"begins with {right}, its name says 0123abcd"):
        download(f"{server.url}/a", tmp_path / "net-0123abcd.pth")
    assert not list(tmp_path.glob("net-0123abcd*"))


def test_a_missing_file_is_told_at_once(server, tmp_path):
    with pytest.raises(MissingFileError, match="answers 404"):
        download(f"{server.url}/gone.pth", tmp_path / "a.pth")
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with pytest.raises(MissingFileError, match="cannot be fetched"):
        download("http://127.0.0.1:9/a.pth", tmp_path / "a.pth")


def test_progress_is_shown_to_who_watches(server, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(module, "on_terminal", lambda: True)
    monkeypatch.setattr(module, "_LINE_PERIOD_S", 0)
    monkeypatch.setattr(module, "_CHUNK", 4096)
    monkeypatch.setattr(module.live_line, "show", shown.append)
    download(f"{server.url}/a.pth", tmp_path / "a.pth")
    assert len(shown) == 3
    assert "a.pth: 0.0 MB of 0.0 MB (40%)" in shown[0]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://host.org/x/net.pth", "host.org/x/net.pth"),
        ("https://me:secret@host.org:80/net.pth", "host.org_80/net.pth"),
        ("https://host.org/../../etc/passwd", "host.org/etc/passwd"),
        ("https://host.org/%2e%2e/%2Fetc", "host.org/_etc"),
        ("https://host.org/", "host.org/index"),
    ],
)
def test_files_are_kept_by_host_and_path_inside_the_folder(tmp_path, url, place):
    assert cached_path(url, tmp_path) == tmp_path / place


def test_another_query_is_another_file(tmp_path):
    first, second = (cached_path(f"https://h/get?id={i}", tmp_path) for i in (1, 2))
    assert first != second


def test_addresses_go_through_the_path_manager_into_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path))
    local = PathManager.get_local_path(f"{server.url}/a.pth")
    assert local.startswith(str(tmp_path))
    with PathManager.open(f"{server.url}/a.pth", "rb") as stream:
        assert stream.read() == CONTENT
    assert len(server.requests) == 1


class _Raw(socketserver.BaseRequestHandler):
    """Sends bytes as they are, whatever a server may not say."""

    def handle(self):
        asked = b""
        while b"\r\n\r\n" not in asked and (more := self.request.recv(65536)):
            asked += more
        self.request.sendall(self.server.answer(asked.decode("latin1").lower()))


@pytest.fixture
def raw_server(monkeypatch):
    with serving(socketserver.TCPServer(("127.0.0.1", 0), _Raw), monkeypatch) as made:
        yield made


def _answer(body, status="200 OK", **fields):
    fields = {"Content-Length": len(body), **{k.replace("_", "-"): v for k, v in fields.items()}}
    head = "".join(f"{key}: {value}\r\n" for key, value in fields.items() if value is not None)
    return f"HTTP/1.0 {status}\r\n{head}\r\n".encode() + body


WRONG_RESTS = {
    "another place": {"Content_Range": "bytes 0-623/1024"},
    "no place": {},
    "a place in words": {"Content_Range": "bytes all"},
    "another length": {"Content_Range": "bytes 400-1000/1024"},
    "another version": {"Content_Range": "bytes 400-1023/1024", "ETag": '"two"'},
}


@pytest.mark.parametrize("wrong", WRONG_RESTS)
def test_rest_that_is_not_what_was_asked_for_is_never_joined(wrong, raw_server, tmp_path):
    """The file comes whole in a new attempt, and not as a mixture."""
    whole = bytes(range(256)) * 4
    visits = []

    def answer(asked):
        visits.append(asked)
        if "range: bytes=400-" in asked:
            return _answer(whole[:624], "206 Partial Content", **WRONG_RESTS[wrong])
        body = whole[:400] if len(visits) == 1 else whole
        return _answer(body, Content_Length=1024, ETag='"one"')

    raw_server.answer = answer
    path = download(f"{raw_server.url}/a.pth", tmp_path / "a.pth")
    assert path.read_bytes() == whole
    assert len(visits) == 3


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_answer(b"x", Content_Length="abc"), "states the length 'abc'"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
            "cannot be fetched",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "cannot be fetched"),
        (_answer(b"", "206 Partial Content"), "the server sends ''"),
        (_answer(b"", "302 Found", Location="/a.pth"), "redirect"),
        (_answer(b""), "an empty file"),
        (_answer(b"x", Content_Encoding="gzip"), "compressed .gzip."),
        (b"nonsense", "cannot be fetched"),
    ],
)
def test_answer_that_is_broken_ends_in_one_message(answer, why, raw_server, tmp_path):
    raw_server.answer = lambda asked: answer
    with pytest.raises(MissingFileError, match=why):
        download(f"{raw_server.url}/a.pth", tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()


def test_file_that_is_an_archive_may_be_said_to_be_compressed(raw_server, tmp_path):
    raw_server.answer = lambda asked: _answer(b"x", Content_Encoding="x-gzip")
    path = download(f"{raw_server.url}/a.tar.gz", tmp_path / "a.tar.gz")
    assert path.read_bytes() == b"x"


def test_server_that_trickles_is_given_up_and_what_came_is_kept(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_STALL_S", -1.0)
    monkeypatch.setattr(module, "_STALL_BYTES", 10**9)
    server.limits = [100] * 4
    with pytest.raises(MissingFileError, match=r"bytes in -1 seconds.*are kept"):
        download(f"{server.url}/a.pth", tmp_path / "a.pth")
    assert (tmp_path / "a.pth.part").stat().st_size > 0


@pytest.mark.parametrize("name", ["with blank.pth", "ä.pth", "a%20b.pth"])
def test_address_with_strange_characters_is_escaped(name, server, tmp_path):
    assert download(f"{server.url}/{name}?v=ü 1", tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://[::1/a.pth", "http://a\nb/c", "http://127.0.0.1:port/a"])
def test_address_that_is_none_ends_in_one_message(url, tmp_path, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with pytest.raises(MissingFileError, match="cannot be fetched"):
        download(url, tmp_path / "a.pth")


def test_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written to .*file/a\.pth"):
        download(f"{server.url}/a.pth", tmp_path / "file" / "a.pth")


@pytest.mark.parametrize(
    ("url", "terms"),
    [
        ("https://dl.fbaipublicfiles.com/detectron2/COCO-Detection/x/1/model.pkl", "CC BY-SA 3.0"),
        ("https://huggingface.co/someone/AdelaiDet/resolve/main/SOLOv2.pth", "non-commercial"),
        ("http://images.cocodataset.org/zips/val2017.zip", "Flickr"),
        ("https://example.org/mine.pth", None),
    ],
)
def test_terms_of_what_is_fetched_are_known_by_its_address(url, terms):
    found = licence_of(url)
    assert found is None if terms is None else terms in found


def test_every_published_set_has_known_terms():
    for name, dataset in PUBLISHED.items():
        for archive in dataset.parts.values():
            assert all(licence_of(url) for url in archive.urls), name
