"""DefaultTrainer: builds the parts of a run from a config and hands them to a SimpleTrainer."""

import datetime
import logging
import sys
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode
from d2lite.data import build_detection_test_loader, build_detection_train_loader
from d2lite.data.dataset_dicts import counted_classes
from d2lite.evaluation import (
    DatasetEvaluator,
    build_evaluator,
    verify_results,
)
from d2lite.modeling import Detector, build_model
from d2lite.projects import build_project_mapper
from d2lite.solver import LRScheduler, build_lr_scheduler, build_optimizer
from d2lite.utils import comm
from d2lite.utils.errors import UserError
from d2lite.utils.events import EventWriter
from d2lite.utils.logger import append_to_log_file, setup_logger

from .. import hooks
from ..amp_trainer import AMPTrainer
from ..derived_config.checks import check_solver
from ..derived_config.classes import find_data_classes, follow_data_classes, num_classes_key
from ..derived_config.epochs import follow_epochs
from ..derived_config.scaling import auto_scale_workers
from ..evaluating.evaluate_datasets import evaluate_datasets, unwrap
from ..evaluating.tta_evaluation import augmented_model, evaluate_augmented
from ..evaluating.validation_data import build_validation_loader
from ..launching.stop_signals import RunInterrupted, listen_for_stop, stop_notice
from ..reports.nonfinite_report import build_guard, write_report
from ..reports.summary import log_summary, save_pictures
from ..resuming.resume import describe_stop, resume_or_begin, take_seed
from ..resuming.run_facts import collect_run_facts
from ..sharding import gather_state, is_sharded, load_whole_state_, shard_model_, whole_weights
from ..simple_trainer import SimpleTrainer
from ..stepping.memory_advice import telling_dead_workers
from ..trainer_base import HookBase, TrainerBase
from .run_hooks import build_run_hooks
from .setup import (
    create_ddp_model,
    default_writers,
    prepare_output_dir,
    resolve_seed,
    write_config,
)

logger = logging.getLogger(__name__)


