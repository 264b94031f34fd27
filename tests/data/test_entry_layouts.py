"""Layouts whose label files list images and shapes, each written as its tool writes it."""

import base64
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog
from d2lite.data.datasets.by_string.auto_layout import recognise
from d2lite.data.datasets.by_string.createml import CreateMLSource
from d2lite.data.datasets.by_string.csv_columns import table_columns
from d2lite.data.datasets.by_string.csv_table import CsvSource
from d2lite.data.datasets.by_string.cvat import CvatSource
from d2lite.data.datasets.by_string.datumaro import DatumaroSource
from d2lite.data.datasets.by_string.label_studio import LabelStudioSource, brush_mask
from d2lite.data.datasets.by_string.supervisely import SuperviselySource
from d2lite.data.datasets.by_string.text_boxes import DotaSource, KittiSource, WiderFaceSource
from d2lite.data.datasets.by_string.via import ViaSource
from d2lite.data.datasets.image_finder import ImageFinder
from d2lite.data.records.faults import collecting_faults
from d2lite.structures.masks import rle
from d2lite.utils.errors import ConfigError, DataError, MissingFileError
from tests.data.layout_files import pack_bits

W, H = 40, 20


def _image(path, size=(W, H)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 30)).save(path)


def _load(source):
    with collecting_faults() as book:
        records = source.load()
    return records, source.classes(), dict(book.counts)


def _objects(records):
    return [obj for record in records for obj in record["annotations"]]


# CVAT ----------------------------------------------------------------------------------------

CVAT_IMAGES = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>dog</name><type>any</type></label><label><name>cat</name></label>
<label><name>hand</name><type>skeleton</type></label>
<label><name>tip</name><parent>hand</parent></label><label><name>root</name><parent>hand</parent></label>
</labels></task></meta>
<image id="0" name="sub/a.jpg" width="{W}" height="{H}">
<box label="cat" occluded="0" xtl="4" ytl="4" xbr="20" ybr="12"/>
<box label="cat" xtl="10" ytl="8" xbr="20" ybr="12" rotation="90"/>
<polygon label="dog" points="1,1;9,1;9,9"/>
<ellipse label="dog" cx="20" cy="10" rx="6" ry="3"/>
<mask label="dog" left="2" top="3" width="3" height="2" rle="1,2,1,2"/>
<polyline label="dog" points="1,1;9,1"/>
<tag label="dog"/>
<skeleton label="hand"><points label="tip" outside="0" occluded="1" points="5,6"/>
<points label="root" outside="1" occluded="0" points="8,9"/></skeleton>
</image><image id="1" name="b.jpg" width="{W}" height="{H}"/></annotations>"""


def test_cvat_for_images_gives_boxes_polygons_masks_and_skeletons(tmp_path):
    text = CVAT_IMAGES.replace("<annotations>", '<annotations xmlns="http://cvat.ai">')
    (tmp_path / "annotations.xml").write_text(text)
    _image(tmp_path / "images/sub/a.jpg")
    _image(tmp_path / "images/b.jpg")
    source = CvatSource(str(tmp_path), None)
    records, classes, counts = _load(source)
    assert classes == ["dog", "cat", "hand"]
    assert source.metadata() == {"keypoint_names": ["tip", "root"]}
    assert [len(record["annotations"]) for record in records] == [6, 0]
    box, turned, polygon, ellipse, mask, hand = records[0]["annotations"]
    assert box["bbox"] == [4, 4, 20, 12]
    assert "segmentation" not in box
    # 10 x 4 about (15, 10), turned by a right angle, is 4 x 10.
    assert turned["bbox"] == pytest.approx([13, 5, 17, 15])
    assert polygon["segmentation"] == [[1, 1, 9, 1, 9, 9]]
    assert ellipse["bbox"] == pytest.approx([14, 7, 26, 13], abs=0.1)
    expected = np.zeros((H, W), np.uint8)
    expected[3, 3:5] = expected[4, 3:5] = 1
    assert (rle.decode(mask["segmentation"]) == expected).all()
    assert hand["keypoints"] == [5, 6, 1, 0, 0, 0]
    assert counts == {"no_area": 1}


def test_cvat_video_has_an_image_for_each_frame_with_a_visible_track(tmp_path):
    (tmp_path / "annotations.xml").write_text(
        f"<annotations><meta><task><original_size><width>{W}</width><height>{H}</height>"
        "</original_size></task></meta><track id='0' label='car'>"
        "<box frame='0' outside='0' xtl='1' ytl='2' xbr='9' ybr='8'/>"
        "<box frame='1' outside='0' xtl='2' ytl='2' xbr='10' ybr='8'/>"
        "<box frame='2' outside='1' xtl='2' ytl='2' xbr='10' ybr='8'/></track></annotations>"
    )
    for frame in range(3):
        _image(tmp_path / f"images/frame_{frame:06d}.PNG")
    records, classes, _ = _load(CvatSource(str(tmp_path / "annotations.xml"), None))
    assert classes == ["car"]
    assert [len(record["annotations"]) for record in records] == [1, 1, 0]
    assert records[1]["file_name"].endswith("images/frame_000001.PNG")


def test_xml_of_another_tool_is_refused_with_the_export_to_choose(tmp_path):
    (tmp_path / "annotations.xml").write_text("<annotation/>")
    with pytest.raises(DataError, match=r"begins with <annotation>.*CVAT for images 1\.1"):
        CvatSource(str(tmp_path), None).load()


@pytest.mark.parametrize("home", ["", "annotations/"])
def test_label_files_that_are_named_as_splits_are_the_splits(tmp_path, home):
    """As Datumaro writes CVAT's XML: train.xml and val.xml beside one folder of images."""
    for split in ("train", "val"):
        _image(tmp_path / f"images/{split}.jpg")
        file = tmp_path / f"{home}{split}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"<annotations><meta/><image id='0' name='{split}.jpg' width='{W}' height='{H}'>"
            "<box label='cat' xtl='4' ytl='4' xbr='20' ybr='12'/></image></annotations>"
        )
    splits = recognise(tmp_path)
    assert {split: found.path.name for split, found in splits.items()} == {
        "train": "train.xml",
        "val": "val.xml",
    }


