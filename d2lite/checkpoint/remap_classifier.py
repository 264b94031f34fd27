"""Keeping the classifier rows of the classes that a file of weights and a model have in common.

K classes, n rows a class, A anchors a cell. The last layer of a head has the rows of K classes one
after the other, or those of A anchors, and with each anchor K classes.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from d2lite.utils.errors import ConfigError


@dataclass(frozen=True)
class _RowOrder:
    """In which order a layer has the rows of the classes.

    Attributes:
        pattern: regular expression of the layer's name.
        before: rows that come before those of the classes, in each anchor.
        after: how many rows may come after those of the classes, in each anchor, as the
            background's.
        by_anchor: whether each anchor has a row for every class.
        widths: how many rows a class may have.
    """

    pattern: str
    before: int = 0
    after: tuple[int, ...] = (0,)
    by_anchor: bool = False
    widths: tuple[int, ...] = (1,)

    def shape(self, rows: int, num_classes: int) -> tuple[int, int, int] | None:
        """The numbers of anchors, 1 where there are none, of rows a class, and of rows after them.

        None where so many rows are not those of so many classes, as the four of a box that all
        classes share.
        """
        for width, after in itertools.product(self.widths, self.after):
            anchors, rest = divmod(rows, self.before + width * num_classes + after)
            if rest == 0 and (anchors == 1 or (anchors > 1 and self.by_anchor)):
                return anchors, width, after
        return None


_ROW_ORDERS = (
    # The loss "seesaw" has a row for objects of any class, too.
    _RowOrder(r".*box_predictor(\.\d+)?\.cls_score", after=(1, 2)),
    _RowOrder(r".*box_predictor(\.\d+)?\.class_loss"),  # what it has counted
    _RowOrder(r".*box_predictor(\.\d+)?\.bbox_pred", widths=(4, 5)),
    _RowOrder(r".*mask_head(\.\d+)?\.predictor"),
    # RetinaNet, FCOS and their kin; SSD, with a background; YOLOv3, after a box and its score;
    # YOLOX and RTMDet.
    _RowOrder(r"head\.cls_score", by_anchor=True),
    _RowOrder(r"head\.cls_convs\.\d+", after=(1,), by_anchor=True),
    _RowOrder(r"head\.convs_pred\.\d+", before=5, by_anchor=True),
    _RowOrder(r"head\.(cls_preds|rtm_cls)\.\d+"),
    _RowOrder(r".*ins_head\.cate_pred"),
    # DETR, Mask2Former and EoMT have one head with a class for no object; Deformable DETR and DINO
    # have one a layer.
    _RowOrder(r"(sem_seg_head\.predictor\.)?class_embed|class_head", after=(1,)),
    _RowOrder(r"class_embed\.\d+"),
    _RowOrder(r"label_enc"),
    _RowOrder(r"decoder\.(enc_score_head|dec_score_head\.\d+)"),
    # The row more than classes is that of no class.
    _RowOrder(r"decoder\.denoising_class_embed", after=(1,)),
)
# Rows of a box, upright or rotated, or of a mask, that all classes share.
_SHARED_ROWS = (1, 4, 5)


def check_class_count(weights: Mapping[str, Tensor], count: int) -> None:
    """Check that the heads of a file have rows for a number of classes.

    Args:
        weights: names and tensors, under our names.
        count: K.

    Raises:
        ConfigError: if a layer has another number of rows.
    """
    # A head with the loss "seesaw" has counted its classes; its row more is not another's class.
    has_counts = any(name.endswith(".counts") for name in weights)
    for name, value in weights.items():
        order = _order_of(name)
        if order is None or value.dim() == 0:
            continue
        rows = len(value)
        shape = order.shape(rows, count)
        fits = shape is not None and (has_counts or shape[2] == order.after[0])
        is_shared = order.after == (0,) and rows in _SHARED_ROWS
        if not fits and not is_shared:
            raise ConfigError(
                f"The file has {rows} rows in {name}, which do not fit {count} classes. Name as "
                "many classes as the model was trained with, in the order of their numbers."
            )


def _order_of(name: str) -> _RowOrder | None:
    layer = name.rpartition(".")[0]
    return next((x for x in _ROW_ORDERS if re.fullmatch(x.pattern, layer)), None)


def remap_classifier(
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    their_classes: Sequence[str],
    our_classes: Sequence[str],
) -> tuple[dict[str, Tensor], list[str]]:
    """Move the rows of a file's classes to where the model has the classes of these names.

    Args:
        weights: of the file, under the model's names.
        own: state dict of the model, for the rows of classes that the file lacks.
        their_classes: names of the file's classes, in order.
        our_classes: names of the model's.

    Returns:
        The weights, in which layers of a known row order now fit the model; and the names of the
        classes that were kept, in the model's order.
    """
    place = {name: row for row, name in enumerate(their_classes)}
    pairs = [(ours, place[name]) for ours, name in enumerate(our_classes) if name in place]
    converted = dict(weights)
    found_any = False
    for name, value in weights.items():
        order = _order_of(name)
        if order is None or name not in own:
            continue
        moved = _remapped(value, own[name], order, len(their_classes), len(our_classes), pairs)
        if moved is not None:
            converted[name] = moved
            found_any = True
    return converted, [our_classes[ours] for ours, _ in pairs] if found_any else []


def _remapped(
    theirs: Tensor,
    ours: Tensor,
    order: _RowOrder,
    num_theirs: int,
    num_ours: int,
    pairs: Sequence[tuple[int, int]],
) -> Tensor | None:
    """Our layer with the rows of the file's; None where the numbers of rows do not fit."""
    shape = order.shape(len(theirs), num_theirs)
    is_same = shape == order.shape(len(ours), num_ours) and theirs.shape[1:] == ours.shape[1:]
    if shape is None or not is_same:
        return None
    anchors, _, after = shape
    result = ours.detach().clone()
    # Both are views: (A, rows of an anchor, ...).
    target, source = (rows.unflatten(0, (anchors, -1)) for rows in (result, theirs.to(ours)))
    if pairs:
        to, origin = (list(numbers) for numbers in zip(*pairs, strict=True))
        of_ours, of_theirs = (
            rows[:, order.before : rows.shape[1] - after].unflatten(1, (count, -1))
            for rows, count in ((target, num_ours), (source, num_theirs))
        )
        of_ours[:, to] = of_theirs[:, origin]
    target[:, : order.before] = source[:, : order.before]
    if after:
        target[:, -after:] = source[:, -after:]
    return result