class DefaultTrainer(TrainerBase):
    """A whole run as a config describes it; each part is built by a method to override.

        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()

    Attributes:
        cfg: the config, scaled to the number of processes.
        scheduler: the learning rate schedule.
        checkpointer: saves and loads model and run.
        weight_average: the averaged weights; None without MODEL_EMA.ENABLED.
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

        # Before the model: loading a set tells the classes that the model has to know.
        data_loader = self.build_train_loader(cfg)
        follow_epochs(cfg, data_loader)
        if cfg.INPUT.MIXING_OFF_LAST_ITERS and cfg.SOLVER.MAX_EPOCHS:
            # Where mixing ends was counted back from the MAX_ITER of before.
            data_loader = self.build_train_loader(cfg)
        self.max_iter = cfg.SOLVER.MAX_ITER
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
        if cfg.SOLVER.FSDP.ENABLED and comm.get_world_size() > 1:
            shard_model_(model, min_params=cfg.SOLVER.FSDP.MIN_PARAMS)
        optimizer = self.build_optimizer(cfg, model)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        if is_sharded(model):
            load_whole_state_(optimizer)
        model = create_ddp_model(model, broadcast_buffers=False)
        self._trainer = self._build_step(model, data_loader, optimizer)
        self._trainer.register_hooks([_PassOnBackward(self)])

        self.checkpointer = DetectionCheckpointer(
            unwrap(model), cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.checkpointer.keep_matching_classes = cfg.MODEL.KEEP_MATCHING_CLASSES
        if is_sharded(model):
            self.checkpointer.collect = gather_state
        if isinstance(unwrap(model), Detector):
            # Running numbers that published weights do not hold, such as RetinaNet's normaliser.
            self.checkpointer.add_checkpointable("model_state", unwrap(model).training_state)
        self.checkpointer.extra.update(
            class_names=self.class_names,
            # None where the loader is somebody's own.
            classes=counted_classes(cfg.DATASETS.TRAIN),
            config=cfg.dump(),
        )
        self.weight_average = self._build_weight_average()
        self._last_eval_results: Mapping[str, Any] | None = None
        self._run_facts: dict[str, Any] | None = None
        self.register_hooks(self.build_hooks())

    def _build_step(
        self, model: nn.Module, data_loader: Iterable[Any], optimizer: torch.optim.Optimizer
    ) -> SimpleTrainer:
        solver = self.cfg.SOLVER
        options: dict[str, Any] = {
            "accumulate_steps": solver.ACCUMULATE_STEPS,
            "seed": self.seed,
            "guard": build_guard(self.cfg),
        }
        options["guard"].report = partial(write_report, weakref.proxy(self))
        if not solver.AMP.ENABLED:
            return SimpleTrainer(model, data_loader, optimizer, **options)
        precision = getattr(torch, solver.AMP.PRECISION, None)
        return AMPTrainer(model, data_loader, optimizer, precision=precision, **options)

    def _build_weight_average(self) -> hooks.WeightAverage | None:
        options = self.cfg.MODEL_EMA
        if not options.ENABLED:
            return None
        average = hooks.WeightAverage(unwrap(self.model), options.DECAY, warmup=options.WARMUP)
        # Whoever loads a file of this run gets the weights that were evaluated.
        self.checkpointer.weights_to_save = average.model_state
        return average

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Inside, the model has the weights that are evaluated: averaged ones with MODEL_EMA.

        They are the same and whole in every process, and every process has to enter.
        """
        average, model = self.weight_average, unwrap(self.model)
        with average.applied() if average else nullcontext(), whole_weights(model):
            comm.share_buffers(model)
            yield

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

    def resume_or_load(self, resume: bool | str = True) -> None:
        """Go on from a checkpoint, or begin from MODEL.WEIGHTS.

        Args:
            resume: True goes on from the newest checkpoint of OUTPUT_DIR that can be read; False,
                or a folder without any, begins. A path goes on from that file.

        Raises:
            ConfigError: if the run cannot go on with this config or these data.
        """
        resume_or_begin(self, resume)

    def build_hooks(self) -> list[HookBase | None]:
        """Make the hooks of the run, in the order in which they work; see `run_hooks`."""
        return build_run_hooks(self)

    def build_writers(self) -> list[EventWriter]:
        """Make the writers: console, metrics.json and TensorBoard."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> Mapping[str, Any] | None:  # type: ignore[override]
        """Run all steps that are left.

        Returns:
            The results of the last evaluation; None if there was none.

        Raises:
            UserError: if they are not those of TEST.EXPECTED_RESULTS.
            RunInterrupted: if Ctrl-C or SIGTERM stopped the run, which has saved then.
        """
        started = time.perf_counter()
        with listen_for_stop(self._hear_signal), telling_dead_workers():
            super().train(self.start_iter, self.max_iter)
        if self.is_stopping:
            message = describe_stop(self)
            logger.info(message)
            raise RunInterrupted(message, self.stop_signal, is_shown=True)
        results = self._last_eval_results
        with self.evaluated_weights():
            if comm.is_main_process():
                self._tell_end(time.perf_counter() - started)
        if comm.is_main_process() and results and not verify_results(self.cfg, results):
            raise UserError(
                "The results are not those of TEST.EXPECTED_RESULTS; the log says which. Find out "
                "what changed, or write the new values there. The weights are saved."
            )
        return results

    def _tell_end(self, seconds: float) -> None:
        duration = datetime.timedelta(seconds=round(seconds))
        log_summary(
            self.cfg,
            self._last_eval_results,
            headline=f"Finished: {self.max_iter - self.start_iter} iterations in {duration}.",
            weights=self.checkpointer.get_checkpoint_file(),
            pictures=save_pictures(self.cfg, unwrap(self.model), self.build_test_loader),
        )

    def _hear_signal(self, number: int) -> None:
        sys.stderr.write(f"\n{stop_notice(number)}\n")
        self.request_stop(number)

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
        with self.evaluated_weights():
            self._last_eval_results = self.test(self.cfg, unwrap(self.model))
        return self._last_eval_results

    def _evaluate_augmented(self) -> Mapping[str, Any]:
        with self.evaluated_weights():
            return evaluate_augmented(type(self), self.cfg, unwrap(self.model))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run: iteration, hooks, seed, data, optimizer."""
        if self._run_facts is None:
            self._run_facts = collect_run_facts(self.data_loader)
        return {
            **super().state_dict(),
            "seed": self.seed,
            "run": self._run_facts,
            "_trainer": self._trainer.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])
        take_seed(self, state_dict.get("seed"))

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
        return build_detection_train_loader(cfg, mapper=build_project_mapper(cfg))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        """Build the loader of one set of DATASETS.TEST."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_validation_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        """Build the loader of the validation losses of one set; see TEST.LOSS_PERIOD."""
        return build_validation_loader(cfg, dataset_name)

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
        """Evaluate a model on every set of DATASETS.TEST; see `evaluate_sets.evaluate_datasets`."""
        return evaluate_datasets(
            cfg,
            model,
            evaluators,
            build_loader=cls.build_test_loader,
            build_evaluator=cls.build_evaluator,
        )

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
