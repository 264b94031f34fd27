"""Videos that OpenCV would wait for, crash at or leave half-written end with one message."""

import os
from pathlib import Path

import numpy as np
import pytest

from d2lite.predicting.inputs import Input
from d2lite.predicting.video import Video, VideoFile, write_video
from d2lite.utils.errors import DataError, OutputError

PICTURE = np.zeros((48, 64, 3), np.uint8)


def _video(path):
    return Video(Input(str(path), is_video=True))


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="named pipe"):
        _video(tmp_path / "a.mp4")


def test_names_that_are_not_utf8_do_not_crash(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="UTF-8"):
        _video(folder / "a.mp4")
    with pytest.raises(OutputError, match="UTF-8"), write_video(folder / "b.mp4", 5) as file:
        file.add(PICTURE)
    assert os.listdir(folder) == ["a.mp4"]


def test_a_video_that_was_cut_off_does_not_get_its_name(tmp_path, monkeypatch):
    """As on a full disk, of which OpenCV says nothing."""
    close = VideoFile.close

    def close_and_cut(self):
        is_made = close(self)
        for path in tmp_path.iterdir():
            os.truncate(path, 100)
        return is_made

    monkeypatch.setattr(VideoFile, "close", close_and_cut)
    with pytest.raises(OutputError, match="disk full"), write_video(tmp_path / "a.mp4", 5) as file:
        file.add(PICTURE)
    assert not os.listdir(tmp_path)


def test_a_whole_video_gets_its_name(tmp_path):
    with write_video(tmp_path / "a.mp4", 5) as file:
        file.add(PICTURE)
        file.add(PICTURE)
    assert len(list(_video(tmp_path / "a.mp4"))) == 2
