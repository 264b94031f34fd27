"""Validation loss: its value, that it is the same every time, and that it leaves no trace."""

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2lite.config import find_config_file, get_cfg
from d2lite.data import DatasetCatalog
from d2lite.engine import DefaultTrainer
from d2lite.engine.evaluating.validation_data import build_validation_loader
from d2lite.engine.hooks import measure_losses, undisturbed_losses
from d2lite.modeling import build_model
from d2lite.structures import Boxes, Instances, PolygonMasks
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, DataError
from d2lite.utils.events import EventStorage, log_scalars
from d2lite.utils.keyed_rng import image_generator, keyed_images

from .conftest import make_records


class Restless(nn.Module):
    """Everything that could make a loss differ from one call to the next, or move the model."""

    training_buffers = ("normalizer",)

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
        self.frozen = nn.BatchNorm1d(2).eval()
        self.noise = nn.Dropout(0.5)
        self.register_buffer("normalizer", torch.tensor(1.0), persistent=False)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(
                    torch.linspace(-1, 1 + number, parameter.numel()).view_as(parameter)
                )

    def forward(self, batch: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        assert self.training, "the parts that give losses stay in training mode"
        log_scalars(**{"own/scalar": 1.0})
        x = self.noise(self.frozen(self.backbone(torch.stack([sample["x"] for sample in batch]))))
        self.normalizer = self.normalizer + 1
        with keyed_images([sample["draw_key"] for sample in batch]):
            keyed = [torch.rand(1, generator=image_generator(i, 1, "cpu")) for i in range(len(x))]
        return {
            "loss_x": x.square().mean() / self.normalizer,
            "loss_keyed": torch.cat(keyed).mean(),
            "loss_global": torch.rand(1).sum() + np.random.rand() + random.random(),
        }


def batches(size: int) -> list[list[dict]]:
    samples = [{"x": torch.tensor([0.1 * n, 1.0 - 0.3 * n]), "draw_key": 100 + n} for n in range(5)]
    return [samples[start : start + size] for start in range(0, 5, size)]


def test_value_is_the_same_every_time_whatever_was_drawn_before():
    model = Restless()
    first = measure_losses(model, batches(2))
    torch.rand(7), np.random.rand(3), random.random()
    assert measure_losses(model, batches(2)) == first
    assert next(iter(first)) == "total_loss"
    assert first["total_loss"] == pytest.approx(sum(list(first.values())[1:]))


def test_value_is_the_mean_over_images_for_any_size_of_the_batches():
    """The last batch has one image of five, and must not count as much as the others."""
    model = Restless()
    by_one, by_two = (measure_losses(model, batches(size)) for size in (1, 2))
    for name in ("loss_x", "loss_keyed"):
        assert by_two[name] == pytest.approx(by_one[name], rel=1e-6)
    model.eval()
    model.training = True
    model.normalizer.fill_(1.0)
    with torch.no_grad():
        values = []
        for (sample,) in batches(1):
            model.normalizer.fill_(1.0)
            values.append(float(model([sample])["loss_x"]))
    assert by_one["loss_x"] == pytest.approx(np.mean(values), rel=1e-6)


def test_nothing_of_the_training_is_disturbed():
    """Modes, statistics, running numbers, gradients, generators, scalars."""
    model = Restless()
    modes = [module.training for module in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with EventStorage() as storage:
        measure_losses(model, batches(2))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(*pair) for pair in zip(model.buffers(), buffers, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.array_equal(np.random.get_state()[1], generators[1])
    assert random.getstate() == generators[2]
    assert storage.latest() == {}


def test_model_is_as_before_after_an_exception():
    model = Restless()
    with pytest.raises(KeyError):
        measure_losses(model, [[{"x": torch.zeros(2)}]])
    assert model.backbone.training
    assert model.noise.training
    assert not model.frozen.training
    assert model.normalizer == 1


def test_model_in_evaluation_mode_gives_losses_and_goes_back():
    model = Restless().eval()
    assert measure_losses(model, batches(1)) == measure_losses(Restless(), batches(1))
    assert not any(module.training for module in model.modules())


def test_drop_path_of_a_transformer_is_off():
    """It is no dropout of torch's, and sits wherever its author put it."""

    class DropPath(nn.Module):
        pass

    model = nn.ModuleDict({"head": nn.Sequential(DropPath(), nn.Linear(1, 1))})
    with undisturbed_losses(model):
        assert not model["head"][0].training
        assert model["head"][1].training
    assert model["head"][0].training


def test_attention_drops_no_shares():
    """It has a rate, and no module for it."""
    attention = nn.MultiheadAttention(4, 1, dropout=0.5).train()
    x = torch.rand(6, 1, 4)
    with undisturbed_losses(nn.Sequential(attention)):
        first, again = (attention(x, x, x)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert attention.training


def test_no_image_is_refused():
    with pytest.raises(DataError, match="no image to measure the validation loss on"):
        measure_losses(Restless(), [])


def test_processes_are_weighted_by_their_images(monkeypatch):
    """One of them may have got no image at all."""
    others = [({"loss": 9.0}, 3), ({}, 0)]
    monkeypatch.setattr(comm, "all_gather", lambda share: [share, *others])

    class One(nn.Module):
        def forward(self, batch):
            return {"loss": torch.tensor(2.0), "loss_b": torch.tensor(4.0)}

    found = measure_losses(One(), [[{}]])
    assert found == {"total_loss": 11 / 4 + 1, "loss": 11 / 4, "loss_b": 1.0}


# Widths that make a published architecture a matter of milliseconds.
_NARROW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.BACKBONE.FREEZE_AT", 0,
    "MODEL.RESNETS.DEPTH", 18,
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS", 8,
    "MODEL.FPN.OUT_CHANNELS", 16,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 16,
    "MODEL.ROI_MASK_HEAD.CONV_DIM", 8,
    "MODEL.RETINANET.NUM_CONVS", 1,
]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["cascade_mask_rcnn_R_50_FPN_1x", "faster_rcnn_R_50_FPN_1x", "retinanet_R_50_FPN_1x"]
)
def test_detectors_give_the_losses_of_their_training(name):
    """Under the same names, with the same proposals each time, and without moving."""
    cfg = get_cfg()
    cfg.merge_from_file(find_config_file(f"{name}.yaml"))
    cfg.merge_from_list(_NARROW)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    truth = Instances((64, 64), gt_boxes=Boxes([[8, 8, 40, 50]]), gt_classes=torch.tensor([3]))
    truth.gt_masks = PolygonMasks([[np.array([8.0, 8, 40, 8, 40, 50, 8, 50])]])
    image = (torch.arange(3 * 64 * 64) % 251).view(3, 64, 64).byte()
    batch = [{"image": image, "height": 64, "width": 64, "instances": truth, "draw_key": 5}]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    running = model.training_state.state_dict()
    found = measure_losses(model, [batch])
    assert measure_losses(model, [batch]) == found
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training_state.state_dict() == running
    assert all(np.isfinite(value) for value in found.values())
    assert set(found) == {"total_loss", *model(batch)}


# ------------------------------------------------------------------ in a whole run


def metrics(cfg) -> dict[int, dict]:
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    return {line["iteration"]: line for line in map(json.loads, lines)}


def train(cfg) -> DefaultTrainer:
    torch.manual_seed(0)
    trainer = DefaultTrainer(cfg)
    trainer.train()
    return trainer


def test_losses_come_into_the_log_and_the_writers(toy_cfg, caplog):
    toy_cfg.TEST.LOSS_PERIOD = 4
    with caplog.at_level(logging.INFO):
        trainer = train(toy_cfg)
    history = trainer.storage.history("validation/total_loss").values()
    assert [iteration for _, iteration in history] == [3, 5], "at the period, and the last step"
    last = metrics(toy_cfg)[5]
    parts = ("validation/loss_box", "validation/loss_class")
    assert last["validation/total_loss"] == pytest.approx(sum(last[part] for part in parts))
    assert "Validation losses on toy_val at iteration 3: total_loss" in caplog.text
    line = next(m for m in caplog.messages if m.startswith("iter: ") and "total_loss" in m)
    assert "validation" not in line, "the line of the training tells of the training"


def test_values_are_those_of_the_model_on_the_plain_images(toy_cfg):
    """Neither flipped nor of a random size; batch norm and dropout as in evaluation."""
    toy_cfg.TEST.LOSS_PERIOD = 6
    trainer = train(toy_cfg)
    measured = trainer.storage.latest()["validation/loss_box"][0]
    model = trainer.model
    records = DatasetCatalog.get("toy_val")
    loader = build_validation_loader(toy_cfg, "toy_val")
    samples = [sample for batch in loader for sample in batch]
    assert [sample["image_id"] for sample in samples] == [r["image_id"] for r in records]
    assert {min(sample["image"].shape[1:]) for sample in samples} == {32}
    model.eval()
    errors = []
    for sample in samples:
        colour = sample["image"].float().mean((1, 2))[None]
        truth = sample["instances"].gt_boxes.tensor[0]
        errors.append((model.box(model.norm(colour))[0] - truth / 50).square().mean().item())
    assert measured == pytest.approx(np.mean(errors), rel=1e-5)


def test_several_sets_are_told_apart_and_those_without_truth_left_out(toy_cfg, register, tmp_path):
    register("other_val", make_records(tmp_path, 2))
    bare = [{**record, "annotations": []} for record in make_records(tmp_path, 2)]
    register("bare_val", bare)
    toy_cfg.DATASETS.TEST = ("toy_val", "bare_val", "other_val")
    toy_cfg.TEST.LOSS_PERIOD = 6
    trainer = train(toy_cfg)
    names = {name for name in trainer.storage.latest() if "validation" in name}
    assert names == {
        f"{name}/validation/{loss}"
        for name in ("toy_val", "other_val")
        for loss in ("total_loss", "loss_box", "loss_class")
    }


def test_best_checkpoint_can_follow_a_validation_loss(toy_cfg):
    """It has a period of its own."""
    toy_cfg.TEST.LOSS_PERIOD = 2
    toy_cfg.SOLVER.BEST_CHECKPOINT.METRIC = "validation/total_loss"
    toy_cfg.SOLVER.BEST_CHECKPOINT.MODE = "min"
    trainer = train(toy_cfg)
    measured = trainer.storage.history("validation/total_loss").values()
    history = {iteration: value for value, iteration in measured}
    best = torch.load(Path(toy_cfg.OUTPUT_DIR) / "model_best.pth", weights_only=True)
    state = best["trainer"]["hooks"]["BestCheckpointer"]
    assert state["iteration"] == min(history, key=history.get)
    assert state["value"] == pytest.approx(min(history.values()))


def test_loss_on_sets_without_annotations_is_refused(toy_cfg, register, tmp_path):
    records = [{**record, "annotations": []} for record in make_records(tmp_path, 2)]
    register("bare_val", records)
    toy_cfg.DATASETS.TEST = ("bare_val",)
    toy_cfg.TEST.LOSS_PERIOD = 2
    with pytest.raises(ConfigError, match=r"\('bare_val',\), where nothing is annotated"):
        DefaultTrainer(toy_cfg)


def test_finished_training_is_not_measured_again(toy_cfg):
    toy_cfg.TEST.LOSS_PERIOD = 4
    trainer = train(toy_cfg)
    with pytest.raises(RuntimeError, match="This training is finished"):
        trainer.train()


def test_negative_period_is_refused(toy_cfg):
    toy_cfg.TEST.LOSS_PERIOD = -1
    with pytest.raises(ConfigError, match=r"TEST\.LOSS_PERIOD is -1; it must be 0 or more"):
        DefaultTrainer(toy_cfg)
