"""DefaultTrainer: a whole run, built from a config around the step of a SimpleTrainer."""

import contextlib
import datetime
import logging
import sys
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from d2lite.config import CfgNode, PythonRunConfig, as_run_config, check_numbers
from d2lite.evaluation import verify_results
from d2lite.modeling.compiling import compile_parts_
from d2lite.utils import comm
from d2lite.utils.comm import unwrap
from d2lite.utils.env import resolve_device
from d2lite.utils.errors import RunInterrupted
from d2lite.utils.events import EventWriter
from d2lite.utils.folder_lock import FolderLock
from d2lite.utils.logger import setup_logger

from .. import hooks
from ..derived_config import (
    ClassKey,
    check_predictions,
    check_solver,
    check_test_images,
    check_test_keypoints,
    epoch_length,
    find_data_classes,
    follow_epochs,
    follow_stored_seed,
    load_test_classes,
    name_classes,
    resolve_seed,
)
from ..evaluating import augmented_model, evaluate_augmented
from ..launching.stop_signals import listen_for_stop, stop_notice
from ..reports import (
    describe_run,
    log_summary,
    memory_in_use,
    report_run,
    save_pictures,
    write_report,
)
from ..resuming import collect_run_facts, describe_stop, load_run
from ..sharding import is_sharded, load_whole_state_, shard_model_, whole_weights
from ..stepping import StepRecord, dead_worker_advice
from ..trainer_base import HookBase, TrainerBase
from .output_dir import (
    default_writers,
    follow_output_address,
    further_writers,
    prepare_output_dir,
    write_config,
)
from .run_hooks import evaluation_hooks, saving_hooks, step_hooks, writing_hooks
from .run_parts import RunParts, make_checkpointer, make_step, set_federated_weights
from .setup import create_ddp_model

logger = logging.getLogger(__name__)


