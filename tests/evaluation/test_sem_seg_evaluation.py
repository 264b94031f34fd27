import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.evaluation import SemSegEvaluator
from d2lite.utils.errors import ConfigError, DataError


@pytest.fixture
def dataset(tmp_path):
    truth = np.zeros((40, 60), dtype=np.uint8)
    truth[:, 30:] = 1
    truth[:4] = 255
    Image.fromarray(truth).save(tmp_path / "gt.png")
    name = "two_halves"
    records = [{"file_name": "a.jpg", "sem_seg_file_name": str(tmp_path / "gt.png")}]
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(stuff_classes=["left", "right", "none"], ignore_label=255)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def _scores(classes: np.ndarray) -> torch.Tensor:
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(classes), 3)
    return one_hot.permute(2, 0, 1).float()


def _evaluate(evaluator, classes):
    evaluator.process([{"file_name": "a.jpg"}], [{"sem_seg": _scores(classes)}])
    return evaluator.evaluate()["sem_seg"]


def test_shifted_border_costs_what_it_covers(dataset):
    """Source: 30 columns each; the left one claims 6 of the right one's."""
    classes = np.zeros((40, 60), dtype=np.int64)
    classes[:, 36:] = 1
    results = _evaluate(SemSegEvaluator(dataset), classes)
    assert results["IoU-left"] == pytest.approx(100 * 30 / 36)
    assert results["IoU-right"] == pytest.approx(100 * 24 / 30)
    assert results["mIoU"] == pytest.approx(100 * (30 / 36 + 24 / 30) / 2)
    assert results["pACC"] == pytest.approx(100 * 54 / 60)
    assert results["mACC"] == pytest.approx(100 * (1 + 0.8) / 2)
    assert math.isnan(results["IoU-none"])


def test_ignored_pixels_do_not_count(dataset):
    classes = np.zeros((40, 60), dtype=np.int64)
    classes[:, 30:] = 1
    classes[:4] = 2
    assert _evaluate(SemSegEvaluator(dataset), classes)["mIoU"] == pytest.approx(100)


def test_predictions_are_written_as_run_length_codes(dataset, tmp_path):
    evaluator = SemSegEvaluator(dataset, output_dir=tmp_path / "out")
    _evaluate(evaluator, np.ones((40, 60), dtype=np.int64))
    (row,) = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    assert row["category_id"] == 1
    assert row["segmentation"]["size"] == [40, 60]


def test_image_counts_once_and_missing_images_are_told(dataset, caplog):
    record = DatasetCatalog.get(dataset)[0]
    DatasetCatalog.get(dataset).append({**record, "file_name": "b.jpg"})
    evaluator = SemSegEvaluator(dataset)
    wrong, right = np.full((40, 60), 2), np.zeros((40, 60), dtype=np.int64)
    right[:, 30:] = 1
    evaluator.process([{"file_name": "a.jpg"}], [{"sem_seg": _scores(right)}])
    evaluator.process([{"file_name": "a.jpg"}], [{"sem_seg": _scores(wrong)}])
    assert evaluator.evaluate()["sem_seg"]["pACC"] == 100
    assert "1 images were predicted more than once, for instance 'a.jpg'" in caplog.text
    assert "1 of the 2 images were not predicted, for instance 'b.jpg'" in caplog.text


def test_no_image_is_told(dataset, caplog):
    results = SemSegEvaluator(dataset).evaluate()["sem_seg"]
    assert math.isnan(results["mIoU"])
    assert "No image was processed" in caplog.text


def test_other_number_of_classes_is_refused(dataset):
    with pytest.raises(ConfigError, match="num_classes=7, but 'two_halves' has 3"):
        SemSegEvaluator(dataset, num_classes=7)


def test_dataset_without_stuff_is_refused():
    with pytest.raises(ConfigError, match="no stuff_classes"):
        SemSegEvaluator("nothing_known")


def test_a_model_without_maps_of_classes_is_told():
    evaluator = SemSegEvaluator("shapes_val_panoptic", distributed=False)
    with pytest.raises(DataError, match=r"no 'sem_seg' \(it gives instances\)"):
        evaluator.process([{"file_name": "shapes://val/0"}], [{"instances": None}])


def test_evaluator_that_counts_by_itself_is_scored(dataset):
    """Clients override `process` and write into the matrix, with detectron2's names."""

    class Own(SemSegEvaluator):
        def process(self, inputs, outputs):
            for image, output in zip(inputs, outputs, strict=True):
                pred = output["sem_seg"].argmax(dim=0).to(self._cpu_device).numpy()
                path = self.input_file_to_gt_file[image["file_name"]]
                truth = self.sem_seg_loading_fn(path, dtype=int)
                truth[truth == self._ignore_label] = self._num_classes
                side = self._num_classes + 1
                counts = np.bincount((side * pred + truth).ravel(), minlength=side**2)
                self._conf_matrix += counts.reshape(self._conf_matrix.shape)
                if self._compute_boundary_iou:
                    border = self._mask_to_boundary(truth.astype(np.uint8))
                    assert border.shape == truth.shape
                    assert self._b_conf_matrix.shape == self._conf_matrix.shape

    class OwnReset(SemSegEvaluator):
        def reset(self):
            side = self._num_classes + 1
            self._conf_matrix = np.zeros((side, side), dtype=np.int64)
            self._b_conf_matrix = np.zeros((side, side), dtype=np.int64)
            self._predictions = []

    classes = np.zeros((40, 60), dtype=np.int64)
    classes[:, 36:] = 1
    own, ours = _evaluate(Own(dataset), classes), _evaluate(SemSegEvaluator(dataset), classes)
    assert own["mIoU"] == ours["mIoU"] > 0
    assert _evaluate(OwnReset(dataset), classes)["mIoU"] == ours["mIoU"]


def test_a_border_is_as_wide_as_asked_for(dataset):
    mask = np.ones((100, 100), dtype=np.uint8)
    evaluator = SemSegEvaluator(dataset)
    wide, usual = (evaluator._mask_to_boundary(mask, *ratio).sum() for ratio in ([0.05], []))
    # 2 and 5 % of a diagonal of 141 pixels.
    assert (usual, wide) == (100**2 - 94**2, 100**2 - 86**2)


@pytest.mark.parametrize(
    ("change", "file_name", "message"),
    [
        ({}, "b.jpg", "b.jpg is not an image in 'two_halves'"),
        ({"sem_seg_file_name": None}, "a.jpg", "a.jpg has no sem_seg_file_name in 'two_halves'"),
        (
            {"sem_seg": np.zeros((40, 60, 3))},
            "a.jpg",
            r"a.jpg has the shape \(40, 60, 3\), its prediction \(40, 60\)",
        ),
        ({"sem_seg": np.zeros((40, 50))}, "a.jpg", r"shape \(40, 50\), its prediction"),
    ],
)
def test_maps_that_cannot_be_compared_are_named(dataset, change, file_name, message):
    DatasetCatalog.get(dataset)[0].update(change)
    evaluator = SemSegEvaluator(dataset)
    scores = _scores(np.zeros((40, 60), dtype=np.int64))
    with pytest.raises(DataError, match=message):
        evaluator.process([{"file_name": file_name}], [{"sem_seg": scores}])
