"""Texts and labels: what they say, their pixels, and where a label fits into a picture."""

import functools
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Rect = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, x1 and y1 outside

# Fonts of the machine, tried in this order for letters that Pillow's own font lacks.
_WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "arialuni.ttf",
    "arial.ttf",
)


@functools.lru_cache(maxsize=64)
def _font(size: int, is_latin: bool) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    if not is_latin:
        for name in _WIDE_FONTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=512)
def render_text(text: str, size: int) -> np.ndarray:
    """Draw text as a grey mask, one line for each line of it.

    Args:
        text: what to write.
        size: height of the font in pixels.

    Returns:
        (h, w) float32 coverage in [0, 1]. The height depends on size and number of lines only,
        so that labels beside each other have one base line. Read-only: results are cached.
    """
    lines = text.split("\n")
    font = _font(size, all(ord(c) < 256 for c in text))
    widths = [max(int(np.ceil(font.getlength(line))), 1) for line in lines]
    # Every line has room for ascenders and descenders, whether it has such letters or not.
    line_height = round(size * 1.2)
    page = Image.new("L", (max(widths), line_height * len(lines)), 0)
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        pen.text((0, round((number + 0.82) * line_height)), line, fill=255, font=font, anchor="ls")
    coverage = np.asarray(page, dtype=np.float32) / 255
    coverage.setflags(write=False)
    return coverage


def label_text(name: str, score: float | None = None, is_crowd: bool = False) -> str:
    """The label of an instance: name, score in percent, and whether it is a crowd."""
    text = name if score is None else f"{name} {score:.0%}".strip()
    return f"{text}|crowd" if is_crowd else text


def _create_text_labels(
    classes: Sequence[int] | None,
    scores: Sequence[float] | None,
    class_names: Sequence[str] | None,
    is_crowd: Sequence[bool] | None = None,
) -> list[str] | None:
    """The labels of N instances, or None where neither classes nor scores are known.

    Args:
        classes: N class numbers.
        scores: N scores in [0, 1].
        class_names: by class number; a number beyond them is shown itself.
        is_crowd: N marks of crowd regions.
    """
    if classes is None and scores is None:
        return None
    count = len(classes if classes is not None else scores or ())
    names = () if class_names is None else class_names
    texts = []
    for i in range(count):
        number = None if classes is None else int(classes[i])
        name = "" if number is None else str(number)
        if number is not None and 0 <= number < len(names):
            name = str(names[number])
        score = None if scores is None else float(scores[i])
        texts.append(label_text(name, score, bool(is_crowd and is_crowd[i])))
    return texts


def overlap_area(rect: Rect, others: Iterable[Rect]) -> int:
    """Pixels of `rect` that others cover, counted once for each of them."""
    x0, y0, x1, y1 = rect
    total = 0
    for a0, b0, a1, b1 in others:
        total += max(min(x1, a1) - max(x0, a0), 0) * max(min(y1, b1) - max(y0, b0), 0)
    return total


def place_label(
    label_size: tuple[int, int],
    box: Sequence[float],
    image_size: tuple[int, int],
    taken: Sequence[Rect],
) -> Rect:
    """Find a place for the label of a box: inside the picture, away from earlier labels.

    Args:
        label_size: (height, width) of the label in pixels.
        box: xyxy of the object.
        image_size: (height, width) of the picture.
        taken: the places of earlier labels.

    Returns:
        The place with the least overlap among those at the box's edges; the first of equals in
        the order: on top of the upper left corner, inside it, at the upper right, below.
    """
    height, width = label_size
    image_height, image_width = image_size
    left, top, right, bottom = (round(v) for v in box)
    rows = [top - height, top, bottom - height, bottom]
    columns = [left, right - width, (left + right - width) // 2]
    # A box taller than some labels has room for further rows along its left edge.
    rows += list(range(top + height, bottom - height, height))[:6]
    best: Rect | None = None
    best_cost = float("inf")
    for y in rows:
        for x in columns:
            inside_x = min(max(x, 0), max(image_width - width, 0))
            inside_y = min(max(y, 0), max(image_height - height, 0))
            rect = (inside_x, inside_y, inside_x + width, inside_y + height)
            # A place outside is moved into the picture, at a cost that grows with the distance.
            cost = overlap_area(rect, taken) + 0.01 * (abs(inside_x - x) + abs(inside_y - y))
            if cost < best_cost:
                best, best_cost = rect, cost
        if best_cost == 0:
            break
    assert best is not None
    return best
