"""Runs of Python configs: the same trainer, tools, files and numbers as with the other configs."""

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import LazyConfig, PythonRunConfig, as_run_config, instantiate
from d2lite.engine import (
    CallbackHook,
    DefaultPredictor,
    DefaultTrainer,
    SimpleTrainer,
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
    evaluate_checkpoint,
    hooks,
    setup_cfg,
)
from d2lite.engine.derived_config import ClassKey
from d2lite.evaluation import DatasetEvaluators
from d2lite.utils.errors import ConfigError, DataError

from .conftest import make_records, run
from .toys import weights

CONFIG = """
import d2lite.data.transforms as T
from fvcore.common.param_scheduler import MultiStepParamScheduler
from torch.optim import SGD

from d2lite.config import LazyCall as L
from d2lite.data import (
    DatasetMapper, build_detection_test_loader, build_detection_train_loader,
    get_detection_dataset_dicts,
)
from d2lite.evaluation import COCOEvaluator
from d2lite.solver import WarmupParamScheduler, get_default_optimizer_params
from {package}.toys import ToyDetector

model = L(ToyDetector)(cfg=None)
dataloader = dict(
    train=L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="toy_train"),
        mapper=L(DatasetMapper)(
            is_train=True,
            augmentations=[
                L(T.ResizeShortestEdge)(
                    short_edge_length=(24, 32), max_size=1333, sample_style="choice"
                ),
                L(T.RandomFlip)(),
            ],
            image_format="BGR",
        ),
        total_batch_size=2,
        num_workers=0,
    ),
    test=L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="toy_val", filter_empty=False),
        mapper=L(DatasetMapper)(
            is_train=False,
            augmentations=[L(T.ResizeShortestEdge)(short_edge_length=32, max_size=1333)],
            image_format="${{...train.mapper.image_format}}",
        ),
        num_workers=0,
    ),
    evaluator=L(COCOEvaluator)(dataset_name="${{..test.dataset.names}}"),
)
optimizer = L(SGD)(
    params=L(get_default_optimizer_params)(weight_decay_norm=0.0),
    lr=0.01, momentum=0.9, weight_decay=1e-4,
)
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[4], num_updates=6),
    warmup_length=2 / 6,
    warmup_factor=1e-3,
)
train = dict(
    output_dir={output_dir!r}, init_checkpoint="", max_iter=6, seed=5, device="cpu",
    amp=dict(enabled=False), ddp=dict(broadcast_buffers=False),
    checkpointer=dict(period=2, max_to_keep=100), eval_period=0, log_period=20,
)
"""


@pytest.fixture
def config_file(toy_cfg, tmp_path) -> str:
    """A Python config that describes the run of `toy_cfg`."""
    text = CONFIG.format(package=__package__, output_dir=str(tmp_path / "python"))
    (tmp_path / "toy.py").write_text(text)
    return str(tmp_path / "toy.py")


def results(trainer) -> str:
    """As text, in which "not a number" equals itself."""
    return str(trainer._last_eval_results)


def test_both_kinds_of_config_give_equal_weights_and_results(toy_cfg, config_file):
    """A run may move from one kind to the other without a change of its numbers."""
    by_keys = run(toy_cfg)
    by_parts = run(LazyConfig.load(config_file))
    # Keys choose a fused optimizer, which rounds in another order.
    assert torch.allclose(weights(by_keys), weights(by_parts), rtol=1e-6, atol=1e-7)
    assert results(by_keys) == results(by_parts)
    assert (Path(by_parts.cfg.OUTPUT_DIR) / "inference/coco_instances_results.json").is_file()


def test_a_stopped_run_continues_from_the_config_that_it_wrote(config_file):
    whole = weights(run(setup_cfg(config_file)))
    changed = [f"train.output_dir={Path(config_file).parent / 'stopped'}", "++train.seed=-1"]
    stopped = run(setup_cfg(config_file, [*changed, "train.seed=5"]), stop_at=4)
    saved = setup_cfg(f"{stopped.cfg.OUTPUT_DIR}/config.yaml")
    assert isinstance(saved, PythonRunConfig)
    assert torch.equal(weights(run(saved, resume=True)), whole)


def test_a_drawn_seed_is_in_the_saved_config(config_file):
    cfg = setup_cfg(config_file, ["train.seed=null", "train.max_iter=1"])
    trainer = run(cfg)
    assert trainer.seed == setup_cfg(f"{trainer.cfg.OUTPUT_DIR}/config.yaml").SEED


def test_evaluation_and_predictor_read_the_trained_weights(config_file):
    trainer = run(setup_cfg(config_file))
    saved = setup_cfg(
        f"{trainer.cfg.OUTPUT_DIR}/config.yaml",
        [f"train.init_checkpoint={trainer.cfg.OUTPUT_DIR}/model_final.pth"],
    )
    assert str(evaluate_checkpoint(saved)) == results(trainer)
    # As scripts do, with what LazyConfig.load gives.
    predictor = DefaultPredictor(saved.parts)
    found = predictor(np.zeros((48, 32, 3), np.uint8))["instances"]
    assert found.image_size == (48, 32)
    assert predictor.metadata.thing_classes == ["nut", "bolt", "washer"]


def test_options_of_the_other_configs_are_set_by_their_name(config_file):
    options = 'train.options={"MODEL_EMA.ENABLED":true,"SOLVER":{"BEST_CHECKPOINT.METRIC":bbox/AP}}'
    trainer = run(setup_cfg(config_file, [options, "train.eval_period=3"]))
    assert trainer.weight_average is not None
    assert (Path(trainer.cfg.OUTPUT_DIR) / "model_best.pth").is_file()
    with pytest.raises(ConfigError, match=r"Python config, train\.options: unknown config key"):
        setup_cfg(config_file, ['train.options={"MODEL_EMA.ENABLE":true}'])


