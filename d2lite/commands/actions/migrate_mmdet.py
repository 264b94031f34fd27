"""Turn a configuration or a checkpoint of MMDetection into ours."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from d2lite.checkpoint.conversion import convert_checkpoint
from d2lite.checkpoint.reading import read_checkpoint, stored_class_names
from d2lite.checkpoint.writing import write_weights
from d2lite.config import CfgNode, find_config_file
from d2lite.engine import setup_cfg
from d2lite.mmdet import (
    Converted,
    convert_mmdet_config,
    parse_mmdet_config,
    read_mmdet_config,
)
from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError
from d2lite.utils.file_io import make_folder, write_file

logger = logging.getLogger(__name__)


def migrate_mmdet(path: Path, output: Path | None) -> None:
    """Print or write the configuration, and of a checkpoint the weights with our names.

    Args:
        path: a config in Python, or a checkpoint, which holds the config that it was trained with.
        output: folder of `NAME.yaml` and `NAME.pth`; None prints the configuration.

    Raises:
        UserError: if the file cannot be read or has no counterpart.
    """
    if path.suffix == ".py":
        text = _as_yaml(convert_mmdet_config(read_mmdet_config(path)), path.name)
        _give(text, path, output)
        return
    if output is not None:
        make_folder(output, "--output")
    content = read_checkpoint(str(path))
    meta = content.get("meta")
    config = meta.get("cfg", meta.get("config")) if isinstance(meta, Mapping) else None
    if not isinstance(config, str) or not config.strip():
        raise ConfigError(
            f"{path} does not hold the config that it was trained with. Convert that .py by "
            "itself; a checkpoint is then loaded as it is, by MODEL.WEIGHTS."
        )
    converted = convert_mmdet_config(parse_mmdet_config(config, f"the config in {path}"))
    keys: dict[str, Any] = {**converted.keys, "MODEL.DEVICE": "cpu"}
    cfg = setup_cfg(converted.base, [item for pair in keys.items() for item in pair])
    names = stored_class_names(content) or []
    # With the model built, so that a weight that does not fit is found now.
    weights = convert_checkpoint(str(path), model=build_model(cfg), class_names=names, strip=True)
    if output is not None:
        target = output / f"{path.stem}.pth"
        if target.resolve() == path.resolve():
            raise ConfigError(
                f"--output {output} is the folder of {path.name} itself; name another."
            )
        del keys["MODEL.DEVICE"]
        cfg = setup_cfg(converted.base, [item for pair in keys.items() for item in pair])
        # So that the file alone is a model, as a checkpoint of a training here is.
        about = {**weights.get("d2lite", {}), "config": cfg.dump()}
        write_weights(target, {**weights, "d2lite": about})
        converted.keys["MODEL.WEIGHTS"] = str(target.resolve())
        print(f"Wrote {target}, {len(weights['model'])} tensors")
    _give(_as_yaml(converted, path.name), path, output)


def _give(text: str, path: Path, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    target = output / f"{path.stem}.yaml"
    write_file(target, text)
    print(f"Wrote {target}")


def _as_yaml(converted: Converted, name: str) -> str:
    """A config file of ours, with what has no counterpart as comments at its top."""
    # With the values of the base file, so that the new one may be anywhere.
    nested: dict[str, Any] = CfgNode.load_yaml_with_base(find_config_file(converted.base))
    for key, value in sorted(converted.keys.items()):
        *parents, last = key.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = list(value) if isinstance(value, tuple) else value
    lines = [f"# From {name} of MMDetection.", *(f"# Left out: {it}" for it in converted.left_out)]
    if "SOLVER.IMS_PER_BATCH" in converted.keys:
        lines.append(
            "# SOLVER.IMS_PER_BATCH is that of 8 GPUs, as published configs count.\n"
            "# If SOLVER.BASE_LR is meant for fewer GPUs, set it to the images of all of those."
        )
    return "\n".join(lines) + "\n" + yaml.safe_dump(nested, width=100)
