from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks, RotatedBoxes
from d2lite.utils.errors import DataError
from d2lite.visualization import ColorMode, Visualizer

# pycocotools does not know yet how numpy 2.4 asks for an array.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

METADATA = SimpleNamespace(
    thing_classes=["cat", "dog"],
    thing_colors=[(250, 0, 0), (0, 0, 250)],
    stuff_classes=["things", "grass", "sky"],
    keypoint_names=["nose", "tail"],
    keypoint_connection_rules=[("nose", "tail", (0, 255, 0))],
)
HEIGHT, WIDTH = 120, 160


def _picture():
    return np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)


def _predictions(**fields):
    found = Instances((HEIGHT, WIDTH))
    found.pred_boxes = Boxes(torch.tensor([[20.0, 30, 70, 90], [90, 40, 150, 100]]))
    found.scores = torch.tensor([0.93, 0.5])
    found.pred_classes = torch.tensor([0, 1])
    masks = torch.zeros((2, HEIGHT, WIDTH), dtype=torch.bool)
    masks[0, 40:80, 30:60] = True
    masks[1, 50:90, 100:140] = True
    found.pred_masks = masks
    for name, value in fields.items():
        found.set(name, value)
    return found


def _draw(predictions, **options):
    visualizer = Visualizer(_picture(), METADATA, **options)
    return visualizer.draw_instance_predictions(predictions).get_image().astype(int)


def test_instances_are_drawn_in_the_colour_of_their_class():
    image = _draw(_predictions())
    inside_cat, inside_dog = image[60, 45], image[70, 120]
    assert inside_cat[0] > 160 > 100 > inside_cat[2]
    assert inside_dog[2] > 160 > 100 > inside_dog[0]
    assert (image[5, 5] == 128).all()


def test_box_and_mask_borders_have_the_full_colour():
    image = _draw(_predictions(), instance_mode=ColorMode.SEGMENTATION)
    assert image[89, 40].tolist() == [250, 0, 0]


def test_same_class_gets_shades_unless_segmentation_asks_for_one_colour():
    two_cats = _predictions(pred_classes=torch.tensor([0, 0]))
    shaded = _draw(two_cats)
    assert shaded[60, 45].tolist() != shaded[70, 120].tolist()
    plain = _draw(two_cats, instance_mode=ColorMode.SEGMENTATION)
    assert plain[60, 45].tolist() == plain[70, 120].tolist()


def test_black_and_white_mode_keeps_colours_inside_objects_only():
    picture = _picture()
    picture[..., 0] = 250
    visualizer = Visualizer(picture, METADATA, instance_mode=ColorMode.IMAGE_BW)
    image = visualizer.draw_instance_predictions(_predictions()).get_image()
    assert len(set(image[5, 5].tolist())) == 1
    assert len(set(image[60, 45].tolist())) > 1


def test_whole_output_of_a_model_in_place_of_its_instances_is_refused():
    with pytest.raises(DataError, match=r"'instances', not the whole dict of instances, sem_seg"):
        _draw({"instances": _predictions(), "sem_seg": None})


def test_predictions_without_anything_leave_the_picture_alone():
    assert (_draw(_predictions()[[False, False]]) == 128).all()


@pytest.mark.parametrize("shape", [(24, 32), (120, 160), (1200, 1600)])
def test_labels_can_be_read_at_any_size(shape):
    """The plate of a label is at least 11 pixels high, and grows with the picture."""
    picture = np.full((*shape, 3), 128, dtype=np.uint8)
    visualizer = Visualizer(picture, METADATA)
    box = np.array([[0.1, 0.5, 0.9, 0.95]]) * [shape[1], shape[0], shape[1], shape[0]]
    visualizer.overlay_instances(boxes=box, labels=["dog 50%"], assigned_colors=["#0000ff"])
    (rect,) = visualizer._label_rects
    assert rect[3] - rect[1] >= max(11, shape[0] / 60)
    assert rect[0] >= 0
    assert rect[1] >= 0


def test_labels_of_a_crowd_do_not_cover_each_other():
    random = np.random.default_rng(0)
    corner = random.uniform(0, [500, 380], (25, 2))
    boxes = np.concatenate([corner, corner + random.uniform(40, 120, (25, 2))], axis=1)
    visualizer = Visualizer(np.zeros((480, 640, 3), dtype=np.uint8), METADATA)
    visualizer.overlay_instances(boxes=boxes, labels=["cat 99%"] * 25)
    rects = np.array(visualizer._label_rects)
    low = np.maximum(rects[:, None, :2], rects[None, :, :2])
    high = np.minimum(rects[:, None, 2:], rects[None, :, 2:])
    covered = (high - low).clip(0).prod(axis=2)
    np.fill_diagonal(covered, 0)
    areas = (rects[:, 2:] - rects[:, :2]).prod(axis=1)
    assert (covered.sum(axis=1) / areas).mean() < 0.05


