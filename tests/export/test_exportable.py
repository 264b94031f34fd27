"""Each published configuration is exported, or refused by name with the reason."""

from pathlib import Path

import pytest

from d2lite.engine import setup_cfg
from d2lite.export.exportable import export_fault
from d2lite.projects.point_rend.mask_head import PointRendMaskHead
from tests.modeling.small_detectors import SMALL, small_config
from tests.projects.point_rend.small import small_cfg

CONFIGS = Path(__file__).parents[2] / "configs"
REFUSED = {
    "fast_rcnn": "Proposals are an input of this model",
    "rpn_r_": "ProposalNetwork has no fixed-size form",
    "rotated": "RRPN has no fixed-size form",
}


def reason_for(name):
    """The expected reason, None for those that are exported."""
    return next((text for part, text in REFUSED.items() if part in name), None)


def test_published_configs_are_exported_or_refused_by_name():
    names = [str(path) for path in sorted(CONFIGS.rglob("*.yaml"))]
    assert len(names) > 90
    wrong = {}
    for name in names:
        fault, expected = export_fault(setup_cfg(name)), reason_for(Path(name).name.lower())
        if fault != expected and not (fault and expected and fault.startswith(expected)):
            wrong[name] = fault
    assert not wrong


@pytest.mark.parametrize("name", SMALL)
def test_what_is_exported_in_other_tests_has_no_fault(name):
    assert export_fault(small_config(name)) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["MODEL.META_ARCHITECTURE", "ProposalNetwork"], "ProposalNetwork has no fixed-size form"),
        (["MODEL.PROPOSAL_GENERATOR.NAME", "RRPN"], "no suppression of rotated boxes"),
        (["MODEL.LOAD_PROPOSALS", True], "Proposals are an input of this model"),
        (["INPUT.AUGMENTATIONS_TEST", ["Resize(shape=(9, 9), interp=3)"]], "prepared by Resize"),
    ],
)
def test_refused_by_name(options, reason):
    assert reason in export_fault(small_config("mask", *options))


def test_head_on_whole_maps_without_a_fixed_size_form_is_refused(monkeypatch):
    assert export_fault(small_cfg()) is None
    monkeypatch.delattr(PointRendMaskHead, "predict_regions")
    assert export_fault(small_cfg()) == "PointRendMaskHead has no fixed-size form."
