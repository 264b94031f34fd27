"""Images whose pixels say what is where: the oracle for augmentation of labels.

Each object is a rectangle or a triangle of one colour that no other object of the set has. Its
three channels hold the number of the image, the number of the object and its class. The ground
is black. So where an object is now can be read off the pixels, whatever was done to them.
"""

from functools import lru_cache

import cv2
import numpy as np

from d2lite.data.augmenting.labelled_image import LabelledImage
from d2lite.data.images.image_io import register_image_source
from d2lite.structures import BoxMode, polygons_to_bitmask
from d2lite.utils.errors import DataError

SIZE = (72, 96)
COUNT = 5
CLASSES = 3
IGNORED = 255
GROUND = CLASSES


def objects_of(picture):
    """Polygons (P, 2) of the objects of an image; they do not overlap."""
    rng = np.random.RandomState(picture)
    shapes = []
    # Of six cells, some hold an object.
    for cell in rng.permutation(6)[: 1 + picture % 4]:
        x0, y0 = 32 * (cell % 3), 36 * (cell // 3)
        left, top = x0 + rng.randint(1, 6), y0 + rng.randint(1, 6)
        right, bottom = x0 + rng.randint(22, 31), y0 + rng.randint(26, 35)
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        shapes.append(np.array(corners if rng.rand() < 0.6 else corners[:3], dtype=float))
    return shapes


def colour(picture, number):
    return np.array([50 + 40 * picture, 60 + 45 * number, 80 + 60 * ((picture + number) % 3)])


@lru_cache
def masks_of(picture):
    return [polygons_to_bitmask([p.ravel()], *SIZE) for p in objects_of(picture)]


def read(name):
    """RGB pixels, or the map of classes of "figures://3/labels"."""
    number, _, kind = name.removeprefix("figures://").partition("/")
    if not number.isdecimal():
        raise DataError(f"{name} is not an image")
    pixels = np.zeros((*SIZE, 3), np.uint8)
    labels = np.full(SIZE, GROUND, np.uint8)
    for i, mask in enumerate(masks_of(int(number))):
        pixels[mask] = colour(int(number), i)
        labels[mask] = (int(number) + i) % CLASSES
    return labels if kind else pixels


register_image_source("figures", read)


def record(picture, *, rle=False, with_masks=True, with_labels=True):
    """The dataset dict; keypoints are a left and a right point on the upper side."""
    annotations = []
    for i, polygon in enumerate(objects_of(picture)):
        right, top = polygon[1]
        anno = {
            "category_id": (picture + i) % CLASSES,
            "bbox": [*polygon.min(0).tolist(), *polygon.max(0).tolist()],
            "bbox_mode": BoxMode.XYXY_ABS,
            "iscrowd": 0,
            "keypoints": [right - 12, top + 3, 2, right - 4, top + 3, 2],
            "colour": colour(picture, i),
        }
        if with_masks:
            drawn = polygons_to_bitmask([polygon.ravel()], *SIZE).astype(np.uint8)
            anno["segmentation"] = drawn if rle else [polygon.ravel().tolist()]
        annotations.append(anno)
    made = {
        "file_name": f"figures://{picture}",
        "image_id": picture,
        "height": SIZE[0],
        "width": SIZE[1],
        "annotations": annotations,
    }
    if with_labels:
        made["sem_seg_file_name"] = f"figures://{picture}/labels"
    return made


def labelled(picture, rle=False):
    """What augmentations are given of an image."""
    made = record(picture, rle=rle)
    return LabelledImage(
        read(made["file_name"]),
        [dict(anno) for anno in made["annotations"]],
        read(made["sem_seg_file_name"]),
        hflip_indices=np.array([1, 0]),
    )


def shrunk(mask, by=2):
    """The mask without its rim, where colours of neighbours are mixed."""
    square = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    outside = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    return cv2.erode(mask.astype(np.uint8), square, **outside).astype(bool)


def check(labelled, *, rim=2):
    """Every object is on its own pixels only, and so are boxes, points and classes.

    Args:
        labelled: a `LabelledImage` with annotations of `record`.
        rim: pixels along the edges that do not count.
    """
    pixels = labelled.image.astype(int)
    copies = {}
    for anno in labelled.annotations:  # an image may come twice in a mixture
        copies.setdefault(tuple(anno["colour"]), []).append(anno)
    for shade, annos in copies.items():
        seen = np.abs(pixels - shade).max(axis=2) <= 3
        masks = [labelled.mask_of(anno) for anno in annos]
        covered = np.any(masks, axis=0)
        inner = np.any([shrunk(mask, rim) for mask in masks], axis=0)
        assert not (inner & ~seen).any(), "a mask is beside its object"
        assert not (shrunk(seen, rim) & ~covered).any(), "an object is beside its mask"
        for anno, mask in zip(annos, masks, strict=True):
            check_box(anno["bbox"], mask, rim)
            check_points(anno, seen)
    check_labels(labelled, rim)


def check_box(box, mask, rim):
    """A box holds its object, but for half a pixel of rounding for each pixel of the rim."""
    rows, columns = np.nonzero(mask)
    if len(rows):
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        outside = (seen - box) * [1, 1, -1, -1]
        # OpenCV may round an edge by a whole pixel (its 20 * 1.3 is below 26), float32 by more.
        assert outside.min() >= -rim / 2 - 1e-4, "a box cuts its object off"


def check_points(anno, seen):
    """Labelled points are on their object; the left one stays left."""
    points = np.asarray(anno["keypoints"], dtype=float).reshape(-1, 3)
    near = np.pad(seen, 2)
    for x, y, visible in points:
        if visible == 2:
            column, row = int(x), int(y)
            assert near[row : row + 5, column : column + 5].any(), "a point left its object"
    if (points[:, 2] > 0).all():
        assert points[0, 0] < points[1, 0] + 1e-6, "left and right were not exchanged"


def check_labels(labelled, rim):
    """The map of classes says at each pixel what its colour says."""
    if labelled.sem_seg is None:
        return
    pixels = labelled.image.astype(int)
    for number in range(COUNT):
        for i in range(len(objects_of(number))):
            seen = shrunk(np.abs(pixels - colour(number, i)).max(axis=2) <= 3, rim)
            assert set(np.unique(labelled.sem_seg[seen])) <= {(number + i) % CLASSES}
