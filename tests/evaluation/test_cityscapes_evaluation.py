import sys
import uuid

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.data import MetadataCatalog
from d2lite.data.datasets.builtin_meta import cityscapes_metadata
from d2lite.evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError, DataError

ROAD, CAR = 7, 26
NAMES = ["ulm_000000_000019", "ulm_000001_000019"]
CAR_AMONG_THINGS, ROAD_TRAIN_ID, CAR_TRAIN_ID = 2, 0, 13


@pytest.fixture
def truth(tmp_path):
    """Name of a set of two images: a car on the road, and the road alone."""
    folder = tmp_path / "gtFine" / "ulm"
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        ids = np.full((60, 80), ROAD, np.int32)
        labels = ids.astype(np.uint8)
        if number == 0:
            ids[20:40, 20:50] = CAR * 1000
            labels[20:40, 20:50] = CAR
        Image.fromarray(ids.astype(np.uint16)).save(folder / f"{name}_gtFine_instanceIds.png")
        Image.fromarray(labels).save(folder / f"{name}_gtFine_labelIds.png")
    name = f"city_{uuid.uuid4().hex}"
    MetadataCatalog.get(name).set(gt_dir=str(tmp_path / "gtFine"), **cityscapes_metadata())
    yield name
    MetadataCatalog.remove(name)


@pytest.fixture
def scripts():
    """Run only where the package is."""
    pytest.importorskip("cityscapesscripts")


def cars(columns: list[tuple[int, int]], label: int = CAR_AMONG_THINGS) -> Instances:
    made = Instances((60, 80))
    made.pred_masks = torch.zeros((len(columns), 60, 80), dtype=torch.bool)
    for mask, (start, stop) in zip(made.pred_masks, columns, strict=True):
        mask[20:40, start:stop] = True
    made.scores = torch.linspace(0.9, 0.5, len(columns))
    made.pred_classes = torch.full((len(columns),), label)
    return made


def image(number: int) -> dict:
    return {"file_name": f"somewhere/ulm/{NAMES[number]}_leftImg8bit.png"}


# The package leaves files open and uses old names, which it alone could mend.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("scripts")
class TestWithThePackage:
    def test_true_masks_score_100(self, truth, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        evaluator = CityscapesInstanceEvaluator(truth)
        for number, columns in enumerate([[(20, 50)], []]):
            evaluator.process([image(number)], [{"instances": cars(columns)}])
        metrics = evaluator.evaluate()["segm"]
        assert metrics == pytest.approx({"AP": 100, "AP50": 100})
        assert [path.name for path in tmp_path.iterdir()] == ["gtFine"]

    def test_a_mask_that_covers_three_quarters_is_right_at_five_thresholds(self, truth, caplog):
        """IoU is 22 / 30 = 0.733: right at 0.5, 0.55 ... 0.7."""
        evaluator = CityscapesInstanceEvaluator(truth)
        evaluator.process([image(0)], [{"instances": cars([(20, 42)])}])
        assert evaluator.evaluate()["segm"] == pytest.approx({"AP": 50, "AP50": 100})
        assert f"1 of the 2 images were not predicted, for instance '{NAMES[1]}'" in caplog.text

    def test_a_class_that_cityscapes_lacks_is_refused(self, truth):
        evaluator = CityscapesInstanceEvaluator(truth)
        with pytest.raises(DataError, match="class number 8, too high"):
            evaluator.process([image(0)], [{"instances": cars([(20, 50)], label=8)}])

    def test_maps_of_classes_are_scored_by_hand_computed_overlap(self, truth):
        evaluator = CityscapesSemSegEvaluator(truth)
        for number in range(2):
            scores = torch.zeros((19, 60, 80))
            scores[ROAD_TRAIN_ID] = 1
            if number == 0:
                scores[CAR_TRAIN_ID, 20:40, 20:40] = 2  # two thirds of the car
            evaluator.process([image(number)], [{"sem_seg": scores}])
        metrics = evaluator.evaluate()["sem_seg"]
        assert set(metrics) == {"IoU", "iIoU", "IoU_sup", "iIoU_sup"}
        road = (2 * 4800 - 600) / (2 * 4800 - 400)
        assert metrics["IoU"] == pytest.approx(100 * (road + 2 / 3) / 2)

    def test_images_without_prediction_are_named(self, truth):
        evaluator = CityscapesSemSegEvaluator(truth)
        with pytest.raises(DataError, match=f"2 of 2 images.*{NAMES[0]}"):
            evaluator.evaluate()

    def test_a_dataset_of_another_kind_is_refused(self):
        with pytest.raises(ConfigError, match="no gt_dir"):
            CityscapesInstanceEvaluator("shapes_val")


@pytest.mark.parametrize("kind", [CityscapesInstanceEvaluator, CityscapesSemSegEvaluator])
def test_without_the_package_the_command_is_told(truth, monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "cityscapesscripts.evaluation", None)
    with pytest.raises(ConfigError, match="pip install cityscapesscripts"):
        kind(truth)
