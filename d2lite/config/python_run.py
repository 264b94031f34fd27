"""PythonRunConfig: a Python config in the form that trainer, predictor and tools read."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from d2lite.utils.errors import ConfigError
from d2lite.utils.nested import flat_items
from d2lite.utils.other_words import is_mmdet_config
from d2lite.utils.registry import address_of, locate

from .defaults import _C
from .instantiate import instantiate, own_address
from .lazy import LazyConfig
from .node import CfgNode
from .optional_omegaconf import DictConfig, OmegaConf
from .python_yaml import dump_python_config

__all__ = ["PythonRunConfig", "as_run_config", "is_python_config_file", "load_run_config"]

logger = logging.getLogger(__name__)

# Where a Python config holds what a key of the YAML configs means.
_KEYS = {
    "train.output_dir": "OUTPUT_DIR",
    "train.init_checkpoint": "MODEL.WEIGHTS",
    "train.max_iter": "SOLVER.MAX_ITER",
    "train.seed": "SEED",
    "train.cudnn_benchmark": "CUDNN_BENCHMARK",
    "train.float32_precision": "FLOAT32_PRECISION",
    "train.amp.enabled": "SOLVER.AMP.ENABLED",
    "train.checkpointer.period": "SOLVER.CHECKPOINT_PERIOD",
    "train.checkpointer.max_to_keep": "SOLVER.CHECKPOINT_MAX_TO_KEEP",
    "train.eval_period": "TEST.EVAL_PERIOD",
    "train.log_period": "LOG_PERIOD",
    "train.model_ema.enabled": "MODEL_EMA.ENABLED",
    "train.model_ema.decay": "MODEL_EMA.DECAY",
    "dataloader.train.total_batch_size": "SOLVER.IMS_PER_BATCH",
    "dataloader.train.num_workers": "DATALOADER.NUM_WORKERS",
    "optimizer.lr": "SOLVER.BASE_LR",
    "model.input_format": "INPUT.FORMAT",
    "dataloader.test.mapper.image_format": "INPUT.FORMAT",
    "model.sem_seg_head.num_classes": "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
}


class PythonRunConfig(CfgNode):
    """The keys of a run, read from a Python config, whose parts make the objects.

    Model, loaders, evaluator, optimizer and schedule are made by `instantiate` from `parts`. All
    else that a run needs is in the keys: `train.*` sets them (`train.max_iter` is
    SOLVER.MAX_ITER), and `train.options` sets any key by its name, as in
    `train.options={"MODEL_EMA.ENABLED": True}`. Keys are not written back to `parts`, but for SEED.

    Attributes:
        parts: the DictConfig.
    """

    parts: Any

    @classmethod
    def read(cls, parts: Any) -> "PythonRunConfig":
        """Make the config of a run.

        Args:
            parts: as `LazyConfig.load` returns it: `model`, and of `dataloader`, `optimizer`,
                `lr_multiplier` and `train` what the run needs.

        Raises:
            ConfigError: if a value does not fit.
        """
        cfg = cls()
        for name, value in copy.deepcopy(_C).items():
            cfg._store(name, value, "default")
        cfg.__dict__["parts"] = parts
        for place, key, value in cfg._keys_in_parts():
            cfg._apply(cfg._plan([(key, value)], f"Python config, {place}", unquote=False))
        if cfg.has("dataloader.evaluator") and not len(cfg.DATASETS.TEST):
            logger.warning(
                "dataloader.test.dataset of this Python config has no 'names', so there will be no "
                "evaluation. Use LazyCall(get_detection_dataset_dicts)(names=...)."
            )
        return cfg

    def _keys_in_parts(self) -> Iterator[tuple[str, str, Any]]:
        """Place in the Python config, key and value."""
        for place, key in _KEYS.items():
            value = OmegaConf.select(self.parts, place)
            if value is not None:
                yield place, key, value
        device = OmegaConf.select(self.parts, "train.device")
        # "cuda" is what published configs say, and the default, for which CPU or MPS may be used.
        if device not in (None, "cuda"):
            yield "train.device", "MODEL.DEVICE", str(device)
        for kind in ("train", "test"):
            place = f"dataloader.{kind}.dataset.names"
            names = OmegaConf.select(self.parts, place, default=())
            names = (names,) if isinstance(names, str) else tuple(names)
            yield place, f"DATASETS.{kind.upper()}", names
        yield from self._classes()
        options = OmegaConf.select(self.parts, "train.options", default={})
        content: Any = OmegaConf.to_container(OmegaConf.create(options))
        for key, value in flat_items(content):
            yield "train.options", key, tuple(value) if isinstance(value, list) else value

    def _classes(self) -> Iterator[tuple[str, str, Any]]:
        """The architecture, if it is one of ours and says its number of classes."""
        target = OmegaConf.select(self.parts, "model._target_")
        name = (target if isinstance(target, str) else address_of(target) or "").split(".")[-1]
        section = "ROI_HEADS" if name in ("GeneralizedRCNN", "PanopticFPN") else name.upper()
        place = "model.roi_heads.num_classes" if section == "ROI_HEADS" else "model.num_classes"
        count = OmegaConf.select(self.parts, place)
        is_known = isinstance(count, int) and "NUM_CLASSES" in self.MODEL.get(section, {})
        yield "model", "MODEL.META_ARCHITECTURE", name if is_known else ""
        if is_known:
            yield place, f"MODEL.{section}.NUM_CLASSES", count

    def has(self, place: str) -> bool:
        """Whether there is a part at `place`, which is dotted, as "dataloader.test"."""
        return OmegaConf.select(self.parts, place) is not None

    def make(self, place: str, changes: Mapping[str, Any] | None = None) -> Any:
        """Instantiate the part at `place`.

        Args:
            place: dotted, as "dataloader.test".
            changes: values by their place, set in a copy before.

        Raises:
            ConfigError: if there is no such part.
        """
        return instantiate(self.part(place, changes))

    def arguments(self, place: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Instantiate the arguments of the call at `place`, without making the call; see `make`."""
        part = self.part(place, changes)
        return {str(key): instantiate(part[key]) for key in part if not str(key).startswith("_")}

    def part(self, place: str, changes: Mapping[str, Any] | None = None) -> Any:
        """The description at `place`; see `make`."""
        if not self.has(place):
            raise ConfigError(f"This Python config has no {place}, which the run needs.")
        parts = copy.deepcopy(self.parts) if changes else self.parts
        for changed, value in (changes or {}).items():
            OmegaConf.update(parts, changed, value, force_add=True)
        return OmegaConf.select(parts, place)

    def target(self, place: str) -> Any:
        """The callable that the part at `place` calls."""
        target = self.part(place).get("_target_")
        return locate(own_address(target)) if isinstance(target, str) else target

    def calls(self, place: str, function: Callable[..., Any]) -> bool:
        """Whether the part at `place` calls `function`."""
        return self.target(place) is function

    def dump(self, **kwargs: Any) -> str:
        """The Python config as YAML, which `load_run_config` reads.

        Args:
            **kwargs: not used.
        """
        return dump_python_config(self.parts_with_seed())[0]

    def parts_with_seed(self) -> Any:
        """A copy of `parts` with the seed of this run, for its files."""
        parts = copy.deepcopy(self.parts)
        if self.SEED >= 0:
            OmegaConf.update(parts, "train.seed", self.SEED, force_add=True)
        return parts


