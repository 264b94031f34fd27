"""LabelMe's and X-AnyLabeling's shapes become boxes, masks and keypoints."""

import base64
import io
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.records.faults import collecting_faults
from d2lite.structures import BoxMode
from d2lite.structures.masks import rle
from d2lite.utils.errors import DataError
from tests.data import spec_files as make
from tests.data.spec_files import labels_of

pytestmark = pytest.mark.usefixtures("own_folders")


def xyxy(obj):
    return BoxMode.convert(obj["bbox"], obj["bbox_mode"], BoxMode.XYXY_ABS)


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, **more}


def png(pixels, mode="L"):
    """A bitmap as LabelMe stores it."""
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def read(folder):
    """The objects of all images, and the counts of faults."""
    with collecting_faults() as faults:
        records = DatasetCatalog.get(f"labelme:{folder}")
    return [obj for record in records for obj in record["annotations"]], dict(faults.counts)


def test_shapes_become_boxes_and_polygons(tmp_path, caplog):
    make.labelme(
        tmp_path / "work/l/a.json",
        shape("owl", [[8, 6], [2, 1]], "rectangle"),
        shape("cat", [[1, 1], [5, 1], [5, 4]], group_id=1),
        shape("cat", [[9, 1], [12, 1], [12, 4]], group_id=1),
        shape("ant", [[10, 5], [13, 5]], "circle"),
        shape("ant", [[1, 1]], "point"),
        shape("ant", [[1, 1], [2, 2]]),
    )
    with caplog.at_level(logging.INFO, "d2lite"):
        assert labels_of("labelme:l") == [["owl", "cat", "ant"]]
    owl, cat, ant = DatasetCatalog.get("labelme:l")[0]["annotations"]
    assert xyxy(owl) == [2, 1, 8, 6]
    assert "segmentation" not in owl
    assert xyxy(cat) == [1, 1, 12, 4]
    assert len(cat["segmentation"]) == 2
    np.testing.assert_allclose(xyxy(ant), [7, 2, 13, 8])
    assert "shape 4, a point that has no area" in caplog.text
    assert "shape 5, a polygon that has no area" in caplog.text
    assert MetadataCatalog.get("labelme:l").thing_classes == ["ant", "cat", "owl"]
    assert MetadataCatalog.get("labelme:l").get("keypoint_names") is None


def test_labelme_images_are_found_beside_their_file(tmp_path):
    """ImagePath often is a path of the machine where it was labelled."""
    triangle = shape("owl", [[1, 1], [5, 1], [5, 4]])
    make.labelme(tmp_path / "work/l/a.json", triangle, imagePath="C:\\me\\a.jpg", imageWidth=None)
    make.labelme(tmp_path / "work/l/b.json", triangle, imagePath=None)
    (tmp_path / "work/l/other.json").write_text("{}")
    names = [record["file_name"] for record in DatasetCatalog.get("labelme:l")]
    assert names == [str(tmp_path / "work/l" / name) for name in ("a.jpg", "b.jpg")]
    assert DatasetCatalog.get("labelme:l")[0]["width"] == 20
    (tmp_path / "work/none").mkdir()
    with pytest.raises(DataError, match="no LabelMe files"):
        DatasetCatalog.get("labelme:none")


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_masks_are_laid_where_their_box_begins(tmp_path, value, mode):
    if (value, mode) == (1, "1"):
        value = 255  # one bit
    part = np.zeros((4, 5), np.uint8)
    part[1:3, 1:4] = value
    make.labelme(tmp_path / "a.json", shape("cat", [[6, 2], [10, 5]], "mask", mask=png(part, mode)))
    (obj,), counts = read(tmp_path)
    wanted = np.zeros((10, 20), np.uint8)
    wanted[3:5, 7:10] = 1
    np.testing.assert_array_equal(rle.decode(obj["segmentation"]), wanted)
    assert xyxy(obj) == [7, 3, 10, 5]
    assert counts == {}


def test_masks_are_cut_to_the_image_and_joined_with_their_group(tmp_path):
    full = png(np.ones((6, 6)))
    make.labelme(
        tmp_path / "a.json",
        shape("cat", [[-2, 7], [3, 12]], "mask", mask=full),
        shape("dog", [[0, 0], [5, 5]], "mask", mask=full, group_id=3),
        shape("dog", [[10, 0], [12, 0], [12, 2], [10, 2]], group_id=3),
        imageHeight=None,
    )
    (cat, dog), _ = read(tmp_path)
    assert xyxy(cat) == [0, 7, 4, 10]
    assert xyxy(dog) == [0, 0, 12, 6]
    assert rle.area(dog["segmentation"]) == 36 + 4


@pytest.mark.parametrize(
    "mask", [None, "", "no base64!", base64.b64encode(b"x").decode(), png(np.zeros((3, 3)))]
)
def test_masks_that_cannot_be_read_are_counted(tmp_path, mask):
    make.labelme(tmp_path / "a.json", shape("cat", [[2, 2], [4, 4]], "mask", mask=mask))
    assert read(tmp_path) == ([], {"bad_mask": 1})


def test_turned_rectangles_are_their_corners(tmp_path):
    corners = [[5, 1], [9, 5], [7, 7], [3, 3]]
    make.labelme(
        tmp_path / "a.json",
        shape("cat", corners, "rotation", direction=math.pi / 4),
        shape("cat", corners, "oriented_rectangle"),
        shape("cat", [[1, 1], [5, 1], [5, 4], [1, 4]], "rectangle"),
    )
    (one, two, box), counts = read(tmp_path)
    assert one["segmentation"] == two["segmentation"] == [[5, 1, 9, 5, 7, 7, 3, 3]]
    assert (xyxy(box), "segmentation" in box) == ([1, 1, 5, 4], False)
    assert counts == {}


