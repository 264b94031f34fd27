"""docs/support.md says what is so, and forgets no model."""

import pytest
import torch

from d2lite.engine import setup_cfg
from d2lite.modeling import META_ARCH_REGISTRY

from .facilities import FACILITIES
from .models import MODELS
from .table import PAGE, page, read
from .trying import cells_of, drawings


def documented():
    return read(PAGE.read_text(encoding="utf-8"))


def test_a_page_is_read_as_it_was_written():
    cells = ["yes", "refused: it, or that", "yes", "does not apply"]
    rows = {
        name: {f: cells[(i + j) % 4] for j, f in enumerate(FACILITIES)}
        for i, name in enumerate(MODELS)
    }
    assert read(page(rows)) == rows


def test_the_page_has_a_cell_for_each_model_and_facility():
    rows = documented()
    assert list(rows) == list(MODELS)
    assert all(list(row) == list(FACILITIES) for row in rows.values())


def test_each_architecture_is_in_the_table():
    cfgs = [setup_cfg(model.recipe, model.options) for model in MODELS.values()]
    shown = {cfg.MODEL.META_ARCHITECTURE for cfg in cfgs}
    own = {name for name, kind in META_ARCH_REGISTRY if kind.__module__.startswith("d2lite.")}
    # It is FCOS with other numbers, for checkpoints of MMDetection.
    assert own - shown <= {"ScaledFCOS"}


@pytest.fixture(scope="module")
def string(tmp_path_factory):
    return drawings(tmp_path_factory.mktemp("drawings") / "coco")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_each_cell_is_so_on_a_gpu(name, string, tmp_path, monkeypatch):
    """But for two: additions have no fixed order, and there may be one GPU."""
    pytest.importorskip("fastapi")
    pytest.importorskip("timm")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    for facility in ("resume, bit for bit", "two processes"):
        monkeypatch.delitem(FACILITIES, facility)
    wanted = {facility: documented()[name][facility] for facility in FACILITIES}
    assert cells_of(name, string, tmp_path, "cuda") == wanted


@pytest.mark.slow
# torch's own parts warn while they capture a graph.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_each_cell_is_so(name, string, tmp_path):
    pytest.importorskip("fastapi")
    pytest.importorskip("timm")
    assert cells_of(name, string, tmp_path) == documented()[name]
