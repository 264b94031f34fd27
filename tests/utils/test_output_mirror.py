"""The folder of a run at an s3:// address."""

import json
import logging
import os
import subprocess
import sys
import time

import pytest

from d2lite.utils import folder_copier
from d2lite.utils.errors import MissingFileError, OutputError
from d2lite.utils.folder_copier import Copier
from d2lite.utils.output_mirror import OutputMirror, address_of, mirror_of
from tests.store_server import QUIET

pytestmark = QUIET
ADDRESS = "s3://bucket/runs/a"


@pytest.fixture
def place(request, bucket):
    """An address of this test alone."""
    return f"{ADDRESS}/{request.node.name}".replace("[", "-").replace("]", "")


def write(folder, **files):
    """Write a checkpoint or a log as a run does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def names(store, address):
    prefix = address.removeprefix("s3://") + "/"
    return sorted(name.removeprefix(prefix) for name in store.find(address))


def text(store, address, name):
    store.invalidate_cache()
    return store.cat_file(f"{address}/{name}").decode()


def test_what_is_new_is_copied_and_the_mark_after_its_checkpoint(bucket, server, tmp_path, place):
    folder = tmp_path / "run"
    write(folder, model_1__pth="one", last_checkpoint="model_1.pth", metrics__json="1\n")
    write(folder, run__lock="x", __hidden="x")
    write(folder / "inference", results__json="[]")
    copier = Copier(folder, place)
    copier.copy_changes()
    assert names(bucket, place) == [
        "inference/results.json", "last_checkpoint", "metrics.json", "model_1.pth"
    ]  # fmt: skip
    server.puts.clear()
    copier.copy_changes()
    assert not server.puts
    write(folder, model_2__pth="two", last_checkpoint="model_2.pth")
    (folder / "model_1.pth").unlink()
    copier.copy_changes()
    assert text(bucket, place, "last_checkpoint") == "model_2.pth"
    assert "model_1.pth" not in names(bucket, place)
    server.puts.clear()
    Copier(folder, place).copy_changes()
    assert not server.puts, "what an earlier process has copied is known"


def test_a_mark_waits_for_its_checkpoint(bucket, server, tmp_path, place):
    """Else a machine that goes on with the run would look for a file that is not there."""
    folder = tmp_path / "run"
    write(folder, model_1__pth="one", last_checkpoint="model_1.pth")
    server.waiting_puts = ["503"] * 40
    with pytest.raises(MissingFileError, match="cannot be reached"):
        Copier(folder, place).copy_changes()
    assert not names(bucket, place)
    server.waiting_puts = []
    Copier(folder, place).copy_changes()
    assert names(bucket, place) == ["last_checkpoint", "model_1.pth"]


def test_files_that_were_removed_before_a_run_stay_in_the_store(bucket, tmp_path, place):
    write(tmp_path / "run", model_1__pth="one")
    Copier(tmp_path / "run", place).copy_changes()
    (tmp_path / "run/model_1.pth").unlink()
    copier = Copier(tmp_path / "run", place)
    copier.copy_changes()
    copier.copy_changes()
    assert names(bucket, place) == ["model_1.pth"]


@pytest.mark.parametrize("fault", ["503", "truncated", "timeout"])
def test_a_file_that_does_not_arrive_is_sent_again(bucket, server, tmp_path, place, fault):
    server.waiting_puts = [fault, fault]
    write(tmp_path / "run", model_1__pth="one thousand")
    Copier(tmp_path / "run", place).copy_changes()
    assert text(bucket, place, "model_1.pth") == "one thousand"


def test_a_large_file_is_sent_in_parts(bucket, tmp_path, place, monkeypatch):
    monkeypatch.setattr(folder_copier, "_WHOLE_BYTES", 10)
    write(tmp_path / "run", model_1__pth="one thousand")
    Copier(tmp_path / "run", place).copy_changes()
    assert text(bucket, place, "model_1.pth") == "one thousand"


def put_run(store, address, **files):
    for name, content in files.items():
        store.pipe_file(f"{address}/{name.replace('__', '.')}", content.encode())


def test_another_machine_gets_the_newest_checkpoint_and_the_log(bucket, server, place):
    files = {"model_1__pth": "one", "model_2__pth": "two", "metrics__json": "1\n"}
    put_run(bucket, place, last_checkpoint="model_2.pth", **files)
    mirror = OutputMirror(place)
    server.waiting = ["503", "truncated", "timeout"]
    mirror.fetch()
    found = sorted(path.name for path in mirror.folder.iterdir() if path.name[0] != ".")
    assert found == ["last_checkpoint", "metrics.json", "model_2.pth"]
    assert (mirror.folder / "model_2.pth").read_text() == "two"
    server.puts.clear()
    Copier(mirror.folder, place).copy_changes()
    assert not server.puts, "what was fetched is not sent back"


def test_what_this_machine_has_not_sent_yet_is_kept(bucket, place):
    put_run(bucket, place, last_checkpoint="model_1.pth", model_1__pth="one")
    mirror = OutputMirror(place)
    mirror.fetch()
    write(mirror.folder, last_checkpoint="model_2.pth", model_2__pth="two")
    mirror.fetch()
    assert (mirror.folder / "last_checkpoint").read_text() == "model_2.pth"
    # Once it is sent, what others write is newer.
    Copier(mirror.folder, place).copy_changes()
    put_run(bucket, place, last_checkpoint="model_3.pth", model_3__pth="three")
    mirror.fetch()
    assert (mirror.folder / "model_3.pth").read_text() == "three"


def test_a_fetch_that_breaks_off_leaves_no_mark(bucket, server, place):
    put_run(bucket, place, last_checkpoint="model_1.pth", model_1__pth="one")
    mirror = OutputMirror(place)
    # The mark itself has no dot in its name, and comes.
    server.waiting = ["503"] * 40
    with pytest.raises(OutputError, match="cannot be reached"):
        mirror.fetch()
    assert not (mirror.folder / "last_checkpoint").exists()
    server.waiting = []
    mirror.fetch()
    assert (mirror.folder / "model_1.pth").read_text() == "one"


def test_an_address_without_a_run_gives_nothing(bucket, place):
    mirror = OutputMirror(place)
    mirror.fetch()
    assert not mirror.folder.exists()


def test_an_address_that_cannot_be_written_is_refused_at_the_start(bucket):
    with pytest.raises(OutputError, match="cannot be written"):
        OutputMirror("s3://no-such-bucket/run").start()


def test_a_process_copies_until_the_end(bucket, place):
    mirror = mirror_of(place)
    assert mirror_of(place) is mirror
    mirror.start()
    mirror.start()
    write(mirror.folder, model_1__pth="one", last_checkpoint="model_1.pth")
    mirror.close()
    mirror.close()
    assert names(bucket, place) == ["last_checkpoint", "model_1.pth"]
    assert (address_of(mirror.folder), address_of("elsewhere")) == (place, "elsewhere")


def test_a_store_that_fails_costs_a_warning_and_the_files_stay(bucket, place, caplog):
    mirror = OutputMirror(place)
    mirror.start()
    write(mirror.folder, model_1__pth="one")
    bucket.rm("bucket", recursive=True)
    with caplog.at_level(logging.WARNING, "d2lite"):
        mirror.close()
    deadline = time.monotonic() + 10
    while len(caplog.records) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    messages = caplog.text
    assert f"Not everything in {mirror.folder} is at {place}" in messages
    assert (mirror.folder / "model_1.pth").read_text() == "one"


_KILLED = """
import os, signal, sys
from d2lite.utils.output_mirror import OutputMirror
mirror = OutputMirror(sys.argv[1])
mirror.start()
(mirror.folder / "model_1.pth").write_text("one")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_has_written_is_still_copied(bucket, place):
    subprocess.run([sys.executable, "-c", _KILLED, place], env=os.environ, check=False)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        bucket.invalidate_cache()
        if bucket.exists(f"{place}/model_1.pth"):
            break
        time.sleep(0.1)
    assert text(bucket, place, "model_1.pth") == "one"


def test_a_damaged_record_means_that_all_is_copied_again(bucket, tmp_path, place):
    write(tmp_path / "run", model_1__pth="one")
    for record in ("{", "[]", json.dumps({"model_1.pth": "x"})):
        (tmp_path / "run/.copied.json").write_text(record)
        Copier(tmp_path / "run", place).copy_changes()
        assert names(bucket, place) == ["model_1.pth"]
        bucket.rm(f"{place}/model_1.pth")
