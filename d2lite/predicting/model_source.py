"""model_config: the configuration of a model that is named by one file, folder or name."""

import contextlib
import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from d2lite import model_zoo
from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.reading import read_checkpoint
from d2lite.config import CfgNode, as_run_config, find_config_file
from d2lite.config.yaml_files import parse_yaml
from d2lite.engine.command_line import setup_cfg
from d2lite.engine.resuming import facts_of_weights
from d2lite.export import EXPORTED_SUFFIXES, open_session
from d2lite.utils.errors import (
    ConfigError,
    InputTypeError,
    MissingConfigError,
    MissingFileError,
    UnknownModelError,
    UserError,
    WeightsError,
)

WEIGHTS_SUFFIXES = (".pth", ".pt", ".pkl", ".safetensors")
_CONFIG_SUFFIXES = (".yaml", ".yml", ".py")
# What a command line sets the weights by, of a YAML config and of a Python config.
_SETS_WEIGHTS = re.compile(r"MODEL\.WEIGHTS$|\+*train\.init_checkpoint=")


def model_config(
    source: Any,
    opts: Sequence[str] = (),
    imports: Sequence[str] = (),
    *,
    needs_weights: bool = True,
) -> CfgNode:
    """The configuration of a model, with MODEL.WEIGHTS.

    Args:
        source: a config; a checkpoint (file or address) that carries its config; a file of
            `d2lite export`, which becomes MODEL.WEIGHTS; the folder of a run; a config file, whose
            weights are the last checkpoint beside it unless it names weights of a detector; or the
            name of a published model.
        opts: KEY, VALUE, ... that win over the config; KEY=VALUE of a Python config.
        imports: Python files or modules to import first, see `setup_cfg`.
        needs_weights: refuse a config file or name without weights of a trained detector.

    Returns:
        A copy, not frozen.

    Raises:
        UserError: if there is no such model, or its weights or its config are missing.
    """
    opts = [word for word in opts if word != "--"]
    if not isinstance(source, str | Path):
        cfg = as_run_config(source)
        if not isinstance(cfg, CfgNode):
            raise InputTypeError(
                f"A model is a path, a name or a config, not {type(source).__name__}."
            )
        cfg = copy.deepcopy(cfg)
        cfg.merge_from_list(list(opts))
        return cfg
    name, path = str(source), Path(source).expanduser()
    if path.is_dir():
        cfg = _of_run(path, opts, imports)
    elif path.suffix in EXPORTED_SUFFIXES:
        cfg = _of_exported(path, opts, imports)
    elif name.partition("?")[0].endswith(WEIGHTS_SUFFIXES):
        cfg = _of_checkpoint(name, opts, imports)
    elif path.suffix in _CONFIG_SUFFIXES and path.is_file():
        cfg = _of_config_file(path, opts, imports)
    else:
        cfg = _of_name(name, opts, imports)
    if needs_weights and (not cfg.MODEL.WEIGHTS or "ImageNetPretrained" in cfg.MODEL.WEIGHTS):
        raise ConfigError(
            f"{name} names no weights of a trained detector (MODEL.WEIGHTS is "
            f"{cfg.MODEL.WEIGHTS!r}). Add MODEL.WEIGHTS path/to/model_final.pth at the end."
        )
    return cfg


def _of_run(folder: Path, opts: Sequence[str], imports: Sequence[str]) -> CfgNode:
    if (folder / "config.yaml").is_file():
        return _of_config_file(folder / "config.yaml", opts, imports)
    last = last_checkpoint(folder)
    if not last:
        give = _runs_in(folder) or "the folder that training wrote (OUTPUT_DIR), or a checkpoint"
        raise MissingFileError(
            f"{folder} is not the folder of a run: it has neither config.yaml nor last_checkpoint. "
            f"Give {give}."
        )
    return _of_checkpoint(last, opts, imports)


def _runs_in(folder: Path) -> str:
    return " or ".join(sorted(str(path.parent) for path in folder.glob("*/config.yaml"))[:3])


