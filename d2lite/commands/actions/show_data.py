"""What `d2lite data show` does: draw a dataset."""

import argparse
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from d2lite.config import CfgNode
from d2lite.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from d2lite.data.images.image_io import check_image_size, read_image
from d2lite.data.records.faults import collecting_faults
from d2lite.data.records.object_checks import drop_invalid
from d2lite.engine import setup_cfg
from d2lite.engine.reports.sample_pictures import draw_sample
from d2lite.utils.errors import ConfigError, DataError, MissingFileError, UserError
from d2lite.utils.file_io import make_folder
from d2lite.utils.logger import setup_logger
from d2lite.visualization import Visualizer, legible_scale, write_picture

from .check_data import sets_of
from .own_data import config_for_data

logger = logging.getLogger("d2lite.visualize_data")


def annotated(cfg: CfgNode) -> Iterator[tuple[str, np.ndarray]]:
    """File name and drawing (H, W, 3) uint8 RGB of every image of DATASETS.TRAIN.

    What a training leaves out is left out here, too; the log counts it.

    Raises:
        DataError: if no image of a dataset can be drawn.
    """
    for name in cfg.DATASETS.TRAIN:
        metadata = MetadataCatalog.get(name)
        failed: list[UserError] = []
        with collecting_faults(name) as faults:
            records = drop_invalid(list(DatasetCatalog.get(name)), faults, cut=False)
        for record in records:
            try:
                image = read_image(record["file_name"], "RGB")
                check_image_size(record, image)
            except (DataError, MissingFileError) as error:
                logger.warning("Left out: %s", error)
                failed.append(error)
                continue
            canvas = Visualizer(image, metadata, scale=legible_scale(image))
            yield record["file_name"], canvas.draw_dataset_dict(record).get_image()
        if failed:
            message = f"{name}: {len(failed)} of {len(records)} images cannot be drawn"
            if len(failed) == len(records):
                raise DataError(f"{message}, for instance: {failed[0]}") from failed[0]
            logger.warning("%s.", message)


def yielded(cfg: CfgNode) -> Iterator[tuple[str, np.ndarray]]:
    """File name and drawing of every sample of the endless training stream."""
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    for batch in build_detection_train_loader(cfg):
        for sample in batch:
            yield sample["file_name"], draw_sample(sample, cfg.INPUT.FORMAT, metadata)


def _config(args: argparse.Namespace) -> CfgNode:
    if args.subject and args.source == "dataloader" and not args.config_file:
        # As `d2lite train DATA` will read it.
        return config_for_data(argparse.Namespace(**vars(args), recipe=None, auto=False))[0]
    named = ("DATASETS.TRAIN", str(tuple(sets_of(args.subject)))) if args.subject else ()
    return setup_cfg(args.config_file, [*named, *args.opts], args.imports)


def show_data(args: argparse.Namespace) -> None:
    """Write one drawing for each image."""
    setup_logger()
    cfg = _config(args)
    if not cfg.DATASETS.TRAIN:
        raise ConfigError(
            "DATASETS.TRAIN is empty, so there is nothing to draw. Name a folder or a dataset, for "
            "instance: d2lite data show shapes_train"
        )
    if args.source == "dataloader" and args.num_images <= 0:
        raise ConfigError("--source dataloader never ends: give a --num-images above 0.")
    folder = make_folder(args.output, "--output")
    pictures = (yielded if args.source == "dataloader" else annotated)(cfg)
    count = 0
    for count, (name, picture) in enumerate(islice(pictures, args.num_images or None), start=1):
        # Numbered: one image comes up again in the stream, and two folders may share a file name.
        path = folder / f"{count:05d}_{Path(name).stem}.jpg"
        write_picture(path, picture)
    logger.info("%d images written to %s", count, folder)
