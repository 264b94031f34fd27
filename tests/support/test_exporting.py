"""Every kind of model is exported in each format, or refused, as docs/export.md says."""

import pytest

from d2lite.engine import setup_cfg
from d2lite.export.exportable import export_fault

from .exporting import COLUMNS, FILES, export_cells
from .models import MODELS
from .table import EXPORT_PAGE, WORKS, export_page, export_section, read


def documented():
    return read(export_section(EXPORT_PAGE.read_text(encoding="utf-8"))[1])


def test_the_section_is_read_as_it_was_written_and_the_rest_stays():
    text = EXPORT_PAGE.read_text(encoding="utf-8")
    assert export_page(text, documented(), COLUMNS) == text


def test_each_model_has_its_row():
    rows = documented()
    assert list(rows) == list(MODELS)
    assert all(tuple(row) == COLUMNS for row in rows.values())


@pytest.mark.parametrize("name", MODELS)
def test_what_is_refused_is_documented_with_the_reason(name):
    fault = export_fault(setup_cfg(MODELS[name].recipe, MODELS[name].options))
    for form in FILES:
        cell = documented()[name][form]
        assert cell == (f"refused: {fault}" if fault else WORKS)


@pytest.mark.slow
# torch's own parts warn while they record a graph.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_each_format_gives_the_results_of_the_model(name, tmp_path):
    for package in ("onnxscript", "onnxruntime", "openvino", "timm"):
        pytest.importorskip(package)
    found, expected = export_cells(name, tmp_path / "files"), documented()[name]
    assert [found[form] for form in FILES] == [expected[form] for form in FILES]
