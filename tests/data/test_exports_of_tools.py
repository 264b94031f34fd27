"""What other tools' own writers make of a set: read as it was, or refused with what to do."""

import json

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog
from d2lite.utils.errors import DataError
from tests.data.spec_files import objects

pytestmark = pytest.mark.usefixtures("own_folders")

LEFT, RIGHT = "2,2;8,2;8,10;2,10", "20,2;30,2;30,10;20,10"


def cvat(shapes):
    image = f'<image id="0" name="a.jpg" width="40" height="20">{shapes}</image>'
    return f"<annotations>{image}</annotations>"


def cvat_polygon(points, group, label="cat"):
    return f'<polygon label="{label}" points="{points}" group_id="{group}"/>'


@pytest.mark.parametrize(("second", "boxes"), [
    (cvat_polygon(RIGHT, 3), [[2, 2, 30, 10]]),
    (cvat_polygon(RIGHT, 0), [[2, 2, 8, 10], [20, 2, 30, 10]]),
    (cvat_polygon(RIGHT, 4), [[2, 2, 8, 10], [20, 2, 30, 10]]),
    (cvat_polygon(RIGHT, 3, "dog"), [[2, 2, 8, 10], [20, 2, 30, 10]]),
])  # fmt: skip
def test_polygons_of_one_group_and_label_of_cvat_are_one_object(folder, second, boxes):
    """So CVAT's own export to COCO has them."""
    home = folder({"annotations.xml": cvat(cvat_polygon(LEFT, 3) + second), "a.jpg": None})
    assert [box for _, box, has_mask in objects(f"auto:{home}") if has_mask] == boxes


def test_boxes_of_one_group_of_cvat_stay_two_objects(folder):
    box = '<box label="cat" xtl="{}" ytl="2" xbr="{}" ybr="9" group_id="1"/>'
    shapes = box.format(1, 5) + box.format(11, 15)
    home = folder({"annotations.xml": cvat(shapes), "a.jpg": None})
    assert [box for _, box, _ in objects(f"auto:{home}")] == [[1, 2, 5, 9], [11, 2, 15, 9]]


def test_shapes_of_one_group_of_a_cvat_video_are_one_object_in_each_frame(folder):
    tracks = "".join(
        f'<track id="{i}" label="cat" group_id="5">'
        f'<polygon frame="0" points="{points}"/><polygon frame="1" points="{points}"/></track>'
        for i, points in enumerate((LEFT, RIGHT))
    )
    size = "<meta><original_size><width>40</width><height>20</height></original_size></meta>"
    text = f"<annotations>{size}{tracks}</annotations>"
    home = folder({
        "annotations.xml": text, "images/frame_000000.jpg": None, "images/frame_000001.jpg": None,
    })  # fmt: skip
    assert objects(f"auto:{home}") == [("cat", [2, 2, 30, 10], True)] * 2


def test_wider_face_of_datumaro_has_names_of_classes_and_no_number_without_boxes(folder):
    text = (
        "no_label/a.jpg\n"
        "no_label/b.jpg\n2\n2.0 2.0 10.0 8.0 white cell\n1.0 1.0 4.0 5.0 cat 0 0 0 0 0 0\n"
        "no_label/c.jpg\n"
    )
    images = {f"WIDER_train/images/no_label/{name}.jpg": None for name in "abc"}
    home = folder({**images, "wider_face_split/wider_face_train_bbx_gt.txt": text})
    assert objects(f"auto:{home}") == [
        ("white cell", [2, 2, 12, 10], False),
        ("cat", [1, 1, 5, 6], False),
    ]
    assert len(DatasetCatalog.get(f"auto:{home}")) == 3


def test_panoptic_file_without_a_thing_has_all_segments_as_objects(folder):
    """Datumaro writes isthing 0 for every category."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{
            "image_id": 1, "file_name": "a.png", "segments_info": [{"id": 7, "category_id": 1}],
        }],
        "categories": [{"id": 1, "name": "cat", "isthing": 0}],
    }  # fmt: skip
    home = folder({
        "annotations/panoptic_train.json": content, "images/train/a.jpg": None,
        "annotations/panoptic_train/a.png": None,
    })  # fmt: skip
    ids = np.zeros((20, 40, 3), np.uint8)
    ids[2:10, 2:12, 0] = 7
    Image.fromarray(ids).save(home / "annotations/panoptic_train/a.png")
    assert objects(f"auto:{home}@train") == [("cat", [2, 2, 12, 10], True)]


COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}


@pytest.mark.parametrize(("files", "why"), [
    ({"annotations/captions_train.json": COCO}, "captions alone"),
    ({"annotations/image_info_test.json": COCO}, "images without labels"),
    ({"annotations/panoptic_train.json": COCO}, "no segments"),
    ({"gt_img_1.txt": "377,117,463,117,465,130,378,130,Genaxis Theatre\n"}, "ICDAR's"),
    ({"train/gt_img_1.txt": "377,117,463,117\n"}, "ICDAR's"),
    ({"masks.csv": "MaskPath,ImageID,LabelName,BoxID\n"}, "masks, which are not read"),
    ({"SegmentationObject/a.txt": ""}, "Masks of Pascal VOC"),
    ({"train/instance/a.txt": "", "label_colors.txt": "0 0 0 cat\n"}, "Masks of KITTI"),
    ({"task-1-annotation-1-by-1-label-cat-0.png": None}, "Label Studio exports them"),
    ({"datum-0.arrow": ""}, "as hf:DIR; else export as COCO"),
    ({"a.datum": ""}, "export as datumaro or coco"),
    ({"x.txt": "0 0.5 0.5 0.1 0.1\n"}, "add classes.txt"),
])  # fmt: skip
def test_exports_that_are_not_read_are_told_with_what_to_do(folder, files, why):
    home = folder({"images/a.jpg": None, **files})
    with pytest.raises(DataError, match=why) as caught:
        DatasetCatalog.get(f"auto:{home}")
    says_yolo = "add classes.txt" in str(caught.value)
    assert says_yolo == ("x.txt" in files)
    assert "read when it is named itself" not in json.dumps(str(caught.value))