def test_lines_and_points_are_notes(tmp_path):
    make.labelme(
        tmp_path / "a.json",
        shape("cat", [[1, 1], [5, 1], [5, 4]]),
        shape("cat", [[1, 1], [9, 9]], "line"),
        shape("cat", [[1, 1], [5, 5], [9, 2]], "linestrip"),
        shape("cat", [[1, 1]], "point"),
        shape("cat", [[1, 1], [2, 2]], "points"),
        shape("cat", [[3, 3]], "circle"),
        shape("eye", [[3, 3]], "point", group_id=9),
    )
    objects, counts = read(tmp_path)
    assert (len(objects), counts) == (1, {"no_area": 6})
    assert MetadataCatalog.get(f"labelme:{tmp_path}").thing_classes == ["cat"]


def test_points_of_an_objects_group_are_its_keypoints(tmp_path):
    make.labelme(
        tmp_path / "a.json",
        shape("left_eye", [[3, 2]], "point", group_id=1),
        shape("person", [[1, 1], [8, 9]], "rectangle", group_id=1),
        shape("right_eye", [[5, 2]], "point", group_id=1, difficult=True),
        shape("person", [[11, 1], [18, 1], [18, 9]], group_id=2),
        shape("right_eye", [[15, 2]], "point", group_id=2),
        shape("car", [[0, 0], [2, 2]], "rectangle"),
    )
    (first, second, car), counts = read(tmp_path)
    name = f"labelme:{tmp_path}"
    assert MetadataCatalog.get(name).keypoint_names == ["left_eye", "right_eye"]
    assert first["keypoints"] == [3, 2, 2, 5, 2, 1]
    assert xyxy(first) == [1, 1, 8, 9]
    assert second["keypoints"] == [0, 0, 0, 15, 2, 2]
    assert "keypoints" not in car
    assert (labels_of(name), counts) == ([["person", "person", "car"]], {})


def test_labels_of_labelme_itself_are_not_classes(tmp_path):
    triangle = [[1, 1], [5, 1], [5, 4]]
    make.labelme(tmp_path / "a.json", *(shape(n, triangle) for n in ("__ignore__", "cat")))
    assert labels_of(f"labelme:{tmp_path}") == [["cat"]]


@pytest.mark.parametrize("place", [".", ".."])
def test_a_list_of_labels_gives_the_classes_and_their_order(tmp_path, place):
    folder = tmp_path / "l/train"
    folder.mkdir(parents=True)
    make.labelme(folder / "a.json", shape("cat", [[1, 1], [5, 1], [5, 4]]))
    listed = folder / place / "labels.txt"
    listed.write_text("__ignore__\n_background_\nowl\ncat\n")
    assert labels_of(f"labelme:{folder}") == [["cat"]]
    assert MetadataCatalog.get(f"labelme:{folder}").thing_classes == ["owl", "cat"]
    listed.write_text("owl\n")  # the list of something else
    assert labels_of(f"auto:{folder}") == [["cat"]]


def test_shapes_that_are_not_shapes_are_counted(tmp_path):
    good = shape("cat", [[1, 1], [5, 1], [5, 4]])
    bad = [None, 3, {}, {**good, "label": None}, {**good, "points": [[1], [2]]}]
    bad += [{**good, "points": 7}, {**good, "points": [[1, 1], [math.nan, 1], [5, 4]]}]
    make.labelme(tmp_path / "a.json", good, *bad)
    objects, counts = read(tmp_path)
    assert (len(objects), counts) == (1, {"malformed": len(bad)})


def test_a_folder_is_read_again_when_its_files_have_changed(tmp_path):
    """A notebook or a service that lives long must not learn from what was there before."""
    make.labelme(tmp_path / "a.json", shape("cat", [[1, 1], [5, 1], [5, 4]]))
    assert labels_of(f"labelme:{tmp_path}") == [["cat"]]
    make.labelme(tmp_path / "a.json", *[shape("cat", [[1, 1], [5, 1], [5, 4]])] * 2)
    assert labels_of(f"labelme:{tmp_path}") == [["cat", "cat"]]


def test_images_in_other_folders_and_of_another_case_are_found(tmp_path):
    triangle = shape("cat", [[1, 1], [5, 1], [5, 4]])
    for name, stated in (("a", "..\\images\\a.jpg"), ("b", "B.JPG"), ("c", "x/c.png")):
        make.labelme(tmp_path / f"{name}.json", triangle, imagePath=stated)
        image, other = tmp_path / f"{name}.jpg", tmp_path / f"set/images/{name}.jpg"
        other.parent.mkdir(parents=True, exist_ok=True)
        image.rename(other)
        (tmp_path / f"set/labels/{name}.json").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.json").rename(tmp_path / f"set/labels/{name}.json")
    for folder in (tmp_path / "set/labels", tmp_path / "set"):
        found = [r["file_name"] for r in DatasetCatalog.get(f"labelme:{folder}")]
        images = tmp_path / "set/images"
        assert all(Path(f).is_file() for f in found)
        assert {str(images / f"{n}.jpg") for n in "bc"} <= set(found)


def test_other_files_of_the_folder_are_not_broken_labels(tmp_path):
    """OUTPUT_DIR is often a folder beside the images, and metrics.json has a line an iteration."""
    make.labelme(tmp_path / "a.json", shape("cat", [[1, 1], [5, 1], [5, 4]]))
    (tmp_path / "output").mkdir()
    (tmp_path / "output/metrics.json").write_text('{"a": 1}\n{"a": 2}\n')
    assert read(tmp_path)[1] == {}
    (tmp_path / "b.json").write_text('{"shapes": [')
    make.labelme(tmp_path / "c.json").write_text("{")
    assert read(tmp_path)[1] == {"unreadable_annotations": 2}
