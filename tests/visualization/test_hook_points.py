"""Methods that code of others overrides in a Visualizer are called, and their results used."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.structures import Boxes, Instances
from d2lite.utils.errors import MissingPackageError
from d2lite.visualization import ColorMode, GenericMask, VideoVisualizer, Visualizer
from d2lite.visualization.segmentation import _PanopticPrediction
from d2lite.visualization.text import _create_text_labels

METADATA = SimpleNamespace(
    thing_classes=["cat", "dog"],
    thing_colors=[(200, 60, 60), (60, 60, 200)],
    stuff_classes=["grass"],
    keypoint_names=["nose", "tail"],
    keypoint_connection_rules=[("nose", "tail", (0, 255, 0))],
)
GREY = np.full((120, 160, 3), 128, dtype=np.uint8)
PINK = (1.0, 0.0, 200 / 255)
PINK_PIXEL = [255, 0, 200]


def objects(**fields):
    found = Instances((120, 160), pred_boxes=Boxes(torch.tensor([[20.0, 60, 140, 110]])), **fields)
    found.pred_classes = torch.tensor([1])
    return found


def mask_of(box=(20, 60, 140, 110)):
    mask = np.zeros((120, 160), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def has_color(output, color=PINK_PIXEL):
    return bool((output.get_image() == np.array(color)).all(axis=2).any())


@pytest.mark.parametrize("mode", [ColorMode.IMAGE, ColorMode.SEGMENTATION])
def test_the_colours_of_instances_come_from_jitter(mode):
    class Mine(Visualizer):
        def _jitter(self, color):
            return PINK

    visualizer = Mine(GREY, METADATA, instance_mode=mode)
    assert has_color(visualizer.draw_instance_predictions(objects()))
    plain = Mine(GREY, METADATA, instance_mode=mode)
    assert not has_color(plain.draw_instance_predictions(objects(), jittering=False))


def test_segments_of_things_get_their_colours_from_jitter():
    class Mine(Visualizer):
        def _jitter(self, color):
            return PINK

    segments = mask_of().astype(np.int64)
    info = [{"id": 1, "category_id": 0, "isthing": True}]
    assert has_color(Mine(GREY, METADATA).draw_panoptic_seg(segments, info, alpha=1.0))


def test_a_changed_brightness_gives_the_colour_of_labels_and_outlines():
    class Mine(Visualizer):
        def _change_color_brightness(self, color, brightness_factor):
            asked.append(brightness_factor)
            return PINK

    asked = []
    labelled = Mine(GREY, METADATA, font_size_scale=2).draw_instance_predictions(objects())
    plate = labelled.get_image()[58, 24].astype(int)  # on top of the box, left of the letters
    assert np.abs(plate - np.array(PINK_PIXEL)).max() < 40
    corner = np.array([[10, 10], [150, 10], [150, 100]])
    assert has_color(Mine(GREY, scale=12).draw_polygon(corner, "green", alpha=1.0))
    assert max(asked) > 0 > min(asked)


def test_brightness_changes_lightness_and_keeps_the_hue():
    visualizer = Visualizer(GREY)
    assert visualizer._change_color_brightness((0.4, 0.2, 0.2), 0.5) == pytest.approx(
        (0.6, 0.3, 0.3)
    )
    assert visualizer._change_color_brightness("red", -1.0) == (0, 0, 0)
    assert visualizer._change_color_brightness((0.5, 0.5, 0.5), 1.0) == (1, 1, 1)


def test_the_default_font_size_can_be_set():
    areas = []
    for size in (12, 36):
        visualizer = Visualizer(GREY)
        assert visualizer._default_font_size > 0
        visualizer._default_font_size = size
        changed = visualizer.draw_text("WWW", (80, 20)).get_image() != 128
        areas.append(changed.any(axis=2).sum())
    assert areas[1] > 4 * areas[0]


def test_the_grey_picture_comes_from_its_own_method():
    class Mine(Visualizer):
        def _create_grayscale_image(self, mask=None):
            masks.append(mask)
            return np.zeros_like(self.img)

    masks = []
    visualizer = Mine(GREY, METADATA, instance_mode=ColorMode.IMAGE_BW)
    predictions = objects(pred_masks=torch.from_numpy(mask_of())[None])
    assert not visualizer.draw_instance_predictions(predictions).get_image()[0].any()
    info = [{"id": 1, "category_id": 0, "isthing": False}]
    visualizer = Mine(GREY, METADATA, instance_mode=ColorMode.IMAGE_BW)
    visualizer.draw_panoptic_seg(mask_of().astype(int), info)
    assert not visualizer.output.get_image()[0].any()
    assert all((mask == mask_of()).all() for mask in masks)


def test_the_grey_picture_keeps_the_colours_inside_the_mask():
    picture = np.full((120, 160, 3), (200, 100, 0), dtype=np.uint8)
    grey = Visualizer(picture)._create_grayscale_image(mask_of())
    assert (grey[mask_of()] == (200, 100, 0)).all()
    assert len(np.unique(grey[~mask_of()])) == 1
    assert len(np.unique(Visualizer(picture)._create_grayscale_image())) == 1


@pytest.mark.parametrize("name", ["_convert_boxes", "_convert_masks", "_convert_keypoints"])
def test_boxes_masks_and_keypoints_are_converted_by_methods(monkeypatch, name):
    small = {
        "_convert_boxes": np.array([[0.0, 0, 10, 10]]),
        "_convert_masks": [GenericMask(mask_of((0, 0, 10, 10)), 120, 160)],
        "_convert_keypoints": np.array([[[2.0, 2, 1], [8, 8, 1]]]),
    }
    given = {
        "_convert_boxes": {"boxes": Boxes(torch.tensor([[60.0, 60, 100, 100]]))},
        "_convert_masks": {"masks": mask_of((60, 60, 100, 100))[None]},
        "_convert_keypoints": {"keypoints": np.array([[[60.0, 60, 1], [100, 100, 1]]])},
    }
    visualizer = Visualizer(GREY, METADATA)
    monkeypatch.setattr(visualizer, name, lambda values: small[name])
    changed = visualizer.overlay_instances(**given[name]).get_image() != 128
    assert changed[:30, :30].any()
    assert not changed[50:, 50:].any()


def test_labels_masks_and_keypoints_are_drawn_by_public_methods_that_are_overridden():
    class Mine(Visualizer):
        def draw_text(self, text, position, **options):
            done.append(("text", text))
            return self.output

        def draw_polygon(self, segment, color, edge_color=None, alpha=0.5):
            done.append(("polygon", len(segment)))
            return self.output

        def draw_line(self, x_data, y_data, color, linestyle="-", linewidth=None):
            done.append(("line", len(x_data)))
            return self.output

        def draw_circle(self, circle_coord, color, radius=3):
            done.append(("circle", tuple(circle_coord)))
            return self.output

    done: list = []
    mask = torch.from_numpy(mask_of())[None]
    points = torch.tensor([[[30.0, 70, 1], [130, 100, 1]]])
    predictions = objects(pred_masks=mask, pred_keypoints=points, scores=torch.tensor([0.5]))
    Mine(GREY, METADATA).draw_instance_predictions(predictions)
    kinds = [kind for kind, _ in done]
    assert ("text", "dog 50%") in done
    assert {"polygon", "line", "circle"} < set(kinds)
    done.clear()
    Mine(GREY, METADATA).draw_sem_seg(mask_of().astype(int) - 1)
    assert ("text", "grass") in done


def test_text_in_masks_is_written_by_a_method_of_that_name():
    class Mine(Visualizer):
        def _draw_text_in_mask(self, binary_mask, text, color):
            done.append((int(binary_mask.sum()), text))

    done: list = []
    Mine(GREY).draw_binary_mask(mask_of(), text="here")
    Mine(GREY).draw_soft_mask(mask_of().astype(float), text="there")
    assert done == [(6000, "here"), (6000, "there")]


def test_keypoints_below_the_threshold_are_left_out():
    visualizer = Visualizer(GREY, METADATA)
    visualizer.keypoint_threshold = 0.6
    output = visualizer.draw_and_connect_keypoints(np.array([[60.0, 60, 0.5], [100, 100, 0.5]]))
    assert (output.get_image() == 128).all()


def test_colours_of_video_objects_are_assigned_by_a_method():
    class Mine(VideoVisualizer):
        def _assign_colors(self, instances):
            seen.append([(one.label, one.bbox.tolist(), one.ttl) for one in instances])
            return [PINK for _ in instances]

    seen: list = []
    assert has_color(Mine(METADATA).draw_instance_predictions(GREY, objects()))
    assert seen == [[(1, [20, 60, 140, 110], 8)]]


@pytest.mark.parametrize("field", ["COLOR", "ID"])
def test_video_objects_keep_the_colours_of_a_tracker(field):
    video = VideoVisualizer(METADATA)
    value = [PINK] if field == "COLOR" else torch.tensor([7])
    pictures = []
    for left in (10, 100):  # far apart: overlaps would not join them
        made = Instances((120, 160), pred_boxes=Boxes(torch.tensor([[left, 60.0, left + 40, 110]])))
        made.pred_classes = torch.tensor([1])
        made.set(field, value)
        pictures.append(video.draw_instance_predictions(GREY, made).get_image())
    assert pictures[0][109, 49].tolist() == pictures[1][109, 139].tolist()
    assert (pictures[0][109, 49].tolist() == PINK_PIXEL) == (field == "COLOR")


def test_labels_name_class_score_and_crowd():
    assert _create_text_labels([0, 5], [0.5, 0.256], ["a", "b"]) == ["a 50%", "5 26%"]
    assert _create_text_labels([1, 0], None, ["a", "b"], [True, False]) == ["b|crowd", "a"]
    assert _create_text_labels(None, [0.5], None) == ["50%"]
    assert _create_text_labels(None, None, ["a"]) is None


def test_a_panoptic_map_is_split_into_masks():
    segments = np.zeros((4, 6), dtype=np.int64)
    segments[0], segments[1:3], segments[3, :2] = 5, 6, 7
    info = [
        {"id": 5, "category_id": 0, "isthing": False},
        {"id": 6, "category_id": 0, "isthing": False},
        {"id": 7, "category_id": 1, "isthing": True},
        {"id": 9, "category_id": 1, "isthing": True},
    ]
    prediction = _PanopticPrediction(torch.from_numpy(segments), info)
    assert [(m.sum(), i["id"]) for m, i in prediction.semantic_masks()] == [(12, 6), (6, 5)]
    assert [(m.sum(), i["id"]) for m, i in prediction.instance_masks()] == [(2, 7)]
    assert (prediction.non_empty_mask() == (segments > 0)).all()


@pytest.mark.parametrize("scale", [1, 4])
def test_masks_with_holes_keep_sharp_edges(scale):
    mask = mask_of((40, 0, 90, 120)).astype(np.uint8)
    mask[50:60, 60:70] = 0
    picture = Visualizer(GREY, scale=scale).draw_binary_mask(mask, color="red").get_image()
    for row in (picture[0], picture[-1], picture[55 * scale]):
        assert len(np.unique(row, axis=0)) == 2


def test_an_outline_that_is_asked_for_is_drawn_around_a_mask_with_holes():
    mask = mask_of()
    mask[70:90, 60:90] = False
    assert has_color(Visualizer(GREY, scale=4).draw_binary_mask(mask, "red", edge_color=PINK))


def test_what_is_drawn_on_matplotlibs_axes_is_in_the_picture():
    patches = pytest.importorskip("matplotlib.patches")
    visualizer = Visualizer(GREY, scale=2)
    visualizer.output.ax.add_patch(patches.Rectangle((10, 20), 30, 40, color=PINK, linewidth=0))
    picture = visualizer.output.get_image()
    assert picture.shape == (240, 320, 3)
    assert picture[80, 50].tolist() == PINK_PIXEL
    assert picture[30, 50].tolist() == picture[80, 90].tolist() == [128] * 3
    assert visualizer.output.fig is visualizer.output.ax.figure


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_figure_that_matplotlib_saves_has_the_picture_with_all_that_was_drawn(scale, tmp_path):
    patches = pytest.importorskip("matplotlib.patches")
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    output = Visualizer(noise, scale=scale).output
    output.ax.add_patch(patches.Rectangle((10, 20), 10, 10, color=PINK, linewidth=0))
    output.fill_polygon(np.array([[30, 5], [50, 5], [50, 15]]), (0.0, 1.0, 0.0), 1.0)
    expected = output.get_image()
    output.fig.savefig(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as saved:
        assert (np.asarray(saved.convert("RGB")) == expected).all()
    pixels, (width, height) = output.canvas.print_to_buffer()
    page = np.frombuffer(pixels, np.uint8).reshape(height, width, 4)
    assert (page[:, :, :3] == expected).all()
    assert (output.get_image() == expected).all()


def test_without_matplotlib_its_axes_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.backends.backend_agg", None)
    visualizer = Visualizer(GREY)
    axes = visualizer.output.ax
    with pytest.raises(MissingPackageError, match="pip install matplotlib"):
        axes.add_patch(None)
    assert (visualizer.output.get_image() == 128).all()


def test_instances_without_any_field_leave_the_picture_as_it_is():
    drawn = Visualizer(GREY, METADATA).draw_instance_predictions(Instances((120, 160)))
    assert (drawn.get_image() == GREY).all()


def test_text_in_a_mask_takes_a_colour_by_name():
    drawn = Visualizer(GREY, METADATA)
    drawn._draw_text_in_mask(mask_of(), "dog", "red")
    by_number = Visualizer(GREY, METADATA)
    by_number._draw_text_in_mask(mask_of(), "dog", (1.0, 0.0, 0.0))
    assert (drawn.output.get_image() == by_number.output.get_image()).all()
    assert (drawn.output.get_image() != GREY).any()
