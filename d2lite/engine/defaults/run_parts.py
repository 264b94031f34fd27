"""RunParts: what a run is made of, each part built from a config by a method to override."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode, PythonRunConfig
from d2lite.data import (
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from d2lite.data.classes import get_fed_loss_cls_weights
from d2lite.data.dataset_dicts import counted_classes
from d2lite.evaluation import DatasetEvaluator
from d2lite.modeling import Detector, build_model
from d2lite.modeling.roi_heads import FastRCNNOutputLayers
from d2lite.projects import build_project_mapper, build_project_optimizer
from d2lite.solver import LRScheduler, build_lr_scheduler, build_optimizer
from d2lite.utils import comm
from d2lite.utils.logger import append_to_log_file
from d2lite.utils.provenance import config_hash, git_commit

from ..amp_trainer import AMPTrainer
from ..derived_config import ClassKey, auto_scale_workers, find_data_classes
from ..evaluating import build_validation_loader, evaluate_datasets
from ..hooks import WeightAverage
from ..reports.start import count_parameters
from ..resuming import names_for_drawing
from ..sharding import gather_state, is_sharded
from ..simple_trainer import SimpleTrainer
from ..stepping import LossGuard, StepRecord
from .make_evaluator import make_evaluator

logger = logging.getLogger(__name__)


def set_federated_weights(cfg: CfgNode, model: nn.Module) -> None:
    """Tell the federated loss how many images of the training data have each class.

    Args:
        cfg: DATASETS.TRAIN, whose loader was built, and the power of the numbers are read.
        model: box predictors with weights, as of a Python config, keep theirs.
    """
    waiting = [
        layers
        for layers in model.modules()
        if isinstance(layers, FastRCNNOutputLayers)
        and layers.use_fed_loss
        and layers.fed_loss_cls_weights is None
    ]
    names, power = cfg.DATASETS.TRAIN, cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER
    if not waiting or not len(names):
        return
    if MetadataCatalog.get(names[0]).get("class_image_count") is not None:
        weights = get_fed_loss_cls_weights(names, power)
    elif (rows := counted_classes(names)) is not None:
        weights = torch.tensor([float(row["images"]) for row in rows]) ** power
    else:
        return
    for layers in waiting:
        layers.set_fed_loss_cls_weights(weights)


def make_step(
    solver: CfgNode,
    model: nn.Module,
    data_loader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    *,
    seed: int | None,
    report: Callable[[StepRecord], str],
) -> SimpleTrainer:
    """Make the trainer of the steps, in the precision of SOLVER.AMP.

    Args:
        solver: the section SOLVER.
        model: that is trained, with its wrapper.
        data_loader: see `SimpleTrainer`, as the next two.
        optimizer: see there.
        seed: see there.
        report: see `LossGuard`.
    """
    options: dict[str, Any] = {
        "accumulate_steps": solver.ACCUMULATE_STEPS,
        "seed": seed,
        "guard": LossGuard(
            solver.NONFINITE.CHECK_PERIOD,
            action=solver.NONFINITE.ACTION,
            max_skips=solver.NONFINITE.MAX_SKIPS,
            alarm=solver.GRADIENT_ALARM,
            report=report,
        ),
    }
    if not solver.AMP.ENABLED:
        return SimpleTrainer(model, data_loader, optimizer, **options)
    # check_solver has refused other names.
    precision = torch.float16 if solver.AMP.PRECISION == "float16" else torch.bfloat16
    return AMPTrainer(model, data_loader, optimizer, precision=precision, **options)


def make_checkpointer(
    cfg: CfgNode,
    model: nn.Module,
    class_names: Sequence[str] | None,
    average: WeightAverage | None,
    **states: Any,
) -> DetectionCheckpointer:
    """Make what saves and loads a run.

    Args:
        cfg: of the run.
        model: without a wrapper.
        class_names: of the training data; None if it has none.
        average: of the weights; None for none.
        **states: further objects with a state, by their names in the file.
    """
    if isinstance(model, Detector):
        # Running numbers that published weights do not hold, such as RetinaNet's normaliser.
        states["model_state"] = model.training_state
    return DetectionCheckpointer(
        model,
        cfg.OUTPUT_DIR,
        extra={
            "class_names": class_names,
            # None if a subclass builds the loader from other data.
            "classes": counted_classes(cfg.DATASETS.TRAIN),
            "config": cfg.dump(),
            "metadata": names_for_drawing(cfg.DATASETS.TRAIN),
            "git": git_commit(Path.cwd()) if comm.is_main_process() else "",
            "config_hash": config_hash(cfg.dump()),
        },
        collect=gather_state if is_sharded(model) else None,
        # Whoever loads a file of this run gets the weights that were evaluated.
        weights_to_save=average.model_state if average else None,
        keep_matching_classes=cfg.MODEL.KEEP_MATCHING_CLASSES,
        **states,
    )


class RunParts:
    """Model, optimizer, loaders, evaluators and evaluation of a `DefaultTrainer`."""

    auto_scale_workers = staticmethod(auto_scale_workers)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model; a number of classes that nobody set follows from the data."""
        key = ClassKey.of(cfg).key
        if key is not None and cfg.is_default(key):
            class_names, source = find_data_classes(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
            ClassKey.of(cfg).follow(class_names, f"the dataset {source}")
        model = build_model(cfg)
        logger.info(f"Model: {type(model).__name__} of {count_parameters(model)}")
        # Hundreds of lines, which on the console would hide the others.
        append_to_log_file(f"{model}\n")
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer: that of a project's recipe, or of SOLVER alone."""
        return build_project_optimizer(cfg, model) or build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """Build the learning rate schedule."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[Any]:
        """Build the endless loader of training batches; a Python config may call any function."""
        loader: Iterable[Any]
        if not isinstance(cfg, PythonRunConfig):
            loader = build_detection_train_loader(cfg, mapper=build_project_mapper(cfg))
        elif cfg.calls("dataloader.train", build_detection_train_loader):
            # With the seed of the run.
            loader = build_detection_train_loader(cfg)
        else:
            loader = cfg.make("dataloader.train")
        return loader

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        """Build the loader of one set of DATASETS.TEST."""
        loader: Iterable[Any]
        if isinstance(cfg, PythonRunConfig):
            loader = cfg.make("dataloader.test", {"dataloader.test.dataset.names": dataset_name})
        else:
            loader = build_detection_test_loader(cfg, dataset_name)
        return loader

    @classmethod
    def build_validation_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        """Build the loader of the validation losses of one set; see TEST.LOSS_PERIOD."""
        return build_validation_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """Build the evaluator for the dataset's type; OUTPUT_DIR/inference by default."""
        return make_evaluator(cfg, dataset_name, output_folder or f"{cfg.OUTPUT_DIR}/inference")

    @classmethod
    def _has_built_in_evaluation(cls, cfg: CfgNode) -> bool:
        """Whether the sets of DATASETS.TEST get the evaluators of their types."""
        if isinstance(cfg, PythonRunConfig) and cfg.has("dataloader.evaluator"):
            return False
        return cls._is_built_in("build_evaluator", "test")

    @classmethod
    def _reads_test_images(cls, cfg: CfgNode) -> bool:
        """Whether samples of DATASETS.TEST are images that are read from their files."""
        if isinstance(cfg, PythonRunConfig):
            place = "dataloader.test.mapper"
            if not (cfg.has(place) and cfg.calls(place, DatasetMapper)):
                return False
        return cls._is_built_in("build_test_loader")

    @classmethod
    def _is_built_in(cls, *names: str) -> bool:
        """Whether no subclass has other methods of these names."""
        own, built_in = (
            [getattr(getattr(kind, name), "__func__", getattr(kind, name)) for name in names]
            for kind in (cls, RunParts)
        )
        return own == built_in

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> dict[str, Any]:
        """Evaluate a model on every dataset of DATASETS.TEST; see `evaluate_datasets`."""
        return evaluate_datasets(
            cfg,
            model,
            evaluators,
            build_loader=cls.build_test_loader,
            build_evaluator=cls.build_evaluator,
        )
