"""Numbers as aligned text."""

from collections.abc import Mapping, Sequence

# Classes in a line of `class_table`.
_COLUMNS = 3


def format_table(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """Lay out rows under a header.

    Args:
        header: names of the columns.
        rows: texts, aligned left, and numbers, aligned right with three decimals.
    """
    cells = [[v if isinstance(v, str) else f"{v:.3f}" for v in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    is_number = [bool(rows) and not isinstance(rows[0][i], str) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        parts = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, is_number, strict=True)
        )
        return f"| {' | '.join(parts)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(header), rule, *(line(row) for row in cells)])


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Show named numbers in one row."""
    return format_table(list(metrics), [list(metrics.values())])


def class_table(values: Mapping[str, float], metric: str = "AP") -> str:
    """Show one number for each class, several classes in a line.

    Args:
        values: of each class.
        metric: what the numbers are.
    """
    columns = max(min(_COLUMNS, len(values)), 1)
    items: list[tuple[str, str | float]] = list(values.items())
    items += [("", "")] * (-len(items) % columns)
    rows: list[list[str | float]] = []
    for start in range(0, len(items), columns):
        rows.append([cell for item in items[start : start + columns] for cell in item])
    return format_table(["class", metric] * columns, rows)
