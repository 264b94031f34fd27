"""Keeping the classifier rows of the classes that a file of weights and a model have in common.

K classes, n rows a class, A anchors a cell. A head's last layer has its rows in one of three
orders: class by class (K * n), the same with the background at the end (K + 1), or anchor by anchor
(A * K).
"""

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
        has_background: whether one row for the background comes after the classes.
        by_anchor: whether each anchor has a row for every class.
    """

    pattern: str
    has_background: bool = False
    by_anchor: bool = False


_ROW_ORDERS = (
    _RowOrder(r".*box_predictor(\.\d+)?\.cls_score", has_background=True),
    _RowOrder(r".*box_predictor(\.\d+)?\.bbox_pred"),
    _RowOrder(r".*mask_head\.predictor"),
    _RowOrder(r"head\.cls_score", by_anchor=True),
    _RowOrder(r".*ins_head\.cate_pred"),
    # DETR has one head with a class for no object; Deformable DETR and DINO have one a layer.
    _RowOrder(r"class_embed", has_background=True),
    _RowOrder(r"class_embed\.\d+"),
    _RowOrder(r"label_enc"),
    _RowOrder(r"decoder\.(enc_score_head|dec_score_head\.\d+)"),
    # The row more than classes is that of no class.
    _RowOrder(r"decoder\.denoising_class_embed", has_background=True),
)


def check_class_count(weights: Mapping[str, Tensor], count: int) -> None:
    """Check that the heads of a file have rows for a number of classes.

    Args:
        weights: names and tensors, under our names.
        count: K.

    Raises:
        ConfigError: if a layer has another number of rows.
    """
    for name, value in weights.items():
        order = _order_of(name)
        if order is None or value.dim() == 0:
            continue
        rows = len(value) - order.has_background
        # One box for all classes has as few rows as one class.
        fits = rows == count if order.has_background else rows % count == 0 or rows <= 5
        if not fits:
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
    extra = int(order.has_background)
    rows, rest = divmod(len(theirs) - extra, num_theirs)
    fits = rest == 0 and rows > 0 and len(ours) - extra == rows * num_ours
    if not fits or theirs.shape[1:] != ours.shape[1:]:
        return None
    result = ours.detach().clone()
    target, source = result[: rows * num_ours], theirs[: rows * num_theirs].to(result)
    inside = ours.shape[1:]
    if order.by_anchor:
        target_KR = target.view(rows, num_ours, *inside).transpose(0, 1)
        source_KR = source.view(rows, num_theirs, *inside).transpose(0, 1)
    else:
        target_KR = target.view(num_ours, rows, *inside)
        source_KR = source.view(num_theirs, rows, *inside)
    if pairs:
        to, origin = zip(*pairs, strict=True)
        # Both targets are views of `result`.
        target_KR[list(to)] = source_KR[list(origin)]
    if extra:
        result[-1] = theirs[-1]
    return result