class DefaultTrainer(RunParts, TrainerBase):
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
        loaded_classes: the class names that came with the loaded weights, if they had any and
            were not fitted to those of the data.
        seed: of the run.
        model: the model (property, as are `optimizer` and `data_loader`).
    """

    # A subclass with an __init__ of its own, as people wrote them for detectron2, sets the model's
    # side of a run (_trainer, scheduler, checkpointer, cfg, max_iter); these it may leave out.
    seed: int | None = None
    class_names: list[str] | None = None
    loaded_classes: list[str] | None = None
    weight_average: hooks.WeightAverage | None = None
    _last_eval_results: Mapping[str, Any] | None = None
    _run_facts: dict[str, Any] | None = None
    _lock: FolderLock | None = None

    def __init__(self, cfg: CfgNode) -> None:
        """Derive what the config leaves open, build the parts, and join them by hooks.

        Args:
            cfg: the whole config, also a Python one (`LazyConfig`). A number of classes that nobody
                set, and a negative SEED, are derived in it.

        Raises:
            UserError: if an option does not fit, data are missing or OUTPUT_DIR cannot be written.
        """
        super().__init__()
        if not logging.getLogger("d2lite").isEnabledFor(logging.INFO):
            # Without a log, a person would not see what the run does.
            setup_logger()

        # Derive: first from the machine, then from the data, which the loader knows.
        world_size = comm.get_world_size()
        self.cfg = cfg = self.auto_scale_workers(as_run_config(cfg), world_size)
        check_numbers(cfg)
        check_solver(cfg.SOLVER, world_size)
        if not cfg.is_default("MODEL.DEVICE"):
            # Data of many images take long to read, and the model is made after them.
            resolve_device(cfg.MODEL.DEVICE, was_set=True)
        follow_output_address(cfg, resume=False)
        if comm.is_main_process():
            prepare_output_dir(cfg.OUTPUT_DIR)
            # Until the training, this object or the process ends.
            self._lock = FolderLock(cfg.OUTPUT_DIR)
        self.seed = resolve_seed(cfg)
        data_loader = self.build_train_loader(cfg)
        follow_epochs(cfg, data_loader)
        self.class_names, source = find_data_classes(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
        ClassKey.of(cfg).follow(self.class_names, f"the dataset {source}")
        if comm.is_main_process():
            # With what was derived, so that the file builds the model of this run.
            write_config(cfg)
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER

        # Build.
        model = self.build_model(cfg)
        name_classes(model, self.class_names)
        set_federated_weights(cfg, model)
        if self._has_built_in_evaluation(cfg):
            check_predictions(model, cfg.DATASETS.TEST)
            num_keypoints = cfg.MODEL.KEYPOINT_ON * cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
            check_test_keypoints(cfg.DATASETS.TEST, num_keypoints, cfg.TEST.KEYPOINT_OKS_SIGMAS)
            if self._reads_test_images(cfg):
                check_test_images(cfg.DATASETS.TEST)
        if cfg.TEST.AUG.ENABLED:
            # Refuses a model without test-time augmentation now, and not after the training.
            augmented_model(cfg, model)
        if cfg.MODEL.COMPILE:
            compile_parts_(model)
        if cfg.SOLVER.FSDP.ENABLED and world_size > 1:
            shard_model_(model, min_params=cfg.SOLVER.FSDP.MIN_PARAMS)
        optimizer = self.build_optimizer(cfg, model)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        if is_sharded(model):
            load_whole_state_(optimizer)
        options = {"broadcast_buffers": False}
        if isinstance(cfg, PythonRunConfig) and cfg.has("train.ddp"):
            options = dict(cfg.part("train.ddp"))
        wrapped = create_ddp_model(model, **options)
        if cfg.MODEL_EMA.ENABLED:
            decay, warmup = cfg.MODEL_EMA.DECAY, cfg.MODEL_EMA.WARMUP
            self.weight_average = hooks.WeightAverage(unwrap(wrapped), decay, warmup=warmup)
        # A part that held the trainer itself would make a reference cycle.
        weak = weakref.proxy(self)
        self._trainer = make_step(
            cfg.SOLVER,
            wrapped,
            data_loader,
            optimizer,
            seed=self.seed,
            report=lambda record: weak._report_nonfinite(record),
        )
        self.checkpointer = make_checkpointer(
            cfg, unwrap(wrapped), self.class_names, self.weight_average, trainer=weak
        )

        # Join.
        self._trainer.register_hooks([_PassOnBackward(self)])
        self.register_hooks(self.build_hooks())

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

    @model.setter
    def model(self, value: nn.Module) -> None:
        self._trainer.model = value

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer."""
        return self._trainer.optimizer

    @optimizer.setter
    def optimizer(self, value: torch.optim.Optimizer) -> None:
        self._trainer.optimizer = value

    @property
    def data_loader(self) -> Iterable[Any]:
        """The training loader."""
        return self._trainer.data_loader

    @data_loader.setter
    def data_loader(self, value: Iterable[Any]) -> None:
        self._trainer.data_loader = value

    def resume_or_load(self, resume: bool | str = True) -> None:
        """Continue from a checkpoint, or begin from MODEL.WEIGHTS.

        Args:
            resume: True continues from the newest checkpoint of OUTPUT_DIR that can be read;
                False, or a folder without any, begins. A path continues from that file.

        Raises:
            ConfigError: if the run cannot continue with this config or these data.
        """
        # Where default_setup has done it, nothing is left to fetch.
        follow_output_address(self.cfg, resume=bool(resume))
        made, self.loaded_classes = load_run(
            self.checkpointer,
            self.cfg,
            resume,
            class_names=self.class_names,
            max_iter=self.max_iter,
            data_loader=self.data_loader,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
        )
        if made:
            self.start_iter = made

    def build_hooks(self) -> list[HookBase | None]:
        """Make the hooks of the run, in the order in which they work.

        Returns:
            Hooks; None stands for one that this run or this process does not need.
        """
        cfg, checkpointer = self.cfg, self.checkpointer
        # As above: no reference cycle.
        weak = weakref.proxy(self)
        return [
            *step_hooks(
                self.model,
                cfg.TEST,
                batches_per_epoch=epoch_length(self.data_loader),
                class_check=self._build_class_check(),
                weight_average=self.weight_average,
                build_train_loader=partial(self.build_train_loader, cfg),
            ),
            # Save before evaluating: if evaluation dies, the weights it died on are on disk.
            *saving_hooks(cfg.SOLVER, checkpointer),
            *evaluation_hooks(
                cfg.SOLVER,
                cfg.TEST,
                cfg.DATASETS.TEST,
                checkpointer,
                evaluate=lambda: weak._evaluate(),
                evaluate_augmented=lambda: weak._evaluate_augmented(),
                measure_losses=lambda loaders: weak._measure_losses(loaders),
                build_validation_loader=partial(self.build_validation_loader, cfg),
            ),
            *hooks.build_hooks_by_name(cfg),
            hooks.StartReport(lambda: weak._describe_start(), memory_in_use)
            if comm.is_main_process()
            else None,
            # Last, so that it sees what all others have written; also those that people put before
            # the last one, by `hooks.insert(-1, ...)`.
            *writing_hooks(cfg.LOG_PERIOD, cfg.DATASETS.TRAIN, lambda: weak.build_writers()),
        ]

    def _build_class_check(self) -> hooks.ClassCheckHook | None:
        if self.class_names is None:
            return None
        held, weak = ClassKey.of(self.cfg), weakref.proxy(self)
        return hooks.ClassCheckHook(
            self.class_names,
            held.count,
            key=held.shown,
            test_classes=load_test_classes(self.cfg.DATASETS.TEST, self.class_names),
            loaded_classes=lambda: weak.loaded_classes,
        )

    def _describe_start(self) -> str:
        return describe_run(
            self.cfg,
            self.model,
            self.data_loader,
            start_iter=self.start_iter,
            # As every checkpoint of the run has them.
            origin={key: self.checkpointer.extra.get(key, "") for key in ("git", "config_hash")},
        )

    def build_writers(self) -> list[EventWriter]:
        """Make the writers: console, metrics.json, TensorBoard, and those of WRITERS."""
        further = further_writers(self.cfg)
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter, further=further)

    def train(self) -> Mapping[str, Any] | None:  # type: ignore[override]
        """Run all steps that are left.

        Returns:
            The results of the last evaluation; None if there was none.

        Raises:
            UserError: if they are not those of TEST.EXPECTED_RESULTS.
            RunInterrupted: if Ctrl-C, SIGTERM or SIGHUP stopped the run, which has saved then.
        """
        started = time.perf_counter()
        try:
            with listen_for_stop(self._on_signal), dead_worker_advice():
                super().train(self.start_iter, self.max_iter)
        finally:
            if self._lock is not None:
                self._lock.release()
        if self.is_stopping:
            savers = [hook for hook in self.hooks if isinstance(hook, hooks.PeriodicCheckpointer)]
            message = describe_stop(
                self.iter + 1,
                self.max_iter,
                is_saved=not savers or any(hook.saved_iter == self.iter for hook in savers),
                checkpoint=self.checkpointer.get_checkpoint_file(),
            )
            logger.info(message)
            raise RunInterrupted(message, self.stop_signal, is_shown=True)
        results = self._last_eval_results
        with self.evaluated_weights():
            if comm.is_main_process():
                self._log_end(time.perf_counter() - started)
        if comm.is_main_process() and results:
            verify_results(self.cfg, results)
        return results

    def _log_end(self, seconds: float) -> None:
        duration = datetime.timedelta(seconds=round(seconds))
        log_summary(
            self.cfg,
            self._last_eval_results,
            headline=f"Finished: {self.max_iter - self.start_iter} iterations in {duration}.",
            weights=self.checkpointer.get_checkpoint_file(),
            pictures=save_pictures(self.cfg, unwrap(self.model), self.build_test_loader),
            report=report_run(self.cfg, self._last_eval_results),
        )

    def _on_signal(self, number: int) -> None:
        self.request_stop(number)
        with contextlib.suppress(OSError):  # of a terminal that was closed
            sys.stderr.write(f"\n{stop_notice(number)}\n")

    def before_step(self) -> None:
        """Run `before_step` of the hooks, with the inner trainer at the same iteration."""
        self._trainer.iter = self.iter
        super().before_step()

    def run_step(self) -> None:
        """Make one step."""
        self._trainer.run_step()

    def after_train(self) -> None:
        """Finish the last step, then run the hooks."""
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

    def _measure_losses(self, loaders: Mapping[str, Iterable[Any]]) -> dict[str, dict[str, float]]:
        model, context = unwrap(self.model), self._trainer.forward_context
        with self.evaluated_weights():
            return {
                name: hooks.measure_losses(model, loader, forward_context=context)
                for name, loader in loaders.items()
            }

    def _report_nonfinite(self, record: StepRecord) -> str:
        # The weights of an earlier step have been updated since.
        is_current = self.iter == record.iteration
        return write_report(
            record,
            Path(self.cfg.OUTPUT_DIR),
            seed=self.seed,
            model=unwrap(self.model) if is_current else None,
            last_checkpoint=self.checkpointer.get_checkpoint_file(),
        )

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
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])
        stored = state_dict.get("seed")
        if stored is None or self.seed is None:
            return
        seed = follow_stored_seed(self.cfg, stored)
        if seed != self.seed:
            self.seed = seed
            self._trainer.reset_data_loader(lambda: self.build_train_loader(self.cfg), seed=seed)


class _PassOnBackward(HookBase):
    """Calls the outer trainer's `after_backward` when the inner one's gradients are complete."""

    def __init__(self, outer: DefaultTrainer) -> None:
        self._outer = weakref.proxy(outer)

    def after_backward(self) -> None:
        self._outer.after_backward()
