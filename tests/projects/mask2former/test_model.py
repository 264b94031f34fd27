"""The model: finite losses for every batch, results, parts of the network, keys."""

import numpy as np
import pytest
import torch

from d2lite.config import get_cfg
from d2lite.engine import setup_cfg
from d2lite.modeling import build_model
from d2lite.projects import (
    add_project_configs,
    build_project_mapper,
    build_project_optimizer,
    deeplab,
    mask2former,
)
from d2lite.structures import BitMasks, Instances, PolygonMasks
from d2lite.utils.errors import ConfigError, DataError

from .small import NUM_QUERIES, image, small_cfg, small_opts

SWIN = (
    "MODEL.BACKBONE.NAME", "D2SwinTransformer",
    "MODEL.SWIN.EMBED_DIM", 8,
    "MODEL.SWIN.DEPTHS", [1, 1, 2, 1],
    "MODEL.SWIN.NUM_HEADS", [1, 1, 2, 2],
    "MODEL.SWIN.WINDOW_SIZE", 4,
)  # fmt: skip
PRE_NORM = ("MODEL.MASK_FORMER.PRE_NORM", True)


@pytest.mark.parametrize("opts", [(), SWIN, PRE_NORM, ("MODEL.MASK_FORMER.HIDDEN_DIM", 32)])
@pytest.mark.parametrize("counts", [(3, 1), (0, 2), (0, 0), (9, 0)])
def test_losses_are_finite_and_reach_every_parameter(opts, counts):
    """Also without objects, with more than queries, and for sizes that are padded."""
    model = build_model(small_cfg(*opts))
    losses = model([image(0, counts[0]), image(1, counts[1], 50, 90)])
    kinds = ("loss_ce", "loss_mask", "loss_dice")
    assert set(losses) == {f"{kind}{end}" for kind in kinds for end in ("", "_0", "_1", "_2")}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_images_of_fewer_cells_than_queries_are_fine():
    model = build_model(small_cfg())
    losses = model([image(0, 1, 33, 21), image(1, 1, 24, 32)])
    assert all(loss.isfinite() for loss in losses.values())


def test_weights_of_the_losses_are_those_of_the_keys():
    item = [image(0, 2)]
    torch.manual_seed(0)
    model = build_model(small_cfg())
    changed = build_model(
        small_cfg(
            "MODEL.MASK_FORMER.CLASS_WEIGHT", 2.0,
            "MODEL.MASK_FORMER.MASK_WEIGHT", 60.0,
            "MODEL.MASK_FORMER.DICE_WEIGHT", 4.0,
        )
    )  # fmt: skip
    # The weights of the matching are the same keys, and would choose other queries.
    changed.load_state_dict(model.state_dict())
    changed.criterion.matcher = model.criterion.matcher
    item[0]["draw_key"] = 5
    before, after = model(item), changed(item)
    for name, factor in (("loss_ce", 2), ("loss_mask_0", 3), ("loss_dice_1", 4)):
        torch.testing.assert_close(after[name], before[name] * factor)


def test_without_deep_supervision_only_the_last_layer_has_losses():
    losses = build_model(small_cfg("MODEL.MASK_FORMER.DEEP_SUPERVISION", False))([image(0, 2)])
    assert set(losses) == {"loss_ce", "loss_mask", "loss_dice"}


@pytest.mark.parametrize("kind", [lambda m: m, BitMasks, PolygonMasks])
def test_masks_may_be_of_any_kind(kind):
    """Tensors of the published mappers, and what the usual mapper gives."""
    item = image(0, 1)
    item["draw_key"] = 3
    corner = [4.0, 4.0, 40.0, 4.0, 40.0, 30.0, 4.0, 30.0]
    bits = BitMasks.from_polygon_masks(PolygonMasks([[np.array(corner)]]), 64, 96).tensor
    masks = PolygonMasks([[np.array(corner)]]) if kind is PolygonMasks else kind(bits)
    truth = item["instances"]
    item["instances"] = Instances((64, 96), gt_classes=truth.gt_classes, gt_masks=bits)
    torch.manual_seed(0)
    model = build_model(small_cfg())
    expected = model([item])["loss_mask"]
    item["instances"] = Instances((64, 96), gt_classes=truth.gt_classes, gt_masks=masks)
    assert torch.equal(model([item])["loss_mask"], expected)


def test_objects_without_masks_are_refused():
    item = image(0, 2)
    item["instances"].remove("gt_masks")
    with pytest.raises(DataError, match="2 objects without masks"):
        build_model(small_cfg())([item])


def test_images_without_objects_need_no_masks():
    item = image(0, 0)
    item["instances"].remove("gt_masks")
    assert build_model(small_cfg())([item])["loss_ce"].isfinite()


@pytest.mark.parametrize("before", [True, False])
def test_results_have_the_size_that_is_asked_for(before):
    opts = (
        "DATASETS.TRAIN", ["shapes_train_panoptic_joint"],
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 6,
        "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", True,
        "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", before,
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON", before,
    )  # fmt: skip
    model = build_model(small_cfg(*opts)).eval()
    item = {**image(0, 0, 40, 60), "height": 80, "width": 120}
    with torch.no_grad():
        (found,) = model([item])
    assert found["sem_seg"].shape == (6, 80, 120)
    if before:
        assert found["panoptic_seg"][0].shape == (80, 120)
        assert found["instances"].image_size == (80, 120)
        # The ground is not an object.
        assert len(found["instances"]) == NUM_QUERIES * 5
        assert found["instances"].pred_classes.max() < 5


