"""The configuration of rotated boxes, from a dataset string to scores and a drawing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.config import get_cfg
from d2lite.data import DatasetMapper, MetadataCatalog, build_detection_test_loader
from d2lite.engine import DefaultPredictor, DefaultTrainer
from d2lite.structures import Instances, RotatedBoxes
from d2lite.visualization import Visualizer

CONFIGS = Path(__file__).parents[2] / "configs"
BOX = [40.0, 30.0, 30.0, 12.0, 25.0]


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2):
        pixels = np.full((64, 96, 3), 90 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def coco(folder: Path) -> str:
    """A COCO file whose boxes have five numbers."""
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 64, "width": 96} for i in (1, 2)],
        "categories": [{"id": 5, "name": "ship"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 5, "bbox": BOX, "area": 360, "iscrowd": 0}
            for i in (1, 2)
        ],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return f"coco:{folder / 'a.json'}@{folder}"


def yolo(folder: Path) -> str:
    """YOLO OBB: the class and four corners in shares of the image."""
    (folder / "data.yaml").write_text("train: .\nval: .\nnames: [ship]\n")
    for i in (1, 2):
        (folder / f"{i}.txt").write_text("0 0.3 0.2 0.6 0.4 0.5 0.6 0.2 0.4\n")
    return f"yolo:{folder}"


@pytest.fixture
def cfg(tmp_path_factory):
    cfg = get_cfg()
    cfg.merge_from_file(CONFIGS / "rotated_faster_rcnn_R_50_FPN.yaml")
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE, cfg.SEED = "", "cpu", 1
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32, 32
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = [64], 64
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR = 1, 3, 1e-4
    for phase in ("TRAIN", "TEST"):
        cfg.MODEL.RPN[f"PRE_NMS_TOPK_{phase}"] = cfg.MODEL.RPN[f"POST_NMS_TOPK_{phase}"] = 50
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.OUTPUT_DIR = str(tmp_path_factory.mktemp("run"))
    return cfg


@pytest.mark.parametrize("write", [coco, yolo])
def test_rotated_model_trains_is_scored_and_drawn_from_a_dataset_string(write, folder, cfg):
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (write(folder),)
    trainer = DefaultTrainer(cfg)
    results = trainer.train()
    assert {"AP", "AP50"} <= results["bbox"].keys()
    cfg.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    picture = np.array(Image.open(folder / "1.png"))
    found = DefaultPredictor(cfg)(picture)["instances"]
    assert isinstance(found.pred_boxes, RotatedBoxes)
    assert len(found) > 0
    canvas = Visualizer(picture, MetadataCatalog.get(cfg.DATASETS.TEST[0]))
    drawn = canvas.draw_instance_predictions(found).get_image()
    assert (drawn != picture).any()


@pytest.mark.parametrize("write", [coco, yolo])
def test_the_truth_as_prediction_scores_100(write, folder, cfg):
    """What is scored against is what training shows the model, whatever the file's layout."""
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (write(folder),)
    records = build_detection_test_loader(cfg, cfg.DATASETS.TEST[0], mapper=dict).dataset
    mapper = DatasetMapper(True, augmentations=[], image_format="BGR", use_rotated_boxes=True)
    evaluator = DefaultTrainer.build_evaluator(cfg, cfg.DATASETS.TEST[0])
    evaluator.reset()
    for record in records:
        truth = mapper(record)["instances"]
        found = Instances(
            truth.image_size, pred_boxes=truth.gt_boxes, pred_classes=truth.gt_classes
        )
        found.scores = torch.ones(len(truth))
        evaluator.process([record], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
