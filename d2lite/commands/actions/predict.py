"""What `d2lite predict` does: draw what a model finds in images and videos."""

import argparse
import glob
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn
from tqdm import tqdm

from d2lite import model_zoo
from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode
from d2lite.data.image_io import convert_image_to_rgb, read_image
from d2lite.engine import DefaultPredictor, setup_cfg
from d2lite.evaluation import instances_to_coco_json
from d2lite.structures import Instances
from d2lite.utils.errors import ConfigError, DataError, MissingFileError, OutputError
from d2lite.utils.file_io import atomic_write
from d2lite.utils.logger import setup_logger
from d2lite.visualization import ColorMode, VisImage, Visualizer, legible_scale

DEFAULT_CONFIG = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".npy"}
VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"}

logger = logging.getLogger("d2lite.demo")


def find_inputs(patterns: list[str]) -> list[str]:
    """Names of all images and videos that the patterns mean, sorted within each pattern."""
    found: list[str] = []
    for pattern in patterns:
        path = Path(pattern)
        if "://" in pattern or path.is_file():
            matches = [pattern]
        elif path.is_dir():
            files = (p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            matches = sorted(map(str, files))
        else:
            matches = sorted(name for name in glob.glob(pattern) if Path(name).is_file())
        if not matches:
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            raise MissingFileError(
                f"--input {pattern}: no such file, no folder with images ({kinds}) and no glob "
                "that matches. Quote a glob, so that the shell hands it on as it is."
            )
        found += matches
    return found


def demo_cfg(args: argparse.Namespace) -> CfgNode:
    """The configuration to predict with, weights included."""
    cfg = setup_cfg(args.config_file or DEFAULT_CONFIG, args.opts, args.imports)
    trained = any(re.match(r"MODEL\.WEIGHTS$|\+*train\.init_checkpoint=", w) for w in args.opts)
    if not trained and not args.config_file:
        cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url(DEFAULT_CONFIG)
    elif not trained:
        folder = str(Path(args.config_file).parent)
        last = DetectionCheckpointer(nn.Module(), folder).get_checkpoint_file()
        if last:
            cfg.MODEL.WEIGHTS = last
        elif not cfg.MODEL.WEIGHTS or "ImageNetPretrained" in cfg.MODEL.WEIGHTS:
            raise ConfigError(
                f"{args.config_file} names no weights of a trained detector (MODEL.WEIGHTS is "
                f"{cfg.MODEL.WEIGHTS!r}). Add: --opts MODEL.WEIGHTS path/to/model_final.pth"
            )
    return cfg


class Demo:
    """Predicts and draws; keeps what --save-json asks for."""

    def __init__(self, cfg: CfgNode, threshold: float) -> None:
        """Load the model.

        Args:
            cfg: with MODEL.WEIGHTS.
            threshold: lowest score that is drawn, in [0, 1].
        """
        self.predictor = DefaultPredictor(cfg)
        self.metadata = self.predictor.metadata
        self.threshold = threshold
        self.results: list[dict[str, Any]] = []

    def __call__(self, image: np.ndarray, name: str) -> np.ndarray:
        """The picture (H, W, 3) uint8 RGB with everything found drawn on it."""
        outputs = self.predictor(image)
        rgb = convert_image_to_rgb(image, self.predictor.image_format)
        picture = Visualizer(
            rgb, self.metadata, scale=legible_scale(rgb), instance_mode=ColorMode.IMAGE
        )
        return self._draw(picture, outputs, name).get_image()

    def _draw(self, picture: Visualizer, outputs: dict[str, Any], name: str) -> VisImage:
        instances = outputs.get("instances")
        if instances is not None:
            instances = instances.to("cpu")
            instances = instances[instances.scores >= self.threshold]
            self._remember(instances, name)
        if "panoptic_seg" in outputs:
            segments, infos = outputs["panoptic_seg"]
            logger.info("%s: %d segments", name, len(infos or ()))
            return picture.draw_panoptic_seg(segments.to("cpu"), infos)
        if instances is not None:
            logger.info("%s: %d objects of score >= %g", name, len(instances), self.threshold)
            return picture.draw_instance_predictions(instances)
        if "sem_seg" in outputs:
            classes = outputs["sem_seg"].argmax(dim=0).to("cpu")
            logger.info("%s: %d classes of ground", name, len(classes.unique()))
            return picture.draw_sem_seg(classes)
        raise ConfigError(
            f"this model predicts {', '.join(outputs) or 'nothing'}, which the demo cannot draw; "
            "choose a detection or segmentation configuration with --config-file."
        )

    def _remember(self, instances: Instances, name: str) -> None:
        classes = self.metadata.get("thing_classes", None)
        for result in instances_to_coco_json(instances, name):
            index = result["category_id"]
            result["category_name"] = classes[index] if classes else str(index)
            self.results.append(result)


def write_picture(picture_rgb: np.ndarray, path: Path) -> None:
    """Write a picture in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(picture_rgb[:, :, ::-1]))
    if not ok:
        raise OutputError(f"--output {path}: cannot write pictures of type {path.suffix!r}.")
    with atomic_write(path, "wb") as file:
        file.write(encoded.tobytes())


def frames(name: str) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 BGR of a video."""
    capture = cv2.VideoCapture(name)
    try:
        if not capture.isOpened():
            raise DataError(f"--input {name}: this video cannot be opened by OpenCV.")
        while True:
            ok, frame = capture.read()
            if not ok:
                return
            yield frame
    finally:
        capture.release()


def draw_video(demo: Demo, name: str, path: Path) -> None:
    """Predict every frame of a video and write them as one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    capture = cv2.VideoCapture(name)
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    capture.release()
    writer = None
    for number, frame in enumerate(tqdm(frames(name), desc=Path(name).name, unit="frame")):
        picture = demo(frame, f"{name}#{number}")
        if writer is None:
            size = (picture.shape[1], picture.shape[0])
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
            if not writer.isOpened():
                raise OutputError(f"--output {path}: OpenCV cannot write this video.")
        writer.write(np.ascontiguousarray(picture[:, :, ::-1]))
    if writer is None:
        raise DataError(f"--input {name}: the video has no readable frame.")
    writer.release()


def output_path(name: str, output: Path, *, is_single: bool) -> Path:
    """Where the picture or video made of input `name` goes."""
    if is_single and output.suffix and not output.is_dir():
        return output
    source = Path(name.split("://")[-1].replace("/", "_") if "://" in name else name)
    if source.suffix.lower() in VIDEO_SUFFIXES:
        return output / f"{source.stem}.mp4"
    is_picture = source.suffix and source.suffix.lower() != ".npy"
    return output / (source.name if is_picture else f"{source.stem}.png")


def predict(args: argparse.Namespace) -> None:
    """Predict every input."""
    setup_logger()
    names = find_inputs(args.input)
    output = Path(args.output)
    try:
        (output if len(names) > 1 or not output.suffix else output.parent).mkdir(
            parents=True, exist_ok=True
        )
    except OSError as error:
        raise OutputError(f"--output {output}: {error.strerror}.") from error
    demo = Demo(demo_cfg(args), args.confidence_threshold)
    for name in names:
        path = output_path(name, output, is_single=len(names) == 1)
        if Path(name).suffix.lower() in VIDEO_SUFFIXES:
            draw_video(demo, name, path)
        else:
            image = read_image(name, demo.predictor.image_format)
            write_picture(demo(image, name), path)
        print(path)
    if args.save_json:
        with atomic_write(args.save_json) as file:
            json.dump(demo.results, file)
