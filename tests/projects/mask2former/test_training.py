"""Samples of the three kinds of segmentation."""

import pytest

from d2lite.engine import DefaultTrainer, setup_cfg

from .small import PANOPTIC, SEMANTIC, TINY


@pytest.mark.parametrize("task", [[], PANOPTIC, SEMANTIC], ids=["instance", "panoptic", "semantic"])
def test_validation_losses_are_measured_on_samples_of_its_mapper(tmp_path, task):
    cfg = setup_cfg("mask2former_shapes.yaml", [*TINY, *task, "OUTPUT_DIR", str(tmp_path)])
    model = DefaultTrainer.build_model(cfg).train()
    loader = DefaultTrainer.build_validation_loader(cfg, cfg.DATASETS.TEST[0])
    batch = next(iter(loader))
    assert len(batch[0]["instances"]) > 0
    assert batch[0]["image"].shape[1:] == batch[0]["instances"].image_size
    assert all(loss.isfinite() for loss in model(batch).values())
