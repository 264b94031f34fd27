"""Detector: what all models share: images from a batch of the loader, results in its sizes.

N images of C channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lite.config import CfgNode
from d2lite.structures import BitMasks, Boxes, ImageList, Instances, Keypoints, RotatedBoxes
from d2lite.utils.errors import ArgumentError, DataError, ExportError
from d2lite.utils.keyed_rng import keyed_images
from d2lite.utils.process_means import num_sharing, padded_alike

from ..backbone import Backbone, build_backbone
from ..postprocessing import detector_postprocess, whole_side
from .checked_inputs import image_of

Batch = Sequence[dict[str, Any]]


class Detector(nn.Module):
    """A model with two main methods: `losses` of a training batch, and `predict`.

    A subclass implements `compute_losses` and `predict`. One element of a batch is a dict with
    `image` ((C, H, W), uint8 or float, in the channel order of `INPUT.FORMAT`), `height` and
    `width` (the size that results should have; that of `image` when left out), for training
    `instances`, and `draw_key` where it comes from the sample stream.

    Args:
        backbone: images -> feature maps.
        pixel_mean: of each channel.
        pixel_std: of each channel.

    Attributes:
        class_names: the classes of the model, in order; None where they have not been set.
        predicts: keys of the results of `predict`; empty where that is not known.
        compiled_parts: names of the modules that MODEL.COMPILE compiles, where a model has them;
            shapes inside depend on those of the images alone.
        predicts_sizes_apart: `predict` runs images of each size as a batch of their own.
        soft_mask_threshold: pixels of the `soft_masks` of `predict_padded` that exceed it belong
            to the mask.
        size_divisibility: images are padded to multiples of this too, beside the backbone's; 0 and
            1 change nothing.
    """

    predicts: frozenset[str] = frozenset()
    compiled_parts: tuple[str, ...] = ("backbone",)
    predicts_sizes_apart: bool = False
    soft_mask_threshold: float = 0.0
    size_divisibility: int = 0
    class_names: list[str] | None = None
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        backbone: Backbone | None = None,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if backbone is None and pixel_mean is None and pixel_std is None:
            # A subclass that skips the constructor of its base, as in
            # `super(GeneralizedRCNN, self).__init__()`, sets all parts by itself.
            return
        if backbone is None or pixel_mean is None or pixel_std is None:
            raise ArgumentError("A detector needs backbone, pixel_mean and pixel_std.")
        self.backbone = backbone
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            column = torch.tensor(list(values), dtype=torch.float32).view(-1, 1, 1)
            # They are configuration, and published weights do not contain them.
            self.register_buffer(name, column, persistent=False)
        if self.pixel_mean.shape != self.pixel_std.shape:
            raise ArgumentError(
                f"MODEL.PIXEL_MEAN has {len(pixel_mean)} channels, MODEL.PIXEL_STD "
                f"{len(pixel_std)}. Give as many numbers in both."
            )

    @property
    def device(self) -> torch.device:
        """The device of the model; images are moved there."""
        return self.pixel_mean.device

    @property
    def training_state(self) -> "TrainingState":
        """What a resumed training needs and a `state_dict` leaves out; see `TrainingState`."""
        return TrainingState(self)

    def forward(self, batched_inputs: Batch) -> dict[str, Tensor] | list[dict[str, Any]]:
        """`losses` in training mode, `predict` otherwise."""
        return self.losses(batched_inputs) if self.training else self.predict(batched_inputs)

    def losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """Compare predictions with the truth.

        Args:
            batched_inputs: see the class, with the truth. Random draws for an image depend on its
                `draw_key`.

        Returns:
            scalars by name, to be minimised in sum; finite for images without objects too.
        """
        with keyed_images([item.get("draw_key") for item in batched_inputs]):
            return self.compute_losses(batched_inputs)

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """What `losses` returns; a subclass computes it here."""
        raise NotImplementedError

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """Detect.

        Args:
            batched_inputs: see the class, without the truth.

        Returns:
            a dict of results for each image, in pixels of `height` and `width`.
        """
        raise NotImplementedError

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """Detect in the fixed-size form, which can be exported and compiled whole.

        Args:
            images: (N, C, H, W) float32, normalised and padded as `preprocess_image` does.
            sizes: (N, 2) int64 height and width of each image without padding.

        Returns:
            (N, D, ...) tensors by name, in pixels of the network's input: the fields of
            `PaddedBoxes`, `masks` ((N, D, 1, M, M) probabilities in the boxes) and `keypoints`
            where the model has them; maps of the padded image: `sem_seg`; `soft_masks` ((N, D, h,
            w) probabilities or logits on the padded image), with or without boxes; or
            `query_logits` and `query_masks`, see `MaskQueries.results_padded`; or `segment_maps`,
            maps of the padded image that the model's `results_of_maps` gets in image pixels.

        Raises:
            ExportError: if the model has no such form.
        """
        raise ExportError(f"{type(self).__name__} has no fixed-size form.")

    def preprocess_image(self, batched_inputs: Batch) -> ImageList:
        """Move images to the device, normalise them and pad them to one size.

        Args:
            batched_inputs: dicts with `image`.

        Returns:
            (N, C, H, W) float32, with zeros (the mean colour) right of and below each image.

        Raises:
            DataError: if an element has no image, or one of another number of channels.
        """
        images = []
        for item in batched_inputs:
            image = image_of(item, len(self.pixel_mean))
            # Moving uint8 takes a quarter of the time of float32. YUV comes as float64.
            image = image.float() if image.dtype == torch.float64 else image
            image = self._move_to_current_device(image)
            images.append((image - self.pixel_mean) / self.pixel_std)
        batch = ImageList.from_tensors(
            images,
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )
        batch.tensor = padded_alike(batch.tensor)
        if self.size_divisibility > 1:
            below, beside = (-side % self.size_divisibility for side in batch.tensor.shape[-2:])
            batch.tensor = F.pad(batch.tensor, (0, beside, 0, below))
        if self.device.type == "cpu" and not torch.is_grad_enabled() and num_sharing() == 1:
            # 13 % less time for a Faster R-CNN with ResNet-18; no less in training.
            batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
        return batch

    def _move_to_current_device(self, image: Tensor) -> Tensor:
        """The image on the device of the model; models written for detectron2 call it."""
        # Only CUDA orders an unfinished copy before what reads it.
        return image.to(self.device, non_blocking=self.device.type == "cuda")

    def padded_sides(self, batched_inputs: Batch) -> tuple[int, int]:
        """Height and width that `preprocess_image` pads the images of a batch to.

        Args:
            batched_inputs: dicts with `image`.
        """
        shapes = (item["image"].shape[-2:] for item in batched_inputs)
        batch = ImageList.from_tensors(
            [torch.empty(tuple(shape), device="meta") for shape in shapes],
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )
        height, width = batch.tensor.shape[-2:]
        return height, width

    def truth_of(self, batched_inputs: Batch, key: str = "instances") -> list[Any]:
        """The truth under a key of each element, on the device of the model.

        Args:
            batched_inputs: as `losses` takes them.
            key: "instances", "sem_seg", ...

        Raises:
            DataError: if an element lacks it.
        """
        for item in batched_inputs:
            if key not in item:
                fix = "Use a training loader, or call model.eval() to predict."
                if {"sem_seg", "instances"} & item.keys():
                    fix = "Choose a model for what the set has, or a set for this model."
                raise DataError(
                    f"Training needs {key!r} for each image; "
                    f"{item.get('file_name', 'one of the batch')} has only {sorted(item)}. {fix}"
                )
        return [_on_device(item[key], self.device) for item in batched_inputs]


def _on_device(truth: Any, device: torch.device) -> Any:
    """The truth on the device; where its kind allows, a copy to a GPU is not waited for."""
    if isinstance(truth, Instances):
        fields = {name: _on_device(value, device) for name, value in truth.get_fields().items()}
        return Instances(truth.image_size, **fields)
    if type(truth) in (Tensor, Boxes, RotatedBoxes, BitMasks, Keypoints):
        # Apple's devices may read memory that was freed meanwhile.
        return truth.to(device, non_blocking=device.type == "cuda")
    return truth.to(device) if hasattr(truth, "to") else truth


def common_arguments(cfg: CfgNode) -> dict[str, Any]:
    """The arguments that every model has, from `MODEL`: the backbone and the pixels' statistics."""
    return {
        "backbone": build_backbone(cfg),
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
    }


