"""What a machine refuses ends a tool with a sentence; other errors keep their trace."""

import errno
import os
import pickle

import pytest

from d2lite.utils.errors import OutOfMemoryError, OutputError
from d2lite.utils.run_tool import run_tool
from d2lite.utils.system_limits import refusal_of_system


def of_system(number, name="some/file"):
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (of_system(errno.ENOSPC), "No space left on device: some/file. Free some space"),
        (of_system(errno.EROFS), "Read-only file system: some/file. Give yourself"),
        (of_system(errno.EMFILE), "Too many open files: some/file. Raise the limit"),
        (of_system(errno.ENAMETOOLONG, "x" * 5000), "Give a shorter path."),
        (
            of_system(errno.EAGAIN, None),
            "Resource temporarily unavailable. Raise the limit of",
        ),
        (MemoryError(), "The memory is not enough. Raise the limit of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "The memory is not",
        ),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            "The memory is not",
        ),
        (RuntimeError("can't start new thread"), "No further thread can be started."),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "was built for another torch than",
        ),
        (
            NotImplementedError("Could not run 'torchvision::nms' with arguments from the 'CUDA'"),
            "pip install --force-reinstall torch torchvision",
        ),
        (
            ModuleNotFoundError("No module named 'detectron2'", name="detectron2"),
            "`d2lite migrate --write FILE` renames its imports",
        ),
    ],
)
def test_what_the_machine_refuses_ends_a_tool_with_a_sentence(capsys, error, words):
    def work():
        raise error

    with pytest.raises(SystemExit) as end:
        run_tool(work)
    assert end.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert words in text
    assert len(text) < 500


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "No such file"), RuntimeError("x"), KeyError("y")]
)
def test_other_errors_keep_their_trace(error):
    def work():
        raise error

    assert refusal_of_system(error) is None
    with pytest.raises(type(error)):
        run_tool(work)


def test_full_disk_is_seen_through_the_error_that_torch_puts_in_its_place():
    error = RuntimeError("unexpected pos 64 vs 0")
    error.__context__ = of_system(errno.ENOSPC)
    assert isinstance(refusal_of_system(error), OutputError)


def test_mistake_goes_from_one_process_to_another():
    mistake = pickle.loads(pickle.dumps(refusal_of_system(MemoryError())))
    assert isinstance(mistake, OutOfMemoryError)
    assert "ulimit -v" in str(mistake)


def test_deleted_working_folder_is_named_before_anything_is_loaded(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit) as end:
        run_tool(lambda: pytest.fail("it began"))
    assert end.value.code == 2
    assert "The current folder was deleted" in capsys.readouterr().err


def test_working_folder_of_another_user_is_named_before_anything_is_read(monkeypatch, capsys):
    def refuse(path):
        raise of_system(errno.EACCES, path)

    monkeypatch.setattr("os.stat", refuse)  # root may enter every folder
    with pytest.raises(SystemExit) as end:
        run_tool(lambda: pytest.fail("it began"))
    assert end.value.code == 2
    assert "may not enter the current folder" in capsys.readouterr().err