def as_run_config(cfg: Any) -> CfgNode:
    """A CfgNode as it is; a Python config as a `PythonRunConfig`.

    Args:
        cfg: a CfgNode or a DictConfig. One with the sections of a CfgNode, such as MODEL, becomes
            a CfgNode.
    """
    if not isinstance(cfg, DictConfig):
        unchanged: CfgNode = cfg
        return unchanged
    if "MODEL" not in cfg:
        return PythonRunConfig.read(cfg)
    node: CfgNode = _C.clone()
    content: Any = OmegaConf.to_container(cfg, resolve=True)
    node.merge_from_other_cfg(content)
    return node


def is_python_config_file(path: str | Path) -> bool:
    """Whether a file is a Python config, or the YAML that one was saved as."""
    path = Path(path)
    if path.suffix == ".py":
        return True
    # The sections of the other configs are written in capitals.
    return any(
        line.startswith("model:") for line in path.read_text("utf-8", "replace").splitlines()
    )


def load_run_config(path: str | Path, overrides: list[str]) -> PythonRunConfig:
    """Load a Python config, or its YAML, for a run.

    Raises:
        ConfigError: if it, or a file that it imports, is not Python, or it is MMDetection's.
    """
    file = Path(path)
    if is_mmdet_config(file):
        raise ConfigError(
            f"{path} is a config of MMDetection. Convert it, and train with what that writes: "
            f"d2lite migrate --from mmdet {path} > {file.stem}.yaml"
        )
    try:
        parts = LazyConfig.load(str(path))
    except SyntaxError as error:
        place = f"{error.filename or path}, line {error.lineno or 1}"
        raise ConfigError(f"{place} is not Python: {error.msg}.") from error
    return PythonRunConfig.read(LazyConfig.apply_overrides(parts, overrides))
