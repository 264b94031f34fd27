"""What `d2lite export` does: write a model in another format, and report its proof."""

import argparse
import logging
from pathlib import Path
from typing import Any

from d2lite.data import DatasetCatalog
from d2lite.data.datasets.by_string.source import is_there
from d2lite.export import export_model
from d2lite.predicting.model_source import model_config
from d2lite.recipes import find_sets
from d2lite.utils.errors import ConfigError
from d2lite.utils.logger import setup_logger

logger = logging.getLogger("d2lite.export")

# Of detectron2's script.
_OLD_METHODS = ("tracing", "scripting")
_OLD_FORMATS = ("onnx", "torchscript")


def export(args: argparse.Namespace) -> int:
    """Export a model.

    Returns:
        The exit status: 2 where the file disagrees with the model.
    """
    setup_logger()
    to = _format(args)
    if not (args.subject or args.config_file):
        raise ConfigError("Nothing to export: give RUN, or --config-file.")
    opts = args.opts
    if args.subject and args.config_file:
        opts = ["MODEL.WEIGHTS", args.subject, *opts]
    source = args.config_file or args.subject
    cfg = model_config(source, opts, args.imports, needs_weights=False)
    proof = export_model(
        cfg,
        args.output,
        to=to,
        paste_masks=args.masks == "image",
        resize=not args.no_resize,
        data=_set_of(args.data, "test"),
        num_images=args.num_images,
        with_runner=args.with_runner,
        half=args.half,
        int8=_set_of(args.int8, "train"),
        method=args.export_method or "tracing",
        sample_image=args.sample_image,
        run_eval=args.run_eval,
    )
    return _report(proof, args.output)


def _set_of(data: str | None, part: str) -> str | None:
    """A dataset by name or string as it is; of a folder the part that a training on it takes."""
    if data is None or data in DatasetCatalog or not is_there(data):
        return data
    name: str = getattr(find_sets(data), part)[0]
    return name


def _format(args: argparse.Namespace) -> str:
    """The format, from today's option or from those of detectron2's script."""
    if args.export_method == "caffe2_tracing" or args.old_format == "caffe2":
        raise ConfigError(
            "Caffe2 no longer exists. Use --to onnx, which onnxruntime and OpenVINO run, or "
            "--to torch for torch.export."
        )
    if args.export_method not in (None, *_OLD_METHODS):
        raise ConfigError(
            f"--export-method {args.export_method}: use {' or '.join(_OLD_METHODS)} with --format "
            "torchscript, and leave it out otherwise."
        )
    if args.old_format not in (None, *_OLD_FORMATS):
        raise ConfigError(f"--format {args.old_format}: use --to onnx, torch or openvino.")
    return str(args.to or args.old_format or "onnx")


def _report(proof: dict[str, Any], output: str) -> int:
    largest = ", ".join(
        f"{name} {value:.2g}" for name, value in proof["largest"].items() if value is not None
    )
    logger.info(
        f"Proof on {proof['num_images']} images of {proof['data']}: largest differences: {largest}"
    )
    if not proof["detections"] and proof["least_equal_pixels"] is None:
        logger.warning(
            "The model has found nothing in these images, so the proof says little. Name images of "
            "its classes by --data, and trained weights."
        )
    for task, ap in (proof["ap"] or {}).items():
        logger.info(f"AP of {task}: model {ap['model']:.2f}, file {ap['file']:.2f}")
    print(Path(output) / proof["file"])
    for image, faults in proof["disagreements"].items():
        logger.error(f"The file disagrees with the model on {image}: {'; '.join(faults)}")
    return 0 if proof["agrees"] else 2
