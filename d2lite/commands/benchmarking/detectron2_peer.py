"""detectron2's model of the same config, on the same tensors, where it is installed."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from d2lite.config import CfgNode
from d2lite.structures import BitMasks
from d2lite.utils.errors import ConfigError
from d2lite.utils.nested import flat_items

from .clock import Side
from .peer import peer_side

__all__ = ["detectron2_side"]


def detectron2_side(
    cfg: CfgNode, ours: nn.Module, batch: Sequence[Mapping[str, Any]], *, is_train: bool
) -> Side:
    """Make the side of detectron2.

    Args:
        cfg: every key that detectron2 knows is handed over.
        ours: the model of d2lite, whose weights it gets: with others it would find other objects.
        batch: the samples that d2lite gets; boxes, classes and masks are handed over.
        is_train: measure a training step, else a prediction.

    Raises:
        ConfigError: if detectron2 is not installed, or its model has other parameters.
    """
    try:
        import detectron2.config
        import detectron2.modeling
        import detectron2.structures
        import detectron2.utils.events
    except ImportError as error:
        raise ConfigError(
            f"--against detectron2: it cannot be imported ({error}). Install it beside d2lite, or "
            "compare with torchvision."
        ) from error
    theirs = detectron2.config.get_cfg()
    known = dict(flat_items(theirs))
    pairs = [(key, value) for key, value in cfg.keys_and_values() if key in known]
    theirs.merge_from_list([part for pair in pairs for part in pair])
    model = detectron2.modeling.build_model(theirs)
    if missing := model.load_state_dict(ours.state_dict(), strict=False).missing_keys:
        raise ConfigError(
            f"--against detectron2: its model has {len(missing)} tensors that d2lite's lacks, for "
            f"instance {missing[0]}. Choose a config that both build alike."
        )
    samples = [_sample(item, detectron2.structures) for item in batch]
    inputs = [{key: item[key] for key in ("image", "height", "width")} for item in batch]

    def losses() -> Mapping[str, Tensor]:
        # Its training step reports scalars, for which there has to be a storage.
        with detectron2.utils.events.EventStorage():
            found: Mapping[str, Tensor] = model(samples)
        return found

    return peer_side(
        "detectron2",
        model,
        losses=losses if is_train else None,
        predict=lambda: model(inputs),
        device=cfg.MODEL.DEVICE,
        optimizer=cfg.SOLVER.OPTIMIZER,
    )


def _sample(item: Mapping[str, Any], structures: Any) -> dict[str, Any]:
    truth = item["instances"]
    instances = structures.Instances(truth.image_size)
    instances.gt_boxes = structures.Boxes(truth.gt_boxes.tensor)
    instances.gt_classes = truth.gt_classes
    if truth.has("gt_masks"):
        masks = truth.gt_masks
        instances.gt_masks = (
            structures.BitMasks(masks.tensor)
            if isinstance(masks, BitMasks)
            else structures.PolygonMasks(masks.polygons)
        )
    return {**item, "instances": instances}