def test_dataset_dict_is_drawn_whatever_form_its_masks_have():
    annotations = [
        {
            "bbox": [20, 30, 50, 60],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": 0,
            "segmentation": [[20, 30, 70, 30, 70, 90, 20, 90]],
            "keypoints": [30, 40, 2, 60, 80, 2],
        },
        {
            "bbox": [90, 40, 150, 100],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": 1,
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": [90 * HEIGHT + 50, 40, 8310]},
            "keypoints": [0, 0, 0, 0, 0, 0],
            "iscrowd": 1,
        },
    ]
    visualizer = Visualizer(_picture(), METADATA)
    image = visualizer.draw_dataset_dict({"annotations": annotations}).get_image().astype(int)
    assert image[85, 25, 0] > 160
    assert image[60, 90, 2] > 160
    # the line from nose to tail
    assert image[60, 45, 1] > 200


def test_bitmap_annotation_beside_one_without_mask_is_drawn():
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    bitmap[30:90, 20:70] = 1
    box = {"bbox": [20, 30, 70, 90], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    annotations = [{**box, "segmentation": bitmap}, {**box, "category_id": 1}]
    image = Visualizer(_picture(), METADATA).draw_dataset_dict({"annotations": annotations})
    assert image.get_image()[60, 45, 0] > 160


def test_dataset_dict_without_annotations_is_the_picture():
    assert (Visualizer(_picture()).draw_dataset_dict({}).get_image() == 128).all()


def test_semantic_map_is_read_from_its_file(tmp_path):
    classes = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    classes[:60] = 1
    Image.fromarray(classes).save(tmp_path / "s.png")
    visualizer = Visualizer(_picture(), METADATA)
    visualizer.draw_dataset_dict({"sem_seg_file_name": str(tmp_path / "s.png")})
    image = visualizer.get_output().get_image()
    assert (image[90:] == 128).all()
    assert (image[5, 5] != 128).any()


def test_panoptic_segments_are_stuff_below_and_things_above():
    segments = torch.zeros((HEIGHT, WIDTH), dtype=torch.int64)
    segments[:60] = 7
    segments[70:110, 20:60] = 9
    info = [
        {"id": 9, "category_id": 1, "isthing": True, "score": 0.9},
        {"id": 7, "category_id": 2, "isthing": False},
        {"id": 99, "category_id": 0, "isthing": True},
    ]
    image = Visualizer(_picture(), METADATA).draw_panoptic_seg_predictions(segments, info)
    pixels = image.get_image().astype(int)
    assert pixels[100, 25, 2] > 180 > pixels[100, 25, 0]
    assert (pixels[65, 5] == 128).all()


def test_panoptic_map_without_infos_needs_a_divisor():
    with pytest.raises(ValueError, match="label_divisor"):
        Visualizer(_picture(), METADATA).draw_panoptic_seg(np.zeros((HEIGHT, WIDTH)), None)


@pytest.mark.parametrize("form", ["BitMasks", "PolygonMasks", "tensor", "list"])
def test_masks_of_any_form_are_the_same_picture(form):
    bitmaps = torch.zeros((1, HEIGHT, WIDTH), dtype=torch.bool)
    bitmaps[0, 30:90, 20:70] = True
    masks = {
        "BitMasks": BitMasks(bitmaps),
        "PolygonMasks": PolygonMasks([[np.array([20.0, 30, 70, 30, 70, 90, 20, 90])]]),
        "tensor": bitmaps,
        "list": [bitmaps[0].numpy()],
    }[form]
    image = Visualizer(_picture()).overlay_instances(masks=masks).get_image()
    expected = Visualizer(_picture()).overlay_instances(masks=bitmaps).get_image()
    assert np.array_equal(image, expected)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1e12])
@pytest.mark.parametrize("box", [[5.0, 5.0, 60.0, 50.0], [40.0, 40.0, 20.0, 10.0, 30.0]])
def test_what_a_diverged_model_predicts_is_drawn_somehow(box, wrong):
    """The other boxes of the picture are as they were."""
    boxes = np.array([box, box])
    boxes[1, 0] = wrong
    keypoints = np.full((2, 17, 3), wrong)
    both = Visualizer(_picture()).overlay_instances(
        boxes=boxes, labels=["", "b"], keypoints=keypoints
    )
    alone = Visualizer(_picture()).overlay_instances(boxes=boxes[:1])
    drawn = (alone.get_image() != _picture()).any(axis=2)
    assert drawn.any()
    assert (both.get_image() != _picture()).any(axis=2)[drawn].mean() > 0.9


