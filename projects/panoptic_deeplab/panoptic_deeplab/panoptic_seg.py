"""PanopticDeepLab: segments from classes, centres and offsets, without boxes.

N images, K classes, H x W pixels of the output.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2lite.config import CfgNode, configurable
from d2lite.modeling import META_ARCH_REGISTRY, Detector, build_sem_seg_head
from d2lite.modeling.backbone import Backbone
from d2lite.modeling.meta_arch.detector import Batch, common_arguments, output_sizes
from d2lite.modeling.padded import inside_sizes
from d2lite.modeling.postprocessing import sem_seg_postprocess
from d2lite.structures import BitMasks, Instances

from .dataset_mapper import panoptic_metadata
from .heads import (
    INS_EMBED_BRANCHES_REGISTRY,
    PanopticDeepLabInsEmbedHead,
    PanopticDeepLabSemSegHead,
    build_ins_embed_branch,
)
from .padded import (
    find_centers_padded,
    group_pixels_padded,
    instances_padded,
    merge_padded,
)
from .post_processing import get_panoptic_segmentation

__all__ = [
    "INS_EMBED_BRANCHES_REGISTRY",
    "PanopticDeepLab",
    "PanopticDeepLabInsEmbedHead",
    "PanopticDeepLabSemSegHead",
    "build_ins_embed_branch",
]

_VOID = -1


@META_ARCH_REGISTRY.register()
class PanopticDeepLab(Detector):
    """Every pixel belongs to an object or to stuff. A batch is as `Detector` says.

    For training it has the targets that `PanopticDeepLabTargetGenerator` makes; `sem_seg_weights`
    may be left out.

    Args:
        backbone: images -> feature maps.
        sem_seg_head: maps -> class scores, and losses.
        ins_embed_head: maps -> centres and offsets, and losses.
        pixel_mean: of each channel.
        pixel_std: of each channel.
        thing_ids: classes of objects.
        label_divisor: a label is class * label_divisor + number of the object within the class.
        size_divisibility: sides of the network's input are multiples of this; below 1 for what
            the backbone needs.
        stuff_area: see `get_panoptic_segmentation`.
        center_threshold: likewise.
        nms_kernel: likewise.
        top_k_instance: likewise.
        predict_instances: give `instances` too.
        scale_offsets: scale offsets to the size of the result.
        benchmark_network_speed: give no result.

    Source: Cheng 2020, arXiv:1911.10194.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        ins_embed_head: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        thing_ids: Iterable[int],
        label_divisor: int,
        size_divisibility: int = -1,
        stuff_area: int = 2048,
        center_threshold: float = 0.1,
        nms_kernel: int = 7,
        top_k_instance: int = 200,
        predict_instances: bool = True,
        scale_offsets: bool = False,
        benchmark_network_speed: bool = False,
    ) -> None:
        super().__init__(backbone=backbone, pixel_mean=pixel_mean, pixel_std=pixel_std)
        self.sem_seg_head = sem_seg_head
        self.ins_embed_head = ins_embed_head
        self.thing_ids = sorted(set(thing_ids))
        self.label_divisor = label_divisor
        self.size_divisibility = size_divisibility
        self.stuff_area = stuff_area
        self.threshold = center_threshold
        self.nms_kernel = nms_kernel
        self.top_k = top_k_instance
        self.predict_instances = predict_instances
        self.scale_offsets = scale_offsets
        self.benchmark_network_speed = benchmark_network_speed

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL`, and from the metadata of the training set.

        SOLVER.OPTIMIZER is derived: it is ADAM for this model where nobody has set it.
        """
        if cfg.is_default("SOLVER.OPTIMIZER"):
            cfg.derive("SOLVER.OPTIMIZER", "ADAM", "the recipe of Panoptic-DeepLab")
        common, metadata = common_arguments(cfg), panoptic_metadata(cfg)
        maps, node = common["backbone"].output_shape(), cfg.MODEL.PANOPTIC_DEEPLAB
        return {
            **common,
            "sem_seg_head": build_sem_seg_head(cfg, maps),
            "ins_embed_head": build_ins_embed_branch(cfg, maps),
            "thing_ids": metadata.thing_dataset_id_to_contiguous_id.values(),
            "label_divisor": metadata.label_divisor,
            "size_divisibility": node.SIZE_DIVISIBILITY,
            "stuff_area": node.STUFF_AREA,
            "center_threshold": node.CENTER_THRESHOLD,
            "nms_kernel": node.NMS_KERNEL,
            "top_k_instance": node.TOP_K_INSTANCE,
            "predict_instances": node.PREDICT_INSTANCES,
            "scale_offsets": node.SCALE_OFFSETS,
            "benchmark_network_speed": node.BENCHMARK_NETWORK_SPEED,
        }

    def compute_losses(self, batched_inputs: Batch) -> dict[str, Tensor]:
        """`loss_sem_seg`, `loss_center` and `loss_offset`."""
        images = self.preprocess_image(batched_inputs)
        size = images.tensor.shape[-2:]

        def padded(key: str, value: float = 0) -> Tensor:
            maps = self.truth_of(batched_inputs, key)
            return torch.stack(
                [
                    F.pad(m, (0, size[1] - m.shape[-1], 0, size[0] - m.shape[-2]), value=value)
                    for m in maps
                ]
            )

        features = self.backbone(images.tensor)
        labels = padded("sem_seg", self.sem_seg_head.ignore_value)
        weights = padded("sem_seg_weights") if "sem_seg_weights" in batched_inputs[0] else None
        _, losses = self.sem_seg_head(features, labels, weights)
        *_, of_centers, of_offsets = self.ins_embed_head(
            features,
            padded("center")[:, None],
            padded("center_weights")[:, None],
            padded("offset"),
            padded("offset_weights")[:, None],
        )
        return {**losses, **of_centers, **of_offsets}

    def predict(self, batched_inputs: Batch) -> list[dict[str, Any]]:
        """Find segments.

        Args:
            batched_inputs: see `Detector`.

        Returns:
            for each image `sem_seg` ((K, H, W) scores), `panoptic_seg`: the (H, W) int64 map of
            class * label_divisor + number, -1 for void, and None in place of a list of segments;
            and `instances`, the segments of objects.
        """
        images = self.preprocess_image(batched_inputs)
        scores, centers, offsets = self._maps(images.tensor)
        if self.benchmark_network_speed:
            return []
        sizes = output_sizes(batched_inputs, images.image_sizes)
        return [
            self._join(*of_image)
            for of_image in zip(scores, centers, offsets, images.image_sizes, sizes, strict=True)
        ]

    @property
    def things(self) -> frozenset[int]:
        """Classes of objects."""
        return frozenset(self.thing_ids)

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (N, K, P, Q), centres (N, 1, P, Q) and offsets (N, 2, P, Q)."""
        features = self.backbone(images)
        scores, _ = self.sem_seg_head(features)
        centers, offsets, *_ = self.ins_embed_head(features)
        return scores, centers, offsets

    def predict_padded(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """See `Detector.predict_padded`: `segment_maps`."""
        return {"segment_maps": torch.cat(self._maps(images), dim=1)}

    def results_of_maps(self, maps: Tensor, seen: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """The results of a batch, in pixels of the images.

        Args:
            maps: (N, K + 3, H, W), `segment_maps` of the images; 0 beyond each.
            seen: (N, 2) int64 height and width of each image in the network's input.
            sizes: (N, 2) int64 height and width of each image in H x W pixels.

        Returns:
            `image_sem_seg` (N, K, H, W); `segments` (N, H, W) and `segment_classes`, see
            `merge_padded`; and the objects: `image_masks` (N, D, H, W) bool, with `scores`,
            `classes` and `valid` (N, D).
        """
        num_classes = maps.shape[1] - 3
        scores, heat, offsets = maps.split([num_classes, 1, 2], dim=1)
        if self.scale_offsets:
            offsets = offsets * (sizes.double() / seen.double()).float()[:, :, None, None]
        classes, inside = scores.argmax(dim=1), inside_sizes(maps, sizes)
        centers, valid = find_centers_padded(heat, self.threshold, self.nms_kernel, self.top_k)
        of_thing = [classes == number for number in self.thing_ids]
        is_asked = torch.stack(of_thing).any(dim=0) & inside & valid.any(dim=1)[:, None, None]
        objects = group_pixels_padded(centers, valid, offsets) * is_asked
        segments, own = merge_padded(
            classes, objects, inside, num_classes, self.top_k, self.thing_ids, self.stuff_area
        )
        results = {"image_sem_seg": scores, "segments": segments, "segment_classes": own}
        if self.predict_instances:
            results |= instances_padded(objects, own[:, num_classes + 1 :], scores, heat)
        return results

    def _join(
        self,
        scores: Tensor,
        centers: Tensor,
        offsets: Tensor,
        seen: tuple[int, int],
        wanted: tuple[int, int],
    ) -> dict[str, Any]:
        """The results of one image, from its (height, width) as seen to the wanted one."""
        scores, centers, offsets = (
            sem_seg_postprocess(maps, seen, *wanted) for maps in (scores, centers, offsets)
        )
        if self.scale_offsets:
            factors = [after / before for after, before in zip(wanted, seen, strict=True)]
            offsets = offsets * offsets.new_tensor(factors)[:, None, None]
        labels, _ = get_panoptic_segmentation(
            scores.argmax(dim=0, keepdim=True),
            centers,
            offsets,
            self.thing_ids,
            self.label_divisor,
            self.stuff_area,
            _VOID,
            self.threshold,
            self.nms_kernel,
            self.top_k,
        )
        results: dict[str, Any] = {"sem_seg": scores, "panoptic_seg": (labels[0], None)}
        if self.predict_instances:
            results["instances"] = self._instances(labels[0], scores, centers[0])
        return results

    def _instances(self, labels: Tensor, scores: Tensor, centers: Tensor) -> Instances:
        """The segments of objects.

        The score is the mean probability of the class over the segment, times the height of the
        map of centres in the middle of the segment.
        """
        ids, where = labels.unique(return_inverse=True)
        classes = torch.div(ids, self.label_divisor, rounding_mode="floor")
        is_thing = torch.isin(classes, torch.tensor(self.thing_ids, device=ids.device))
        is_thing &= ids != _VOID
        # The class of void is -1; what is computed there is not used.
        own = classes.clamp(min=0)[where][None]
        probability = (scores.gather(0, own)[0] - scores.logsumexp(dim=0)).exp()
        rows = torch.arange(labels.shape[0], device=ids.device)[:, None].expand_as(labels)
        columns = torch.arange(labels.shape[1], device=ids.device).expand_as(labels)
        area = torch.bincount(where.flatten(), minlength=len(ids))
        confidence, y, x = (
            torch.bincount(where.flatten(), values.flatten().to(torch.float32)) / area
            for values in (probability, rows, columns)
        )
        masks = BitMasks(where == torch.nonzero(is_thing)[:, :, None])
        return Instances(
            (labels.shape[0], labels.shape[1]),
            pred_boxes=masks.get_bounding_boxes(),
            pred_classes=classes[is_thing],
            pred_masks=masks.tensor,
            scores=(confidence * centers[y.long(), x.long()])[is_thing],
        )
