"""What `d2lite checkpoint` does: convert a file of weights."""

import argparse
from pathlib import Path

from torch import nn

from d2lite.checkpoint.conversion import convert_checkpoint, is_of_torchvision
from d2lite.checkpoint.reading import read_checkpoint
from d2lite.checkpoint.writing import write_weights
from d2lite.config import CfgNode
from d2lite.data.datasets.builtin_meta import COCO_CATEGORIES
from d2lite.data.datasets.label_files import read_lines
from d2lite.engine import setup_cfg
from d2lite.engine.derived_config.classes import get_class_names
from d2lite.modeling import build_model
from d2lite.utils.errors import ConfigError

# torchvision counts up to the largest id of COCO.
_TORCHVISION_COCO_CLASSES = 90


def class_names_for(args: argparse.Namespace) -> list[str]:
    """The names to write into the file; none where nothing is known."""
    if args.classes and Path(args.classes).is_file():
        return read_lines(args.classes)
    if args.classes:
        return get_class_names(args.classes) or []
    content = read_checkpoint(args.source)
    scores = content["model"].get("roi_heads.box_predictor.cls_score.bias")
    is_coco = scores is not None and len(scores) == _TORCHVISION_COCO_CLASSES + 1
    if not (is_coco and is_of_torchvision(content)):
        return []
    names = [f"unused {number}" for number in range(1, _TORCHVISION_COCO_CLASSES + 1)]
    for category in COCO_CATEGORIES:
        if category["isthing"]:
            names[category["id"] - 1] = category["name"]
    return names


def build_on_cpu(cfg: CfgNode) -> nn.Module:
    """The model of a config with random weights."""
    cfg.MODEL.DEVICE = "cpu"
    return build_model(cfg)


def convert_file(args: argparse.Namespace) -> None:
    """Convert one file."""
    model = None
    if args.config_file:
        model = build_on_cpu(setup_cfg(args.config_file, args.opts, args.imports))
    elif args.opts:
        raise ConfigError(
            f"{' '.join(args.opts)} changes options of a config, and there is none. Give "
            "--config-file FILE as well; flags come before KEY VALUE."
        )
    names = class_names_for(args)
    content = convert_checkpoint(args.source, model=model, class_names=names, strip=args.strip)
    written = write_weights(Path(args.target), content, hash_in_name=args.hash)
    numbers = sum(value.numel() for value in content["model"].values())
    print(
        f"{written}: {len(content['model'])} tensors, {numbers / 1e6:.2f} million numbers, "
        f"{written.stat().st_size / 1e6:.1f} MB"
    )
    others = sorted(key for key in content if key != "model")
    print(f"Beside the weights: {', '.join(others) or 'nothing'}")
    if names:
        print(f"Classes: {len(names)}, {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}")
    if content.get("matching_heuristics"):
        print("The names are those inside of a backbone; a model completes them when it loads.")
