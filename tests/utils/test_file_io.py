"""Writing files whole or not at all, and addresses."""

import contextlib
import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from d2lite.utils.errors import MissingFileError, OutputError
from d2lite.utils.file_io import (
    PathManager,
    atomic_write,
    cache_dir,
    make_folder,
    read_json_file,
    whole_files,
)


@pytest.mark.parametrize(("mode", "content"), [("w", "größe\n"), ("wb", b"\x00\xff")])
def test_written_file_holds_what_was_written_and_nothing_else_is_left(tmp_path, mode, content):
    path = tmp_path / "new" / "file"
    with atomic_write(path, mode) as stream:
        stream.write(content)
    assert path.read_bytes() == (content if mode == "wb" else content.encode())
    assert os.listdir(path.parent) == ["file"]


def test_bytes_of_names_that_are_not_utf8_are_written_as_escapes(tmp_path):
    with atomic_write(tmp_path / "file") as stream:
        stream.write(os.fsdecode(b"a\xff.jpg"))
    assert (tmp_path / "file").read_text() == "a\\udcff.jpg"


def test_failure_while_writing_keeps_the_old_file_and_removes_the_temporary_one(tmp_path):
    """A run killed in the middle of a save must not lose the checkpoint before it."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_write(path) as stream:
        stream.writelines(["half", None])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_name_appears_only_when_the_file_is_complete(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as stream:
        stream.write("half")
        stream.flush()
        assert not path.exists()
    assert path.exists()


def test_longest_name_of_a_file_can_be_written(tmp_path):
    for name in ("n" * 251 + ".png", "\u65e5" * 83 + ".json"):
        with atomic_write(tmp_path / name) as stream:
            stream.write("content")
        assert (tmp_path / name).read_text() == "content"


def test_full_disk_under_a_file_of_torch_is_told(tmp_path):
    """Torch reports a wrong position in its archive in place of it."""

    class Full:
        left = 100

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return len(data)

        def flush(self):
            pass

    with (
        pytest.raises(OutputError, match=r"weights\.pth: No space left on device"),
        atomic_write(tmp_path / "weights.pth", "wb"),
    ):
        torch.save({"x": torch.zeros(100)}, Full())
    assert os.listdir(tmp_path) == []


def test_folder_that_cannot_be_made_is_named_with_a_mend(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with (
        pytest.raises(OutputError, match=r"Cannot write .*taken.*OUTPUT_DIR"),
        atomic_write(tmp_path / "taken" / "x"),
    ):
        pass


def test_folder_is_made_and_tried_before_the_work(tmp_path):
    assert make_folder(tmp_path / "a/b", "--output").is_dir()
    assert list((tmp_path / "a/b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"--json .*file: it is a file\. Name a folder"):
        make_folder(tmp_path / "file", "--json")
    with pytest.raises(OutputError, match=r"--json .*Not a directory\."):
        make_folder(tmp_path / "file/below", "--json")
    with pytest.raises(OutputError, match=r"--json .*File name too long\."):
        make_folder(tmp_path / ("x" * 300), "--json")


def test_target_that_is_a_folder_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OutputError), atomic_write(tmp_path / "x") as stream:
        stream.write("text")
    assert os.listdir(tmp_path) == ["x"]


def test_other_modes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'a'"), atomic_write(tmp_path / "x", "a"):
        pass


def test_written_file_has_the_rights_that_open_would_give(tmp_path):
    """Results are shared with a group; a temporary file's 0600 would lock others out."""
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "atomic") as stream:
        stream.write("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_path_manager_passes_local_paths_through(tmp_path):
    (tmp_path / "x").write_text("here")
    assert PathManager.get_local_path(str(tmp_path / "x")) == str(tmp_path / "x")
    with PathManager.open(str(tmp_path / "x")) as stream:
        assert stream.read() == "here"


def test_zoo_address_is_taken_from_the_cache_folder(tmp_path, monkeypatch):
    """A machine without network works from files that were put into the cache by hand."""
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path))
    cached = tmp_path / "detectron2/ImageNetPretrained/x.pkl"
    cached.parent.mkdir(parents=True)
    cached.write_text("weights")
    address = "detectron2://ImageNetPretrained/x.pkl"
    assert Path(PathManager.get_local_path(address)) == cached
    with PathManager.open(address) as stream:
        assert stream.read() == "weights"


def test_cache_folder_follows_the_variable(monkeypatch):
    monkeypatch.delenv("D2LITE_CACHE")
    assert cache_dir() == Path.home() / ".cache/d2lite"
    monkeypatch.setenv("D2LITE_CACHE", "~/elsewhere")
    assert cache_dir() == Path.home() / "elsewhere"


@pytest.mark.parametrize("kind", ["named pipe", "folder", "device"])
def test_what_is_not_a_file_of_data_is_not_opened(tmp_path, kind):
    """Opening a pipe that nobody writes to would wait for ever."""
    path = tmp_path / "x.png"
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(OSError, match=f"it is a {kind} and not a file"):
        PathManager.open(str(path), "rb")


class TestWholeFiles:
    def test_come_together_and_nothing_else_is_left(self, tmp_path):
        (tmp_path / "a").write_text("old")
        with whole_files(tmp_path) as place:
            (place / "a").write_text("new")
            (place / "b").write_text("second")
            assert (tmp_path / "a").read_text() == "old"
        assert (tmp_path / "a").read_text() == "new"
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]

    def test_failure_leaves_what_was_there(self, tmp_path):
        (tmp_path / "a").write_text("old")
        with contextlib.suppress(RuntimeError), whole_files(tmp_path) as place:
            (place / "a").write_text("half")
            raise RuntimeError("the model cannot be exported")
        assert (tmp_path / "a").read_text() == "old"
        assert os.listdir(tmp_path) == ["a"]

    @pytest.mark.parametrize("error", [RuntimeError("enforce fail"), OSError(errno.ENOSPC, "")])
    def test_full_disk_is_told(self, tmp_path, monkeypatch, error):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(OutputError, match=r"Cannot write to .*--output"), whole_files(tmp_path):
            raise error
        assert os.listdir(tmp_path) == []

    def test_mistakes_of_other_kinds_pass(self, tmp_path):
        with pytest.raises(MissingFileError, match="an image"), whole_files(tmp_path):
            raise MissingFileError("an image is gone")


@pytest.mark.parametrize(
    ("content", "words"), [(b"\xff\x81", "decode"), (b"[" * 100_000, "deeply"), (b"", "Expecting")]
)
def test_json_file_that_cannot_be_read_is_a_value_error(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_json_file(tmp_path / "a.json")


def test_json_file_may_begin_with_a_mark_and_is_not_a_pipe(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"cat": 0.5}')
    assert read_json_file(tmp_path / "a.json") == {"cat": 0.5}
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="named pipe"):
        read_json_file(tmp_path / "pipe")