# VIA -----------------------------------------------------------------------------------------

RECT = {"name": "rect", "x": 2, "y": 3, "width": 10, "height": 8}
POLYGON = {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9]}
CIRCLE = {"name": "circle", "cx": 20, "cy": 10, "r": 4}


def _via(regions):
    return {
        "a.jpg123": {"filename": "a.jpg", "size": 123, "regions": regions, "file_attributes": {}}
    }


def _regions():
    shapes = (RECT, POLYGON, CIRCLE, {"name": "point", "cx": 1, "cy": 1})
    labels = ("cat", "dog", "cat", "cat")
    return [
        {"shape_attributes": shape, "region_attributes": {"quality": {}, "class": label}}
        for shape, label in zip(shapes, labels, strict=True)
    ]


@pytest.mark.parametrize("version", [1, 2, "2 project", "csv"])
def test_via_of_every_version_gives_the_same_objects(version, tmp_path):
    _image(tmp_path / "a.jpg")
    file = tmp_path / ("via.csv" if version == "csv" else "via.json")
    regions = _regions()
    if version == 1:
        file.write_text(json.dumps(_via({str(i): r for i, r in enumerate(regions)})))
    elif version == 2:
        file.write_text(json.dumps(_via(regions)))
    elif version == "2 project":
        options = {"region": {"class": {"type": "dropdown", "options": {"cat": "", "dog": ""}}}}
        project = {"_via_settings": {}, "_via_img_metadata": _via(regions)}
        file.write_text(json.dumps({**project, "_via_attributes": options}))
    else:
        rows = ["filename,file_size,file_attributes,region_count,region_id,"
                "region_shape_attributes,region_attributes"]  # fmt: skip
        for i, region in enumerate(regions):
            cells = [json.dumps(region[k]) for k in ("shape_attributes", "region_attributes")]
            quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
            rows.append(f'a.jpg,123,"{{}}",4,{i},{",".join(quoted)}')
        file.write_text("\n".join(rows))
    records, classes, counts = _load(ViaSource(str(file), None))
    assert classes == ["cat", "dog"]
    rect, polygon, circle = _objects(records)
    assert rect["bbox"] == [2, 3, 12, 11]
    assert polygon["segmentation"] == [[1, 1, 9, 1, 9, 9]]
    assert circle["bbox"] == pytest.approx([16, 6, 24, 14], abs=0.1)
    assert counts == {"no_area": 1}


