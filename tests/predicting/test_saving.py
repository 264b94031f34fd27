"""What was written is read back by the readers of this project, object by object."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from d2lite.data import DatasetCatalog, Metadata, MetadataCatalog
from d2lite.predicting import CroppedMask, Result
from d2lite.predicting.saving import (
    FORMATS,
    OutputWriter,
    parse_formats,
    save_crops,
    write_coco_results,
)
from d2lite.predicting.saving.one_file import ONE_FILE
from d2lite.structures import BoxMode
from d2lite.utils.errors import ConfigError
from d2lite.visualization import GenericMask

CLASSES = ["sea star", "nut", "bolt"]
SIZE = (50, 70)


@pytest.fixture
def results(tmp_path) -> list[Result]:
    """Three images: two objects, one object and none; the boxes are those of the masks."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = (rows - 20) ** 2 + (columns - 30) ** 2 <= 120
    bar = np.zeros(SIZE, dtype=bool)
    bar[40:48, 5:60] = True
    bar[44:48, 20:30] = False
    found = []
    for number, masks in enumerate([[disc, bar], [bar], []]):
        image = np.full((*SIZE, 3), 60 * number, np.uint8)
        path = tmp_path / f"photo {number}.png"
        Image.fromarray(image).save(path)
        cropped = [CroppedMask.of(mask) for mask in masks]
        found.append(
            Result(
                SIZE,
                np.array([mask.box for mask in cropped], np.float32).reshape(-1, 4),
                np.linspace(0.9, 0.6, len(masks)).astype(np.float32),
                np.array([2, 0][: len(masks)]),
                Metadata(thing_classes=CLASSES),
                cropped_masks=cropped,
                path=str(path),
                image=image,
            )
        )
    return found


def entries(results: list[Result]) -> list[dict]:
    return [{"name": result.path, **result.to_dict()} for result in results]


def write(results: list[Result], folder, kind: str) -> str:
    """Write one format, and the dataset string that reads it."""
    writer = OutputWriter(folder, [kind])
    for number, result in enumerate(results):
        writer.write(result, f"photo {number}")
    written = writer.finish(entries(results), CLASSES)
    if kind in ("coco", "cvat"):
        return f"{kind}:{written[kind]}@{folder if kind == 'coco' else folder.parent}"
    return writer.strings[kind]


def read(name: str) -> tuple[list[str], dict[str, list[dict]]]:
    records = DatasetCatalog.get(name)
    by_name = {record["file_name"].rpartition("/")[2]: record["annotations"] for record in records}
    return list(MetadataCatalog.get(name).thing_classes), by_name


@pytest.mark.parametrize("kind", ["coco", "cvat", "yolo", "labelme", "masks"])
def test_objects_come_back_with_class_box_and_mask(results, tmp_path, kind):
    classes, found = read(write(results, tmp_path / "out", kind))
    if kind != "coco":
        assert set(classes) <= set(CLASSES)
    for number, result in enumerate(results):
        objects = found.get(f"photo {number}.png", [])
        assert len(objects) == len(result)
        assert Counter(classes[o["category_id"]] for o in objects) == Counter(result.names)
        for one in result:
            other = next(o for o in objects if classes[o["category_id"]] == one.name)
            box = BoxMode.convert(list(other["bbox"]), other["bbox_mode"], BoxMode.XYXY_ABS)
            # Outlines are within half a pixel of the border.
            tolerance = 0.5 if kind in ("yolo", "labelme") else 0.01
            np.testing.assert_allclose(box, one.box, atol=tolerance)
            mask = GenericMask(other["segmentation"], *SIZE).mask.astype(bool)
            same = (mask & one.mask.full(*SIZE)).sum() / (mask | one.mask.full(*SIZE)).sum()
            assert same > (0.95 if kind in ("yolo", "labelme") else 0.9999)


def test_boxes_without_masks_come_back(results, tmp_path):
    boxes = [
        Result(**{**result.__dict__, "cropped_masks": None}) for result in results
    ]  # fmt: skip
    for kind in ("coco", "cvat", "yolo", "labelme"):
        classes, found = read(write(boxes, tmp_path / kind, kind))
        objects = found["photo 0.png"]
        assert [classes[o["category_id"]] for o in objects] == ["bolt", "sea star"]
        for one, other in zip(boxes[0], objects, strict=True):
            box = BoxMode.convert(list(other["bbox"]), other["bbox_mode"], BoxMode.XYXY_ABS)
            np.testing.assert_allclose(box, one.box, atol=0.01)


