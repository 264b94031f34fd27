"""The page of components lists what there is, with papers and keys; nothing is there unused."""

import pytest

from d2lite.config import get_cfg
from d2lite.projects import add_project_configs
from tests.docs.scripts import script


@pytest.fixture(scope="module")
def page_maker():
    return script("docs_components")


@pytest.fixture(scope="module")
def page(page_maker):
    return page_maker.components()


def test_the_page_is_that_of_the_code(page_maker, page):
    assert page_maker.PAGE.read_text(encoding="utf-8") == page, "run python .ci/docs_components.py"


def test_each_registered_component_has_a_row(page_maker, page):
    entries = page_maker.registered()
    assert {"ATSS", "GFL", "VFNet", "RetinaNet"} <= set(entries["MODEL.META_ARCHITECTURE"])
    for key, found in entries.items():
        for name in found:
            assert any(
                row.startswith(f"| `{name}` |") and f"`{key}`" in row for row in page.splitlines()
            ), name


def test_rows_name_paper_key_and_models(page):
    arxiv = "https://arxiv.org/abs"
    assert (
        f"| `assign_by_statistics` | [1912.02424]({arxiv}/1912.02424) | `MODEL.DENSE.TOPK` | "
        "ATSS, GFL, VFNet |"
    ) in page
    assert (
        f"| `Box2BoxTransformTBLR` | [1903.00621]({arxiv}/1903.00621) | `MODEL.DENSE.NORMALIZER` | "
        "FSAF |"
    ) in page
    assert f"| `GFL` | [2006.04388]({arxiv}/2006.04388) | `MODEL.META_ARCHITECTURE` |" in page


def test_each_part_is_used_by_a_model_or_a_command(page_maker):
    """A part that nothing uses is not worth its lines."""
    users = page_maker.used_by()
    unused = [name for name in users if not users[name] and name not in page_maker.COMMANDS]
    assert not unused


def test_each_key_is_one_of_the_config(page_maker):
    cfg = get_cfg()
    add_project_configs(cfg)
    keys = {*page_maker.KEYS.values(), *(key for _, key in page_maker.REGISTRIES.values())}
    assert not [key for key in keys if not cfg.has_key(key)]
    assert set(page_maker.KEYS) | set(page_maker.COMMANDS) <= set(page_maker.parts())
