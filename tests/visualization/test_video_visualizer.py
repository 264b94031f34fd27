from types import SimpleNamespace

import numpy as np
import torch

from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.visualization import VideoVisualizer

METADATA = SimpleNamespace(thing_classes=["cat"], thing_colors=[(200, 60, 60)])


def _frame():
    return np.full((60, 120, 3), 128, dtype=np.uint8)


def _objects(*boxes):
    made = Instances((60, 120), pred_boxes=Boxes(torch.tensor(boxes).float().reshape(-1, 4)))
    made.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return made


def _corner_color(image, box):
    """The lower right corner of a box, where no label stands."""
    return image.get_image()[box[3] - 1, box[2] - 1].tolist()


def test_object_keeps_its_colour_when_others_come_and_go():
    video = VideoVisualizer(METADATA)
    left, right = [5, 30, 45, 55], [70, 30, 110, 55]
    first = video.draw_instance_predictions(_frame(), _objects(left, right))
    assert _corner_color(first, left) != _corner_color(first, right)
    moved = [72, 31, 112, 56]
    for _ in range(3):  # the left one hides
        alone = video.draw_instance_predictions(_frame(), _objects(moved))
        assert _corner_color(alone, moved) == _corner_color(first, right)
    again = video.draw_instance_predictions(_frame(), _objects(moved, left))
    assert _corner_color(again, left) == _corner_color(first, left)


def test_frame_without_objects_is_the_frame():
    video = VideoVisualizer(METADATA)
    assert (video.draw_instance_predictions(_frame(), _objects()).get_image() == 128).all()


def test_forgotten_objects_do_not_pile_up():
    video = VideoVisualizer(METADATA)
    for _ in range(3):
        video.draw_instance_predictions(_frame(), _objects([5, 30, 45, 55]))
    for _ in range(10):
        video.draw_instance_predictions(_frame(), _objects())
    assert video._old_instances == []


def test_objects_with_masks_alone_keep_their_colours():
    video = VideoVisualizer(METADATA)
    masks = torch.zeros(2, 60, 120, dtype=torch.bool)
    masks[0, 30:55, 5:45] = masks[1, 30:55, 70:110] = True
    pictures = []
    for order in ([0, 1], [1, 0]):
        made = Instances((60, 120), pred_masks=masks[order], pred_classes=torch.zeros(2).long())
        pictures.append(video.draw_instance_predictions(_frame(), made).get_image())
    colors = [[picture[53, x].tolist() for x in (8, 73)] for picture in pictures]
    assert colors[0] == colors[1]
    assert colors[0][0] != colors[0][1]


def test_rotated_objects_and_those_of_keypoints_keep_their_colour():
    rotated = RotatedBoxes(torch.tensor([[30.0, 30, 40, 10, 30]]))
    for field, value in {"boxes": rotated, "keypoints": torch.rand(1, 3, 3) * 50}.items():
        video = VideoVisualizer(METADATA)
        objects = Instances((60, 120), pred_classes=torch.tensor([0]))
        objects.set(f"pred_{field}", value)
        frames = [video.draw_instance_predictions(_frame(), objects) for _ in range(2)]
        assert (frames[0].get_image() == frames[1].get_image()).all()
