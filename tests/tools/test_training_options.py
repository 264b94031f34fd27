"""What a run can do beside its steps, all at once and from the command line."""

import json

import pytest
import torch

from d2lite.data import DatasetCatalog, MetadataCatalog

from .conftest import TINY

# TINY ends with a learning rate of its own, which --auto-scale-lr would refuse.
OPTIONS = [
    *TINY[: TINY.index("SOLVER.BASE_LR")],
    *("DATASETS.TRAIN", "('few_train',)", "DATASETS.TEST", "('few_val',)"),
    *("SOLVER.MAX_EPOCHS", "1", "SOLVER.CHECKPOINT_PERIOD", "2"),
    *("SOLVER.ACCUMULATE_STEPS", "2", "MODEL_EMA.ENABLED", "True", "MODEL_EMA.DECAY", "0.9"),
    *("TEST.EVAL_PERIOD", "2", "TEST.LOSS_PERIOD", "2"),
    *("SOLVER.BEST_CHECKPOINT.METRIC", "validation/total_loss"),
    *("SOLVER.BEST_CHECKPOINT.MODE", "min"),
    *("SOLVER.EARLY_STOPPING.METRIC", "validation/total_loss", "SOLVER.EARLY_STOPPING.MODE", "min"),
    *("SOLVER.EARLY_STOPPING.PATIENCE", "1", "SOLVER.EARLY_STOPPING.MIN_DELTA", "1000"),
]


# A user's own file: the first images of the shapes.
SETS = """
from d2lite.data import DatasetCatalog, MetadataCatalog

for name, whole, count in (("few_train", "shapes_train", 16), ("few_val", "shapes_val", 5)):
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda w=whole, n=count: DatasetCatalog.get(w)[:n])
        classes = MetadataCatalog.get(whole).thing_classes
        MetadataCatalog.get(name).set(thing_classes=classes, evaluator_type="coco")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    (folder / "sets.py").write_text(SETS)
    yield folder
    for name in ("few_train", "few_val"):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def train(run, folder):
    """The run with everything on."""
    return run(
        "train_net",
        *("--config-file", "quick_start.yaml", "--import", folder / "sets.py", "--auto-scale-lr"),
        *(*OPTIONS, "OUTPUT_DIR", folder / "out"),
    )


def test_run_with_everything_on_ends_early_and_whole(run, folder):
    """No loss falls by 1,000, so the second measurement, after step 4, ends it."""
    result = train(run, folder)
    assert result.status == 0, result.err
    assert "SOLVER.BASE_LR 0.001 -> 0.0005 by the linear rule" in result.out
    assert "Stopped early, after 4 of" in result.out
    lines = [
        json.loads(line) for line in (folder / "out" / "metrics.json").read_text().splitlines()
    ]
    last = {key: value for line in lines for key, value in line.items()}
    assert last["lr"] < 0.0005
    assert 0 < last["epoch"] < 1
    assert {"validation/total_loss", "validation/loss_mask", "bbox/AP", "segm/AP"} <= set(last)
    saved = torch.load(folder / "out" / "model_final.pth", weights_only=True)
    assert saved["iteration"] == 3
    trained = saved["trainer"]["hooks"]["WeightAveraging"]["training_weights"]
    name = "roi_heads.box_predictor.bbox_pred.weight"
    assert not torch.equal(saved["model"][name], trained[name])


def test_evaluating_its_weights_gives_its_numbers(run, folder):
    """They are the averaged ones, and nobody has to say so."""
    printed = (folder / "out" / "inference" / "coco_instances_results.json").read_text()
    result = run(
        "train_net",
        *("--config-file", folder / "out" / "config.yaml", "--import", folder / "sets.py"),
        *("--eval-only",),
        *("MODEL.WEIGHTS", folder / "out" / "model_final.pth", "OUTPUT_DIR", folder / "again"),
    )
    assert result.status == 0, result.err
    again = (folder / "again" / "inference" / "coco_instances_results.json").read_text()
    assert json.loads(again) == json.loads(printed)
    assert json.loads(printed)


@pytest.mark.slow
def test_ended_run_stays_ended(run, folder):
    """Its config.yaml has all that was derived, so --resume finds nothing to do."""
    if not (folder / "out").exists():
        assert train(run, folder).status == 0
    result = run(
        "train_net",
        *("--config-file", folder / "out" / "config.yaml", "--import", folder / "sets.py"),
        "--resume",
    )
    assert result.status == 0, result.err
    assert "Finished: 0 iterations" in result.out
    saved = torch.load(folder / "out" / "model_final.pth", weights_only=True)
    assert saved["iteration"] == 3
