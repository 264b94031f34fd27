import json

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.data import Metadata
from d2lite.evaluation import instances_to_coco_json
from d2lite.predicting import CroppedMask, Result
from d2lite.predicting.outputs import enlarged, read_outputs, with_limited_size
from d2lite.predicting.thresholds import threshold_array
from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError, OutputError, StateError

NAMES = Metadata(thing_classes=["cat", "dog"], stuff_classes=["sky", "grass"])


def detected(size: tuple[int, int] = (40, 60)) -> Instances:
    """What a model returns: three objects with masks and keypoints, not sorted."""
    masks = torch.zeros(3, *size, dtype=torch.bool)
    for number, mask in enumerate(masks):
        mask[4 + number : 20, 6 : 20 + 5 * number] = True
    boxes = [[6.0, 4 + n, 20 + 5 * n, 20] for n in range(3)]
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor(boxes)),
        scores=torch.tensor([0.3, 0.9, 0.6]),
        pred_classes=torch.tensor([0, 1, 1]),
        pred_masks=masks,
        pred_keypoints=torch.tensor([[[8.0, 9.0, 0.5], [10.0, 12.0, 1.0]]]).repeat(3, 1, 1),
    )


def read(outputs: dict, size: tuple[int, int] = (40, 60), threshold: float = 0.0) -> Result:
    return read_outputs(outputs, size, NAMES, threshold_array(threshold, ["cat", "dog"]))


@pytest.fixture
def result() -> Result:
    return read({"instances": detected()})


def test_objects_are_plain_and_sorted_by_score(result):
    assert len(result) == 3
    assert result.names == ["dog", "dog", "cat"]
    np.testing.assert_allclose(result.scores, [0.9, 0.6, 0.3])
    np.testing.assert_allclose(result.boxes[0], [6, 5, 25, 20])
    assert result.masks.shape == (3, 40, 60)
    assert result.masks.dtype == bool
    np.testing.assert_array_equal(result.masks, detected().pred_masks.numpy()[[1, 2, 0]])
    assert result.keypoints.shape == (3, 2, 3)
    assert result.rotated_boxes is None
    assert result.counts() == {"dog": 2, "cat": 1}
    assert repr(result) == "Result(2 dog, 1 cat, 60 x 40 pixels)"


def test_iteration_and_numbers_give_single_objects(result):
    first = next(iter(result))
    assert (first.name, first.class_id, first.box) == ("dog", 1, (6, 5, 25, 20))
    assert first.mask.area == result.masks[0].sum()
    assert result[-1].name == "cat"
    with pytest.raises(IndexError):
        result[3]


def test_parts_are_results(result):
    parts = [result[1:], result[[1, 2]], result[np.array([1, 2])], result[result.scores < 0.7]]
    for part in parts:
        assert part.names == ["dog", "cat"]
        np.testing.assert_array_equal(part.masks, result.masks[1:])
        assert len(part.keypoints) == 2
    assert len(result[[]]) == 0
    assert result[[]].masks.shape == (0, 40, 60)


def test_filter_by_class_and_score(result):
    assert result.filter(classes=["cat"]).names == ["cat"]
    assert result.filter(classes="cat").names == ["cat"]
    assert result.filter(classes=[1], threshold=0.7).names == ["dog"]
    assert result.filter(threshold={"dog": 0.7}).names == ["dog", "cat"]
    with pytest.raises(ConfigError, match="no class 'cow'; it has cat, dog"):
        result.filter(classes=["cow"])


def test_threshold_leaves_out_what_is_below():
    assert read({"instances": detected()}, threshold=0.6).names == ["dog", "dog"]
    # Many thresholds come from an array.
    assert read({"instances": detected()}, threshold=np.float32(0.5)).names == ["dog", "dog"]


