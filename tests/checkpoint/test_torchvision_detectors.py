"""torchvision's detectors in the configs that match them: every name, every shape, the numbers."""

import pytest
import torch
import torchvision
from torchvision.models import detection as theirs
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.foreign.torchvision_detectors import (
    convert_torchvision_detector,
    is_torchvision_detector,
)
from d2lite.config import find_config_file, get_cfg
from d2lite.engine import setup_cfg
from d2lite.modeling import META_ARCH_REGISTRY, build_model
from d2lite.structures import Boxes

SMALL = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.DEPTH", 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 64,
]  # fmt: skip
# More than the tests need would hide nothing and cost seconds.
SIDE = 96


def _config(name, *opts):
    cfg = get_cfg()
    cfg.merge_from_file(str(find_config_file(f"Torchvision/{name}.yaml")))
    cfg.merge_from_list(list(opts))
    return cfg


@pytest.mark.parametrize(
    "make",
    [
        torchvision.models.resnet18,
        lambda **no_weights: theirs.retinanet_resnet50_fpn(**no_weights, weights_backbone=None),
    ],
)
def test_a_model_of_torchvision_itself_gets_its_own_weights_back(tmp_path, make, caplog):
    """People register one as their architecture; its names were turned into those of ours."""
    model = make(weights=None)
    DetectionCheckpointer(model, str(tmp_path)).save("x")
    other = make(weights=None)
    DetectionCheckpointer(other).load(str(tmp_path / "x.pth"))
    assert all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("name", "config", "opts"),
    [
        ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn", []),
        ("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", []),
        ("keypointrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", []),
        ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn", []),
        ("fcos_resnet50_fpn", "fcos_resnet50_fpn", []),
        (
            "maskrcnn_resnet50_fpn_v2",
            "maskrcnn_resnet50_fpn",
            [
                "MODEL.FPN.NORM", "BN",
                "MODEL.RPN.CONV_DIMS", [-1, -1],
                "MODEL.ROI_BOX_HEAD.NUM_CONV", 4,
                "MODEL.ROI_BOX_HEAD.NUM_FC", 1,
                "MODEL.ROI_BOX_HEAD.NORM", "BN",
                "MODEL.ROI_MASK_HEAD.NORM", "BN",
            ],
        ),
        (
            "retinanet_resnet50_fpn_v2",
            "retinanet_resnet50_fpn",
            [
                "MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone",
                "MODEL.RETINANET.NORM", "GN",
            ],
        ),
    ],
)  # fmt: skip
def test_every_weight_finds_its_place(name, config, opts):
    cfg = _config(config, *opts)
    with torch.device("meta"):
        weights = getattr(theirs, name)(weights=None, weights_backbone=None).state_dict()
        model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    assert is_torchvision_detector(weights)
    converted = convert_torchvision_detector(weights)
    shapes = {n: v.shape for n, v in converted.items() if "num_batches" not in n}
    expected = {n: v.shape for n, v in model.state_dict().items() if "num_batches" not in n}
    assert shapes == expected


def _randomise(model):
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point() and value.dim() < 2:
            value.add_(torch.rand(value.shape, generator=generator) * 0.1)
    return model.eval()


def _image():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def _load(cfg, model, path):
    torch.save(model.state_dict(), path)
    ours = build_model(cfg).eval()
    checkpointer = DetectionCheckpointer(ours)
    checkpointer.load(str(path))
    assert checkpointer.report.missing == []
    assert checkpointer.report.unexpected == []
    assert checkpointer.report.other_shape == []
    return ours


def _close(found, expected, tolerance=1e-5):
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@torch.no_grad()
def test_faster_rcnn_gives_the_maps_and_scores_of_torchvision(tmp_path):
    body = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    net = theirs.FasterRCNN(body, num_classes=5, min_size=SIDE, max_size=SIDE)
    net = _randomise(net)
    cfg = _config("fasterrcnn_resnet50_fpn", *SMALL, "MODEL.ROI_HEADS.NUM_CLASSES", 4)
    ours = _load(cfg, net, tmp_path / "x.pth")

    image = _image()
    images, _ = net.transform([image / 255])
    batch = ours.preprocess_image([{"image": image}])
    torch.testing.assert_close(batch.tensor, images.tensors, rtol=1e-5, atol=1e-5)
    their_maps = list(net.backbone(images.tensors).values())
    our_maps = ours.backbone(batch.tensor)
    for name, expected in zip(("p2", "p3", "p4", "p5", "p6"), their_maps, strict=True):
        _close(our_maps[name], expected)

    logits, deltas = ours.proposal_generator.rpn_head(list(our_maps.values()))
    their_logits, their_deltas = net.rpn.head(their_maps)
    for found, expected in zip([*logits, *deltas], [*their_logits, *their_deltas], strict=True):
        _close(found, expected)

    boxes = [torch.tensor([[4.0, 5, 50, 60], [30, 10, 90, 80]])]
    their_features = net.backbone(images.tensors)
    pooled = net.roi_heads.box_roi_pool(their_features, boxes, images.image_sizes)
    scores, offsets = net.roi_heads.box_predictor(net.roi_heads.box_head(pooled))
    our_pooled = ours.roi_heads.box_pooler(
        [our_maps[name] for name in ours.roi_heads.box_in_features], [Boxes(boxes[0])]
    )
    our_scores, our_offsets = ours.roi_heads.box_predictor(ours.roi_heads.box_head(our_pooled))
    _close(our_scores, torch.cat([scores[:, 1:], scores[:, :1]], dim=1))
    _close(our_offsets, offsets[:, 4:])


@torch.no_grad()
def test_retinanet_gives_each_anchor_the_scores_of_torchvision(tmp_path):
    """The nine anchors of a cell stand in another order there: shape by shape, not size by size."""
    body = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    net = _randomise(theirs.RetinaNet(body, num_classes=4, min_size=SIDE, max_size=SIDE))
    cfg = _config("retinanet_resnet50_fpn", *SMALL, "MODEL.RETINANET.NUM_CLASSES", 3)
    ours = _load(cfg, net, tmp_path / "x.pth")

    image = _image()
    images, _ = net.transform([image / 255])
    their_maps = list(net.backbone(images.tensors).values())
    expected = net.head(their_maps)
    their_anchors = net.anchor_generator(images, their_maps)[0]

    batch = ours.preprocess_image([{"image": image}])
    maps = list(ours.backbone(batch.tensor).values())
    logits, deltas = ours._transpose_dense_predictions(ours.head(maps), [3, 4])
    anchors = torch.cat([boxes.tensor for boxes in ours.anchor_generator(maps)])
    nearest = torch.cdist(anchors, their_anchors).argmin(dim=1)
    assert len(nearest.unique()) == len(anchors)
    _close(torch.cat(logits, dim=1)[0], expected["cls_logits"][0, nearest, 1:])
    _close(torch.cat(deltas, dim=1)[0], expected["bbox_regression"][0, nearest])


def test_options_that_torchvision_weights_need_are_named(tmp_path, caplog):
    """With detectron2's defaults the weights load without a fault, and predict nonsense."""
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), tmp_path / "r50.pth")
    cfg = setup_cfg("COCO-Detection/retinanet_R_50_FPN_1x.yaml", ["MODEL.DEVICE", "cpu"])
    DetectionCheckpointer(build_model(cfg)).load(str(tmp_path / "r50.pth"))
    for option in ("INPUT.FORMAT RGB", "MODEL.PIXEL_STD", "MODEL.RESNETS.STRIDE_IN_1X1 False"):
        assert option in caplog.text
