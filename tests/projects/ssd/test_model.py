"""The model: results in both forms, sizes and stages, options that are refused, a run."""

import pytest
import torch

from d2lite.modeling import build_model
from d2lite.modeling.padded import clip_to_sizes
from d2lite.projects.ssd import SSD, SSDMobileNetV2
from d2lite.utils.errors import ConfigError, DataError

from ..runs import both_forms, learn, metrics
from .small import SMALL, build, image, small_cfg

TINY = [
    *SMALL,
    "INPUT.AUGMENTATIONS", "['MinIoURandomCrop', 'Resize((64, 64))', 'RandomFlip']",
    "INPUT.AUGMENTATIONS_TEST", "['Resize((64, 64))']",
    "DATASETS.TRAIN", "('shapes_train',)",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.MAX_EPOCHS", "0.0",
    "SOLVER.STEP_EPOCHS", "()",
    "SOLVER.CHECKPOINT_EPOCHS", "0.0",
    "TEST.EVAL_EPOCHS", "0.0",
]  # fmt: skip


@pytest.mark.parametrize("name", ["ssd300.yaml", "ssdlite_mobilenetv2.yaml"])
def test_results_have_the_size_that_was_asked_for_in_both_forms(name):
    model = build(name)
    with torch.no_grad():
        model.losses([image(seed, 3) for seed in range(4)])  # Norms that have seen images.
    model.eval()
    batch = [{**image(0, 0), "height": 32, "width": 48}, image(1, 0, 64, 64)]
    results, found = both_forms(model, batch)
    assert [one.image_size for one in results] == [(32, 48), (64, 64)]
    instances = results[1]
    assert 0 < len(instances) <= 200
    boxes = clip_to_sizes(found["boxes"], torch.tensor([[64, 64], [64, 64]]))[1]
    valid = found["valid"][1] & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    torch.testing.assert_close(boxes[valid], instances.pred_boxes.tensor, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found["scores"][1][valid], instances.scores)


def test_blocks_of_vgg_can_be_frozen():
    with torch.device("meta"):
        model = SSD(small_cfg("ssd300.yaml", *SMALL, "MODEL.BACKBONE.FREEZE_AT", 2))
    learns = [value.requires_grad for value in model.backbone.features.parameters()]
    # Two convolutions of two blocks, each with weight and bias.
    assert learns == [False] * 8 + [True] * (len(learns) - 8)


def test_stages_of_mobilenet_can_be_frozen():
    opts = [*SMALL, "MODEL.BACKBONE.FREEZE_AT", 3, "MODEL.SSD.WIDTH", 0.5]
    with torch.device("meta"):
        model = SSD(small_cfg("ssdlite_mobilenetv2.yaml", *opts))
    parts = model.backbone.conv1, model.backbone.layer1, model.backbone.layer2
    assert not any(value.requires_grad for part in parts for value in part.parameters())
    assert all(value.requires_grad for value in model.backbone.layer3.parameters())


@pytest.mark.parametrize(("width", "channels"), [(0.35, 16), (0.5, 16), (1.0, 32), (1.4, 48)])
def test_widths_of_mobilenet_are_multiples_of_8(width, channels):
    """0.35 times 32 is 11.2; 8 is nearer than 16, but smaller by more than a tenth."""
    with torch.device("meta"):
        backbone = SSDMobileNetV2([], [16, 32], width=width)
    assert backbone.conv1.conv.out_channels == channels


def test_too_small_images_are_refused_with_what_to_do():
    with torch.device("meta"):
        model = SSD(small_cfg())
        with pytest.raises(DataError, match="images are too small"):
            model.backbone(torch.zeros(1, 3, 96, 96))


def test_anchors_need_two_sizes_a_map():
    sizes = ["MODEL.ANCHOR_GENERATOR.SIZES", "[[21], [45, 99], [99, 153], [153, 207]]"]
    with torch.device("meta"), pytest.raises(ConfigError, match="and that of the next one"):
        SSD(small_cfg("ssd300.yaml", *SMALL, *sizes))


@pytest.mark.slow
def test_train_and_evaluate(run, tmp_path):
    """The number of classes follows from the set."""
    data = ["DATASETS.TEST", "('shapes_val',)"]
    options = ["--config-file", "ssd300.yaml", *TINY, *data, "OUTPUT_DIR", tmp_path]
    made = run("train_net", *options)
    assert made.status == 0, made.err
    assert 0 <= metrics(tmp_path)[-1]["bbox/AP50"] <= 100
    weights = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    assert len(weights["head.cls_convs.0.bias"]) == 4 * 6


@pytest.mark.slow
def test_it_learns_a_few_images():
    """Three objects of the first have the same best anchor, which the last one takes."""
    torch.manual_seed(0)
    opts = [*SMALL, "MODEL.SSD.WIDTH", 0.5, "MODEL.SSD.STRIDES", [16, 32, 48, 96]]
    model = build_model(small_cfg("ssdlite_mobilenetv2.yaml", *opts))
    batch = [image(seed, 3, 96, 96) for seed in range(4)]
    assert learn(model, batch, 0.003, 400) == (10, 12)