def test_coco_results_are_those_of_the_evaluator(result):
    """One writer measured against the other, run-length codes included."""
    order = torch.tensor([1, 2, 0])
    expected = instances_to_coco_json(detected()[order], 7)
    found = result.to_coco(7)
    for one, other in zip(found, expected, strict=True):
        assert one.pop("category_name") in ("cat", "dog")
        assert one.keys() == other.keys()
        assert one["segmentation"] == other["segmentation"]
        np.testing.assert_allclose(one["bbox"], other["bbox"])
        np.testing.assert_allclose(one["keypoints"], other["keypoints"])


def test_plot_draws_and_saves(result, tmp_path):
    image = np.full((40, 60, 3), 90, np.uint8)
    result = Result(**{**result.__dict__, "image": image})
    picture = result.plot(tmp_path / "found.png", scale=2)
    assert picture.shape == (80, 120, 3)
    assert (picture != 90).any()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "found.png")), picture)
    with pytest.raises(OutputError, match=r"found\.xyz: cannot write pictures"):
        result.save(tmp_path / "found.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["found.png"]


def test_masks_are_drawn_as_the_visualizer_draws_them(result):
    """Though they exist in full size one at a time."""
    from d2lite.visualization import Visualizer

    image = np.full((40, 60, 3), 90, np.uint8)
    result = Result(**{**result.__dict__, "image": image})
    instances = detected()[torch.tensor([1, 2, 0])]
    expected = Visualizer(image, NAMES, scale=3).draw_instance_predictions(instances).get_image()
    np.testing.assert_array_equal(result.plot(scale=3), expected)


def test_image_is_read_again_from_its_path(result, tmp_path):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "a.png")
    result = Result(**{**result.__dict__, "path": str(tmp_path / "a.png")})
    assert result.plot(scale=1).shape == (40, 60, 3)


def test_result_without_an_image_says_so(result):
    with pytest.raises(StateError, match="neither image nor path"):
        result.plot()


def test_json_holds_everything(result, tmp_path):
    result.save(tmp_path / "a.JSON")
    content = json.loads((tmp_path / "a.JSON").read_text())
    assert (content["width"], content["height"]) == (60, 40)
    assert [one["name"] for one in content["objects"]] == result.names
    mask = CroppedMask.from_rle(content["objects"][0]["mask"])
    np.testing.assert_array_equal(mask.full(40, 60), result.masks[0])


def test_rotated_boxes_come_with_the_upright_ones_around_them():
    turned = torch.tensor([[20.0, 15.0, 10.0, 4.0, 90.0], [30.0, 20.0, 8.0, 8.0, 45.0]])
    instances = Instances(
        (40, 60),
        pred_boxes=RotatedBoxes(turned),
        scores=torch.tensor([0.9, 0.8]),
        pred_classes=torch.tensor([0, 1]),
    )
    result = read({"instances": instances})
    np.testing.assert_allclose(result.rotated_boxes, turned)
    np.testing.assert_allclose(result.boxes[0], [18, 10, 22, 20], atol=1e-5)
    half = 4 * np.sqrt(2)
    np.testing.assert_allclose(result.boxes[1], [30 - half, 20 - half, 30 + half, 20 + half])
    np.testing.assert_allclose(result.to_coco()[0]["bbox"], turned[0])
    assert result.masks is None
    assert read({"instances": instances[:0]}).boxes.shape == (0, 4)


