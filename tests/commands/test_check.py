"""`d2lite check` says what would stop a training, each with its fix."""

import importlib.metadata

import pytest

from d2lite.commands import main
from d2lite.commands.actions import check

GIB = 2**30


def test_this_machine_can_train(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["check", "--output-dir", str(tmp_path / "new" / "folder")])
    out = capsys.readouterr().out
    assert ended.value.code == 0, out
    for part in ("torch ", "python ", "device cpu", "shared memory", "file handles", "extra"):
        assert part in out
    assert "Nothing here would stop a training" in out
    assert not (tmp_path / "new").exists()


def test_a_fault_is_shown_with_its_fix_and_ends_with_1(capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["check", "--output-dir", str(blocked / "out")])
    out = capsys.readouterr().out
    assert ended.value.code == 1
    line = next(line for line in out.splitlines() if "output folder" in line)
    assert line.startswith("FAULT")
    assert "fix: choose another OUTPUT_DIR" in out


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (check.shared_memory(64 * 2**20), "FAULT"),
        (check.shared_memory(GIB // 2), "note"),
        (check.shared_memory(8 * GIB), "ok"),
        (check.file_handles(128), "FAULT"),
        (check.file_handles(512), "note"),
        (check.file_handles(1024), "ok"),
        (check.file_handles(-1), "ok"),
        (check.memory(2 * GIB), "note"),
        (check.memory(16 * GIB), "ok"),
    ],
)
def test_limits_are_judged_and_only_low_ones_have_a_fix(finding, level):
    """64 MiB is what a container has by default, which loader processes fill at once."""
    assert finding.level == level
    assert bool(finding.fix) == (level != "ok")


def test_a_full_disk_is_a_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(
        check.shutil, "disk_usage", lambda _: check.shutil._ntuple_diskusage(9, 9, 0)
    )
    assert check.folder_finding("cache", tmp_path, "set X").level == "FAULT"


def test_libraries_that_do_not_fit_each_other_are_a_fault(monkeypatch):
    """A torchvision for another torch is imported and fails at its first operator."""

    def broken():
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(check, "_suppress_boxes", broken)
    first = next(check.libraries())
    assert first.level == "FAULT"
    assert "nms does not exist" in first.found
    assert "pip install" in first.fix


def test_extras_that_are_missing_are_named_with_the_command(monkeypatch):
    lines = ["torch>=2", "pytest ; extra == 'dev'", 'no-such-thing>=1; extra == "fast"']
    lines += ['no-such-thing; extra == "half"', 'numpy; extra == "half"', 'numpy; extra == "whole"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    there, missing = check.extras()
    assert (there.level, there.found) == ("ok", "installed: whole")
    assert missing.level == "note"
    assert missing.found == "not installed: fast, half (without no-such-thing)"
    assert 'pip install "d2lite[NAME]"' in missing.fix
