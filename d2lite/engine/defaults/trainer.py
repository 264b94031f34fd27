"""DefaultTrainer: builds the parts of a run from a config and hands them to a SimpleTrainer."""

import datetime
import logging
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode
from d2lite.data import build_detection_test_loader, build_detection_train_loader
from d2lite.evaluation import (
    DatasetEvaluator,
    build_evaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from d2lite.modeling import Detector, build_model
from d2lite.solver import LRScheduler, build_lr_scheduler, build_optimizer
from d2lite.utils import comm
from d2lite.utils.errors import ConfigError, UserError
from d2lite.utils.events import EventWriter
from d2lite.utils.logger import append_to_log_file, setup_logger

from .. import hooks
from ..amp_trainer import AMPTrainer
from ..simple_trainer import SimpleTrainer
from ..trainer_base import HookBase, TrainerBase
from .augmented_test import augmented_model, evaluate_augmented
from .checkpoint_peek import class_names_of_weights
from .checks import check_solver, check_test_classes, load_test_classes
from .classes import find_data_classes, follow_data_classes, get_num_classes, num_classes_key
from .scaling import auto_scale_workers
from .setup import (
    create_ddp_model,
    default_writers,
    prepare_output_dir,
    resolve_seed,
    write_config,
)
from .summary import log_summary, save_pictures

__all__ = ["DefaultTrainer"]

logger = logging.getLogger(__name__)

# Steps between two writings of scalars, on the console and in the files.
_WRITE_PERIOD = 20


class DefaultTrainer(TrainerBase):
    """A whole run as a config describes it; each part is built by a method to override.

        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()

    Attributes:
        cfg: the config, scaled to the number of processes.
        scheduler: the learning rate schedule.
        checkpointer: saves and loads model and run.
        class_names: of the training data; None if it has none.
        model: the model (property, as are `optimizer` and `data_loader`).
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build everything.

        Args:
            cfg: the whole config. A number of classes that nobody set, and a negative SEED, are
                derived in it.

        Raises:
            UserError: if an option does not fit, data are missing or OUTPUT_DIR cannot be written.
        """
        super().__init__()
        if not logging.getLogger("d2lite").isEnabledFor(logging.INFO):
            # Nobody set up a log, and a silent training helps nobody.
            setup_logger()
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        check_solver(cfg, comm.get_world_size())
        if comm.is_main_process():
            prepare_output_dir(cfg.OUTPUT_DIR)
        self.seed = resolve_seed(cfg)
        self.cfg = cfg
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER

        # Before the model: loading a set tells the classes that the model has to know.
        data_loader = self.build_train_loader(cfg)
        self.class_names, self._class_source = find_data_classes(cfg)
        follow_data_classes(cfg, self.class_names, f"the dataset {self._class_source}")
        if comm.is_main_process():
            # Again, with what was derived: the file has to build the very model of this run.
            write_config(cfg)
        model = self.build_model(cfg)
        model.class_names = self.class_names
        if cfg.TEST.AUG.ENABLED:
            # Now, and not after the training, is the time to hear that it cannot be done.
            augmented_model(cfg, model)
        optimizer = self.build_optimizer(cfg, model)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        model = create_ddp_model(model, broadcast_buffers=False)
        self._trainer = self._build_step(model, data_loader, optimizer)
        self._trainer.register_hooks([_PassOnBackward(self)])

        self.checkpointer = DetectionCheckpointer(
            unwrap(model), cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.checkpointer.keep_matching_classes = cfg.MODEL.KEEP_MATCHING_CLASSES
        if isinstance(unwrap(model), Detector):
            # Running numbers that published weights do not hold, such as RetinaNet's normaliser.
            self.checkpointer.add_checkpointable("model_state", unwrap(model).training_state)
        self.checkpointer.extra.update(class_names=self.class_names, config=cfg.dump())
        self._last_eval_results: Mapping[str, Any] | None = None
        self.register_hooks(self.build_hooks())

    def _build_step(
        self, model: nn.Module, data_loader: Iterable[Any], optimizer: torch.optim.Optimizer
    ) -> SimpleTrainer:
        solver = self.cfg.SOLVER
        options: dict[str, Any] = {
            "accumulate_steps": solver.ACCUMULATE_STEPS,
            "seed": self.seed,
        }
        if not solver.AMP.ENABLED:
            return SimpleTrainer(model, data_loader, optimizer, **options)
        precision = getattr(torch, solver.AMP.PRECISION, None)
        return AMPTrainer(model, data_loader, optimizer, precision=precision, **options)

    @property
    def model(self) -> nn.Module:
        """The model; in several processes the DDP wrapper around it."""
        return self._trainer.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer."""
        return self._trainer.optimizer

    @property
    def data_loader(self) -> Iterable[Any]:
        """The training loader."""
        return self._trainer.data_loader

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint of OUTPUT_DIR, or begin from MODEL.WEIGHTS.

        Args:
            resume: go on if there is a checkpoint; else, and without one, begin.
        """
        weights = self.cfg.MODEL.WEIGHTS
        is_resumed = resume and self.checkpointer.has_checkpoint()
        source = self.checkpointer.get_checkpoint_file() if is_resumed else weights
        loaded_classes = class_names_of_weights(source)
        if is_resumed and loaded_classes and loaded_classes != (self.class_names or []):
            raise ConfigError(
                f"The run in OUTPUT_DIR {self.cfg.OUTPUT_DIR!r} cannot be resumed on these data.\n"
                f"{hooks.describe_class_change(loaded_classes, self.class_names or [])}\n"
                "Train into another OUTPUT_DIR; to begin from these weights give "
                f"MODEL.WEIGHTS {source} without --resume."
            )
        self.checkpointer.resume_or_load(weights, resume=resume)
        if is_resumed:
            self.start_iter = self.iter + 1
            logger.info(f"Resumed from {source}: going on at iteration {self.start_iter}")
        report = self.checkpointer.report
        is_carried = report is not None and report.carried_classes is not None
        for hook in self._hooks:
            if isinstance(hook, hooks.ClassCheckHook) and not is_carried:
                hook.loaded_classes = loaded_classes

    def build_hooks(self) -> list[HookBase | None]:
        """Make the hooks of the run, in the order in which they work."""
        cfg = self.cfg
        is_main = comm.is_main_process()
        # A hook that held the trainer itself would keep it alive in a circle.
        trainer = weakref.proxy(self)
        solver = cfg.SOLVER
        max_to_keep = solver.CHECKPOINT_MAX_TO_KEEP or None
        built: list[HookBase | None] = [
            self._build_class_check(),
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._build_precise_bn(),
            # Save before evaluating: if evaluation dies, the weights it died on are on disk.
            hooks.PeriodicCheckpointer(
                self.checkpointer, solver.CHECKPOINT_PERIOD, max_to_keep=max_to_keep
            )
            if is_main
            else None,
            hooks.EvalHook(cfg.TEST.EVAL_PERIOD, lambda: trainer._evaluate())
            if len(cfg.DATASETS.TEST)
            else None,
        ]
        if cfg.TEST.AUG.ENABLED and len(cfg.DATASETS.TEST):
            # At the end alone: it takes as long as some twenty evaluations.
            built.append(hooks.EvalHook(0, lambda: trainer._evaluate_augmented()))
        if is_main and solver.BEST_CHECKPOINT.METRIC:
            built.append(
                hooks.BestCheckpointer(
                    cfg.TEST.EVAL_PERIOD,
                    self.checkpointer,
                    solver.BEST_CHECKPOINT.METRIC,
                    solver.BEST_CHECKPOINT.MODE,
                )
            )
        if is_main:
            # Last, so that it sees what all others have written.
            built.append(
                hooks.PeriodicWriter(lambda: trainer.build_writers(), period=_WRITE_PERIOD)
            )
        return built

    def _build_class_check(self) -> HookBase | None:
        if self.class_names is None:
            return None
        return hooks.ClassCheckHook(
            self.class_names,
            get_num_classes(self.cfg),
            key=num_classes_key(self.cfg) or "NUM_CLASSES",
            test_classes=load_test_classes(self.cfg.DATASETS.TEST, self.class_names),
        )

    def _build_precise_bn(self) -> HookBase | None:
        precise_bn = self.cfg.TEST.PRECISE_BN
        if not precise_bn.ENABLED or not hooks.get_training_bn_layers(self.model):
            return None
        return hooks.PreciseBN(
            self.cfg.TEST.EVAL_PERIOD,
            self.model,
            # A loader of its own: it must not take batches away from the training.
            self.build_train_loader(self.cfg),
            precise_bn.NUM_ITER,
        )

    def build_writers(self) -> list[EventWriter]:
        """Make the writers: console, metrics.json and TensorBoard."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> Mapping[str, Any] | None:  # type: ignore[override]
        """Run all steps that are left.

        Returns:
            The results of the last evaluation; None if there was none.

        Raises:
            UserError: if they are not those of TEST.EXPECTED_RESULTS.
        """
        started = time.perf_counter()
        super().train(self.start_iter, self.max_iter)
        results = self._last_eval_results
        if not comm.is_main_process():
            return results
        duration = datetime.timedelta(seconds=round(time.perf_counter() - started))
        log_summary(
            self.cfg,
            results,
            headline=f"Finished: {self.max_iter - self.start_iter} iterations in {duration}.",
            weights=self.checkpointer.get_checkpoint_file(),
            pictures=save_pictures(self.cfg, unwrap(self.model), self.build_test_loader),
        )
        if results and not verify_results(self.cfg, results):
            raise UserError(
                "The results are not those of TEST.EXPECTED_RESULTS; the log says which. Find out "
                "what changed, or write the new values there. The weights are saved."
            )
        return results

    def run_step(self) -> None:
        """Make one step."""
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def after_train(self) -> None:
        """Finish the step's open ends, then open the hooks' doors."""
        try:
            self._trainer.finish()
        finally:
            super().after_train()

    def _evaluate(self) -> Mapping[str, Any]:
        self._last_eval_results = self.test(self.cfg, unwrap(self.model))
        return self._last_eval_results

    def _evaluate_augmented(self) -> Mapping[str, Any]:
        return evaluate_augmented(type(self), self.cfg, unwrap(self.model))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run: iteration, hooks, seed, optimizer."""
        return {
            **super().state_dict(),
            "seed": self.seed,
            "_trainer": self._trainer.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])
        self._take_seed(state_dict.get("seed"))

    def _take_seed(self, seed: int | None) -> None:
        """Go on with the seed that the run began with, unless a person set another."""
        if seed is None or seed == self.seed:
            return
        if not self.cfg.origin("SEED").startswith("derived"):
            logger.warning(
                f"SEED was {seed} when the run began and is {self.seed} now: from here on the "
                "samples are others than those of a run that was never stopped"
            )
            return
        self.cfg.derive("SEED", seed, "drawn before the resume")
        self.seed = self._trainer.seed = seed
        self._trainer.reset_data_loader(lambda: self.build_train_loader(self.cfg))

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model; a number of classes that nobody set follows from the data."""
        key = num_classes_key(cfg)
        if key is not None and cfg.is_default(key):
            class_names, source = find_data_classes(cfg)
            follow_data_classes(cfg, class_names, f"the dataset {source}")
        model = build_model(cfg)
        total = sum(parameter.numel() for parameter in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        logger.info(
            f"Model: {type(model).__name__} of {total / 1e6:.2f} million parameters, "
            f"{trained / 1e6:.2f} of them trained"
        )
        # Hundreds of lines, which on the console bury what a person has to see.
        append_to_log_file(f"{model}\n")
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """Build the learning rate schedule."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[Any]:
        """Build the endless loader of training batches."""
        return build_detection_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        """Build the loader of one set of DATASETS.TEST."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """Build the evaluator that a set's own type asks for; OUTPUT_DIR/inference by default."""
        return build_evaluator(
            dataset_name,
            output_dir=output_folder or f"{cfg.OUTPUT_DIR}/inference",
            kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> dict[str, Any]:
        """Evaluate a model on every set of DATASETS.TEST.

        Args:
            cfg: the config.
            model: the model; its mode is put back afterwards.
            evaluators: one for each set; `build_evaluator` makes them if not given.

        Returns:
            The results {task: {metric: value}} of the one set, or {set: results} of several.

        Raises:
            ConfigError: if evaluators and sets differ in number, or a set's classes do not fit.
        """
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        names = cfg.DATASETS.TEST
        if evaluators is not None and len(evaluators) != len(names):
            raise ConfigError(
                f"{len(evaluators)} evaluators were given for the {len(names)} sets of "
                f"DATASETS.TEST {tuple(names)}; give one for each."
            )
        results: dict[str, Any] = OrderedDict()
        for number, name in enumerate(names):
            check_test_classes(cfg, name, getattr(unwrap(model), "class_names", None))
            loader = cls.build_test_loader(cfg, name)
            evaluator = evaluators[number] if evaluators else cls.build_evaluator(cfg, name)
            found = inference_on_dataset(model, loader, evaluator, log_period=cfg.TEST.LOG_PERIOD)
            results[name] = found
            if comm.is_main_process():
                logger.info(f"Results on {name}, in csv format:")
                print_csv_format(found)
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """Fit the recipe to the number of processes; see `scaling.auto_scale_workers`."""
        return auto_scale_workers(cfg, num_workers)


class _PassOnBackward(HookBase):
    """Opens the outer trainer's `after_backward` where the inner one's step has its gradients."""

    def __init__(self, outer: DefaultTrainer) -> None:
        self._outer = weakref.proxy(outer)

    def after_backward(self) -> None:
        self._outer.after_backward()


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside a DDP wrapper."""
    return model.module if isinstance(model, DistributedDataParallel) else model
