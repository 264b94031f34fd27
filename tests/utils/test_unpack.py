"""Archives are unpacked as files of one folder, or not at all."""

import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections import namedtuple

import pytest

from d2lite.utils.errors import DataError, OutputError
from d2lite.utils.unpack import unpack

FILES = {"top/a.txt": b"one", "top/deep/b ü.txt": b"two" * 1000, "other/c": b""}


def make_zip(path, files=FILES, mode=0):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, content)
    return path


def make_tar(path, files=FILES, kind=tarfile.REGTYPE, target=""):
    with tarfile.open(path, "w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, target
            file.addfile(info, io.BytesIO(content))
    return path


def inside(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_all_files_come_out_and_none_besides(tmp_path, make):
    seen = []
    count = unpack(make(tmp_path / "x"), tmp_path / "out", progress=lambda *n: seen.append(n))
    assert inside(tmp_path / "out") == FILES
    assert (count, seen[-1]) == (3, (3, 3))


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_one_folder_of_an_archive_comes_without_its_name(tmp_path, make):
    assert unpack(make(tmp_path / "x"), tmp_path / "out", below="top/deep") == 1
    assert inside(tmp_path / "out") == {"b ü.txt": FILES["top/deep/b ü.txt"]}
    with pytest.raises(DataError, match="no files in absent"):
        unpack(tmp_path / "x", tmp_path / "out", below="absent")


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil", "a/..", "./../evil"]
)
def test_no_path_leads_out_of_the_folder(tmp_path, make, name):
    archive = make(tmp_path / "x", {"good": b"1", name: b"2"})
    with pytest.raises(DataError, match=r"which (leads out|has a backslash).*Nothing was unpacked"):
        unpack(archive, tmp_path / "in" / "out")
    assert not (tmp_path / "in").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = make_tar(tmp_path / "x", {"link": b""}, kind, target="/etc/passwd")
    with pytest.raises(DataError, match="'link', which is a link or a device"):
        unpack(archive, tmp_path / "out")
    archive = make_zip(tmp_path / "y", {"link": b"/etc"}, stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="'link', which is a link or a device"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damage_is_told_and_leaves_no_half_file(tmp_path):
    archive = make_zip(tmp_path / "x", {"a": os.urandom(5000)})
    content = bytearray(archive.read_bytes())
    content[2000] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"broken.*fetch it again"):
        unpack(archive, tmp_path / "out")
    assert inside(tmp_path / "out") == {}
    archive = make_tar(tmp_path / "y", {"a": os.urandom(5000)})
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"broken|neither"):
        unpack(archive, tmp_path / "out")
    (tmp_path / "z").write_bytes(b"<html>")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        unpack(tmp_path / "z", tmp_path / "out")


def test_a_full_disk_is_told_before_it_is_full(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 990, 10))
    with pytest.raises(OutputError, match="free"):
        unpack(make_zip(tmp_path / "x"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