def output_sizes(
    batched_inputs: Batch, image_sizes: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """(height, width) that the results of each image should have.

    Args:
        batched_inputs: dicts with `height` and `width`, or without.
        image_sizes: of each image as the network saw it, without padding.
    """
    return [
        (whole_side(item.get("height", size[0])), whole_side(item.get("width", size[1])))
        for item, size in zip(batched_inputs, image_sizes, strict=True)
    ]


def postprocess_batch(
    instances: Sequence[Instances], batched_inputs: Batch, image_sizes: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    """{"instances": detections} of each image, in pixels of `height` and `width`.

    Args:
        instances: detections in pixels of the network's input.
        batched_inputs: see `output_sizes`.
        image_sizes: likewise.
    """
    sizes = output_sizes(batched_inputs, image_sizes)
    return [
        {"instances": detector_postprocess(found, *size)}
        for found, size in zip(instances, sizes, strict=True)
    ]


class TrainingState:
    """The running numbers of a model that belong in a checkpoint of training, not in its weights.

    RetinaNet divides its losses by a running count of foreground anchors. Published weights hold
    no such number, so `state_dict()` must not either; but a run that is resumed without it
    would begin with other losses. A trainer gives this object to its checkpointer, as the
    optimizer: `add_checkpointable("model_state", model.training_state)`.

    It covers the buffers that a module names in a class attribute `training_buffers`.

    Args:
        model: any module.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def _buffers(self) -> dict[str, Tensor]:
        return {
            f"{prefix}.{name}" if prefix else name: getattr(module, name)
            for prefix, module in self._model.named_modules()
            for name in getattr(module, "training_buffers", ())
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the numbers by name; {} for most models."""
        return {name: value.detach().clone() for name, value in self._buffers().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the numbers that the model has."""
        with torch.no_grad():
            for name, value in self._buffers().items():
                if name in state:
                    value.copy_(state[name])