def test_different_numbers_of_boxes_and_labels_are_refused():
    with pytest.raises(ValueError, match="1 boxes, 2 labels"):
        Visualizer(_picture()).overlay_instances(boxes=np.ones((1, 4)), labels=["a", "b"])


def test_turned_box_has_its_corners_where_the_angle_says():
    """A square turned by 45 degrees stands on its corner."""
    visualizer = Visualizer(_picture())
    visualizer.overlay_instances(boxes=np.array([[80, 60, 40, 40, 45.0]]), assigned_colors=["r"])
    is_drawn = (visualizer.get_output().get_image() != 128).any(axis=2)
    rows, columns = np.nonzero(is_drawn)
    assert rows.min() == pytest.approx(60 - 28, abs=2)
    assert columns.max() == pytest.approx(80 + 28, abs=2)


def test_black_and_white_mode_keeps_colours_inside_rotated_boxes():
    picture = _picture()
    picture[:, :, 0] = 250
    found = Instances((HEIGHT, WIDTH))
    found.pred_boxes = RotatedBoxes(torch.tensor([[80.0, 60, 80, 20, 90]]))
    visualizer = Visualizer(picture, METADATA, instance_mode=ColorMode.IMAGE_BW)
    image = visualizer.draw_instance_predictions(found).get_image()
    assert image[40, 80].tolist() == [250, 128, 128]
    assert len(set(image[60, 110].tolist())) == 1


def test_names_and_colours_may_be_arrays():
    """An array has no truth value."""
    lists = ("thing_classes", "thing_colors", "stuff_classes")
    metadata = SimpleNamespace(**{key: np.array(getattr(METADATA, key)) for key in lists})
    visualizer = Visualizer(_picture(), metadata, instance_mode=ColorMode.SEGMENTATION)
    image = visualizer.draw_instance_predictions(_predictions()).get_image()
    assert image[89, 40].tolist() == [250, 0, 0]
    boxes, colors = np.array([[30.0, 20, 20, 10, 30]]), np.array([[1.0, 0, 0]])
    visualizer.overlay_rotated_instances(boxes, ["cat"], colors)


def test_single_strokes_draw_where_they_are_told():
    visualizer = Visualizer(_picture())
    visualizer.draw_line([10, 50], [20, 20], "r", linestyle="--")
    visualizer.draw_circle((100, 30), "b", radius=4)
    visualizer.draw_polygon(np.array([[10, 60], [40, 60], [25, 90]]), "g")
    visualizer.draw_text("hello", (120, 80), rotation=30, horizontal_alignment="left")
    visualizer.draw_soft_mask(np.full((HEIGHT, WIDTH), 0.01), "w", text="x")
    image = visualizer.get_output().get_image().astype(int)
    assert image[20, 11, 0] > 200
    assert image[30, 100, 2] > 200
    assert image[70, 25, 1] > image[70, 25, 0]
    assert image[80:110, 120:150].min() < 60


def test_unknown_line_style_and_alignment_are_refused():
    visualizer = Visualizer(_picture())
    with pytest.raises(ValueError, match="line style"):
        visualizer.draw_box([1, 1, 9, 9], line_style="~")
    with pytest.raises(ValueError, match="horizontal_alignment"):
        visualizer.draw_text("a", (1, 1), horizontal_alignment="middle")


def test_keypoints_of_some_objects_are_drawn_and_boxes_may_be_of_two_kinds():
    """Persons have keypoints and balls have none; they were left out for all."""
    square = {"bbox": [40, 5, 70, 30], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    posed = {**square, "bbox": [5, 5, 30, 30], "keypoints": [20, 20, 2, 10, 10, 0]}
    turned = {**square, "bbox": [50, 40, 20, 10, 30], "bbox_mode": BoxMode.XYWHA_ABS}

    def drawn(*annotations):
        dataset_dict = {"annotations": list(annotations)}
        return Visualizer(_picture()).draw_dataset_dict(dataset_dict).get_image()

    without = drawn(square, {k: v for k, v in posed.items() if k != "keypoints"})
    for annotations in ((square, posed), ({**square, "keypoints": []}, posed)):
        changed = (drawn(*annotations) != without).any(axis=2)
        assert changed[18:23, 18:23].any()
    assert drawn(square, turned).shape == without.shape