def test_via_3_project_is_read(tmp_path):
    _image(tmp_path / "a.jpg")
    content = {
        "project": {"pid": "__VIA_PROJECT_ID__"},
        "attribute": {"1": {"aname": "kind", "type": 4, "options": {"0": "cat", "1": "dog"}}},
        "file": {"1": {"fid": "1", "fname": "a.jpg", "src": "a.jpg"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {
            "1_x": {"vid": "1", "z": [], "xy": [2, 2, 3, 10, 8], "av": {"1": "1"}},
            "1_y": {"vid": "1", "z": [], "xy": [7, 1, 1, 9, 1, 9, 9], "av": {"1": "0"}},
        },
    }
    (tmp_path / "v.json").write_text(json.dumps(content))
    records, classes, _ = _load(ViaSource(str(tmp_path / "v.json"), None))
    assert classes == ["cat", "dog"]
    assert [obj["category_id"] for obj in _objects(records)] == [1, 0]
    assert _objects(records)[0]["bbox"] == [2, 3, 12, 11]


# CSV -----------------------------------------------------------------------------------------

TABLES = {
    "tensorflow": "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,20,cat,2,3,12,11\n",
    "vott": '"image","xmin","ymin","xmax","ymax","label"\n"a.jpg",2.0,3.0,12.0,11.0,"cat"\n',
    "retinanet": "photos/a.jpg,2,3,12,11,cat\nb.jpg,,,,,\n",
    "open images": "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
    "a,verification,cat,1,0.05,0.3,0.15,0.55,0\n",
    "semicolons": "\ufefffilename;class;xmin;ymin;xmax;ymax\na.jpg;cat;2;3;12;11\n",
    "decimal commas": "filename;class;xmin;ymin;xmax;ymax\na.jpg;cat;2,0;3,00;12;11\n",
    "x y width height": "image_name,label,x,y,width,height\na.jpg,cat,2,3,10,8\n",
    "via tables": "path,x1,y1,x2,y2,label\n/content/set/a.jpg,2,3,12,11,cat\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_table_of_boxes_is_read_by_the_names_of_its_columns(kind, tmp_path):
    _image(tmp_path / "images/a.jpg")
    _image(tmp_path / "images/b.jpg")
    (tmp_path / "t.csv").write_text(TABLES[kind], encoding="utf-8")
    records, classes, counts = _load(CsvSource(str(tmp_path / "t.csv"), None))
    assert classes == ["cat"]
    assert _objects(records)[0]["bbox"] == pytest.approx([2, 3, 12, 11])
    assert records[0]["file_name"].endswith("images/a.jpg")
    assert counts == {}
    if kind == "retinanet":
        assert records[1]["annotations"] == []


def test_columns_of_other_names_can_be_given(tmp_path):
    _image(tmp_path / "a.jpg")
    (tmp_path / "t.csv").write_text("Foto,Art,L,T,R,B\na.jpg,cat,2,3,12,11\n")
    with pytest.raises(DataError, match=r"first line is Foto, Art.*\?columns=image:FILE"):
        CsvSource(str(tmp_path / "t.csv"), None).load()
    columns = {"image": "Foto", "label": "Art", "x0": "L", "y0": "T", "x1": "R", "y1": "B"}
    records, classes, _ = _load(CsvSource(str(tmp_path / "t.csv"), None, columns))
    assert (classes, _objects(records)[0]["bbox"]) == (["cat"], [2, 3, 12, 11])


def test_line_without_numbers_is_counted_and_the_others_are_read(tmp_path):
    _image(tmp_path / "a.jpg")
    text = "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,2,3,12,11\na.jpg,cat,x,3,12,11\n"
    (tmp_path / "t.csv").write_text(text)
    records, _, counts = _load(CsvSource(str(tmp_path / "t.csv"), None))
    assert len(_objects(records)) == 1
    assert counts == {"malformed": 1}


def test_table_of_something_else_has_no_columns_of_boxes():
    assert table_columns(["date", "temperature", "x"]) == {}


# Create ML, Datumaro -------------------------------------------------------------------------


def test_createml_boxes_are_centre_and_size(tmp_path):
    _image(tmp_path / "a.jpg")
    place = {"x": 7, "y": 7, "width": 10, "height": 8}
    item = {
        "image": "a.jpg",
        "annotations": [{"label": "cat", "coordinates": place}, {"label": "x"}],
    }
    (tmp_path / "c.json").write_text(json.dumps([item]))
    records, classes, counts = _load(CreateMLSource(str(tmp_path / "c.json"), None))
    assert classes == ["cat", "x"]
    assert _objects(records)[0]["bbox"] == [2, 3, 12, 11]
    assert counts == {"malformed": 1}


def _datumaro(annotations):
    labels = [
        {"name": "cat", "parent": ""},
        {"name": "hand", "parent": ""},
        {"name": "tip", "parent": "hand"},
    ]
    points = {"items": [{"label_id": 1, "labels": ["tip"], "joints": []}]}
    item = {"id": "a", "annotations": annotations, "image": {"path": "a.jpg", "size": [H, W]}}
    return {
        "info": {},
        "categories": {"label": {"labels": labels}, "points": points},
        "items": [item],
    }


def test_datumaro_gives_boxes_polygons_masks_and_points(tmp_path):
    _image(tmp_path / "images/train/a.jpg")
    mask = np.zeros((H, W), np.uint8)
    mask[3:5, 3:5] = 1
    code = rle.with_text(rle.encode(mask))
    annotations = [
        {"type": "bbox", "label_id": 0, "bbox": [2, 3, 10, 8]},
        {"type": "polygon", "label_id": 0, "points": [1, 1, 9, 1, 9, 9]},
        {"type": "mask", "label_id": 0, "rle": code, "attributes": {"is_crowd": True}},
        {"type": "points", "label_id": 1, "points": [5, 6], "visibility": [1]},
        {"type": "label", "label_id": 0},
        {"type": "polyline", "label_id": 0, "points": [1, 1, 2, 2]},
        {"type": "bbox", "label_id": 9, "bbox": [2, 3, 10, 8]},
    ]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/train.json").write_text(json.dumps(_datumaro(annotations)))
    source = DatumaroSource(str(tmp_path / "annotations/train.json"), None)
    records, classes, counts = _load(source)
    assert classes == ["cat", "hand"]
    box, polygon, crowd, hand = _objects(records)
    assert box["bbox"] == [2, 3, 12, 11]
    assert polygon["segmentation"] == [[1, 1, 9, 1, 9, 9]]
    assert (rle.decode(crowd["segmentation"]) == mask).all()
    assert crowd["iscrowd"] == 1
    assert hand["keypoints"] == [5, 6, 1]
    assert counts == {"no_area": 1, "malformed": 1}


def test_parts_of_one_group_are_one_object_in_datumaro(tmp_path):
    _image(tmp_path / "images/train/a.jpg")
    annotations = [
        {"type": "points", "label_id": 1, "group": 7, "points": [5, 6], "visibility": [2]},
        {"type": "bbox", "label_id": 1, "group": 7, "bbox": [2, 3, 10, 8]},
        {"type": "polygon", "label_id": 0, "group": 8, "points": [1, 1, 9, 1, 9, 9]},
        {"type": "polygon", "label_id": 0, "group": 8, "points": [11, 1, 19, 1, 19, 9]},
        {"type": "bbox", "label_id": 0, "group": 0, "bbox": [2, 3, 10, 8]},
        {"type": "bbox", "label_id": 0, "group": 0, "bbox": [3, 3, 10, 8]},
    ]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/train.json").write_text(json.dumps(_datumaro(annotations)))
    records, _, _ = _load(DatumaroSource(str(tmp_path / "annotations/train.json"), None))
    hand, cat, *boxes = _objects(records)
    assert (hand["bbox"], hand["keypoints"]) == ([2, 3, 12, 11], [5, 6, 2])
    assert len(cat["segmentation"]) == 2
    assert [box["bbox"] for box in boxes] == [[2, 3, 12, 11], [3, 3, 13, 11]]


# Label Studio --------------------------------------------------------------------------------


def _region(kind, **value):
    return {
        "type": kind,
        "original_width": W,
        "original_height": H,
        "image_rotation": 0,
        "value": value,
    }


def test_brush_stroke_decodes_to_what_was_packed():
    mask = np.random.default_rng(0).integers(0, 2, (H, W)).astype(bool)
    pixels = np.zeros((H, W, 4), np.uint8)
    pixels[..., 3] = mask * 255
    assert (brush_mask(pack_bits(pixels.ravel().tolist()), H, W) == mask).all()
    with pytest.raises(ValueError, match="not 4 x 5 x 5"):
        brush_mask(pack_bits(pixels.ravel().tolist()), 5, 5)
    with pytest.raises(ValueError, match="ends early"):
        brush_mask(pack_bits(pixels.ravel().tolist())[:100], H, W)
    with pytest.raises(ValueError, match="range"):
        brush_mask([-1, *pack_bits(pixels.ravel().tolist())[1:]], H, W)


def _label_studio_objects(tmp_path, content):
    _image(tmp_path / "images/a.jpg")
    (tmp_path / "project.json").write_text(json.dumps(content))
    return _load(LabelStudioSource(str(tmp_path / "project.json"), None))


def test_label_studio_places_are_per_cent_and_rectangles_turn_about_their_corner(tmp_path):
    pixels = np.zeros((H, W, 4), np.uint8)
    pixels[2:5, 3:9] = 255
    regions = [
        _region(
            "rectanglelabels", x=5, y=15, width=25, height=40, rotation=0, rectanglelabels=["cat"]
        ),
        _region(
            "rectanglelabels", x=50, y=10, width=10, height=20, rotation=90, rectanglelabels=["cat"]
        ),
        _region("polygonlabels", points=[[0, 0], [50, 0], [50, 50]], polygonlabels=["dog"]),
        _region(
            "ellipselabels", x=50, y=50, radiusX=10, radiusY=20, rotation=0, ellipselabels=["dog"]
        ),
        _region(
            "brushlabels",
            format="rle",
            rle=pack_bits(pixels.ravel().tolist()),
            brushlabels=["dog"],
        ),
        _region("keypointlabels", x=1, y=1, width=1, keypointlabels=["dog"]),
        {"type": "choices", "value": {"choices": ["good"]}},
    ]
    task = {"id": 1, "data": {"image": "/data/upload/1/1a2b3c4d-a.jpg"}}
    old = {"result": [], "updated_at": "2020-01-01"}
    new = {"result": regions, "updated_at": "2021-01-01"}
    cancelled = {"result": [], "updated_at": "2022-01-01", "was_cancelled": True}
    unlabelled = {"id": 2, "data": {"image": "s3://bucket/b.jpg"}, "annotations": []}
    _image(tmp_path / "images/b.jpg")
    content = [{**task, "annotations": [new, old, cancelled]}, unlabelled]
    records, classes, counts = _label_studio_objects(tmp_path, content)
    assert classes == ["cat", "dog"]
    assert [len(record["annotations"]) for record in records] == [5, 0]
    plain, turned, polygon, ellipse, brush = records[0]["annotations"]
    assert plain["bbox"] == [2, 3, 12, 11]
    # 4 x 4 pixels at (20, 2), turned clockwise about that corner, reaches to its left.
    assert turned["bbox"] == pytest.approx([16, 2, 20, 6])
    assert polygon["segmentation"] == [[0, 0, 20, 0, 20, 10]]
    assert ellipse["bbox"] == pytest.approx([16, 6, 24, 14], abs=0.1)
    assert (rle.decode(brush["segmentation"]).astype(bool) == (pixels[..., 3] > 0)).all()
    assert counts == {"no_area": 1}


def test_label_studio_json_min_is_read(tmp_path):
    region = {"x": 5, "y": 15, "width": 25, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
    region |= {"original_width": W, "original_height": H}
    task = {
        "image": "/data/upload/a.jpg",
        "id": 1,
        "label": [region],
        "annotator": 1,
        "annotation_id": 4,
    }
    records, _, _ = _label_studio_objects(tmp_path, [task])
    assert _objects(records)[0]["bbox"] == [2, 3, 12, 11]


def test_image_turned_in_label_studio_is_a_fault_and_not_a_wrong_box(tmp_path):
    region = _region("rectanglelabels", x=5, y=15, width=25, height=40, rectanglelabels=["cat"])
    region["image_rotation"] = 90
    task = {"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": [region]}]}
    records, _, counts = _label_studio_objects(tmp_path, [task])
    assert _objects(records) == []
    assert counts == {"malformed": 1}


# Supervisely, KITTI, DOTA, WIDER FACE --------------------------------------------------------


def test_supervisely_gives_rectangles_polygons_with_holes_and_bitmaps(tmp_path):
    stamp = io.BytesIO()
    part = np.zeros((3, 4, 4), np.uint8)
    part[1:, 1:] = 255
    Image.fromarray(part, "RGBA").save(stamp, format="PNG")
    data = base64.b64encode(zlib.compress(stamp.getvalue())).decode()
    square = [[0, 0], [10, 0], [10, 10], [0, 10]]
    hole = [[3, 3], [7, 3], [7, 7], [3, 7]]
    objects = [
        {
            "classTitle": "cat",
            "geometryType": "rectangle",
            "points": {"exterior": [[2, 3], [11, 10]], "interior": []},
        },
        {
            "classTitle": "dog",
            "geometryType": "polygon",
            "points": {"exterior": square, "interior": [hole]},
        },
        {"classTitle": "dog", "geometryType": "bitmap", "bitmap": {"data": data, "origin": [5, 6]}},
        {"classTitle": "dog", "geometryType": "line", "points": {"exterior": [[0, 0], [1, 1]]}},
    ]
    content = {"size": {"height": H, "width": W}, "objects": objects}
    meta = {"classes": [{"title": "dog", "shape": "any"}, {"title": "cat", "shape": "rectangle"}]}
    _image(tmp_path / "ds0/img/a.jpg")
    (tmp_path / "ds0/ann").mkdir()
    (tmp_path / "ds0/ann/a.jpg.json").write_text(json.dumps(content))
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    records, classes, counts = _load(SuperviselySource(str(tmp_path), None))
    assert classes == ["dog", "cat"]
    rectangle, polygon, bitmap = _objects(records)
    assert rectangle["bbox"] == [2, 3, 12, 11]
    assert rle.area(polygon["segmentation"]) == 100 - 16
    mask = rle.decode(bitmap["segmentation"])
    assert mask.sum() == 6
    assert mask[7:9, 6:9].all()
    assert counts == {"no_area": 1}
    with pytest.raises(ConfigError, match="has no dataset 'ds9'; it has ds0"):
        SuperviselySource(str(tmp_path), "ds9")


def test_kitti_finds_its_image_among_maps_of_the_same_name(tmp_path):
    for folder in ("image_2", "semantic", "instance"):
        _image(tmp_path / folder / "000001.png")
    (tmp_path / "label_2").mkdir()
    (tmp_path / "label_2/000001.txt").write_text("Car 0 0 -1 5 6 25 16 1 1 1 1 1 1 1\n")
    records, _, _ = _load(KittiSource(str(tmp_path), None))
    assert [r["file_name"] for r in records] == [str(tmp_path / "image_2/000001.png")]


def test_open_images_have_the_names_of_their_classes_and_images_by_split(tmp_path):
    _image(tmp_path / "images/train/0a1b.jpg")
    home = tmp_path / "annotations"
    home.mkdir()
    (home / "class-descriptions-boxable.csv").write_text("/m/01g317,Person\n/m/0k4j,Car\n")
    (home / "train-annotations-bbox.csv").write_text(
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
        "0a1b,xclick,/m/0k4j,1,0.1,0.5,0.2,0.6,0\n0a1b,xclick,/m/01g317,1,0,1,0,1,1\n"
    )
    records, classes, _ = _load(CsvSource(str(home / "train-annotations-bbox.csv"), None))
    assert classes == ["Car", "Person"]
    assert records[0]["file_name"] == str(tmp_path / "images/train/0a1b.jpg")
    car, group = records[0]["annotations"]
    assert car["bbox"] == pytest.approx([4, 4, 20, 12])
    assert group["iscrowd"] == 1


def test_kitti_leaves_out_what_nobody_labelled(tmp_path):
    _image(tmp_path / "image_2/000001.png")
    tail = "1.5 1.6 3.9 1.8 1.6 8.4 0.01"
    text = f"Car 0.00 0 -1.57 2 3 12 11 {tail}\nDontCare -1 -1 -10 1 1 2 2 {tail}\nCar 0 0\n"
    (tmp_path / "label_2").mkdir()
    (tmp_path / "label_2/000001.txt").write_text(text)
    records, classes, counts = _load(KittiSource(str(tmp_path), None))
    assert classes == ["Car"]
    assert _objects(records)[0]["bbox"] == [2, 3, 12, 11]
    assert counts == {"malformed": 1}


def test_dota_corners_become_a_polygon(tmp_path):
    _image(tmp_path / "train/images/P0001.png")
    text = "imagesource:GoogleEarth\ngsd:0.146\n4 2 8 6 6 8 2 4 plane 0\n"
    (tmp_path / "train/labelTxt").mkdir()
    (tmp_path / "train/labelTxt/P0001.txt").write_text(text)
    records, classes, _ = _load(DotaSource(str(tmp_path), "train"))
    assert classes == ["plane"]
    assert _objects(records)[0]["segmentation"] == [[4, 2, 8, 6, 6, 8, 2, 4]]
    with pytest.raises(MissingFileError, match="KITTI labels below"):
        KittiSource(str(tmp_path), "train")


def test_wider_face_list_is_read_with_images_without_faces(tmp_path):
    for name in ("0--Parade/a.jpg", "0--Parade/b.jpg"):
        _image(tmp_path / "WIDER_train/images" / name)
    folder = tmp_path / "wider_face_split"
    folder.mkdir()
    (folder / "wider_face_train_bbx_gt.txt").write_text(
        "0--Parade/a.jpg\n2\n2 3 10 8 0 0 0 0 0 0\n1 1 1 1 0 0 0 1 0 0\n"
        "0--Parade/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    )
    records, classes, _ = _load(WiderFaceSource(str(tmp_path), None))
    assert classes == ["face"]
    assert [len(record["annotations"]) for record in records] == [1, 0]
    assert _objects(records)[0]["bbox"] == [2, 3, 12, 11]
    with pytest.raises(MissingFileError, match="wider_face_val_bbx_gt"):
        WiderFaceSource(str(tmp_path), "val")


# Names of images -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "A.JPG", "a", "sub/a.jpg", "C:\\set\\sub\\a.jpg", "/mnt/sub/a.png", "1a2b3c4d-a.jpg"],
)
def test_image_is_found_under_the_names_that_tools_write(name, tmp_path):
    _image(tmp_path / "sub/a.jpg")
    assert ImageFinder([tmp_path]).find(name) == tmp_path / "sub/a.jpg"


def test_name_of_two_images_means_the_one_whose_folders_agree_or_none(tmp_path):
    _image(tmp_path / "x/a.jpg")
    _image(tmp_path / "y/a.jpg")
    finder = ImageFinder([tmp_path])
    assert finder.find("/elsewhere/y/a.jpg") == tmp_path / "y/a.jpg"
    assert finder.find("A.jpg") is None
    assert ImageFinder([tmp_path / "z", tmp_path / "y", tmp_path]).find("a") == tmp_path / "y/a.jpg"


def test_files_that_systems_leave_behind_are_no_images(tmp_path):
    _image(tmp_path / "._a.jpg")
    _image(tmp_path / "__MACOSX/a.jpg")
    _image(tmp_path / ".ipynb_checkpoints/a.jpg")
    assert ImageFinder([tmp_path]).find("a") is None


@pytest.mark.parametrize("name", ["auto:{}", "auto:{}/annotations.xml", "cvat:{}/annotations.xml"])
def test_subsets_of_a_cvat_project_are_the_splits_of_its_one_file(tmp_path, name):
    """An export of a project has images/SUBSET/ and says the subset of each image."""
    line = '<image id="0" name="{0}.jpg" subset="{1}" width="40" height="20">{2}</image>'
    box = '<box label="cat" xtl="4" ytl="4" xbr="20" ybr="12" />'
    images = [("a", "Train"), ("b", "Validation"), ("c", "Train")]
    lines = "".join(line.format(stem, subset, box) for stem, subset in images)
    (tmp_path / "annotations.xml").write_text(f"<annotations>{lines}</annotations>")
    for stem, subset in images:
        _image(tmp_path / "images" / subset / f"{stem}.jpg")
    is_file = name.startswith("cvat")
    train, held_out = ("Train", "Validation") if is_file else ("train", "val")
    for part, expected in ((train, ["a", "c"]), (held_out, ["b"])):
        records = DatasetCatalog.get(f"{name.format(tmp_path)}@{part}")
        assert [Path(record["file_name"]).stem for record in records] == expected
        assert all(Path(record["file_name"]).is_file() for record in records)
