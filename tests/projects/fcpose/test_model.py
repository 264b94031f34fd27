"""The model: cells that learn, fixed-size form, options that are refused."""

import pytest
import torch

from d2lite.engine.evaluating import augmented_model
from d2lite.modeling import build_model
from d2lite.projects.fcpose.layers import Controller
from d2lite.projects.fcpose.learners import choose_learners
from d2lite.utils.errors import ConfigError, DataError

from ..runs import gradients
from .small import image, small_cfg


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(small_cfg())


def test_objects_without_labelled_keypoints_learn_boxes_alone(model):
    item = image(0, 3)
    item["instances"].gt_keypoints.tensor.zero_()
    item["keypoint_heatmaps"].zero_()
    losses = model.losses([item])
    assert losses["loss_keypoint"] == losses["loss_direction"] == 0
    assert losses["loss_fcos_loc"] > 0


def test_the_shared_features_learn_the_classes_of_cells():
    """The mean of the cross-entropy at the pixels 2, 6, 10, ..., without the padding."""
    torch.manual_seed(0)
    model = build_model(small_cfg("MODEL.BASIS_MODULE.LOSS_ON", True))
    batch = [image(0, 2), image(1, 0, 48, 96)]
    for seed, item in enumerate(batch):
        torch.manual_seed(seed)
        item["basis_sem"] = torch.randint(0, 6, item["image"].shape[1:])
    found = model.losses(batch)["loss_basis_sem"]
    features = [model.backbone(model.preprocess_image(batch).tensor)[n] for n in ("p2", "p3", "p4")]
    logits = model.basis_module.classes(model.basis_module(features)[2])
    total = [
        -logits[0].log_softmax(0)[batch[0]["basis_sem"][4 * i + 2, 4 * j + 2], i, j]
        for i in range(16)
        for j in range(24)
    ] + [
        -logits[1].log_softmax(0)[batch[1]["basis_sem"][4 * i + 2, 4 * j + 2], i, j]
        for i in range(12)
        for j in range(24)
    ]
    torch.testing.assert_close(found, 0.3 * torch.stack(total).mean())


def test_the_boxes_learn_as_those_of_fcos(model):
    batch = [image(0, 3), image(1, 2)]
    ours = model.losses(batch)
    theirs = build_model(small_cfg("MODEL.META_ARCHITECTURE", "FCOS"))
    theirs.load_state_dict(model.state_dict(), strict=False)
    for name, value in theirs.losses(batch).items():
        torch.testing.assert_close(ours[name], value)


def test_gradients_in_passes_are_those_of_one():
    """Losses are divided by sums over the batch, also where an image has no object.

    With another seed a value before a ReLU may be so near 0 that rounding decides its sign.
    """

    def compute(parts):
        torch.manual_seed(1)
        model = build_model(small_cfg("MODEL.FCPOSE.BASIS_MODULE.CONVS_DIM", 64))
        return gradients(model, [image(seed, n) for seed, n in enumerate((1, 4, 0, 2))], parts)

    one, several = compute(1), compute(4)
    for name, value in one.items():
        scale = value.abs().max().clamp(min=1e-4)
        assert (several[name] - value).abs().max() < 2e-3 * scale, name


def test_the_controller_gives_at_cells_what_the_whole_convolution_gives():
    torch.manual_seed(0)
    controller = Controller(4, 6)
    torch.nn.init.normal_(controller.bias)
    levels = [torch.randn(2, 4, 5, 7), torch.randn(2, 4, 3, 4)]
    whole = torch.cat([controller(x).flatten(2) for x in levels], dim=2)
    image_of, cell = torch.arange(2).repeat_interleave(47), torch.arange(47).repeat(2)
    found = controller.at(levels, image_of, cell)
    torch.testing.assert_close(found, whole.transpose(1, 2).flatten(0, 1))
    assert controller.at(levels, image_of[:0], cell[:0]).shape == (0, 6)


