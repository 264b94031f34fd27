"""The built-in images: pure functions of their number, with annotations that fit the pixels."""

import hashlib
import time

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_util

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.datasets.shapes.dataset import read_shapes_image
from d2lite.data.datasets.shapes.scene import CLASSES, SPLITS, fill, lay_out
from d2lite.data.images.image_io import read_image
from d2lite.utils.errors import MissingFileError

# pycocotools 2 meets numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def val():
    return DatasetCatalog.get("shapes_val")


def bitmap(record, obj):
    size = record["height"], record["width"]
    return mask_util.decode(mask_util.merge(mask_util.frPyObjects(obj["segmentation"], *size)))


def test_both_sets_are_ready_soon(val):
    start = time.process_time()
    train = DatasetCatalog.get("shapes_train")
    assert time.process_time() - start < 4
    assert (len(train), len(val)) == (SPLITS["train"], SPLITS["val"])
    assert MetadataCatalog.get("shapes_train").thing_classes == list(CLASSES)


def test_callers_may_change_their_dicts(val):
    DatasetCatalog.get("shapes_val")[0]["annotations"].clear()
    assert DatasetCatalog.get("shapes_val") == val


def test_a_picture_does_not_depend_on_what_was_drawn_before():
    first = read_shapes_image("shapes://val/3")
    read_shapes_image("shapes://train/3")
    np.random.seed(5)
    lay_out.cache_clear()
    assert np.array_equal(read_shapes_image("shapes://val/3"), first)


def test_pictures_differ():
    names = [f"shapes://{split}/{i}" for split in SPLITS for i in range(20)]
    digests = {hashlib.sha1(read_shapes_image(name).tobytes()).digest() for name in names}
    assert len(digests) == len(names)


def test_the_picture_has_the_size_of_its_dict(val):
    for record in val[:10]:
        image = read_image(record["file_name"], format="BGR")
        assert image.shape == (record["height"], record["width"], 3)
        assert image.dtype == np.uint8
    assert len({(r["height"] > r["width"]) for r in val}) == 2


def test_every_object_is_visible_and_its_box_tight(val):
    for record in val:
        assert 1 <= len(record["annotations"]) <= 6
        for obj in record["annotations"]:
            x, y = np.concatenate([np.reshape(p, (-1, 2)) for p in obj["segmentation"]]).T
            assert obj["bbox"] == [x.min(), y.min(), x.max(), y.max()]
            assert 0 <= obj["bbox"][0] < obj["bbox"][2] <= record["width"]
            assert 0 <= obj["bbox"][1] < obj["bbox"][3] <= record["height"]
            assert bitmap(record, obj).sum() > 30


def test_masks_of_one_picture_do_not_overlap(val):
    for record in val[:40]:
        # Rasterised polygons may share pixels of their border.
        inner = [
            cv2.erode(bitmap(record, o), np.ones((3, 3), np.uint8)) for o in record["annotations"]
        ]
        assert np.sum(inner, axis=0).max() <= 1


def test_masks_are_the_visible_part_of_the_figure(val):
    """An oracle in whole pixels: paint the outlines in order, and see what is left of each."""
    for record in val[:40]:
        size = record["height"], record["width"]
        painted = np.zeros(size, dtype=int)
        for number, figure in enumerate(lay_out("val", record["image_id"]).figures, start=1):
            fine = fill(figure.outline, (0, 0), size)
            painted[cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA) >= 128] = number
        for number, obj in enumerate(record["annotations"], start=1):
            seen, mask = painted == number, bitmap(record, obj) > 0
            assert (seen & mask).sum() / (seen | mask).sum() > 0.8


def test_the_object_is_where_its_mask_says():
    """A figure differs from its surroundings: the gradient is strongest along the outline."""
    ratios = []
    for index in range(30):
        image = read_shapes_image(f"shapes://val/{index}").astype(np.float32)
        smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
        edges = sum(np.abs(cv2.Sobel(smooth, cv2.CV_32F, *d)).sum(2) for d in ((1, 0), (0, 1)))
        outline = np.zeros(image.shape[:2], np.uint8)
        for figure in lay_out("val", index).figures:
            for polygon in figure.polygons:
                cv2.polylines(outline, [np.rint(polygon - 0.5).astype(np.int32)], True, 1)
        ratios.append(edges[outline > 0].mean() / edges[outline == 0].mean())
    assert np.median(ratios) > 2


def test_keypoints_lie_on_their_figure(val):
    seen, covered = [], 0
    for record in val:
        for obj in record["annotations"]:
            points = np.reshape(obj["keypoints"], (-1, 3))
            assert points.shape == (5, 3)
            covered += (points[:, 2] == 1).sum()
            grown = cv2.dilate(bitmap(record, obj), np.ones((5, 5), np.uint8))
            for x, y, _ in points[points[:, 2] == 2]:
                seen.append(grown[int(y), int(x)])
    assert np.mean(seen) > 0.98
    assert covered > 20


def test_left_is_left_and_top_is_above(val):
    """Rotation stays below 45 degrees, else a square's keypoints could not be distinguished."""
    for obj in (o for record in val for o in record["annotations"]):
        points = np.reshape(obj["keypoints"], (-1, 3))
        _, top, bottom, left, right = points
        if points[:, 2].all():
            assert left[0] < right[0]
            assert top[1] < bottom[1]


@pytest.mark.parametrize("name", ["shapes://val/100", "shapes://test/0", "shapes://val/x"])
def test_a_picture_that_does_not_exist_is_refused(name):
    with pytest.raises(MissingFileError, match="shapes://val/0 to 99"):
        read_shapes_image(name)


def test_classes_and_sizes_are_spread(val):
    objects = [o for record in DatasetCatalog.get("shapes_train") for o in record["annotations"]]
    counts = np.bincount([o["category_id"] for o in objects], minlength=len(CLASSES))
    assert counts.min() > 0.7 * counts.mean()
    long_sides = [max(o["bbox"][2] - o["bbox"][0], o["bbox"][3] - o["bbox"][1]) for o in objects]
    assert np.percentile(long_sides, 5) < 32
    assert np.percentile(long_sides, 95) > 65
