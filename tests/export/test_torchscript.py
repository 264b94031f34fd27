"""Models compiled to TorchScript give what they give in Python."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from d2lite.engine.test_support import convert_scripted_instances, reload_script_model
from d2lite.export import (
    Caffe2Model,
    Caffe2Tracer,
    add_export_config,
    dump_torchscript_IR,
    export_model,
    scripting_with_instances,
)
from d2lite.export.comparison import Tolerance, compare_results
from d2lite.export.torchscript_patch import freeze_training_mode, patch_instances
from d2lite.layers import ShapeSpec
from d2lite.modeling import build_model
from d2lite.modeling.postprocessing import detector_postprocess
from d2lite.modeling.proposal_generator import RPN
from d2lite.modeling.roi_heads.keypoint_head import KRCNNConvDeconvUpsampleHead
from d2lite.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from d2lite.structures import Boxes, ImageList, Instances
from d2lite.utils.errors import ArgumentError, ExportError
from tests.data.spec_files import picture
from tests.modeling.small_detectors import images_of, small_config, small_detector

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")

PROPOSALS = {"proposal_boxes": Boxes, "objectness_logits": Tensor}
BOXES = {"pred_boxes": Boxes, "scores": Tensor, "pred_classes": Tensor}
FIELDS = {**PROPOSALS, **BOXES, "pred_masks": Tensor, "pred_keypoints": Tensor}


def check(ours, theirs):
    for name, value in ours.get_fields().items():
        rows = value.tensor if isinstance(value, Boxes) else value
        found = theirs.get_fields()[name]
        torch.testing.assert_close(getattr(found, "tensor", found), rows, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "mask",
        "retinanet",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("cascade", "c4", "fcos")),
    ],
)
def test_whole_detector(name):
    model = small_detector(name).requires_grad_(False)
    scripted = reload_script_model(scripting_with_instances(model, FIELDS))
    for sizes in ([(96, 128)], [(130, 70), (64, 64), (90, 40)]):
        batch = [{"image": item["image"]} for item in images_of(sizes)]
        with torch.no_grad():
            expected = model(batch)
        for ours, theirs in zip(expected, scripted(batch), strict=True):
            found = convert_scripted_instances(theirs)
            found = detector_postprocess(found, *ours["instances"].image_size)
            # The last ones of many random detections are kept or not by the last digit of a score.
            lowest = float(ours["instances"].scores[:20].min())
            difference = compare_results(ours, {"instances": found}, lowest)
            assert difference.detections > 3
            assert not difference.faults(Tolerance(score=1e-3, box=1e-4, mask=0.02), 128)


class Caller(nn.Module):
    """What people write around a detector before they script it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: tuple[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        instances = self.model.inference(inputs, do_postprocess=False)
        return [i.get_fields() for i in instances]


def test_detector_inside_of_own_code():
    model = small_detector("mask").requires_grad_(False)
    scripted = scripting_with_instances(Caller(model).eval(), FIELDS)
    image = images_of([(70, 100)])[0]["image"].float()
    (found,) = scripted(({"image": image},))
    (ours,) = model.inference([{"image": image}], do_postprocess=False)
    assert len(ours) > 5
    check(ours, Instances(ours.image_size, **found))
    with pytest.raises(Exception, match="and then detector_postprocess"):
        scripted.model.inference([{"image": image}])


class Heads(nn.Module):
    """Proposals and heads with features from elsewhere."""

    def __init__(self, proposal_generator: nn.Module, roi_heads: nn.Module) -> None:
        super().__init__()
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads

    def forward(
        self, images: Tensor, sizes: list[tuple[int, int]], features: dict[str, Tensor]
    ) -> tuple[list[Instances], list[Instances]]:
        batch = ImageList(images, sizes)
        proposals, _ = self.proposal_generator(batch, features)
        found, _ = self.roi_heads(batch, features, proposals)
        return proposals, found


def test_proposal_generator_and_heads_alone():
    model = small_detector("mask").requires_grad_(False)
    parts = Heads(model.proposal_generator, model.roi_heads).eval()
    scripted = scripting_with_instances(parts, FIELDS)
    images = model.preprocess_image(images_of([(96, 128), (70, 50)]))
    features = model.backbone(images.tensor)
    given = (images.tensor, images.image_sizes, features)
    for ours, theirs in zip(parts(*given), scripted(*given), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert len(one) > 5
            check(one, convert_scripted_instances(other))


def test_what_cannot_be_scripted_is_refused_with_what_to_use():
    model = small_detector("mask")
    with pytest.raises(ExportError, match=r"The model gives .*pred_masks; name them in the fields"):
        scripting_with_instances(model, {**PROPOSALS, **BOXES})
    with pytest.raises(ArgumentError, match=r"call model\.eval\(\)"):
        scripting_with_instances(model.train(), FIELDS)
    with pytest.raises(ArgumentError, match="give the name and the type of each"):
        scripting_with_instances(model.eval(), {"scores": float})
    cfg = small_config("faster", "MODEL.META_ARCHITECTURE", "ProposalNetwork")
    with pytest.raises(ExportError, match=r"ProposalNetwork cannot be TorchScript.*--to torch"):
        scripting_with_instances(build_model(cfg).eval(), FIELDS)


def test_instances_of_given_fields():
    def use(x: Tensor):
        one = Instances((3, 4))
        before = one.has("scores")
        one.pred_boxes = Boxes(x)
        one.scores = x[:, 0]
        kept = one[one.scores > 1].to(x.device)
        return kept, before, len(one), one.get_fields()

    with patch_instances({"pred_boxes": Boxes, "scores": Tensor}):
        scripted = torch.jit.script(use)
    kept, before, count, fields = scripted(torch.arange(8.0).reshape(2, 4))
    assert not before
    assert count == 2
    assert sorted(fields) == ["pred_boxes", "scores"]
    plain = convert_scripted_instances(kept)
    assert plain.image_size == (3, 4)
    assert plain.scores.tolist() == [4]
    assert plain.pred_boxes.tensor.tolist() == [[4, 5, 6, 7]]
    assert not hasattr(Instances, "_jit_override_qualname")


class Count(nn.Module):
    def forward(self, found: Instances) -> int:
        return len(found)


def test_module_is_compiled_anew_for_other_fields_and_instances_become_such():
    plain = Instances((30, 40), proposal_boxes=Boxes(torch.rand(3, 4)))
    with patch_instances({"proposal_boxes": Boxes, "mask": Tensor}) as first:
        made = first.from_instances(plain)
        back = convert_scripted_instances(made)
        assert torch.jit.script(Count())(made) == 3
    assert back.image_size == (30, 40)
    assert back.proposal_boxes.tensor.equal(plain.proposal_boxes.tensor)
    with patch_instances({"proposal_boxes": Boxes}) as second:
        counted = torch.jit.script(Count())
        assert counted(second.from_instances(plain)) == 3
        with pytest.raises(torch.jit.Error, match="without fields have no length"):
            counted(second((3, 4)))
    with pytest.raises(Exception, match="Instances"):
        torch.jit.script(Count())


def test_fields_of_an_outer_block_hold_again_after_an_inner_one():
    with patch_instances({"scores": Tensor}):
        outer = vars(RPN)["__prepare_scriptable__"]
        with patch_instances({"labels": Tensor}):
            assert vars(RPN)["__prepare_scriptable__"] is not outer
        assert vars(RPN)["__prepare_scriptable__"] is outer
    assert "__prepare_scriptable__" not in vars(RPN)


def test_instances_are_made_with_fields_and_joined_in_a_script():
    def use(x: Tensor):
        both = Instances((3, 4), scores=x[:, 0], pred_boxes=Boxes(x))
        one = Instances((3, 4), scores=x[:, 0])
        return both.cat([both, both]), one.cat([one, one, one])

    with patch_instances({"pred_boxes": "Boxes", "scores": "Tensor"}):
        scripted = torch.jit.script(use)
    x = torch.arange(8.0).reshape(2, 4)
    both, one = scripted(x)
    assert both.pred_boxes.tensor.equal(torch.cat([x, x]))
    assert one.scores.tolist() == [0, 4] * 3
    assert not one.has("pred_boxes")


@pytest.mark.parametrize(
    "head",
    [
        MaskRCNNConvUpsampleHead(ShapeSpec(channels=4), num_classes=5, conv_dims=[4, 6]),
        KRCNNConvDeconvUpsampleHead(ShapeSpec(channels=4), num_keypoints=3, conv_dims=[4]),
    ],
)
def test_head_of_a_branch_alone(head):
    head = head.requires_grad_(False).eval()
    boxes, classes = torch.tensor([[4, 4, 40, 50], [8, 2, 90, 60], [1, 1, 9, 5.0]]), torch.arange(3)
    features = torch.rand(3, 4, 6, 6)
    detected = Instances((60, 90), pred_boxes=Boxes(boxes), pred_classes=classes)
    wanted = [detected[:2], detected[2:]]
    fields = {**FIELDS, "pred_keypoint_heatmaps": Tensor}
    with freeze_training_mode(head), patch_instances(fields) as made:
        given = [made.from_instances(one) for one in wanted]
        scripted = torch.jit.script(head)(features, given)
    for ours, theirs in zip(head(features, wanted), scripted, strict=True):
        check(ours, convert_scripted_instances(theirs))
    with patch_instances(BOXES), pytest.raises(ExportError, match="name them in the fields"):
        torch.jit.script(head)


def test_roi_heads_are_scripted_where_instances_have_fields():
    model = small_detector("mask").requires_grad_(False)
    heads = model.roi_heads
    batch = model.preprocess_image(images_of([(90, 96)]))
    maps = model.backbone(batch.tensor)
    boxes = Boxes(torch.tensor([[4, 4, 40, 50], [8, 2, 90, 60.0]]))
    proposals = Instances((90, 96), proposal_boxes=boxes, objectness_logits=torch.ones(2))
    with freeze_training_mode(heads), patch_instances(FIELDS) as made:
        scripted = torch.jit.script(heads)
        (theirs,), _ = scripted(batch, maps, [made.from_instances(proposals)])
    (ours,), _ = heads(batch, maps, [proposals])
    check(ours, convert_scripted_instances(theirs))
    assert "__prepare_scriptable__" not in vars(type(heads))


class Moody(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return sum(y for y in x)
        return x + 1


def test_code_of_training_is_skipped_where_the_mode_is_frozen():
    module = Moody().eval()
    with freeze_training_mode(module):
        scripted = torch.jit.script(module)
    assert scripted(torch.zeros(1)).item() == 1
    assert not hasattr(Moody, "__constants__") or "training" not in Moody.__constants__


def test_code_and_graphs_are_written_as_text(tmp_path):
    dump_torchscript_IR(torch.jit.script(nn.Sequential(nn.Linear(2, 1)).eval()), tmp_path / "ir")
    assert "def forward" in (tmp_path / "ir/model_ts_code.txt").read_text()
    assert "graph(" in (tmp_path / "ir/model_ts_IR.txt").read_text()
    assert "aten::linear" in (tmp_path / "ir/model_ts_IR_inlined.txt").read_text()
    assert "Linear" in (tmp_path / "ir/model.txt").read_text()


def test_names_of_caffe2_say_what_to_use():
    cfg = small_config("faster")
    assert add_export_config(cfg) is cfg
    for make in (lambda: Caffe2Tracer(cfg, None, []), lambda: Caffe2Model.load_protobuf("x")):
        with pytest.raises(ExportError, match=r"Caffe2 no longer exists. Use .*--to onnx"):
            make()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tracing", "scripting"])
def test_command_of_detectron2_writes_model_ts_with_a_proof(method, tmp_path, monkeypatch):
    script = Path(__file__).parents[2] / "tools/deploy/export_model.py"
    picture(tmp_path / "a.jpg", size=(90, 60))
    words = [
        *("--config-file", "quick_start.yaml", "--export-method", method, "--output"),
        *(str(tmp_path / "out"), "--num-images", "2", "--sample-image", str(tmp_path / "a.jpg")),
        *("MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"),
    ]
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    main = runpy.run_path(str(script))["main"]
    main()
    proof = json.loads((tmp_path / "out/proof.json").read_text())
    assert proof["file"] == "model.ts"
    # With random weights all cells of an empty image score the same, and any may be kept.
    assert set(proof["disagreements"]) <= {"an empty image (alone)"}
    assert (tmp_path / "out/model_ts_code.txt").exists()
    made = torch.jit.load(tmp_path / "out/model.ts")
    image = torch.zeros(3, 70, 50)
    found = made(image) if method == "tracing" else made(({"image": image},))[0]
    assert len(found) == 5 - (method == "scripting")


def test_model_that_cannot_be_torchscript_is_refused_before_anything_is_written(tmp_path):
    cfg = small_config("faster", "MODEL.META_ARCHITECTURE", "ProposalNetwork")
    with pytest.raises(ExportError, match="ProposalNetwork cannot be TorchScript"):
        export_model(cfg, tmp_path / "out", to="torchscript")
    assert not (tmp_path / "out").exists()