def test_segments_need_a_set_that_says_which_classes_are_objects():
    model = build_model(
        small_cfg("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", True, "DATASETS.TRAIN", ["shapes_sem_none"])
    ).eval()
    with pytest.raises(ConfigError, match=r"needs a panoptic set as first of DATASETS\.TRAIN"):
        model([image(0, 0)])


def test_queries_look_only_at_their_last_mask_and_everywhere_if_it_is_empty():
    decoder = build_model(small_cfg()).sem_seg_head.predictor
    masks = torch.full((1, NUM_QUERIES, 4, 4), -5.0)
    masks[0, 0, :2, :2] = 5.0
    hidden = decoder._hidden_cells(masks, (2, 2)).view(2, NUM_QUERIES, 2, 2)
    assert hidden[:, 0].tolist() == [[[False, True], [True, True]]] * 2
    assert not hidden[:, 1:].any()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE", "res5", "is of MaskFormer of 2021"),
        ("MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "SemSegFPNHead", "is not a pixel decoder"),
        ("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res2", "res4", "res5"], "Name 3 or more maps"),
        ("INPUT.DATASET_MAPPER_NAME", "coco_lsj", "choose one of mask_former_semantic"),
    ],
)
def test_values_that_do_not_fit_are_refused(key, value, message):
    cfg = small_cfg(key, value)
    with pytest.raises(ConfigError, match=message):
        build_project_mapper(cfg) if key.startswith("INPUT") else build_model(cfg)


def test_its_keys_may_come_after_those_of_deeplab():
    """Published programs call add_deeplab_config first."""
    alone, after = get_cfg(), get_cfg()
    mask2former.add_maskformer2_config(alone)
    deeplab.add_deeplab_config(after)
    mask2former.add_maskformer2_config(after)
    assert dict(alone.keys_and_values()) == dict(after.keys_and_values())
    assert alone.SOLVER.OPTIMIZER == "ADAMW"
    assert alone.is_default("SOLVER.OPTIMIZER")


def test_a_value_that_was_set_before_is_kept():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.OPTIMIZER", "SGD", "MODEL.SWIN.DROP_PATH_RATE", 0.1])
    mask2former.add_maskformer2_config(cfg)
    assert (cfg.SOLVER.OPTIMIZER, cfg.MODEL.SWIN.DROP_PATH_RATE) == ("SGD", 0.1)


def test_tools_build_it_with_its_own_defaults():
    """Their configuration has the core's optimizer and Swin maps as defaults."""
    cfg = setup_cfg()
    add_project_configs(cfg)
    assert cfg.SOLVER.OPTIMIZER == "SGD"
    cfg.merge_from_list([*small_opts(), *SWIN])
    model = build_model(cfg)
    assert cfg.SOLVER.OPTIMIZER == "ADAMW"
    assert model.backbone.output_shape().keys() == {"res2", "res3", "res4", "res5"}
    assert cfg.MODEL.SWIN.DROP_PATH_RATE == 0.3
    optimizer = build_project_optimizer(cfg, model)
    assert type(optimizer).__name__ == "AdamW"


def test_a_published_swin_has_the_published_rate_and_maps():
    name = "mask2former/coco/instance-segmentation/swin/maskformer2_swin_tiny_bs16_50ep.yaml"
    cfg = setup_cfg(name, ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        model = build_model(cfg)
    assert model.backbone.layers[-1].blocks[-1].drop_path.drop_prob == pytest.approx(0.3)
    assert [s.stride for s in model.backbone.output_shape().values()] == [4, 8, 16, 32]


def test_the_optimizer_has_the_published_rates_and_decays():
    """A tenth of the rate in the backbone; no decay of norms, embeddings and Swin's positions."""
    cfg = small_cfg(*SWIN, "SOLVER.BASE_LR", 1e-4, "SOLVER.WEIGHT_DECAY", 0.05)
    model = build_model(cfg)
    optimizer = build_project_optimizer(cfg, model)
    owner = {id(p): name for name, p in model.named_parameters()}
    found = {
        owner[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert set(found) == set(owner.values())
    head, backbone = "sem_seg_head.", "backbone.layers.0.blocks.0."
    expected = {
        f"{backbone}attn.qkv.weight": (1e-5, 0.05),
        f"{backbone}attn.qkv.bias": (1e-5, 0.05),
        f"{backbone}attn.relative_position_bias_table": (1e-5, 0.0),
        f"{backbone}norm1.weight": (1e-5, 0.0),
        f"{head}predictor.query_feat.weight": (1e-4, 0.0),
        f"{head}predictor.level_embed.weight": (1e-4, 0.0),
        f"{head}predictor.decoder_norm.bias": (1e-4, 0.0),
        f"{head}predictor.class_embed.bias": (1e-4, 0.05),
        f"{head}pixel_decoder.transformer.level_embed": (1e-4, 0.05),
        f"{head}pixel_decoder.input_proj.0.1.weight": (1e-4, 0.0),
        f"{head}pixel_decoder.adapter_1.norm.weight": (1e-4, 0.0),
    }
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name


def test_other_models_keep_their_mapper_and_optimizer():
    cfg = get_cfg()
    mask2former.add_maskformer2_config(cfg)
    assert build_project_mapper(cfg) is None
    assert build_project_optimizer(cfg, torch.nn.Linear(1, 1)) is None
