import json
import logging
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from torch import nn

from d2lite.data import MetadataCatalog
from d2lite.engine import (
    CallbackHook,
    DefaultTrainer,
    HookBase,
    default_setup,
    evaluate_checkpoint,
)
from d2lite.engine.evaluating import evaluate_augmented
from d2lite.engine.resuming.checkpoint_peek import seed_of_checkpoint
from d2lite.modeling import build_model
from d2lite.utils.errors import (
    ConfigError,
    DataError,
    DeviceError,
    MissingFileError,
    OutputError,
    UserError,
)

from .conftest import make_records, run, saved
from .toys import weights


def test_run_leaves_weights_config_metrics_picture_and_results(toy_cfg, caplog):
    with caplog.at_level(logging.INFO):
        trainer = run(toy_cfg)
    out = Path(toy_cfg.OUTPUT_DIR)
    assert {"model_final.pth", "last_checkpoint", "config.yaml", "metrics.json"} <= {
        path.name for path in out.iterdir()
    }
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert {"lr", "total_loss", "loss_box"} <= set(lines[0])
    assert any("bbox/AP" in line for line in lines)
    assert "AP50" in trainer._last_eval_results["bbox"]
    picture = cv2.imread(str(out / "inference" / "predictions_toy_val.jpg"))
    assert picture.shape[1] > 900
    closing = caplog.records[-1].getMessage()
    for part in (
        "AP50",
        "model_final.pth",
        "predictions_toy_val.jpg",
        "d2lite eval",
        "d2lite predict",
    ):
        assert part in closing


def test_model_optimizer_and_loader_can_be_replaced(toy_cfg):
    trainer = DefaultTrainer(toy_cfg)
    parts = nn.Linear(1, 1), torch.optim.SGD([torch.zeros(1)], lr=1.0), [[]]
    trainer.model, trainer.optimizer, trainer.data_loader = parts
    step = trainer._trainer
    assert (step.model, step.optimizer, step.data_loader) == parts
    assert trainer.model is parts[0]


