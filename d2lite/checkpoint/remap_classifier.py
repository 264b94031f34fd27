"""Taking over the rows of classes that a file of weights and a model both name.

K classes, n rows a class, A anchors a cell. A head's last layer has its rows in one of three
orders: class by class (K * n), the same with the background behind (K + 1), or anchor by anchor
(A * K).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from d2lite.utils.errors import ConfigError


@dataclass(frozen=True)
class _Layout:
    """Where a layer has the rows of a class.

    Attributes:
        pattern: of the layer's name.
        has_background: whether one row for the background comes behind the classes.
        by_anchor: whether the rows of all classes come once for each anchor.
    """

    pattern: str
    has_background: bool = False
    by_anchor: bool = False


_LAYOUTS = (
    _Layout(r".*box_predictor(\.\d+)?\.cls_score", has_background=True),
    _Layout(r".*box_predictor(\.\d+)?\.bbox_pred"),
    _Layout(r".*mask_head\.predictor"),
    _Layout(r"head\.cls_score", by_anchor=True),
    _Layout(r".*ins_head\.cate_pred"),
)


def check_class_count(weights: Mapping[str, Tensor], count: int) -> None:
    """Whether the heads of a file can be those of so many classes.

    Args:
        weights: names and tensors, under our names.
        count: K.

    Raises:
        ConfigError: if a layer has another number of rows.
    """
    for name, value in weights.items():
        layout = _layout_of(name)
        if layout is None or value.dim() == 0:
            continue
        rows = len(value) - layout.has_background
        # One box for all classes has as few rows as one class.
        fits = rows == count if layout.has_background else rows % count == 0 or rows <= 5
        if not fits:
            raise ConfigError(
                f"The file has {rows} rows in {name}, which {count} classes do not fit. Name as "
                "many classes as the model was trained with, in the order of their numbers."
            )


def _layout_of(name: str) -> _Layout | None:
    layer = name.rpartition(".")[0]
    return next((x for x in _LAYOUTS if re.fullmatch(x.pattern, layer)), None)


def remap_classifier(
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    their_classes: Sequence[str],
    our_classes: Sequence[str],
) -> tuple[dict[str, Tensor], list[str]]:
    """Put the rows of a file's classes where the model has the classes of these names.

    Args:
        weights: of the file, under the model's names.
        own: state dict of the model; rows of classes that the file lacks are taken from it.
        their_classes: names of the file's classes, in order.
        our_classes: names of the model's.

    Returns:
        The weights, with layers that fit the model where the class rows could be told; and the
        names of the classes that were taken over, in the model's order.
    """
    place = {name: row for row, name in enumerate(their_classes)}
    pairs = [(ours, place[name]) for ours, name in enumerate(our_classes) if name in place]
    converted = dict(weights)
    found_any = False
    for name, value in weights.items():
        layout = _layout_of(name)
        if layout is None or name not in own:
            continue
        moved = _moved(value, own[name], layout, len(their_classes), len(our_classes), pairs)
        if moved is not None:
            converted[name] = moved
            found_any = True
    return converted, [our_classes[ours] for ours, _ in pairs] if found_any else []


def _moved(
    theirs: Tensor,
    ours: Tensor,
    layout: _Layout,
    num_theirs: int,
    num_ours: int,
    pairs: Sequence[tuple[int, int]],
) -> Tensor | None:
    """Our layer with the rows of the file's; None where the numbers of rows tell another story."""
    extra = int(layout.has_background)
    rows, rest = divmod(len(theirs) - extra, num_theirs)
    fits = rest == 0 and rows > 0 and len(ours) - extra == rows * num_ours
    if not fits or theirs.shape[1:] != ours.shape[1:]:
        return None
    result = ours.detach().clone()
    target, source = result[: rows * num_ours], theirs[: rows * num_theirs].to(result)
    inside = ours.shape[1:]
    if layout.by_anchor:
        target_KR = target.view(rows, num_ours, *inside).transpose(0, 1)
        source_KR = source.view(rows, num_theirs, *inside).transpose(0, 1)
    else:
        target_KR = target.view(num_ours, rows, *inside)
        source_KR = source.view(num_theirs, rows, *inside)
    if pairs:
        to, origin = zip(*pairs, strict=True)
        # Views of `result`: writing here writes there.
        target_KR[list(to)] = source_KR[list(origin)]
    if extra:
        result[-1] = theirs[-1]
    return result
