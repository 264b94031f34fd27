"""Filling the templates of the pages: tables, charts, navigation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from d2lite import __version__

from .charts import Chart, draw_svg


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: of it.
        digits: after the point; None for text.
        why: what the numbers are, shown when the pointer rests on the title.
    """

    title: str
    digits: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page, for the navigation."""

    id: str
    title: str


def render(template: str, title: str, sections: Sequence[Section], **context: Any) -> str:
    """Fill a template with what it shows."""
    environment = Environment(
        loader=PackageLoader("d2lite.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["infinity"] = math.inf
    folder = files("d2lite.reporting") / "templates"
    style, script = ((folder / name).read_text("utf-8") for name in ("report.css", "report.js"))
    return environment.get_template(f"{template}.html.j2").render(
        title=title,
        sections=sections,
        version=__version__,
        # Ours, and without a closing tag in it.
        css=Markup(style),
        js=Markup(script),
        **context,
    )


def drawn(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """Charts as the template shows them."""
    return [
        {"title": c.title, "describes": c.describes, "svg": Markup(draw_svg(c))} for c in charts
    ]