def _of_config_file(path: Path, opts: Sequence[str], imports: Sequence[str]) -> CfgNode:
    cfg = setup_cfg(str(path), opts, imports)
    if any(_SETS_WEIGHTS.match(word) for word in opts):
        return cfg
    last = last_checkpoint(path.parent)
    if last:
        cfg.MODEL.WEIGHTS = last
    return cfg


def last_checkpoint(folder: Path) -> str:
    """Path of the newest checkpoint of a run, or "" where there is none."""
    return DetectionCheckpointer(nn.Module(), str(folder)).get_checkpoint_file()


def _of_checkpoint(path: str, opts: Sequence[str], imports: Sequence[str]) -> CfgNode:
    if "://" not in path and not Path(path).expanduser().is_file():
        raise MissingFileError(
            f"There is no file {path} (working folder {Path.cwd()}). Give a checkpoint, the folder "
            "of a run, or a config."
        )
    text = facts_of_weights(path).get("config")
    if not isinstance(text, str) or not text:
        read_checkpoint(path)  # says what is wrong with a file that is cut off or damaged
        raise WeightsError(
            f"{path} does not carry its config, as checkpoints of d2lite's training do. Give the "
            f"config and the weights: --config-file CONFIG.yaml MODEL.WEIGHTS {path}"
        )
    cfg = stored_config(text, path, imports)
    cfg.MODEL.WEIGHTS = path
    cfg.merge_from_list(list(opts))
    return cfg


def _of_exported(path: Path, opts: Sequence[str], imports: Sequence[str]) -> CfgNode:
    facts = open_session(path).facts
    cfg = stored_config(str(facts["config"]), str(path), imports)
    if facts["input"]["resize"][0]:
        # The file resizes by itself.
        cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.MODEL.WEIGHTS = str(path)
    cfg.merge_from_list(list(opts))
    return cfg


def stored_config(text: str, path: str, imports: Sequence[str] = ()) -> CfgNode:
    """The config that a checkpoint carries; it is data, and nothing in it is executed.

    The device of the training and sets that are named by their files are left out: both belong to
    the machine of the training.

    Args:
        text: YAML.
        path: of the checkpoint, for messages.
        imports: see `setup_cfg`.

    Raises:
        WeightsError: if it is a Python config, which names functions to call, or not valid.
    """
    try:
        content = parse_yaml(text, f"the config in {path}")
        if "MODEL" not in content and "model" in content:
            raise WeightsError(
                "it is a Python config, which names functions to call. Give the folder of the run, "
                "or its config.yaml with --config-file"
            )
        cfg = setup_cfg(imports=imports)
        for section, key in (("MODEL", "DEVICE"), ("MODEL", "WEIGHTS")):
            if isinstance(content.get(section), dict):
                content[section].pop(key, None)
        cfg.merge_from_other_cfg(content)
    except UserError as error:
        raise WeightsError(f"The config that {path} carries cannot be used: {error}.") from error
    for key in ("TRAIN", "TEST"):
        names = tuple(name for name in cfg.DATASETS[key] if ":" not in name)
        cfg.merge_from_list([f"DATASETS.{key}", names])
    return cfg


def _of_name(name: str, opts: Sequence[str], imports: Sequence[str]) -> CfgNode:
    try:
        file = find_config_file(name)
    except UserError as error:
        # A bare name is rather that of a published model.
        runs = _runs_in(Path(name).parent) if "/" in name else ""
        text = f"Give {runs}." if runs else str(error)
        raise MissingConfigError(
            f"{name}: there is no such run folder, checkpoint or published model. {text}"
        ) from error
    cfg = setup_cfg(str(file), opts, imports)
    if any(_SETS_WEIGHTS.match(word) for word in opts):
        return cfg
    with contextlib.suppress(UnknownModelError):
        cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url("/".join(file.parts[-2:]))
    return cfg
