"""DefaultPredictor: one image in, predictions out."""

import logging
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.config import CfgNode, as_run_config
from d2lite.data import DatasetCatalog, Metadata, MetadataCatalog
from d2lite.data import transforms as T
from d2lite.data.dataset_mapper import build_augmentation
from d2lite.data.images.channels import is_channel_list, num_channels
from d2lite.data.images.image_io import convert_PIL_to_numpy
from d2lite.modeling import build_model
from d2lite.utils.errors import DataError

from ..derived_config import ClassKey, get_class_names, name_classes
from ..resuming import class_names_of_weights

logger = logging.getLogger(__name__)


class DefaultPredictor:
    """Builds the model of a config, loads MODEL.WEIGHTS, and predicts image by image.

    It resizes as evaluation does, and takes images as OpenCV reads them:

        predictor = DefaultPredictor(cfg)
        instances = predictor(cv2.imread("input.jpg"))["instances"]

    Attributes:
        cfg: a copy of the config.
        model: in evaluation mode.
        metadata: of the first set of DATASETS.TEST, with the class names that came with the
            weights where they are known.
        input_format: channels that the model takes, INPUT.FORMAT.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build the model and load its weights.

        Args:
            cfg: MODEL, INPUT and DATASETS.TEST are read; or a Python config (`LazyConfig`), whose
                train.init_checkpoint, model and dataloader.test are.
        """
        self.cfg = as_run_config(cfg).clone()
        weights = self.cfg.MODEL.WEIGHTS
        class_names = self._stored_class_names(weights)
        if class_names is not None:
            ClassKey.of(self.cfg).follow(class_names, weights)
        else:
            class_names = self._follow_dataset()
        self.model = self._load_model(weights)
        self.model.eval()
        name_classes(self.model, class_names)
        self.metadata = self._make_metadata(class_names)
        steps = build_augmentation(self.cfg, is_train=False)
        self.aug = steps[0] if len(steps) == 1 else T.AugmentationList(steps)
        self.input_format = self.cfg.INPUT.FORMAT
        num_channels(self.image_format)  # refuses a format now, not at the first image

    @property
    def image_format(self) -> str:
        """Channels of the images that it takes.

        "BGR", as OpenCV reads them, for a model of RGB or BGR, else INPUT.FORMAT.
        """
        # Not set in __init__, which subclasses written for detectron2 replace.
        return "BGR" if self.input_format in ("RGB", "BGR") else self.input_format

    def _stored_class_names(self, weights: str) -> list[str] | None:
        return class_names_of_weights(weights)

    def _load_model(self, weights: str) -> nn.Module:
        model = build_model(self.cfg)
        if weights:
            DetectionCheckpointer(model).load(weights)
        else:
            logger.warning(
                "MODEL.WEIGHTS is empty: the weights are random, and so are the predictions. Give "
                "a file of trained weights, such as MODEL.WEIGHTS output/model_final.pth."
            )
        return model

    def _follow_dataset(self) -> list[str] | None:
        """Take the classes from the data, if that can be done without its files."""
        for name in (*self.cfg.DATASETS.TEST, *self.cfg.DATASETS.TRAIN):
            if name in DatasetCatalog and MetadataCatalog.get(name).get("thing_classes"):
                class_names = get_class_names(name)
                ClassKey.of(self.cfg).follow(class_names, f"the dataset {name}")
                return class_names
        return None

    def _make_metadata(self, class_names: list[str] | None) -> Metadata:
        names = self.cfg.DATASETS.TEST
        metadata = MetadataCatalog.get(names[0]) if len(names) else Metadata(name="predictor")
        if class_names is None or metadata.get("thing_classes") == class_names:
            return metadata
        # A copy: the model's classes are not those that the catalog's set has.
        return Metadata(**{**metadata.as_dict(), "thing_classes": class_names})

    def __call__(self, original_image: np.ndarray) -> dict[str, Any]:
        """Predict one image.

        Args:
            original_image: (H, W, 3) uint8, BGR; of a model of other channels (H, W, C), or
                (H, W) of one channel, as `read_image(name, cfg.INPUT.FORMAT)` gives it. A model
                of "L", "RGBA" and others with C other than 3 takes BGR too, and converts it.

        Returns:
            What the model gives for one image; "instances" in pixels of `original_image`.

        Raises:
            DataError: if the image is not of this kind.
        """
        with torch.inference_mode():
            outputs: list[dict[str, Any]] = self.model([self.model_input(original_image)])
        return outputs[0]

    def model_input(self, original_image: np.ndarray) -> dict[str, Any]:
        """One element of a batch for `model`: the image resized, and the size of its results.

        Args:
            original_image: see `__call__`.

        Raises:
            DataError: likewise.
        """
        original_image = self._as_input(original_image)
        height, width = original_image.shape[:2]
        image = original_image[:, :, ::-1] if self.input_format == "RGB" else original_image
        seen = T.AugInput(image)
        self.aug(seen)
        tensor = torch.from_numpy(np.ascontiguousarray(seen.image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}

    def _as_input(self, image: np.ndarray) -> np.ndarray:
        """(H, W, C) in `image_format`."""
        is_array = isinstance(image, np.ndarray)
        count = num_channels(self.image_format)
        if is_array and image.ndim == 2 and count == 1:
            return image[:, :, None]
        if is_array and image.ndim == 3 and image.shape[2] == count and image.size:
            return image
        can_convert = not is_channel_list(self.image_format)
        if can_convert and is_array and image.ndim == 3 and image.shape[2] == 3:
            rgb = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
            return convert_PIL_to_numpy(rgb, self.image_format)
        found = f"shape {image.shape}" if is_array else type(image).__name__
        raise DataError(
            f"DefaultPredictor needs a {self.image_format} image of shape (height, width, "
            f"{count}); found {found}."
            " cv2.imread gives a BGR image, and None for a file that it cannot read."
        )
