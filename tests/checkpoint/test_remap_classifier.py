"""MODEL.KEEP_MATCHING_CLASSES: rows go to the classes of their names, and nowhere else."""

import logging

import pytest
import torch
from torch import nn

from d2lite.checkpoint import DetectionCheckpointer
from d2lite.checkpoint.remap_classifier import check_class_count, remap_classifier
from d2lite.utils.errors import ConfigError

THEIRS = ["cat", "dog", "person"]
OURS = ["person", "tree", "cat", "nut"]
# YOLOv3's rows of a box and of its score, which come before those of the classes.
BOX = (90, 91, 92, 93, 94)
# YOLOX and RTMDet; Mask2Former and EoMT.
PLAIN = ("head.cls_preds.0.weight", "head.rtm_cls.0.weight")
WITH_BACKGROUND = ("sem_seg_head.predictor.class_embed.weight", "class_head.weight")


def _head(num_classes, fill, *, anchors=2):
    """State of all kinds of class rows: each row holds 100 * fill + its class, and 99 for none."""

    def numbered(*classes):
        rows = torch.tensor([100.0 * fill + c for c in classes])
        return rows[:, None].expand(-1, 2).clone()

    every = range(num_classes)
    return {
        "roi_heads.box_predictor.cls_score.weight": numbered(*every, 99),
        "roi_heads.box_predictor.1.cls_score.weight": numbered(*every, 99),
        "roi_heads.box_predictor.bbox_pred.weight": numbered(*(c for c in every for _ in range(4))),
        "roi_heads.mask_head.predictor.weight": numbered(*every),
        "roi_heads.box_predictor.2.cls_score.weight": numbered(*every, 98, 99),
        "roi_heads.box_predictor.2.class_loss.counts": numbered(*every),
        "head.cls_score.weight": numbered(*(c for _ in range(anchors) for c in every)),
        "head.cls_convs.0.weight": numbered(*(c for _ in range(anchors) for c in (*every, 99))),
        "head.convs_pred.0.weight": numbered(*(c for _ in range(anchors) for c in (*BOX, *every))),
        **{name: numbered(*every) for name in PLAIN},
        **{name: numbered(*every, 99) for name in WITH_BACKGROUND},
        "backbone.fc.weight": numbered(0, 1),
    }


def _first(weights, name):
    return weights[name][:, 0].int().tolist()


def test_rows_go_where_the_class_of_that_name_is():
    weights, carried = remap_classifier(_head(3, 1), _head(4, 2), THEIRS, OURS)
    assert carried == ["person", "cat"]
    # person is their class 2, cat their class 0; tree and nut keep the model's own rows.
    by_class = [102, 201, 100, 203]
    for name in (
        "roi_heads.box_predictor.cls_score.weight",
        "roi_heads.box_predictor.1.cls_score.weight",
        *WITH_BACKGROUND,
    ):
        assert _first(weights, name) == [*by_class, 199]
    for name in ("roi_heads.mask_head.predictor.weight", *PLAIN):
        assert _first(weights, name) == by_class
    # "seesaw" has a row for objects of any class, too.
    rows = _first(weights, "roi_heads.box_predictor.2.cls_score.weight")
    assert rows == [*by_class, 198, 199]
    assert _first(weights, "roi_heads.box_predictor.2.class_loss.counts") == by_class
    assert _first(weights, "head.cls_convs.0.weight") == [*by_class, 199] * 2
    box = [100 + row for row in BOX]
    assert _first(weights, "head.convs_pred.0.weight") == [*box, *by_class] * 2
    assert _first(weights, "head.cls_score.weight") == by_class * 2
    boxes = _first(weights, "roi_heads.box_predictor.bbox_pred.weight")
    assert boxes == [row for row in by_class for _ in range(4)]
    assert _first(weights, "backbone.fc.weight") == [100, 101]


def test_equal_counts_in_another_order_are_put_in_order():
    """Without this, the classifier of cats would start out as that of persons."""
    weights, carried = remap_classifier(_head(3, 1), _head(3, 2), THEIRS, ["dog", "person", "cat"])
    assert carried == ["dog", "person", "cat"]
    assert _first(weights, "head.cls_score.weight") == [101, 102, 100] * 2


@pytest.mark.parametrize("classes", [THEIRS, ["cat", "dog"], ["a", "b", "c", "d"]])
def test_one_box_for_all_classes_is_left_alone(classes):
    """Its four rows are not two rows of each of two classes."""
    name = "roi_heads.box_predictor.bbox_pred.weight"
    rows = torch.arange(8.0).reshape(4, 2)
    weights, _ = remap_classifier({name: rows}, {name: rows + 5}, classes, classes[::-1])
    assert torch.equal(weights[name], rows)


def test_rows_that_are_not_those_of_the_named_classes_stay_out():
    weights, carried = remap_classifier(_head(7, 1), _head(4, 2), THEIRS, OURS)
    assert carried == []
    assert len(weights["head.cls_score.weight"]) == 14


class _Model(nn.Module):
    def __init__(self, class_names):
        super().__init__()
        self.class_names = class_names
        self.body = nn.Linear(2, 2)
        self.head = nn.Module()
        self.head.cls_score = nn.Linear(2, len(class_names))


def _saved(folder):
    model = _Model(THEIRS)
    with torch.no_grad():
        model.head.cls_score.bias.copy_(torch.tensor([1.0, 2, 3]))
    DetectionCheckpointer(model, str(folder)).save("theirs")
    return str(folder / "theirs.pth")


@pytest.mark.parametrize("keep", [True, False])
def test_loading_reports_what_was_taken_over(tmp_path, caplog, keep):
    caplog.set_level(logging.INFO)
    model = _Model(OURS)
    before = model.head.cls_score.bias.detach().clone()
    checkpointer = DetectionCheckpointer(model, keep_matching_classes=keep)
    checkpointer.load(_saved(tmp_path))
    after = model.head.cls_score.bias
    if keep:
        assert after.tolist() == [3.0, before[1].item(), 1.0, before[3].item()]
        assert "2 of 4 classes have their names and rows in the file: person, cat" in caplog.text
    else:
        assert torch.equal(after, before)
        assert "head.cls_score.bias ([3] in the file, [4] in the model)" in caplog.text


def test_file_without_class_names_says_how_to_write_them(tmp_path, caplog):
    model = _Model(OURS)
    torch.save(model.state_dict(), tmp_path / "x.pth")
    checkpointer = DetectionCheckpointer(model, keep_matching_classes=True)
    checkpointer.load(str(tmp_path / "x.pth"))
    assert "does not name its classes" in caplog.text
    assert "d2lite checkpoint FILE NEW_FILE --classes" in caplog.text


def test_wrong_number_of_names_is_refused():
    check_class_count(_head(3, 1), 3)
    # Two rows more than names are a background and a forgotten name, where no loss has counted.
    weights = {"roi_heads.box_predictor.cls_score.bias": torch.zeros(4)}
    with pytest.raises(ConfigError, match="has 4 rows in roi_heads"):
        check_class_count(weights, 2)
    with pytest.raises(ConfigError, match="has 4 rows in roi_heads"):
        check_class_count(_head(3, 1), 4)