def test_a_missing_test_image_ends_a_run_before_it_starts_unless_another_mapper_reads_it(
    config_file, register, tmp_path
):
    (record,) = make_records(tmp_path, 1)
    Path(record["file_name"]).unlink()
    register("my set", [record])
    cfg = LazyConfig.load(config_file)
    del cfg.dataloader.evaluator
    cfg.dataloader.test.dataset.names = "my set"
    with pytest.raises(DataError, match=r"1 of 1 images of 'my set' .*000\.png.*check 'my set'"):
        DefaultTrainer(cfg)
    cfg.dataloader.test.mapper = {"_target_": "builtins.dict"}
    DefaultTrainer(cfg)
    del cfg.dataloader.test.mapper
    DefaultTrainer(cfg)


def test_a_value_of_the_wrong_type_is_refused_with_its_place(config_file):
    with pytest.raises(ConfigError, match=r"train\.max_iter: SOLVER\.MAX_ITER is 'many'"):
        setup_cfg(config_file, ["train.max_iter=many"])


def test_several_test_sets_and_evaluators(config_file):
    cfg = LazyConfig.load(config_file)
    cfg.dataloader.test.dataset.names = ["toy_val", "toy_train"]
    trainer = DefaultTrainer(cfg)
    assert set(trainer.test(trainer.cfg, trainer.model)) == {"toy_val", "toy_train"}
    evaluator = OmegaConf.to_container(cfg.dataloader.evaluator, resolve=False)
    evaluator["dataset_name"] = "${...test.dataset.names}"
    cfg.dataloader.evaluator = [evaluator, evaluator]
    made = trainer.build_evaluator(trainer.cfg, "toy_train")
    assert isinstance(made, DatasetEvaluators)


def test_a_loader_of_ones_own_trains_and_a_warning_says_that_nothing_is_evaluated(
    config_file, caplog
):
    path = Path(config_file)
    path.write_text(
        path.read_text()
        + f"\nfrom {__package__}.toys import LineModel, PointStream\n"
        + "model = L(LineModel)()\n"
        + "dataloader['train'] = L(PointStream)(batch_size=4)\n"
        + "dataloader['test'] = None\n"
    )
    with caplog.at_level(logging.WARNING):
        trainer = run(LazyConfig.load(config_file))
    assert trainer.iter == 6
    assert "there will be no evaluation" in caplog.text


def test_a_number_of_classes_that_does_not_fit_is_refused_by_its_place():
    model = {"_target_": "d2lite.modeling.RetinaNet", "num_classes": 7}
    cfg = as_run_config(OmegaConf.create({"model": model}))
    assert ClassKey.of(cfg).count == 7
    assert ClassKey.of(cfg).shown == "model.num_classes"


def test_a_missing_part_is_named(config_file):
    cfg = LazyConfig.load(config_file)
    del cfg.optimizer
    with pytest.raises(ConfigError, match="has no optimizer, which the run needs"):
        DefaultTrainer(cfg)


def test_setup_of_a_config_without_a_model_prepares_folder_and_seed(tmp_path):
    cfg = OmegaConf.create({"train": {"output_dir": str(tmp_path / "out")}})
    default_setup(cfg, argparse.Namespace())
    assert cfg.train.seed >= 0
    assert LazyConfig.load(str(tmp_path / "out" / "config.yaml")) == cfg


def test_the_rate_of_a_python_config_is_not_scaled_in_silence(tmp_path):
    cfg = OmegaConf.create({"train": {"output_dir": str(tmp_path)}})
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        default_setup(cfg, argparse.Namespace(auto_scale_lr=True))


def test_an_override_after_resume_is_not_taken_for_a_file():
    parse = default_argument_parser().parse_args
    args = parse(["--config-file", "a.py", "--resume", "train.max_iter=3", "+a.b=1"])
    assert (args.resume, args.opts) == (True, ["train.max_iter=3", "+a.b=1"])
    assert parse(["--resume", "model.pth", "train.max_iter=3"]).resume == "model.pth"


def train_by_script(cfg, args) -> None:
    """What training scripts for Python configs do, without a DefaultTrainer."""
    model = instantiate(cfg.model)
    model.to(cfg.train.device)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    loader = instantiate(cfg.dataloader.train)
    model = create_ddp_model(model, **cfg.train.ddp)
    trainer = SimpleTrainer(model, loader, optimizer)
    checkpointer = DetectionCheckpointer(model, cfg.train.output_dir, trainer=trainer)
    trainer.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
            hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer),
            hooks.PeriodicWriter(
                default_writers(cfg.train.output_dir, cfg.train.max_iter),
                period=cfg.train.log_period,
            ),
            *args.hooks,
        ]
    )
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=args.resume)
    start = trainer.iter + 1 if args.resume and checkpointer.has_checkpoint() else 0
    trainer.train(start, cfg.train.max_iter)


def test_a_script_without_a_default_trainer_trains_and_continues(config_file):
    cfg = LazyConfig.apply_overrides(LazyConfig.load(config_file), ["train.log_period=1"])

    def stop() -> None:
        raise KeyboardInterrupt

    args = argparse.Namespace(resume=False, hooks=[])
    default_setup(cfg, args)
    stopping = CallbackHook(after_step=lambda inner: stop() if inner.iter == 3 else None)
    args.hooks = [stopping]
    with pytest.raises(KeyboardInterrupt):
        train_by_script(cfg, args)
    train_by_script(cfg, argparse.Namespace(resume=True, hooks=[]))
    out = Path(cfg.train.output_dir)
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines][-2:] == [4, 5]
    assert lines[-1]["lr"] == pytest.approx(0.001)
    assert (out / "model_final.pth").is_file()