def test_rotated_boxes_come_back_from_cvat_as_their_corners(results, tmp_path):
    turned = np.array([[30, 25, 20, 8, 30]], np.float32)
    result = Result(
        **{
            **results[1].__dict__,
            "cropped_masks": None,
            "rotated_boxes": turned,
        }
    )
    _, found = read(write([result], tmp_path / "out", "cvat"))
    corners = np.array(found["photo 1.png"][0]["segmentation"][0]).reshape(-1, 2)
    np.testing.assert_allclose(corners.mean(axis=0), [30, 25], atol=1e-4)
    # Counter-clockwise for the eye: the right end of the long side is the upper one.
    right = corners[corners[:, 0].argsort()[-2:]].mean(axis=0)
    np.testing.assert_allclose(right, [30 + 10 * np.cos(np.pi / 6), 25 - 5], atol=1e-3)


def test_json_and_csv_list_every_object(results, tmp_path):
    writer = OutputWriter(tmp_path / "out", ["json", "csv"])
    written = writer.finish(entries(results), CLASSES)
    content = json.loads(written["json"].read_text())
    assert [len(image["objects"]) for image in content] == [2, 1, 0]
    assert content[0]["objects"][0]["name"] == "bolt"
    with written["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["bolt", "sea star", "bolt"]
    assert int(rows[0]["mask_area"]) == results[0].masks[0].sum()


def test_coco_results_are_those_of_each_result(results, tmp_path):
    write_coco_results(entries(results), tmp_path / "found.json", CLASSES)
    expected = [item for result in results for item in result.to_coco(result.path)]
    assert json.loads((tmp_path / "found.json").read_text()) == json.loads(json.dumps(expected))


def test_drawings_and_crops_are_pictures(results, tmp_path):
    writer = OutputWriter(tmp_path / "out", ["drawing", "crops"])
    for number, result in enumerate(results):
        writer.write(result, f"photo {number}")
    assert len(list((tmp_path / "out").glob("photo *.png"))) == 3
    with Image.open(tmp_path / "out" / "crops" / "sea star" / "photo 0_1.png") as crop:
        assert crop.size == (55, 8)


def test_maps_of_pixels_are_saved_as_numbers(results, tmp_path):
    numbers = np.arange(50 * 70, dtype=np.int32).reshape(SIZE) % 300
    result = Result(**{**results[2].__dict__, "semantic": numbers})
    OutputWriter(tmp_path, ["masks"]).write(result, "map")
    with Image.open(tmp_path / "masks" / "map.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), numbers)


def test_unknown_formats_are_refused():
    assert parse_formats("drawing, json,json") == ["drawing", "json"]
    assert set(ONE_FILE) < set(FORMATS)
    with pytest.raises(ConfigError, match="xml is not a format; choose from drawing, json"):
        parse_formats("json,xml")


def test_boxes_outside_of_the_image_have_no_crop(results, tmp_path):
    """A box around a rotated one may be there; its negative edge counted from its far side."""
    boxes = np.array([[-30, 5, -10, 20], [60, -20, 69, -5]], np.float32)
    outside = replace(results[0], boxes=boxes)
    assert not list(write_crops(outside, tmp_path / "crops"))
    assert len(write_crops(results[0], tmp_path / "inside")) == 2


def write_crops(result: Result, folder) -> list:
    save_crops(result, folder, "photo")
    return list(folder.rglob("*.png"))


@pytest.mark.parametrize("kind", ["coco", "cvat", "yolo", "labelme", "masks"])
def test_classes_without_names_are_numbered(results, tmp_path, kind):
    """As of weights of detectron2 beside a config whose dataset nobody registered."""
    nameless = [replace(result, metadata=Metadata()) for result in results]
    writer = OutputWriter(tmp_path / "out", [kind])
    for number, result in enumerate(nameless):
        writer.write(result, f"photo {number}")
    written = writer.finish(entries(nameless), [])
    beside = {"coco": tmp_path / "out", "cvat": tmp_path}.get(kind)
    name = f"{kind}:{written[kind]}@{beside}" if beside else writer.strings[kind]
    classes, found = read(name)
    objects = [obj for of_image in found.values() for obj in of_image]
    names = [classes[obj["category_id"]] for obj in objects]
    assert Counter(names) == Counter(["class 2", "class 0", "class 2"])


@pytest.mark.parametrize("kind", ["yolo", "labelme", "masks"])
def test_a_box_that_differs_from_that_of_its_mask_is_no_loss(results, tmp_path, kind):
    """A model's always does, and a warning about each of its objects would say nothing."""
    writer = OutputWriter(tmp_path / "out", [kind])
    writer.write(replace(results[0], boxes=results[0].boxes + 2), "photo 0")
    assert not any("box" in what for what, count in writer.lost.items() if count)
