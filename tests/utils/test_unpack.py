"""Archives are unpacked as files of one folder, or not at all."""

import gzip
import io
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
import zlib
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lite.utils.errors import DataError, MissingFileError, OutputError, UserError
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


def _tar_header(kind, size, name="a.txt"):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _pax(**fields):
    info = tarfile.TarInfo("b.txt")
    info.size = 4
    info.pax_headers = {key.replace("_", "."): value for key, value in fields.items()}
    return info.tobuf(tarfile.PAX_FORMAT) + b"text".ljust(512, b"\0") + bytes(1024)


def _zip_of(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    return file.getvalue()


def _bare_zip(name, body=b"text", *, crc=None, method=0):
    """A zip of one stored entry, written byte by byte."""
    crc = zlib.crc32(body) if crc is None else crc
    sizes = (len(body), len(body), len(name), 0)
    facts = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 33, crc, *sizes)
    local = b"PK\3\4" + facts + name + body
    central = b"PK\1\2" + struct.pack("<H", 20) + facts + bytes(10) + struct.pack("<I", 0) + name
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + b"PK\5\6" + end


DAMAGED = {
    "nameless.zip": _zip_of("aaaa", "b.txt").replace(b"aaaa", b"\0\0\0\0"),
    "empty_name.zip": _bare_zip(b""),
    "no_utf8.zip": _zip_of("é.txt", "b.txt").replace("é".encode(), b"\xff\xfe"),
    "checksum.zip": _bare_zip(b"a.txt", crc=1),
    "method.zip": _bare_zip(b"a.txt", method=99),
    "cut.zip": _zip_of("a.txt", "b.txt")[:-30],
    "long_header.tar": _tar_header(tarfile.XHDTYPE, 2**31) + bytes(2048),
    "long_name.tar": _tar_header(tarfile.GNUTYPE_LONGNAME, 2**33) + bytes(2048),
    "negative.tar": _tar_header(tarfile.REGTYPE, -1) + bytes(2048),
    "huge.tar": _pax(size="1" + "0" * 30),
    "holes.tar": _pax(
        GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_name="c", GNU_sparse_realsize="x"
    ),
    "checksum.tar.gz": gzip.compress(_pax(comment="x") + bytes(10**5))[:-8] + b"12345678",
    "text.zip": b"this is not an archive",
    "empty.tar": b"",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_archive_that_is_damaged_is_named_and_nothing_half_written_stays(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises((DataError, OutputError), match=re.escape(name)):
        unpack(path, tmp_path / "out")
    assert not list(tmp_path.glob("out/**/.*.tmp"))


def test_compressed_header_of_gigabytes_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.tar.gz"
    zeros = gzip.compress(bytes(2**24))
    path.write_bytes(gzip.compress(_tar_header(tarfile.XHDTYPE, 2**31)) + zeros * 128)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bomb\.tar\.gz"):
        unpack(path, tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_archive_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="cannot be read"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_gives_files_or_a_mistake_that_names_the_archive(data):
    """Bytes are changed at random: no other exception, and no file outside."""
    make = data.draw(st.sampled_from([make_zip, make_tar]))
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder) / "archive")
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        said = folder
        try:
            unpack(path, Path(folder) / "out")
        except UserError as error:
            said = str(error)
        assert folder in said, "the message names neither the archive nor the folder"
        assert {p.name for p in Path(folder).iterdir()} <= {"archive", "out"}
