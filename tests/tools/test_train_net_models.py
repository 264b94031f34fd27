"""tools/train_net.py with models of every kind on the built-in shapes, and what it leaves."""

import json

import pytest

from d2lite.data import DatasetCatalog, MetadataCatalog

from .conftest import TINY

FEW_IMAGES = [
    "DATASETS.TEST", "('few_shapes',)",
    "MODEL.RPN.POST_NMS_TOPK_TEST", "20",
    "MODEL.RPN.PRE_NMS_TOPK_TEST", "20",
]  # fmt: skip

PANOPTIC = [
    "MODEL.META_ARCHITECTURE", "PanopticFPN",
    "DATASETS.TRAIN", "('shapes_train_panoptic',)",
    "DATASETS.TEST", "('few_shapes_panoptic',)",
    "MODEL.SEM_SEG_HEAD.NORM", "BN",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", "8",
    "MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH", "0.05",
    "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT", "10",
]  # fmt: skip

RETINANET = [
    "MODEL.META_ARCHITECTURE", "RetinaNet",
    "MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES", "['res3', 'res4', 'res5']",
    "MODEL.FPN.IN_FEATURES", "['res3', 'res4', 'res5']",
    "MODEL.ANCHOR_GENERATOR.SIZES", "[[8], [16], [32], [64], [128]]",
    "MODEL.RETINANET.NUM_CONVS", "1",
    "MODEL.RETINANET.SCORE_THRESH_TEST", "0.001",
    "MODEL.MASK_ON", "False",
]  # fmt: skip

KEYPOINTS = [
    "MODEL.MASK_ON", "False",
    "MODEL.KEYPOINT_ON", "True",
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", "5",
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", "(8,)",
    "TEST.KEYPOINT_OKS_SIGMAS", "(0.05, 0.05, 0.05, 0.05, 0.05)",
]  # fmt: skip

TTA = [
    "TEST.AUG.ENABLED", "True",
    "TEST.AUG.MIN_SIZES", "(48, 64)",
    "TEST.AUG.MAX_SIZE", "128",
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def few_images():
    """Two sets of four images for evaluation, since scoring takes longer than training here."""
    names = {"shapes_val": "few_shapes", "shapes_val_panoptic": "few_shapes_panoptic"}
    for whole, few in names.items():
        DatasetCatalog.register(few, lambda whole=whole: DatasetCatalog.get(whole)[:4])
        facts = {k: v for k, v in MetadataCatalog.get(whole).as_dict().items() if k != "name"}
        MetadataCatalog.get(few).set(**facts)
    yield
    for few in names.values():
        DatasetCatalog.remove(few)
        MetadataCatalog.remove(few)


@pytest.fixture
def train(run, tmp_path):
    """Train three steps of quick_start.yaml with options, and give the folder it leaves."""

    def train_with(*options):
        command = ["--config-file", "quick_start.yaml", *TINY, *FEW_IMAGES, *options]
        result = run("train_net", *command, "OUTPUT_DIR", tmp_path)
        assert result.status == 0, result.err
        return tmp_path, result.out

    return train_with


def test_number_of_pixel_classes_that_does_not_fit_is_told_before_training(run, tmp_path):
    """A label beyond the scores would end in an error deep inside the loss."""
    options = [*TINY, *PANOPTIC, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 1, "OUTPUT_DIR", tmp_path]
    result = run("train_net", "--config-file", "quick_start.yaml", *options)
    assert result.status == 2
    assert "MODEL.SEM_SEG_HEAD.NUM_CLASSES=1 does not fit 'shapes_train_panoptic'" in result.err
    assert "2 classes: things, ground" in result.err


def last_metrics(folder):
    """The last line of metrics.json."""
    return json.loads((folder / "metrics.json").read_text().splitlines()[-1])


def test_panoptic_model_trains_and_is_scored_in_all_its_tasks(train):
    """Boxes, masks, pixels and segments, from one dataset name."""
    folder, _ = train(*PANOPTIC)
    written = last_metrics(folder)
    for name in ("bbox/AP", "segm/AP", "sem_seg/mIoU", "panoptic_seg/PQ", "panoptic_seg/PQ_st"):
        assert name in written, sorted(written)
    assert 0 < written["sem_seg/mIoU"] <= 100
    content = json.loads((folder / "inference" / "predictions.json").read_text())
    maps = sorted((folder / "inference" / "panoptic").glob("*.png"))
    assert len(maps) == len(content["annotations"])
    assert (folder / "inference" / "predictions_few_shapes_panoptic.jpg").is_file()


@pytest.mark.parametrize(
    ("options", "tasks"),
    [
        ([], {"bbox", "segm", "bbox_TTA", "segm_TTA"}),
        (KEYPOINTS, {"bbox", "keypoints", "bbox_TTA", "keypoints_TTA"}),
        (RETINANET, {"bbox", "bbox_TTA"}),
    ],
    ids=["masks", "keypoints", "retinanet"],
)
def test_augmented_evaluation_scores_every_task_once_more(train, options, tasks):
    """TEST.AUG.ENABLED is all that is needed."""
    folder, out = train(*options, *TTA)
    scored = {name.partition("/")[0] for name in last_metrics(folder) if name.endswith("/AP")}
    assert scored == tasks
    assert (folder / "inference_TTA" / "coco_instances_results.json").is_file()
    assert "copypaste" in out
