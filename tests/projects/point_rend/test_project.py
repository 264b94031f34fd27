"""The colours, and the samples of semantic models."""

import numpy as np
import pytest

from d2lite.data import transforms as T
from d2lite.engine import setup_cfg
from d2lite.projects import build_project_mapper
from d2lite.projects.point_rend import ColorAugSSDTransform


@pytest.mark.parametrize("img_format", ["BGR", "RGB"])
def test_colours_change_within_their_limits_and_labels_stay(img_format):
    np.random.seed(0)
    image = np.full((4, 5, 3), 100, dtype=np.uint8)
    labels = np.arange(20).reshape(4, 5)
    grey = ColorAugSSDTransform(img_format, contrast_low=1, contrast_high=1)
    results = [int(grey.apply_image(image)[0, 0, 0]) for _ in range(60)]
    assert 68 <= min(results) < 95
    assert 105 < max(results) <= 132
    assert 100 in results
    assert (grey.apply_segmentation(labels) == labels).all()
    assert isinstance(grey.inverse(), T.NoOpTransform)


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match=r"INPUT\.FORMAT"):
        ColorAugSSDTransform("L")


def test_semantic_models_train_on_crops_of_the_resized_image():
    cfg = setup_cfg("pointrend_semantic_R_101_FPN_1x_cityscapes.yaml")
    steps = build_project_mapper(cfg).augmentations.augs
    assert [type(step) for step in steps] == [
        T.ResizeShortestEdge,
        T.RandomCrop_CategoryAreaConstraint,
        T.PhotometricDistortion,
        T.RandomFlip,
    ]
    assert (steps[1].crop_size, steps[1].single_category_max_area) == ([512, 1024], 0.75)
    assert build_project_mapper(setup_cfg("pointrend_rcnn_R_50_FPN_1x_coco.yaml")) is None


# Small enough for steps of some 100 ms.
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.FPN.NORM", "BN",
    "MODEL.FPN.OUT_CHANNELS", "16",
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "INPUT.MAX_SIZE_TEST", "96",
    "TEST.DETECTIONS_PER_IMAGE", "5",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
]  # fmt: skip
IMPLICIT = [
    "MODEL.ROI_MASK_HEAD.NAME", "ImplicitPointRendMaskHead",
    "MODEL.POINT_HEAD.NAME", "ImplicitPointHead",
]  # fmt: skip
SEMANTIC = [
    "MODEL.META_ARCHITECTURE", "SemanticSegmentor",
    "MODEL.SEM_SEG_HEAD.NAME", "PointRendSemSegHead",
    "MODEL.SEM_SEG_HEAD.NORM", "",
    "MODEL.POINT_HEAD.COARSE_PRED_EACH_LAYER", "False",
    "MODEL.POINT_HEAD.SUBDIVISION_STEPS", "2",
    "DATASETS.TRAIN", "('shapes_train_sem_seg',)",
    "DATASETS.TEST", "('shapes_val_sem_seg',)",
]  # fmt: skip
