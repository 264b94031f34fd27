"""Label files that something damaged give records, faults or a message: never another exception.

Files are changed at random, from a seed: bytes are cut, doubled and replaced, and values of JSON,
XML and text become ones of another kind.
"""

import base64
import contextlib
import io
import json
import random
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2lite.data.datasets.by_string.registration import _SpecLoader
from d2lite.data.datasets.by_string.spec_string import parse_spec
from d2lite.data.faults import collecting_faults
from d2lite.data.object_checks import drop_invalid
from d2lite.utils.errors import UserError
from tests.data import spec_files as make
from tests.resources import bounded

pytestmark = pytest.mark.filterwarnings(
    "ignore::PIL.Image.DecompressionBombWarning", "ignore:Reading `.npy`:UserWarning"
)

VALUES = [
    None, True, [], {}, "", "x", -1, 0, 1.5, float("nan"), float("inf"), 10**30, 10**400, "nan",
    "1e999", [1], [[1, 2]], [["a"]], {"a": 1}, [None], "a\0b", "../..", "\ud800", 2**63,
]  # fmt: skip
TEXTS = ["", "nan", "inf", "-1", "1e999", "x", "9" * 40, "\0", "é", "1,2", ";", '"', "<", "-"]


def _png(value=255):
    stream = io.BytesIO()
    Image.fromarray(np.full((3, 3), value, np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def _json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _voc(root):
    make.voc(root, train={"a": ["cat", "owl"]})
    return f"voc:{root}@train"


def _voc_unlisted(root):
    make.voc(root, train={"a": ["cat", "owl"]})
    shutil.rmtree(root / "ImageSets")
    return f"voc:{root}"


def _yolo(root):
    lines = "0 0.5 0.5 0.2 0.4\n1 0.1 0.1 0.5 0.1 0.5 0.5\n"
    return f"yolo:{make.yolo(root, train_a=lines, val_a=lines)}"


def _yolo_pose(root):
    file = make.yolo(root, train_a="0 0.5 0.5 0.2 0.4 0.4 0.4 2 0.5 0.5 1\n")
    file.write_text(file.read_text() + "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n")
    return f"yolo:{file}"


def _darknet(root):
    make.picture(root / "data/obj_train_data/a.jpg")
    (root / "data/obj_train_data/a.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (root / "data/train.txt").write_text("data/obj_train_data/a.jpg\n")
    (root / "data/obj.names").write_text("cat\nowl\n")
    (root / "data/obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = obj.names\n")
    return f"yolo:{root / 'data/obj.data'}"


def _labelme(root):
    triangle = {"label": "cat", "points": [[1, 1], [5, 1], [5, 4]], "shape_type": "polygon"}
    box = {"label": "man", "points": [[1, 1], [5, 5]], "shape_type": "rectangle", "group_id": 1}
    eye = {"label": "eye", "points": [[2, 2]], "shape_type": "point", "group_id": 1}
    mask = {"label": "cat", "points": [[3, 3], [5, 5]], "shape_type": "mask"}
    mask["mask"] = base64.b64encode(_png()).decode()
    root.mkdir()
    make.labelme(root / "a.json", triangle, box, eye, mask)
    (root / "labels.txt").write_text("cat\nman\n")
    return f"labelme:{root}"


def _cvat(root):
    make.picture(root / "a.jpg")
    (root / "annotations.xml").write_text(
        "<annotations><meta><task><labels><label><name>cat</name></label></labels></task></meta>"
        '<image id="0" name="a.jpg" width="20" height="10">'
        '<box label="cat" xtl="4" ytl="4" xbr="9" ybr="8" rotation="10"/>'
        '<polygon label="cat" points="1,1;9,1;9,9"/>'
        '<ellipse label="cat" cx="8" cy="5" rx="3" ry="3"/>'
        '<mask label="cat" left="2" top="3" width="3" height="2" rle="1,2,1,2"/>'
        '<skeleton label="cat"><points label="tip" outside="0" points="5,6"/></skeleton>'
        "</image></annotations>"
    )
    return f"cvat:{root / 'annotations.xml'}"


def _cvat_video(root):
    make.picture(root / "images/frame_000000.jpg")
    (root / "annotations.xml").write_text(
        "<annotations><meta><task><original_size><width>20</width><height>10</height>"
        '</original_size></task></meta><track id="0" label="cat">'
        '<box frame="0" outside="0" xtl="4" ytl="4" xbr="9" ybr="8"/></track></annotations>'
    )
    return f"cvat:{root / 'annotations.xml'}"


def _via(root):
    make.picture(root / "a.jpg")
    shapes = [
        {"name": "rect", "x": 1, "y": 1, "width": 4, "height": 4},
        {"name": "polygon", "all_points_x": [1, 5, 5], "all_points_y": [1, 1, 4]},
        {"name": "circle", "cx": 5, "cy": 5, "r": 2},
    ]
    regions = [{"shape_attributes": s, "region_attributes": {"class": "cat"}} for s in shapes]
    image = {"filename": "a.jpg", "size": 1, "regions": regions}
    return f"via:{_json(root / 'via.json', {'a.jpg1': image})}"


def _via_3(root):
    make.picture(root / "a.jpg")
    content = {
        "attribute": {"1": {"aname": "class", "options": {"0": "cat"}}},
        "file": {"1": {"fid": "1", "fname": "a.jpg"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {"x": {"vid": "1", "xy": [2, 1, 1, 4, 4], "av": {"1": "0"}}},
    }
    return f"via:{_json(root / 'via.json', content)}"


def _via_csv(root):
    make.picture(root / "a.jpg")
    head = "filename,file_size,region_shape_attributes,region_attributes\n"
    shape = '"{""name"":""rect"",""x"":1,""y"":1,""width"":4,""height"":4}"'
    (root / "via.csv").write_text(head + f'a.jpg,1,{shape},"{{""class"":""cat""}}"\n')
    return f"via:{root / 'via.csv'}"


def _csv(root):
    make.picture(root / "a.jpg")
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    (root / "t.csv").write_text(head + "a.jpg,20,10,cat,1,1,5,5\na.jpg,20,10,owl,2,2,7,7\n")
    return f"csv:{root / 't.csv'}"


def _createml(root):
    make.picture(root / "a.jpg")
    place = {"x": 5, "y": 5, "width": 4, "height": 4}
    content = [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": place}]}]
    return f"createml:{_json(root / 'c.json', content)}"


def _datumaro(root):
    make.picture(root / "images/train/a.jpg")
    objects = [
        {"type": "bbox", "label_id": 0, "bbox": [1, 1, 4, 4], "attributes": {"rotation": 5}},
        {"type": "polygon", "label_id": 0, "points": [1, 1, 5, 1, 5, 4], "group": 1},
        {"type": "points", "label_id": 0, "points": [1, 1, 5, 1], "visibility": [2, 1]},
        {"type": "mask", "label_id": 0, "rle": {"counts": [10, 5, 185], "size": [10, 20]}},
    ]
    image = {"path": "a.jpg", "size": [10, 20]}
    labels = {"labels": [{"name": "cat", "parent": ""}]}
    points = {"items": [{"label_id": 0, "labels": ["a", "b"]}]}
    content = {
        "categories": {"label": labels, "points": points},
        "items": [{"id": "a", "image": image, "annotations": objects}],
    }
    return f"datumaro:{_json(root / 'annotations/train.json', content)}"


def _label_studio(root):
    make.picture(root / "a.jpg")
    base = {"original_width": 20, "original_height": 10, "image_rotation": 0, "type": "x"}
    box = {"x": 10, "y": 10, "width": 30, "height": 30, "rotation": 5, "rectanglelabels": ["cat"]}
    outline = {"points": [[1, 1], [50, 1], [50, 50]], "polygonlabels": ["cat"]}
    round_one = {"x": 50, "y": 50, "radiusX": 9, "radiusY": 9, "ellipselabels": ["owl"]}
    brush = {"format": "rle", "rle": [0, 0, 3, 32, 57, 0, 0], "brushlabels": ["cat"]}
    result = [{**base, "value": value} for value in (box, outline, round_one, brush)]
    task = {"id": 1, "data": {"image": "/data/upload/1/0123abcd-a.jpg"}}
    content = [{**task, "annotations": [{"result": result, "updated_at": "2024"}]}]
    return f"labelstudio:{_json(root / 'ls.json', content)}"


def _supervisely(root):
    make.picture(root / "d/img/a.jpg")
    _json(root / "meta.json", {"classes": [{"title": "cat", "shape": "any"}]})
    data = base64.b64encode(zlib.compress(_png())).decode()
    objects = [
        {"classTitle": "cat", "geometryType": kind, "points": {"exterior": p, "interior": []}}
        for kind, p in (("rectangle", [[1, 1], [5, 5]]), ("polygon", [[1, 1], [5, 1], [5, 4]]))
    ]
    bitmap = {"data": data, "origin": [2, 2]}
    objects.append({"classTitle": "cat", "geometryType": "bitmap", "bitmap": bitmap})
    size = {"height": 10, "width": 20}
    _json(root / "d/ann/a.jpg.json", {"size": size, "objects": objects})
    return f"supervisely:{root}"


def _dota(root):
    make.picture(root / "images/a.png")
    (root / "labelTxt").mkdir()
    (root / "labelTxt/a.txt").write_text("gsd:0.1\n1 1 5 1 5 4 1 4 ship 0\n2 2 6 2 6 5 2 5 car 1\n")
    return f"dota:{root}"


def _kitti(root):
    make.picture(root / "image_2/a.png")
    (root / "label_2").mkdir()
    (root / "label_2/a.txt").write_text("Car 0.0 0 1.5 1 1 5 5 1 1 1 1 1 1 1\n")
    return f"kitti:{root}"


def _widerface(root):
    make.picture(root / "WIDER_train/images/x/a.jpg")
    text = "x/a.jpg\n2\n1 1 4 4 0 0 0 0 0 0\n2 2 4 4 0 0 0 1 0 0\n"
    (root / "wider_face_train_bbx_gt.txt").write_text(text)
    return f"widerface:{root}"


def _masks(root):
    make.picture(root / "images/a.jpg")
    (root / "masks/a").mkdir(parents=True)
    pixels = np.zeros((10, 20), np.uint8)
    pixels[2:5, 3:9] = 255
    Image.fromarray(pixels).save(root / "masks/a/0_0.png")
    (root / "classes.txt").write_text("cat\n")
    return f"masks:{root}"


LAYOUTS = [
    _voc, _voc_unlisted, _yolo, _yolo_pose, _darknet, _labelme, _cvat, _cvat_video, _via, _via_3,
    _via_csv, _csv, _createml, _datumaro, _label_studio, _supervisely, _dota, _kitti, _widerface,
    _masks,
]  # fmt: skip


def _damaged(data: bytes, dice: random.Random, is_json: bool) -> bytes:
    """The content with one to three changes."""
    for _ in range(dice.randint(1, 3)):
        kind = dice.random()
        if is_json and kind < 0.7:
            try:
                data = json.dumps(_with_other_value(json.loads(data), dice)).encode()
                continue
            except ValueError:
                pass
        words = list(re.finditer(rb"[\w.+-]+", data))
        if words and kind < 0.6:
            word, text = dice.choice(words), dice.choice(TEXTS).encode()
            data = data[: word.start()] + text + data[word.end() :]
            continue
        start = dice.randrange(len(data) + 1)
        end = min(len(data), start + dice.choice((1, 3, 20)))
        middle = dice.choice((b"", data[start:end] * 2, dice.randbytes(end - start), b"\n"))
        data = data[:start] + middle + data[end:]
    return data


def _with_other_value(content, dice):
    """JSON in which one value, at any depth, is another or is gone."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    if isinstance(content, dict | list):
        walk(content)
    if not places:
        return dice.choice(VALUES)
    node, key = dice.choice(places)
    if dice.random() < 0.3:
        del node[key]
    else:
        node[key] = dice.choice(VALUES)
    return content


def _read(name: str) -> int:
    """How many images a string gives, as a training reads it."""
    loader = _SpecLoader(parse_spec(name))
    with collecting_faults() as faults:
        own = loader.source.classes()
        records = loader.source.load()
        loader.source.metadata()
        drop_invalid(records, faults)
    assert own is None or all(isinstance(label, str) for label in own)
    for record in records:
        assert isinstance(record["height"], int)
        for obj in record.get("annotations", ()):
            assert own is None or own[obj["category_id"]]
    return len(records)


def _damage_and_read(layout, folder: Path, seeds: range) -> None:
    name = layout(folder / "d")
    assert _read(name) == 1
    files = [p for p in sorted((folder / "d").rglob("*")) if p.suffix not in (".jpg",)]
    files = [(p, p.read_bytes()) for p in files if p.is_file()]
    for seed in seeds:
        dice = random.Random(f"{layout.__name__} {seed}")
        path, data = dice.choice(files)
        path.write_bytes(_damaged(data, dice, path.suffix == ".json"))
        for string in (name, f"auto:{folder / 'd'}"):
            try:
                with contextlib.suppress(UserError):
                    _read(string)
            except Exception as error:
                error.add_note(f"seed {seed}, {string}: {path.read_bytes()!r}")
                raise
        path.write_bytes(data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_label_files_end_in_records_faults_or_a_message(layout, tmp_path):
    with bounded(seconds=120):
        _damage_and_read(layout, tmp_path, range(100))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_damaged_label_files(layout, tmp_path):
    _damage_and_read(layout, tmp_path, range(100, 4000))