def test_checkpoint_holds_everything_that_a_resume_needs(toy_cfg):
    run(toy_cfg)
    content = saved(toy_cfg, "model_final.pth")
    assert content["iteration"] == 5
    assert content["trainer"]["iteration"] == 5
    assert content["trainer"]["seed"] == 5
    assert content["trainer"]["_trainer"]["optimizer"]["param_groups"]
    assert content["trainer"]["hooks"]["LRScheduler"]["last_epoch"] == 6
    assert content["d2lite"]["class_names"] == ["nut", "bolt", "washer"]
    assert "toy_train" in content["d2lite"]["config"]
    assert content["d2lite"]["version"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_resumed_run_ends_bit_for_bit_as_the_uninterrupted_one(toy_cfg, tmp_path, workers):
    """Iteration, schedule, momentum, batch norm, stream and dropout all have to go on."""
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    toy_cfg.SOLVER.IMS_PER_BATCH = 4
    toy_cfg.SOLVER.ACCUMULATE_STEPS = 2
    toy_cfg.DATALOADER.NUM_WORKERS = workers
    whole_cfg = toy_cfg.clone()
    whole_cfg.OUTPUT_DIR = str(tmp_path / "whole")
    whole = run(whole_cfg)

    # 5 iterations were made, the last checkpoint is of 4: the fifth has to be made again.
    run(toy_cfg, stop_at=5)
    rates = []
    torch.manual_seed(77)
    resumed = DefaultTrainer(toy_cfg)
    resumed.resume_or_load(resume=True)
    resumed.register_hooks(
        [CallbackHook(before_step=lambda t: rates.append(t.optimizer.param_groups[0]["lr"]))]
    )
    assert resumed.start_iter == 4
    resumed.train()
    assert torch.equal(weights(resumed), weights(whole))
    final, expected = (saved(cfg, "model_final.pth") for cfg in (toy_cfg, whole_cfg))
    for name, value in expected["model"].items():
        assert torch.equal(final["model"][name], value), name
    # 0.01 until iteration 4, then a tenth of it.
    assert rates == pytest.approx([0.001, 0.001])


def test_finished_run_resumes_with_no_step_left_and_evaluates(toy_cfg):
    before = weights(run(toy_cfg))
    again = run(toy_cfg, resume=True)
    assert again.start_iter == again.max_iter
    assert torch.equal(weights(again), before)
    assert "bbox" in again._last_eval_results


def test_a_new_run_in_the_folder_of_another_one_says_what_it_replaces(toy_cfg, caplog):
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    with caplog.at_level(logging.WARNING):
        run(toy_cfg.clone(), stop_at=3)
        assert "earlier run" not in caplog.text
        run(toy_cfg.clone(), resume=True)
        assert "earlier run" not in caplog.text
        run(toy_cfg)
    assert f"{toy_cfg.OUTPUT_DIR} holds the checkpoints of an earlier run" in caplog.text
    assert "--resume to continue" in caplog.text


def test_drawn_seed_goes_on_after_a_resume(toy_cfg):
    """Each start draws another seed; going on with it would be another stream of samples."""
    toy_cfg.SEED = -1
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    first_cfg, second_cfg = toy_cfg.clone(), toy_cfg.clone()
    first = run(first_cfg, stop_at=3)
    assert first.seed >= 0
    assert seed_of_checkpoint(toy_cfg.OUTPUT_DIR) == first.seed
    second = run(second_cfg, resume=True)
    assert second.seed == second.cfg.SEED == second._trainer.seed == first.seed


def test_changed_seed_is_named_at_a_resume(toy_cfg, caplog):
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    run(toy_cfg.clone(), stop_at=3)
    toy_cfg.SEED = 6
    with caplog.at_level(logging.WARNING):
        run(toy_cfg, resume=True)
    assert "SEED was 5 when the run began and is 6 now" in caplog.text


@pytest.mark.parametrize("is_inserted", [True, False])
def test_scalars_of_a_hook_before_the_last_one_are_written(toy_cfg, is_inserted):
    """People write `hooks.insert(-1, ...)`, or exchange the last two, to come before the writer."""

    class Measures(HookBase):
        def after_step(self):
            value = self.trainer.iter
            self.trainer.storage.put_scalar("validation_loss", value, smoothing_hint=False)

    class Trainer(DefaultTrainer):
        def build_hooks(self):
            built = super().build_hooks()
            built.insert(-1 if is_inserted else len(built), Measures())
            return built if is_inserted else [*built[:-2], *built[-2:][::-1]]

    toy_cfg.DATASETS.TEST = ()
    trainer = Trainer(toy_cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    lines = (Path(toy_cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row.get("validation_loss") for row in rows] == [row["iteration"] for row in rows]


def test_after_backward_of_hooks_fires_under_the_default_trainer(toy_cfg):
    """In the reference it never does there."""
    seen = []

    class Looks(HookBase):
        def after_backward(self) -> None:
            seen.append((self.trainer.iter, self.trainer.model.box.weight.grad is not None))

    trainer = DefaultTrainer(toy_cfg)
    trainer.register_hooks([Looks()])
    trainer.train()
    assert seen == [(number, True) for number in range(6)]


def test_weights_are_on_disk_before_evaluation_begins(toy_cfg):
    """If the evaluation dies, nothing of the training may be lost."""

    class Broken(DefaultTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            assert Path(cfg.OUTPUT_DIR, "model_final.pth").exists()
            raise RuntimeError("the evaluator died")

    with pytest.raises(RuntimeError, match="the evaluator died"):
        Broken(toy_cfg).train()
    assert saved(toy_cfg, "model_final.pth")["iteration"] == 5


def test_number_of_classes_follows_from_the_data(toy_cfg, caplog):
    """And the config.yaml beside the weights builds that very model."""
    toy_cfg.MODEL.META_ARCHITECTURE = "ToyDetectorWithRoiHeads"
    with caplog.at_level(logging.INFO):
        trainer = WithRoiHeads(toy_cfg)
    assert trainer.cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3
    assert "NUM_CLASSES 3 follows from the classes of the dataset toy_train" in caplog.text
    assert "NUM_CLASSES: 3" in Path(toy_cfg.OUTPUT_DIR, "config.yaml").read_text()
    assert trainer.model.class_names == ["nut", "bolt", "washer"]


class WithRoiHeads(DefaultTrainer):
    """The toy detector under the name of an architecture whose classes are known."""

    def __init__(self, cfg) -> None:
        cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
        super().__init__(cfg)

    @classmethod
    def build_model(cls, cfg):
        toy = cfg.clone()
        toy.MODEL.META_ARCHITECTURE = "ToyDetector"
        return super().build_model(toy)


def test_number_of_classes_that_was_set_and_is_wrong_stops_before_the_first_step(toy_cfg):
    toy_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    trainer = WithRoiHeads(toy_cfg)
    with pytest.raises(ConfigError) as caught:
        trainer.train()
    message = str(caught.value)
    assert "MODEL.ROI_HEADS.NUM_CLASSES=2" in message
    assert "3 classes: nut, bolt, washer" in message
    assert "Set MODEL.ROI_HEADS.NUM_CLASSES 3" in message


def test_more_classes_than_the_data_has_train_and_are_evaluated_with_a_warning(toy_cfg, caplog):
    toy_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 5
    WithRoiHeads(toy_cfg).train()
    assert "MODEL.ROI_HEADS.NUM_CLASSES=5 is more than the data has" in caplog.text


def renumbered(records: list[dict]) -> list[dict]:
    """The records of CLASSES with the numbers of ["bolt", "nut", "washer"]."""
    for record in records:
        for obj in record["annotations"]:
            obj["category_id"] = [1, 0, 2][obj["category_id"]]
    return records


def test_evaluation_set_with_classes_in_another_order_is_joined_by_name(
    toy_cfg, register, tmp_path
):
    register("same_val", make_records(tmp_path, 4))
    register("other_val", renumbered(make_records(tmp_path, 4)), ["bolt", "nut", "washer"])
    toy_cfg.DATASETS.TEST = ("same_val", "other_val")
    trainer = run(toy_cfg)
    results = trainer.test(trainer.cfg, trainer.model)
    assert results["other_val"]["bbox"] == pytest.approx(results["same_val"]["bbox"], nan_ok=True)


def test_set_with_zero_classes_is_refused(toy_cfg, register, tmp_path):
    records = [{**record, "annotations": []} for record in make_records(tmp_path, 2)]
    register("classless", records, [])
    toy_cfg.DATASETS.TRAIN = ("classless",)
    toy_cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    with pytest.raises(ConfigError, match="'classless' has zero classes"):
        DefaultTrainer(toy_cfg)


def test_one_text_in_place_of_a_list_of_classes_is_refused(toy_cfg, register, tmp_path):
    """It would be read letter by letter."""
    register("person_alone", make_records(tmp_path, 2), "person")
    toy_cfg.DATASETS.TRAIN = ("person_alone",)
    with pytest.raises(ConfigError, match=r"thing_classes=\['person'\]"):
        DefaultTrainer(toy_cfg)


def test_resume_onto_other_classes_is_refused_and_names_the_change(toy_cfg, register, tmp_path):
    run(toy_cfg)
    records = make_records(tmp_path, 4)
    register("renamed", records, ["nut", "bolt", "screw"])
    toy_cfg.DATASETS.TRAIN = toy_cfg.DATASETS.TEST = ("renamed",)
    with pytest.raises(ConfigError, match="gone: washer; new: screw"):
        run(toy_cfg, resume=True)


def test_weights_of_other_classes_are_reported_when_a_new_run_begins(
    toy_cfg, register, tmp_path, caplog
):
    run(toy_cfg)
    toy_cfg.MODEL.WEIGHTS = str(Path(toy_cfg.OUTPUT_DIR) / "model_final.pth")
    register("renamed", make_records(tmp_path, 4), ["nut", "bolt", "screw"])
    toy_cfg.DATASETS.TRAIN = toy_cfg.DATASETS.TEST = ("renamed",)
    toy_cfg.OUTPUT_DIR = str(tmp_path / "second")
    with caplog.at_level(logging.WARNING):
        run(toy_cfg)
    assert "trained for other classes" in caplog.text
    assert "gone: washer; new: screw" in caplog.text


def test_no_training_set_is_refused(toy_cfg):
    toy_cfg.DATASETS.TRAIN = ()
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN is empty"):
        DefaultTrainer(toy_cfg)


def test_training_set_without_images_is_refused(toy_cfg, register):
    register("nothing", [])
    toy_cfg.DATASETS.TRAIN = ("nothing",)
    with pytest.raises(DataError, match="nothing"):
        DefaultTrainer(toy_cfg)


def test_batch_that_cannot_be_split_is_refused(toy_cfg):
    toy_cfg.SOLVER.ACCUMULATE_STEPS = 3
    with pytest.raises(ConfigError, match=r"SOLVER\.ACCUMULATE_STEPS=3 cannot split the 2 images"):
        DefaultTrainer(toy_cfg)


def test_model_without_test_time_augmentation_is_refused_before_training(toy_cfg):
    toy_cfg.TEST.AUG.ENABLED = True
    with pytest.raises(ConfigError, match=r"TEST\.AUG"):
        DefaultTrainer(toy_cfg)


def test_output_folder_that_cannot_be_written_is_named(toy_cfg, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    toy_cfg.OUTPUT_DIR = str(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match=r"OUTPUT_DIR '.*file/out' cannot be written"):
        DefaultTrainer(toy_cfg)


def test_device_that_is_not_there_is_refused_before_data_are_read(toy_cfg, monkeypatch):
    monkeypatch.setattr(DefaultTrainer, "build_train_loader", None)
    toy_cfg.MODEL.DEVICE = "cuda:99"
    with pytest.raises(DeviceError, match=r"MODEL\.DEVICE 'cuda:99' was asked for"):
        DefaultTrainer(toy_cfg)
    assert not Path(toy_cfg.OUTPUT_DIR, "config.yaml").exists()


def test_unknown_precision_is_refused(toy_cfg):
    toy_cfg.SOLVER.AMP.ENABLED = True
    toy_cfg.SOLVER.AMP.PRECISION = "float8"
    with pytest.raises(ConfigError, match=r"SOLVER\.AMP\.PRECISION='float8'"):
        DefaultTrainer(toy_cfg)


def test_mixed_precision_comes_from_the_config(toy_cfg):
    toy_cfg.SOLVER.AMP.ENABLED = True
    toy_cfg.SOLVER.AMP.PRECISION = "bfloat16"
    trainer = DefaultTrainer(toy_cfg)
    assert trainer._trainer.precision == torch.bfloat16


def test_best_checkpoint_comes_from_the_config(toy_cfg):
    toy_cfg.SOLVER.BEST_CHECKPOINT.METRIC = "bbox/AP"
    toy_cfg.TEST.EVAL_PERIOD = 3
    run(toy_cfg)
    best = saved(toy_cfg, "model_best.pth")["trainer"]["hooks"]["BestCheckpointer"]
    assert best["metric"] == "bbox/AP"


def test_expected_results_are_verified(toy_cfg):
    toy_cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 99.0, 0.1]]
    with pytest.raises(UserError, match=r"not those of TEST\.EXPECTED_RESULTS"):
        run(toy_cfg)


def test_evaluators_have_to_match_the_sets(toy_cfg):
    with pytest.raises(ConfigError, match="2 evaluators were given for the 1 sets"):
        DefaultTrainer.test(toy_cfg, nn.Identity(), [None, None])


def test_results_of_several_sets_are_keyed_by_set(toy_cfg):
    toy_cfg.DATASETS.TEST = ("toy_val", "toy_train")
    trainer = DefaultTrainer(toy_cfg)
    assert list(DefaultTrainer.test(toy_cfg, trainer.model)) == ["toy_val", "toy_train"]


def test_setup_writes_log_and_config_and_draws_the_seed(toy_cfg):
    toy_cfg.SEED = -1
    default_setup(toy_cfg, None)
    out = Path(toy_cfg.OUTPUT_DIR)
    assert f"SEED: {toy_cfg.SEED}" in (out / "config.yaml").read_text()
    log = (out / "log.txt").read_text()
    assert f"SEED {toy_cfg.SEED}" in log
    assert "IMS_PER_BATCH: 2" in log


class TestEvaluateCheckpoint:
    def test_numbers_are_those_that_training_ended_with(self, toy_cfg):
        trained = run(toy_cfg)._last_eval_results
        toy_cfg.MODEL.WEIGHTS = str(Path(toy_cfg.OUTPUT_DIR) / "model_final.pth")
        again = evaluate_checkpoint(toy_cfg)
        assert json.dumps(again) == json.dumps(trained)

    def test_last_checkpoint_of_the_folder_is_taken_if_asked_for(self, toy_cfg):
        trained = run(toy_cfg)._last_eval_results
        assert json.dumps(evaluate_checkpoint(toy_cfg, resume=True)) == json.dumps(trained)

    def test_classes_in_another_order_are_joined_by_name(self, toy_cfg, register, tmp_path):
        run(toy_cfg)
        toy_cfg.MODEL.WEIGHTS = str(Path(toy_cfg.OUTPUT_DIR) / "model_final.pth")
        register("same", make_records(tmp_path, 4))
        register("renamed", renumbered(make_records(tmp_path, 4)), ["bolt", "nut", "washer"])
        toy_cfg.DATASETS.TEST = ("same", "renamed")
        results = evaluate_checkpoint(toy_cfg)
        assert results["renamed"]["bbox"] == pytest.approx(results["same"]["bbox"], nan_ok=True)

    def test_nothing_to_evaluate_on_is_refused(self, toy_cfg):
        toy_cfg.DATASETS.TEST = ()
        with pytest.raises(ConfigError, match=r"DATASETS\.TEST is empty"):
            evaluate_checkpoint(toy_cfg)


def test_second_run_in_a_folder_is_refused_until_the_first_has_ended(toy_cfg):
    """Two runs would overwrite each other's checkpoints."""
    Path(toy_cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    hold = (
        "import sys, time; from d2lite.utils.folder_lock import FolderLock; "
        "lock = FolderLock(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", hold, toy_cfg.OUTPUT_DIR]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=f"Another run is writing .*process {other.pid}"):
            DefaultTrainer(toy_cfg)
        other.kill()
    DefaultTrainer(toy_cfg).train()
    assert not (Path(toy_cfg.OUTPUT_DIR) / "run.lock").exists()


def test_training_ends_without_results_where_no_evaluator_is_known(toy_cfg, caplog):
    """As build_evaluator of detectron2's scripts ends for types that it does not know."""

    class Trainer(DefaultTrainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name, output_folder=None):
            raise NotImplementedError(f"no evaluator for {dataset_name}")

    # Else the trainer starts a log of its own, which pytest does not see.
    caplog.set_level("INFO", "d2lite")
    assert Trainer(toy_cfg).train() == {}
    assert "toy_val is not evaluated: no evaluator for toy_val" in caplog.text
    caplog.clear()
    cfg = toy_cfg.clone()
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    assert evaluate_augmented(Trainer, cfg, build_model(cfg)) == {}
    assert "toy_val is not evaluated" in caplog.text
    MetadataCatalog.get("toy_val").replace(evaluator_type="odd")
    with pytest.raises(ConfigError, match="'toy_val' has the evaluator_type 'odd'"):
        evaluate_checkpoint(toy_cfg)


def test_evaluation_on_data_that_are_not_there_ends_before_the_model_is_made(toy_cfg, monkeypatch):
    monkeypatch.setattr(DefaultTrainer, "build_model", None)
    toy_cfg.DATASETS.TEST = ("coco:no.json@photos",)
    with pytest.raises(MissingFileError, match=r"no\.json does not exist"):
        evaluate_checkpoint(toy_cfg)


def test_weights_can_be_none(toy_cfg):
    toy_cfg.MODEL.WEIGHTS = None
    toy_cfg.DATASETS.TEST = ()
    trainer = DefaultTrainer(toy_cfg)
    trainer.resume_or_load(resume=False)
    assert trainer.start_iter == 0
    assert trainer.data_loader
