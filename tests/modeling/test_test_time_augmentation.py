"""Test-time augmentation: the views, and what several views say together."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from d2lite.data import transforms as T
from d2lite.modeling import DatasetMapperTTA, GeneralizedRCNNWithTTA, build_model
from d2lite.modeling.meta_arch.rcnn import GeneralizedRCNN
from d2lite.structures import Boxes, Instances, RotatedBoxes
from d2lite.utils.errors import ConfigError, DataError

from .meta_arch.test_panoptic_fpn import panoptic_config
from .meta_arch.tiny import batch, item, rcnn_config, retinanet_config

TINY_VIEWS = {"MIN_SIZES": (48, 64), "MAX_SIZE": 128}


def with_views(cfg):
    for key, value in TINY_VIEWS.items():
        cfg.TEST.AUG[key] = value
    return cfg


def keypoint_config():
    cfg = rcnn_config()
    cfg.MODEL.KEYPOINT_ON = cfg.MODEL.MASK_ON = True
    cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = 3
    cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS = [8]
    cfg.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = 6
    return with_views(cfg)


@pytest.fixture(scope="module")
def keypoint_rcnn():
    torch.manual_seed(0)
    return build_model(keypoint_config()).eval()


def only_inputs(examples):
    return [{k: v for k, v in x.items() if k != "instances"} for x in examples]


class TestViews:
    def test_there_is_one_for_every_size_and_its_mirror_image(self):
        views = DatasetMapperTTA([48, 32], 60, flip=True)(item(64, 96, []))
        assert [tuple(v["image"].shape) for v in views] == [
            (3, 40, 60),
            (3, 40, 60),
            (3, 32, 48),
            (3, 32, 48),
        ]
        assert torch.equal(views[1]["image"], views[0]["image"].flip(2))
        assert len(DatasetMapperTTA([48, 32], 60, flip=False)(item(64, 96, []))) == 2

    @pytest.mark.parametrize(("sizes", "limit"), [([], 60), ([48, -4], 60), ([48], 0)])
    def test_sizes_that_cannot_be_are_refused_by_the_key(self, sizes, limit):
        with pytest.raises(ConfigError, match=r"TEST\.AUG\.MIN_SIZES is .*1 pixel or more"):
            DatasetMapperTTA(sizes, limit, flip=False)

    def test_pixels_and_sizes_are_those_of_the_data_transforms(self):
        for height, width in ((64, 96), (97, 61), (50, 50)):
            example = item(height, width, [])
            for view in DatasetMapperTTA([33, 47, 71], 80, flip=False)(example):
                shape = tuple(view["image"].shape[1:])
                array = example["image"].permute(1, 2, 0).numpy()
                edge = T.ResizeShortestEdge
                sizes = {edge.get_output_shape(height, width, s, 80) for s in (33, 47, 71)}
                assert shape in sizes
                expected = T.ResizeTransform(height, width, *shape).apply_image(array)
                np.testing.assert_array_equal(view["image"].permute(1, 2, 0), expected)

    def test_transforms_lead_from_the_original_to_the_view(self):
        plain, mirrored = DatasetMapperTTA([32], 100, flip=True)(item(64, 96, []))
        # The original is 128 x 192, the view 32 x 48.
        boxes = np.array([[0.0, 8, 48, 64]])
        assert plain["transforms"].apply_box(boxes).tolist() == [[0, 2, 12, 16]]
        assert mirrored["transforms"].apply_box(boxes).tolist() == [[36, 2, 48, 16]]

    def test_the_given_dict_stays_as_it_is(self):
        example = item(64, 96, [])
        before = dict(example)
        DatasetMapperTTA([32], 100, flip=True)(example)
        assert example == before

    def test_the_config_names_sizes_and_flip(self):
        cfg = with_views(rcnn_config())
        cfg.TEST.AUG.FLIP = False
        mapper = DatasetMapperTTA(cfg)
        assert (list(mapper.min_sizes), mapper.max_size, mapper.flip) == ([48, 64], 128, False)


class SeesBoxes(GeneralizedRCNN):
    """Finds the bright rectangle of an image, exactly; so all views must agree."""

    def __init__(self):
        nn.Module.__init__(self)
        self.proposal_generator = nn.Identity()
        self.roi_heads = nn.Module()
        self.roi_heads.mask_on = True

    def inference(self, batched_inputs, detected_instances=None, do_postprocess=True):
        assert not do_postprocess
        assert not any(set(x) & {"height", "width", "transforms"} for x in batched_inputs)
        if detected_instances is not None:
            return [
                self._masks(x, found)
                for x, found in zip(batched_inputs, detected_instances, strict=True)
            ]
        assert not self.roi_heads.mask_on
        return [self._box(x["image"]) for x in batched_inputs]

    @staticmethod
    def _box(image):
        rows, columns = (image[0] > 127).nonzero(as_tuple=True)
        sides = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Instances(
            tuple(image.shape[1:]),
            pred_boxes=Boxes(torch.tensor([sides], dtype=torch.float32)),
            scores=torch.tensor([0.9]),
            pred_classes=torch.tensor([1]),
        )

    @staticmethod
    def _masks(x, found):
        """The left half of the box where the image is red on the left."""
        left_is_red = x["image"][1, :, 0].sum() > x["image"][1, :, -1].sum()
        mask = torch.zeros(len(found), 1, 4, 4)
        half = slice(0, 2) if left_is_red else slice(2, 4)
        mask[..., half] = 1
        found.pred_masks = mask
        return found


def image_of_a_rectangle():
    image = torch.zeros(3, 60, 80, dtype=torch.uint8)
    image[0, 10:30, 20:60] = 255
    image[1, :, 0] = 255
    return {"image": image, "height": 120, "width": 160}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_views_agree_on_boxes_and_masks(batch_size):
    cfg = rcnn_config()
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (60, 120), 400
    model = SeesBoxes()
    (result,) = GeneralizedRCNNWithTTA(cfg, model, batch_size=batch_size)([image_of_a_rectangle()])
    found = result["instances"]
    assert model.roi_heads.mask_on
    assert found.image_size == (120, 160)
    assert found.pred_boxes.tensor.tolist() == [[40.0, 20, 120, 60]]
    assert found.pred_classes.tolist() == [1]
    expected = torch.zeros(1, 120, 160, dtype=torch.bool)
    expected[:, 20:60, 40:80] = True
    # Pasting rounds the corners of a mask.
    assert torch.equal(found.pred_masks[:, 25:55], expected[:, 25:55])
    assert not found.pred_masks[:, :20].any()


def test_a_mapper_of_data_transforms_serves_as_well():
    """People have mappers that return a TransformList."""

    def mapper(example):
        image = example["image"].permute(1, 2, 0).numpy()
        pre = T.ResizeTransform(120, 160, 60, 80)
        steps = T.TransformList([T.ResizeTransform(60, 80, 120, 160), T.HFlipTransform(160)])
        pixels = np.ascontiguousarray(steps.apply_image(image).transpose(2, 0, 1))
        both = T.TransformList([pre, *steps.transforms])
        return [{"image": torch.from_numpy(pixels), "transforms": both}]

    tta = GeneralizedRCNNWithTTA(rcnn_config(), SeesBoxes(), mapper)
    found = tta([image_of_a_rectangle()])[0]["instances"]
    assert found.pred_boxes.tensor.tolist() == [[40.0, 20, 120, 60]]
    assert found.pred_masks[0, 40, 50]
    assert not found.pred_masks[0, 40, 110]


@torch.no_grad()
def test_one_plain_view_is_what_the_model_says_itself(keypoint_rcnn):
    cfg = keypoint_config()
    example = {**only_inputs(batch())[0], "height": 64, "width": 96}
    mapper = DatasetMapperTTA([64], 1000, flip=False)
    found = GeneralizedRCNNWithTTA(cfg, keypoint_rcnn, mapper)([example])[0]["instances"]
    expected = keypoint_rcnn([example])[0]["instances"]
    assert len(found) == len(expected) > 0
    for name in ("scores", "pred_classes", "pred_masks"):
        torch.testing.assert_close(found.get(name), expected.get(name))
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    torch.testing.assert_close(found.pred_keypoints, expected.pred_keypoints)


@torch.no_grad()
def test_a_mirrored_image_gives_mirrored_detections(keypoint_rcnn):
    """With every view and its mirror image, left and right play the same part."""
    trade = [0, 2, 1]
    tta = GeneralizedRCNNWithTTA(keypoint_config(), keypoint_rcnn, keypoint_flip_indices=trade)
    example = {**only_inputs(batch())[0], "height": 64, "width": 96}
    mirrored = {**example, "image": example["image"].flip(2)}
    there, back = (tta([x])[0]["instances"] for x in (example, mirrored))
    assert len(there) == len(back) > 0
    torch.testing.assert_close(there.scores, back.scores, rtol=1e-4, atol=1e-5)
    boxes = back.pred_boxes.tensor
    turned = torch.stack((96 - boxes[:, 2], boxes[:, 1], 96 - boxes[:, 0], boxes[:, 3]), dim=1)
    torch.testing.assert_close(there.pred_boxes.tensor, turned, rtol=1e-4, atol=1e-2)
    points = back.pred_keypoints[:, trade]
    points[..., 0] = 96 - points[..., 0]
    torch.testing.assert_close(there.pred_keypoints, points, rtol=1e-3, atol=0.05)
    same = (there.pred_masks == back.pred_masks.flip(2)).float().mean()
    assert same > 0.99


@torch.no_grad()
def test_keypoints_of_mirrored_views_are_left_out_while_it_is_unknown_what_trades_places(
    keypoint_rcnn,
):
    cfg, example = keypoint_config(), only_inputs(batch())[0]
    plain = GeneralizedRCNNWithTTA(cfg, keypoint_rcnn)([example])[0]["instances"]
    assert plain.pred_keypoints.shape[1:] == (3, 3)

    def mirrored_only(x):
        return DatasetMapperTTA([48], 128, flip=True)(x)[1:]

    with pytest.raises(ConfigError, match="keypoint_flip_indices"):
        GeneralizedRCNNWithTTA(cfg, keypoint_rcnn, mirrored_only)([example])


@torch.no_grad()
def test_retinanet_gets_the_union_of_its_views():
    torch.manual_seed(0)
    cfg = with_views(retinanet_config())
    model = build_model(cfg).eval()
    model.head.cls_score.weight.mul_(30)
    example = only_inputs(batch())[0]
    found = GeneralizedRCNNWithTTA(cfg, model)([example])[0]["instances"]
    assert found.image_size == (128, 192)
    assert 0 < len(found) <= cfg.TEST.DETECTIONS_PER_IMAGE
    best = [
        model([{"image": view["image"]}])[0]["instances"].scores.max()
        for view in DatasetMapperTTA(cfg)(example)
    ]
    torch.testing.assert_close(found.scores[0], max(best), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("has_size", [True, False])
def test_nothing_found_is_an_ordinary_result(keypoint_rcnn, has_size):
    cfg = keypoint_config()
    threshold = keypoint_rcnn.roi_heads.box_predictor.test_score_thresh
    keypoint_rcnn.roi_heads.box_predictor.test_score_thresh = 2.0
    try:
        wanted = {"height": 30, "width": 40} if has_size else {}
        found = GeneralizedRCNNWithTTA(cfg, keypoint_rcnn)(
            [{"image": batch()[0]["image"], **wanted}]
        )
    finally:
        keypoint_rcnn.roi_heads.box_predictor.test_score_thresh = threshold
    size = (30, 40) if has_size else (64, 96)
    instances = found[0]["instances"]
    assert instances.image_size == size
    assert len(instances) == 0
    assert instances.pred_masks.shape == (0, *size)
    assert instances.pred_keypoints.shape == (0, 3, 3)


def test_the_branches_are_back_after_a_failure():
    class Breaks(SeesBoxes):
        def inference(self, *args, **kwargs):
            raise RuntimeError("broken")

    model = Breaks()
    with pytest.raises(RuntimeError, match="broken"):
        GeneralizedRCNNWithTTA(with_views(rcnn_config()), model)([image_of_a_rectangle()])
    assert model.roi_heads.mask_on


def test_an_element_without_image_is_refused():
    tta = GeneralizedRCNNWithTTA(with_views(rcnn_config()), SeesBoxes())
    with pytest.raises(DataError, match="'image'"):
        tta([{"image_id": 3}])


def test_an_image_is_read_from_its_file_where_it_is_missing(tmp_path):
    """Evaluation loops of detectron2 hand dataset dicts to the augmented model."""
    given = image_of_a_rectangle()["image"]
    model = SeesBoxes()
    model.input_format = "BGR"
    for name, angle in (("plain.png", None), ("turned.png", 6)):
        rgb = Image.fromarray(given.flip(0).permute(1, 2, 0).numpy())
        exif = Image.Exif()
        if angle:
            exif[0x0112] = angle
            rgb = rgb.rotate(90, expand=True)
        rgb.save(tmp_path / name, exif=exif)
        tta = GeneralizedRCNNWithTTA(with_views(rcnn_config()), model)
        result = tta([{"file_name": str(tmp_path / name)}])[0]["instances"]
        assert result.image_size == (60, 80)
        torch.testing.assert_close(
            result.pred_boxes.tensor, torch.tensor([[20.0, 10, 60, 30]]), rtol=0, atol=1
        )
    model.input_format = "YUV-BT.601"
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT='YUV-BT\.601'"):
        tta([{"file_name": str(tmp_path / "plain.png")}])


def test_each_step_can_be_overridden_and_its_result_is_used():
    """Open-vocabulary and few-shot detectors change one step of detectron2's class."""
    calls = []

    class Steps(GeneralizedRCNNWithTTA):
        def __init__(self, cfg, model):
            nn.Module.__init__(self)
            self.cfg, self.model, self.batch_size = cfg, model, 2
            self.tta_mapper = DatasetMapperTTA([60], 100, flip=True)

        def _get_augmented_inputs(self, input):
            views, tfms = super()._get_augmented_inputs(input)
            calls.append("views")
            return views[:1], tfms[:1]

        def _batch_inference(self, batched_inputs, detected_instances=None):
            calls.append(f"inference of {len(batched_inputs)}")
            return super()._batch_inference(batched_inputs, detected_instances)

        def _turn_off_roi_heads(self, attrs):
            calls.append(f"without {list(attrs)}")
            return super()._turn_off_roi_heads(attrs)

        def _get_augmented_boxes(self, augmented_inputs, tfms):
            boxes, scores, classes = super()._get_augmented_boxes(augmented_inputs, tfms)
            return boxes + 1, list(scores), list(classes)

        def _merge_detections(self, all_boxes, all_scores, all_classes, shape_hw):
            merged = super()._merge_detections(all_boxes, all_scores, all_classes, shape_hw)
            merged.scores = merged.scores * 0 + 0.25
            return merged

        def _rescale_detected_boxes(self, augmented_inputs, merged_instances, tfms):
            calls.append("rescale")
            return super()._rescale_detected_boxes(augmented_inputs, merged_instances, tfms)

        def _reduce_pred_masks(self, outputs, tfms):
            return super()._reduce_pred_masks(outputs, tfms) * 0

    tta = Steps(rcnn_config(), SeesBoxes())
    found = tta._inference_one_image(image_of_a_rectangle())["instances"]
    assert calls == [
        "views",
        "without ['mask_on', 'keypoint_on']",
        "inference of 1",
        "rescale",
        "inference of 1",
    ]
    assert found.pred_boxes.tensor.tolist() == [[41.0, 21, 121, 61]]
    assert found.scores.tolist() == [0.25]
    assert not found.pred_masks.any()


def test_models_of_other_kinds_are_refused():
    cfg = panoptic_config()
    with pytest.raises(ConfigError, match="PanopticFPN"):
        GeneralizedRCNNWithTTA(cfg, build_model(cfg))
    with pytest.raises(ConfigError, match="Identity"):
        GeneralizedRCNNWithTTA(cfg, nn.Identity())


def test_a_model_that_is_given_its_proposals_is_refused():
    model = SeesBoxes()
    model.proposal_generator = None
    with pytest.raises(ConfigError, match="LOAD_PROPOSALS"):
        GeneralizedRCNNWithTTA(rcnn_config(), model)


def test_rotated_boxes_are_refused():
    class Rotated(SeesBoxes):
        @staticmethod
        def _box(image):
            return Instances(tuple(image.shape[1:]), pred_boxes=RotatedBoxes(torch.zeros(0, 5)))

    tta = GeneralizedRCNNWithTTA(with_views(rcnn_config()), Rotated())
    with pytest.raises(ConfigError, match="rotated"):
        tta([image_of_a_rectangle()])