def test_panoptic_and_semantic_results():
    segment_map = torch.zeros(40, 60, dtype=torch.int32)
    segment_map[:10], segment_map[20:30, 20:30] = 1, 2
    infos = [
        {"id": 1, "isthing": False, "category_id": 1, "area": 600},
        {"id": 2, "isthing": True, "category_id": 0, "score": 0.8, "instance_id": 0},
    ]
    scores = torch.zeros(2, 40, 60)
    scores[1, 5:] = 1
    result = read({"panoptic_seg": (segment_map, infos), "sem_seg": scores})
    grass, cat = result.segments
    assert (grass.name, grass.is_thing, grass.score, grass.area) == ("grass", False, None, 600)
    assert (cat.name, cat.is_thing, cat.area) == ("cat", True, 100)
    assert cat.score == pytest.approx(0.8)
    np.testing.assert_array_equal(result.segment_map, segment_map)
    np.testing.assert_array_equal(np.unique(result.semantic[:5]), [0])
    np.testing.assert_array_equal(np.unique(result.semantic[5:]), [1])
    assert len(result) == 0
    assert "2 segments" in repr(result)
    image = np.full((40, 60, 3), 90, np.uint8)
    for outputs in ({"panoptic_seg": (segment_map, infos)}, {"sem_seg": scores}):
        drawn = Result(**{**read(outputs).__dict__, "image": image}).plot(scale=1)
        assert (drawn != image).any()


def test_segments_of_a_map_without_a_list_are_those_of_its_numbers():
    """Panoptic-DeepLab gives class * divisor + number; all of its segments were lost."""
    labels = torch.full((40, 60), -1)
    labels[:10], labels[20:30, 20:30] = 1000, 1
    metadata = Metadata(
        thing_classes=["cat", "grass"],
        stuff_classes=["things", "grass"],
        label_divisor=1000,
        thing_dataset_id_to_contiguous_id={7: 0},
    )
    lowest = threshold_array(0.0, ["cat", "grass"])
    result = read_outputs({"panoptic_seg": (labels, None)}, (40, 60), metadata, lowest)
    found = [(s.id, s.name, s.is_thing, s.area) for s in result.segments]
    assert found == [(1, "cat", True, 100), (2, "grass", False, 600)]
    expected = torch.zeros(40, 60, dtype=torch.int32)
    expected[:10], expected[20:30, 20:30] = 2, 1
    np.testing.assert_array_equal(result.segment_map, expected)


def test_models_of_maps_are_asked_for_a_size_that_fits_into_the_memory():
    """100 masks of 10,000 x 10,000 pixels are 10 GB; Mask R-CNN's are pasted one by one."""
    item = {"height": 10_000, "width": 12_000, "image": None}
    limited = with_limited_size(object(), item)
    assert limited["height"] * limited["width"] <= 2**24
    assert limited["width"] / limited["height"] == pytest.approx(1.2, abs=1e-3)
    small = {"height": 100, "width": 120, "image": None}
    assert with_limited_size(object(), small) == small


def test_result_of_a_smaller_size_is_brought_back():
    segment_map = torch.zeros(40, 60, dtype=torch.int32)
    segment_map[20:30, 20:30] = 2
    infos = [{"id": 2, "isthing": True, "category_id": 0}]
    result = read({"instances": detected(), "panoptic_seg": (segment_map, infos)})
    large = enlarged(result, (80, 180))
    assert large.size == (80, 180)
    np.testing.assert_allclose(large.boxes, result.boxes * [3, 2, 3, 2])
    np.testing.assert_array_equal(large.masks, result.masks.repeat(2, axis=1).repeat(3, axis=2))
    np.testing.assert_allclose(large.keypoints[..., :2], result.keypoints[..., :2] * [3, 2])
    assert large.segments[0].area == (large.segment_map == 2).sum() == 600


def test_other_predictions_are_refused():
    with pytest.raises(ConfigError, match="predicts proposals, which is neither"):
        read({"proposals": detected()})


def test_supervision_gets_everything(result):
    supervision = pytest.importorskip("supervision")
    detections = result.to_supervision()
    assert isinstance(detections, supervision.Detections)
    np.testing.assert_allclose(detections.xyxy, result.boxes)
    np.testing.assert_allclose(detections.confidence, result.scores)
    np.testing.assert_array_equal(np.asarray(detections.mask), result.masks)
    assert list(detections["class_name"]) == ["dog", "dog", "cat"]
    assert len(result[[]].to_supervision()) == 0
    assert len(detections[detections.confidence > 0.5]) == 2