def test_each_object_has_its_nearest_cells():
    """Four cells in a row; the second object has no labels, the third one has two keypoints."""
    centers = torch.tensor([[x, 0.0] for x in range(8)])
    owner = torch.tensor([0, 0, 0, 1, -1, 2, 2, 2])
    keypoints = torch.zeros(3, 2, 3)
    keypoints[0, 0] = torch.tensor([1.9, 0, 2])
    keypoints[2] = torch.tensor([[5.0, 0, 1], [7.5, 0, 2]])
    assert choose_learners(owner, keypoints, centers, 9, 9).tolist() == [2, 6, 1, 7, 0, 5]
    assert choose_learners(owner, keypoints, centers, 2, 9).tolist() == [2, 6, 1, 7]
    assert choose_learners(owner, keypoints, centers, 9, 3).tolist() == [2, 6, 1]
    assert not len(choose_learners(owner.fill_(-1), keypoints[:0], centers, 9, 9))


def test_keypoints_are_given_in_the_pixels_that_were_asked_for(model):
    model.eval().test_score_thresh = 0.0
    small, large = image(0, 0), image(0, 0)
    large |= {"height": 128, "width": 288}
    with torch.no_grad():
        first, second = (found["instances"] for found in model([small, large]))
    assert first.pred_keypoints.shape == (len(first), 5, 3)
    assert len(first) == len(second) > 0
    scale = torch.tensor([3.0, 2.0, 1.0])
    torch.testing.assert_close(first.pred_keypoints * scale, second.pred_keypoints)


def test_an_image_without_detections_has_no_keypoints(model):
    model.eval().test_score_thresh = 1.0
    with torch.no_grad():
        (found,) = model([image(0, 0)])
    assert found["instances"].pred_keypoints.shape == (0, 5, 3)


def test_the_fixed_size_form_detects_the_same(model):
    model.eval().test_score_thresh = 0.05
    with torch.no_grad():
        for layer in (*model.head.modules(), model.controller, *model.basis_module.modules()):
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.mul_(4)
        model.head.bbox_pred.bias.fill_(1.0)
        batch = [image(0, 0), image(1, 0, 48, 96)]
        images = model.preprocess_image(batch)
        padded = model.predict_padded(images.tensor, torch.tensor(images.image_sizes))
        plain = model.forward_inference(*model._run_network(batch))
    for i, found in enumerate(plain):
        valid = padded["valid"][i]
        assert len(found) == valid.sum() > 0
        torch.testing.assert_close(padded["scores"][i][valid], found.scores)
        torch.testing.assert_close(padded["boxes"][i][valid], found.pred_boxes.tensor)
        torch.testing.assert_close(padded["keypoints"][i][valid], found.pred_keypoints)
        assert not padded["keypoints"][i][~valid].any()


def test_several_views_are_refused(model):
    """Each detection's pose comes from its own cell of one view."""
    with pytest.raises(ConfigError, match=r"FCPose; .* Leave TEST\.AUG\.ENABLED False"):
        augmented_model(small_cfg("DATASETS.TEST", "('shapes_val',)"), model)


def test_samples_without_heat_maps_are_refused(model):
    item = image(0, 1)
    del item["keypoint_heatmaps"]
    with pytest.raises(DataError, match="'keypoint_heatmaps'"):
        model.losses([item])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("FCPOSE_ON", False, "set MODEL.FCPOSE_ON True"),
        ("KEYPOINT_ON", False, "set MODEL.KEYPOINT_ON True"),
        ("FCPOSE.ATTN_LEN", 169, "have 205 numbers. Leave the key out"),
        ("FCPOSE.GT_HEATMAP_STRIDE", 3, "GT_HEATMAP_STRIDE=3 does not divide 4"),
        ("FCPOSE.BASIS_MODULE.IN_FEATURES", ["p2", "p9"], "p9"),
    ],
)
def test_other_options_are_refused_with_the_fix(option, value, message):
    with pytest.raises(ConfigError, match=message):
        build_model(small_cfg(f"MODEL.{option}", value))


def test_the_published_length_is_that_of_seventeen_keypoints():
    """2737 numbers for 32 bases and 32 channels."""
    seventeen = ["MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 17]
    widths = ["MODEL.FCPOSE.DYNAMIC_CHANNELS", 32, "MODEL.FCPOSE.BASIS_MODULE.NUM_BASES", 32]
    model = build_model(small_cfg(*seventeen, *widths))
    assert model.controller.out_channels == 2737
