"""tools/download_dataset.py, against a server on this machine."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from d2lite.data.datasets import published
from d2lite.data.datasets.location import missing_file
from d2lite.data.datasets.published import PUBLISHED, Archive, PublishedSet
from tests.file_server import file_server, serving


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def tarred(**files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            file.addfile(info, io.BytesIO(content.encode()))
    return stream.getvalue()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server, and the dataset "voc2007" as it has it."""
    monkeypatch.chdir(tmp_path)
    body = tarred(VOCdevkit__VOC2007__a="1", VOCdevkit__VOC2007__b__c="2")
    made = file_server(lambda path: made.files.get(path))
    made.files = {"/a.tar": body, "/t/test.zip": zipped(annotations__x="3")}
    md5 = hashlib.md5(body).hexdigest()
    with serving(made, monkeypatch):
        zips = (f"{made.url}/gone/test.zip", f"{made.url}/t/test.zip")
        parts = {
            "trainval": Archive((f"{made.url}/a.tar",), "VOC2007", "VOCdevkit/VOC2007", md5),
            "test": Archive(zips, "VOC2007"),
        }
        monkeypatch.setitem(PUBLISHED, "voc2007", PublishedSet(parts, ("trainval", "test"), "it"))
        yield made


def inside(folder):
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix() for p in files if ".downloads" not in str(p)}


def test_a_dataset_lies_where_configs_look_for_it(run, server, tmp_path):
    result = run("download_dataset", "voc2007")
    assert result.status == 0, result.err
    assert inside(tmp_path / "datasets") == {
        "VOC2007/a", "VOC2007/b/c", "VOC2007/annotations/x",
    }  # fmt: skip
    assert "voc2007 is in datasets. Use it as it." in result.out
    assert not list((tmp_path / "datasets").rglob("*.tar"))
    asked = len(server.paths)
    assert run("download_dataset", "voc2007").status == 0
    assert len(server.paths) == asked


def test_parts_mirrors_folder_and_archives_can_be_chosen(run, server, tmp_path):
    server.files["/mirror/a.tar"] = server.files.pop("/a.tar")
    result = run(
        "download_dataset", "voc2007", "--parts", "trainval", "--dir", "here", "--keep",
        "--mirror", f"{server.url}/none", "--mirror", f"{server.url}/mirror/",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert server.paths == ["/none/a.tar", "/mirror/a.tar"]
    assert inside(tmp_path / "here") == {"VOC2007/a", "VOC2007/b/c"}
    assert list((tmp_path / "here").rglob("a.tar"))
    assert f"Set D2LITE_DATASETS to {tmp_path / 'here'}" in result.out


def test_a_download_that_broke_off_goes_on(run, server, tmp_path):
    server.limits = [1000, 500]
    assert run("download_dataset", "voc2007", "--parts", "trainval").status == 0
    assert server.paths == ["/a.tar"] * 3
    assert "VOC2007/a" in inside(tmp_path / "datasets")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "came from none of 1 addresses"),
        ({"/a.tar": b"another file"}, "damaged or another file"),
    ],
)
def test_what_does_not_come_right_is_told(run, server, tmp_path, files, why):
    server.files = files
    result = run("download_dataset", "voc2007", "--parts", "trainval")
    assert result.status == 2
    assert why in result.err
    assert "put the file itself at" in result.err
    assert inside(tmp_path / "datasets") == set()


def test_an_archive_that_leads_out_of_the_folder_is_refused(run, server, tmp_path):
    server.files["/t/test.zip"] = zipped(**{"..__evil": "1"})
    result = run("download_dataset", "voc2007", "--parts", "test")
    assert result.status == 2
    assert "leads out of the folder" in result.err
    assert not (tmp_path / "datasets/evil").exists()


def test_unknown_names_and_parts_are_told(run, server):
    result = run("download_dataset", "voc2007", "--parts", "labels")
    assert result.status == 2
    assert "no part labels; there are trainval, test" in result.err
    result = run("download_dataset", "imagenet")
    assert result.status == 2
    assert "coco2017" in result.err


def test_all_addresses_are_of_archives_and_parts_exist():
    for one in published.PUBLISHED.values():
        assert set(one.default) <= set(one.parts)
        for archive in one.parts.values():
            assert all(u.endswith((".zip", ".tar")) for u in archive.urls)
            assert len({u.rpartition("/")[2] for u in archive.urls}) == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("coco/annotations/instances_train2017.json", "coco2017"),
        ("coco/annotations/instances_val2014.json", "coco2014"),
        ("coco/val2014/a.jpg", "coco2014"),
        ("VOC2012/ImageSets/Main/train.txt", "voc2012"),
        ("lvis/lvis_v1_val.json", "lvis"),
        ("coco/annotations/instances_minival2014.json", None),
        ("cityscapes/gtFine", None),
    ],
)
def test_the_message_for_a_missing_dataset_names_the_command(monkeypatch, tmp_path, path, name):
    monkeypatch.setenv("D2LITE_DATASETS", str(tmp_path))
    text = str(missing_file("annotations", tmp_path / path))
    assert ("d2lite data download" in text) == (name is not None)
    if name:
        assert f"d2lite data download {name}`" in text
        assert name in PUBLISHED
