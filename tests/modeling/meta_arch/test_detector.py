"""Detector: images in, draws keyed, training state kept apart from weights."""

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.layers import ShapeSpec
from d2lite.modeling import META_ARCH_REGISTRY, build_model
from d2lite.modeling.backbone import Backbone
from d2lite.modeling.meta_arch import Detector, GeneralizedRCNN
from d2lite.modeling.meta_arch.detector import output_sizes
from d2lite.utils.errors import DataError, UnknownNameError
from d2lite.utils.keyed_rng import image_generator


class Strides(Backbone):
    """Looks at nothing, but has wishes about sizes."""

    size_divisibility = 8
    padding_constraints = {"square_size": 32}  # noqa: RUF012 - a constant

    def output_shape(self):
        return {"x": ShapeSpec(channels=3, stride=8)}

    def forward(self, x):
        return {"x": x}


class Draws(Detector):
    """Its loss is a random number for each image."""

    training_buffers = ("count",)

    def __init__(self):
        super().__init__(backbone=Strides(), pixel_mean=[1.0, 2.0, 3.0], pixel_std=[1, 2, 4])
        self.register_buffer("count", torch.tensor(3.0), persistent=False)

    def compute_losses(self, batched_inputs):
        draws = [
            torch.rand((), generator=image_generator(i, 1, "cpu"))
            for i in range(len(batched_inputs))
        ]
        return {f"loss_{i}": draw for i, draw in enumerate(draws)}

    def predict(self, batched_inputs):
        return [{"size": size} for size in output_sizes(batched_inputs, [(1, 2)])]


def test_an_image_can_be_moved_as_models_of_detectron2_do():
    model = Draws()
    image = torch.ones(3, 2, 2, dtype=torch.uint8)
    assert model._move_to_current_device(image).device == model.device


def test_images_are_normalised_and_padded_with_the_mean():
    small = torch.tensor([5, 10, 19], dtype=torch.uint8).view(3, 1, 1).expand(3, 5, 6)
    large = torch.full((3, 9, 4), 7.0)
    images = Draws().preprocess_image([{"image": small}, {"image": large}])
    assert images.tensor.shape == (2, 3, 32, 32)
    assert images.tensor.dtype == torch.float32
    assert images.image_sizes == [(5, 6), (9, 4)]
    assert images.tensor[0, :, 4, 5].tolist() == [4.0, 4.0, 4.0]
    assert images.tensor[1, :, 8, 3].tolist() == [6.0, 2.5, 1.0]
    assert not images.tensor[0, :, 5:].any()
    assert not images.tensor[0, :, :, 6:].any()


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        (torch.zeros(1, 3, 8, 8), "is Tensor"),
        ([torch.zeros(3, 8, 8)], "is Tensor"),
        ({"image": torch.zeros(3, 8, 8)}, "is str"),
        ([{"image": [1]}], "a dict whose 'image' is list"),
        ([{"file_name": "a.jpg"}], "a dict whose 'image' is NoneType"),
    ],
)
def test_what_is_no_batch_is_told_with_its_form(batch, found):
    """Models of torchvision and timm take one tensor."""
    with pytest.raises(DataError, match=rf"{found}\. A model takes a list with a dict for each"):
        Draws().preprocess_image(batch)


def test_layout_in_memory_changes_no_value():
    images = [{"image": torch.randint(0, 255, (3, 12, 10), dtype=torch.uint8)}]
    plain = Draws().preprocess_image(images).tensor
    with torch.no_grad():
        assert torch.equal(Draws().preprocess_image(images).tensor, plain)


def test_one_image_is_padded_as_in_a_batch():
    image = {"image": torch.randint(0, 255, (3, 12, 10), dtype=torch.uint8)}
    model = Draws()
    alone = model.preprocess_image([image]).tensor
    both = model.preprocess_image([image, image]).tensor
    assert torch.equal(alone[0], both[1])


def test_an_image_of_other_channels_is_refused_by_name():
    with pytest.raises(DataError, match=r"\(1, 4, 4\) \(a.png\).*3 channels"):
        Draws().preprocess_image([{"image": torch.zeros(1, 4, 4), "file_name": "a.png"}])


def test_draws_of_an_image_follow_from_its_key_wherever_it_stands():
    model = Draws()
    first = model([{"draw_key": 11}, {"draw_key": 12}])
    second = model([{"draw_key": 12}, {"draw_key": 11}])
    assert first["loss_0"] == second["loss_1"]
    assert first["loss_1"] == second["loss_0"]
    assert model([{}])["loss_0"] != model([{}])["loss_0"]


def test_the_mode_picks_the_verb():
    model = Draws()
    assert list(model([{}])) == ["loss_0"]
    assert model.eval()([{}]) == [{"size": (1, 2)}]
    assert model([{"height": 8, "width": torch.tensor(9)}]) == [{"size": (8, 9)}]


def test_truth_that_is_missing_is_named():
    with pytest.raises(DataError, match=r"needs 'instances' for each image; b.jpg has only"):
        Draws().truth_of([{"image": torch.zeros(3, 1, 1), "file_name": "b.jpg"}])
    with pytest.raises(DataError, match="Choose a model for what the set has"):
        Draws().truth_of([{"image": torch.zeros(3, 1, 1), "sem_seg": torch.zeros(1, 1)}])


def test_pixel_statistics_and_training_state_are_no_weights():
    model = Draws()
    assert model.state_dict() == {}
    kept = model.training_state.state_dict()
    assert kept == {"count": torch.tensor(3.0)}
    model.count += 5
    assert kept["count"] == 3
    model.training_state.load_state_dict({**kept, "older": torch.tensor(1.0)})
    assert model.count == 3


def test_means_and_deviations_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"PIXEL_MEAN has 3 channels, MODEL.PIXEL_STD 1"):
        Detector(backbone=Strides(), pixel_mean=[1, 2, 3], pixel_std=[1])


def test_an_unknown_architecture_lists_the_known_ones():
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "GeneralisedRCNN"
    with pytest.raises(UnknownNameError, match="GeneralizedRCNN"):
        build_model(cfg)


def test_a_model_of_ones_own_is_built_by_its_name():
    class MadeForThisTest(torch.nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES

    META_ARCH_REGISTRY.register(MadeForThisTest)
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "MadeForThisTest"
    assert build_model(cfg).classes == 80


def test_subclass_may_set_all_parts_by_itself():
    """As teacher-student code calls `super(GeneralizedRCNN, self).__init__()`."""

    class Own(GeneralizedRCNN):
        def __init__(self):
            super(GeneralizedRCNN, self).__init__()
            self.backbone = Strides()
            self.register_buffer("pixel_mean", torch.zeros(3, 1, 1), persistent=False)
            self.register_buffer("pixel_std", torch.ones(3, 1, 1), persistent=False)

    images = Own().preprocess_image([{"image": torch.ones(3, 5, 6)}])
    assert images.image_sizes == [(5, 6)]
    with pytest.raises(ValueError, match="needs backbone, pixel_mean and pixel_std"):
        Detector(backbone=Strides())
