"""Small files that promise much: each is refused or counted, in little memory and time."""

import base64
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2lite.checkpoint.reading import read_checkpoint
from d2lite.config import get_cfg
from d2lite.data.datasets.by_string.registration import _SpecLoader
from d2lite.data.datasets.by_string.spec_string import parse_spec
from d2lite.data.images.image_io import read_image
from d2lite.data.records.faults import collecting_faults
from d2lite.data.records.object_checks import drop_invalid
from d2lite.utils.errors import UserError

from .resources import bounded

GIGABYTE = 10**9
# Ten lists of nine, each of the one before: 3.5e9 values if written out.
ANCHORS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
_NAMED = "".join(f'<!ENTITY l{i} "{(f"&l{i - 1};" if i else "lol") * 10}">' for i in range(10))
ENTITIES = f"<!DOCTYPE x [{_NAMED}]>"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def with_size(kind: str, place: bytes | int, side: int, form: str) -> bytes:
    """An image file whose header states another size."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).convert("P" if kind == "gif" else "RGB").save(stream, format=kind)
    data = bytearray(stream.getvalue())
    start = place if isinstance(place, int) else data.find(place) + 5
    data[start : start + struct.calcsize(form)] = struct.pack(form, side, side)
    return bytes(data)


def npy(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def test_bound_fails_where_more_memory_is_taken():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's /proc")
    with pytest.raises(AssertionError, match="above the start"), bounded(mib=20):
        np.ones(10**7).sum()


IMAGES = {
    "header.png": png(60_000, 60_000),
    "text.png": png(1, 1, bytes(4), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(GIGABYTE), 9))),
    "header.bmp": with_size("bmp", 18, 50_000, "<ii"),
    "header.gif": with_size("gif", 6, 65_000, "<HH"),
    "header.jpg": with_size("jpeg", b"\xff\xc0", 65_000, ">HH"),
    "header.npy": npy((100_000, 100_000, 3)),
    "long_header.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**30) + b"{" * 1000,
}


@pytest.mark.parametrize("name", IMAGES)
def test_image_that_promises_more_than_it_holds_is_refused(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(IMAGES[name])
    with bounded(), pytest.raises(UserError, match=name):
        read_image(str(file), "BGR")


TENSOR = json.dumps({"a": {"dtype": "F32", "shape": [2**20] * 2, "data_offsets": [0, 2**42]}})
CHECKPOINTS = {
    "header.safetensors": struct.pack("<Q", 2**40) + b"{}",
    "tensor.safetensors": struct.pack("<Q", len(TENSOR)) + TENSOR.encode(),
    "marks.pkl": b"\x80\x02]" + b"(" * 10**7 + b".",
    "letters.pth": b"x" * 10**8,
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint_that_promises_more_than_it_holds_is_refused(name, tmp_path):
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors")
    file = tmp_path / name
    file.write_bytes(CHECKPOINTS[name])
    with bounded(), pytest.raises(UserError, match=name):
        read_checkpoint(str(file))


CONFIGS = {
    "anchors": ANCHORS + "SEED: *a9\n",
    "itself": "DATASETS: &a {TRAIN: *a}\n",
    "powers": 'SEED: !!python/object/apply:eval ["9**9**9"]\n',
    "lists": 'SEED: !!python/object/apply:eval ["[0]*10**10"]\n',
    "brackets": "SEED: " + "[" * 50_000 + "]" * 50_000,
    "length": "SEED: [" + "0, " * 10**6 + "]",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config_that_grows_is_refused(name, tmp_path):
    file = tmp_path / f"{name}.yaml"
    file.write_text(CONFIGS[name])
    with bounded(), pytest.raises(UserError, match=name):
        get_cfg().merge_from_file(str(file))


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path)


def coco(root: Path, width: int = 40, height: int = 30, **values) -> str:
    picture(root / "a.png")
    image = {"id": 1, "file_name": "a.png", "width": width, "height": height}
    obj = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], **values}
    categories = [{"id": 1, "name": "cat"}]
    content = {"images": [image], "categories": categories, "annotations": [obj]}
    (root / "x.json").write_text(json.dumps(content))
    return f"coco:{root}/x.json@{root}"


def rle(counts, height=30, width=40):
    return {"size": [height, width], "counts": counts}


def voc(root: Path, text: str) -> str:
    picture(root / "JPEGImages/a.jpg")
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text(text)
    return f"voc:{root}"


def yolo(root: Path, labels: str = "0 0.5 0.5 0.2 0.2", head: str = "names: [cat]\n") -> str:
    picture(root / "images/train/a.png")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/a.txt").write_text(labels)
    (root / "data.yaml").write_text(f"{head}train: images/train\n")
    return f"yolo:{root}/data.yaml@train"


def labelme(root: Path) -> str:
    picture(root / "a.png")
    mask = base64.b64encode(png(30_000, 30_000, bytes(90_001 * 300))).decode()
    shape = {"label": "cat", "shape_type": "mask", "points": [[0, 0], [20, 20]], "mask": mask}
    content = {"imagePath": "a.png", "imageHeight": 30, "imageWidth": 40, "shapes": [shape]}
    (root / "a.json").write_text(json.dumps({"version": "5", "imageData": None, **content}))
    return f"labelme:{root}"


def supervisely(root: Path) -> str:
    picture(root / "ds/img/a.png")
    (root / "ds/ann").mkdir()
    data = base64.b64encode(zlib.compress(bytes(GIGABYTE), 9)).decode()
    obj = {
        "classTitle": "cat",
        "geometryType": "bitmap",
        "bitmap": {"origin": [0, 0], "data": data},
    }
    classes = [{"title": "cat", "shape": "bitmap", "color": "#ffffff"}]
    (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    content = {"size": {"width": 40, "height": 30}, "tags": [], "objects": [obj]}
    (root / "ds/ann/a.png.json").write_text(json.dumps(content))
    return f"supervisely:{root}"


def cvat(root: Path, mask: str = "", head: str = "") -> str:
    picture(root / "a.png")
    image = f'<image id="0" name="a.png" width="40" height="30">{mask}</image>'
    (root / "annotations.xml").write_text(f"{head}<annotations>{image}</annotations>")
    return f"cvat:{root}/annotations.xml@{root}"


def archive(root: Path) -> str:
    with zipfile.ZipFile(root / "x.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.json", bytes(GIGABYTE))
        made.writestr("a.png", png(9, 9, bytes(28 * 9)))
    return f"auto:{root}/x.zip"


def digits(root: Path) -> str:
    spec = coco(root)
    file = root / "x.json"
    file.write_text(file.read_text().replace('"id": 1', '"id": ' + "9" * 10**6, 1))
    return spec


def brackets(root: Path) -> str:
    spec = coco(root)
    (root / "x.json").write_text('{"images": ' + "[" * 10**6 + "]" * 10**6 + "}")
    return spec


LABELS = {
    "polygon far away": lambda root: coco(root, segmentation=[[1e8, 1, 5e8, 6, 1, 9e8]]),
    "polygon of a huge image": lambda root: coco(
        root, 10**7, 10**7, segmentation=[[1, 1, 1e7, 6, 1, 1e7]]
    ),
    "run of a huge image": lambda root: coco(root, segmentation=rle([10**10], 10**5, 10**5)),
    "long text of runs": lambda root: coco(root, segmentation=rle("o" * 10**6)),
    "a million runs": lambda root: coco(root, segmentation=rle([1] * 10**6)),
    "number of 400 digits": lambda root: coco(root, bbox=[10**400, 1, 5, 5]),
    "id of a million digits": digits,
    "brackets": brackets,
    "entities of VOC": lambda root: voc(root, f"{ENTITIES}<annotation>&l9;</annotation>"),
    "elements of VOC": lambda root: voc(root, "<annotation>" * 10**6 + "</annotation>" * 10**6),
    "long line of YOLO": lambda root: yolo(root, "0 " + "0.5 " * 4_000_000),
    "anchors of YOLO": lambda root: yolo(root, head=ANCHORS + "names: *a9\n"),
    "mask of LabelMe": labelme,
    "mask of Supervisely": supervisely,
    "entities of CVAT": lambda root: cvat(root, "&l9;", ENTITIES),
    "mask of CVAT": lambda root: cvat(
        root,
        '<mask label="cat" rle="0, 1000000000" left="0" top="0" width="99999" height="99999"/>',
    ),
    "zip": archive,
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_grow_are_refused_or_counted(name, tmp_path, monkeypatch):
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    spec = LABELS[name](tmp_path / "set")
    with bounded(), collecting_faults() as faults:
        try:
            records = drop_invalid(_SpecLoader(parse_spec(spec))(), faults)
        except UserError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017  # most are counted, not raised
        else:
            assert faults.counts
            assert not any(record["annotations"] for record in records)
