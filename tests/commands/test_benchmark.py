"""`d2lite benchmark`: every task gives a table and plain values, of the work that it names."""

import json
import sys
import types

import pytest
import torch
from torch import nn

from d2lite.commands import main
from d2lite.commands.benchmarking.batches import fit_frozen_norms, generated_batch
from d2lite.commands.benchmarking.clock import PhaseClock, Side, measure, spread_of
from d2lite.commands.benchmarking.counting import count
from d2lite.commands.benchmarking.memory import peak_mib
from d2lite.commands.benchmarking.profiling import profile_step
from d2lite.commands.benchmarking.results import markdown
from d2lite.commands.benchmarking.torchvision_peer import own_target
from d2lite.config import get_cfg
from d2lite.engine import setup_cfg
from d2lite.layers import FrozenBatchNorm2d
from d2lite.modeling import build_model
from d2lite.utils.errors import OutputError
from tests.tools.conftest import TINY

SMALL = ["--size", "64", "96", "--batch", "1", "--objects", "2", "--repeats", "2", "--warmup", "0"]


@pytest.fixture
def bench(tmp_path, capsys):
    """A function that runs the command and returns its plain values and what it printed."""

    def run(*words):
        path = tmp_path / "out.json"
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["benchmark", *map(str, words[:2]), "--json", str(path), *map(str, words[2:])])
        printed = capsys.readouterr()
        if ended.value.code:
            return ended.value.code, printed.err
        return json.loads(path.read_text()), printed.out

    return run


def test_a_training_step_is_split_into_its_phases(bench):
    (found,), text = bench(
        "--task", "train", *SMALL, "--config-file", "quick_start.yaml", *TINY
    )  # fmt: skip
    ours = found["sides"]["d2lite"]
    assert set(ours["samples_s"]) == {"forward", "backward", "optimizer", "other", "whole"}
    assert len(ours["samples_s"]["whole"]) == 2
    parts = [ours["samples_s"][name] for name in ("forward", "backward", "optimizer", "other")]
    assert sum(part[0] for part in parts) == pytest.approx(ours["samples_s"]["whole"][0])
    assert ours["operators"] > ours["allocations"] > ours["waits"] > 0
    assert "| backward |" in text
    assert found["machine"]["torch"] == torch.__version__


def test_the_same_tensors_go_through_torchvision_and_the_ratio_is_that_of_the_medians(bench):
    config = ["--config-file", "retinanet_R_50_FPN_1x.yaml", "MODEL.RESNETS.DEPTH", 18]
    config += ["MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.RETINANET.NUM_CLASSES", 3]
    small = [*SMALL, "--device", "cpu"]
    (found,), text = bench("--task", "train", "--against", "torchvision", *small, *config)
    ours, theirs = (found["sides"][name]["median_s"]["whole"] for name in found["sides"])
    assert list(found["sides"]) == ["d2lite", "torchvision"]
    assert found["ratio"] == {"torchvision": pytest.approx(ours / theirs)}
    assert "d2lite / torchvision" in text
    assert set(found["sides"]["torchvision"]["median_s"]) >= {"forward", "backward", "optimizer"}


@pytest.mark.slow
def test_exported_files_take_turns_with_the_model_that_they_were_made_of(bench):
    for name in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(name)
    names = ["onnxruntime", "openvino", "torch", "onnxruntime-int8", "openvino-int8"]
    (found,), text = bench(
        "--task", "infer", *SMALL, "--against", ",".join(names), "--device", "cpu",
        "--config-file", "quick_start.yaml", *TINY,
    )  # fmt: skip
    assert list(found["sides"]) == ["d2lite", *names]
    assert set(found["ratio"]) == set(names)
    assert "d2lite / openvino-int8" in text
    assert found["machine"]["onnxruntime"]
    sizes = [found["sides"][name]["size of the weights, MB"] for name in names]
    assert sizes[3] < 0.6 * sizes[0]
    assert [found["sides"][name]["objects"] for name in names[:3]] == [
        found["sides"]["d2lite"]["objects"]
    ] * 3
    assert "operators" in found["sides"]["d2lite"]
    assert "operators" not in found["sides"]["openvino"]


def test_a_local_file_of_weights_is_measured(bench, tmp_path):
    weights = tmp_path / "w.pth"
    cfg = setup_cfg("quick_start.yaml", [*TINY, "MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    # Each proposal is background.
    model.roi_heads.box_predictor.cls_score.bias.data[-1] = 1e6
    torch.save({"model": model.state_dict()}, weights)
    words = ["--task", "infer", *SMALL, "--config-file", "quick_start.yaml", "--device", "cpu"]
    (found,), _ = bench(*words, *TINY, "MODEL.WEIGHTS", weights)
    assert found["sides"]["d2lite"]["objects"] == 0


def test_frozen_norms_of_random_weights_are_fitted_to_the_images():
    """Else the maps of a deep network grow until nothing is found."""
    cfg = setup_cfg(
        "quick_start.yaml", [*TINY, "MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "FrozenBN"]
    )
    model = build_model(cfg).eval()
    batch = generated_batch(cfg, 5, size=(64, 96), batch=2, objects=2)
    fit_frozen_norms(model, lambda: model(batch))
    assert not any(norm._forward_hooks for norm in model.modules())
    maps = []
    hooks = [
        norm.register_forward_hook(lambda norm, inputs, output: maps.append(output.clone()))
        for norm in model.modules()
        if isinstance(norm, FrozenBatchNorm2d)
    ]
    assert len(hooks) > 10
    with torch.no_grad():
        model(batch)
    for found in maps:
        std, mean = torch.std_mean(found, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0)
        assert (std < 1.01).all()
        assert std.median() == pytest.approx(1, abs=0.01)


def test_torchvision_gets_the_truth_in_its_own_form():
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    (item,) = generated_batch(cfg, 3, size=(40, 60), batch=1, objects=2)
    target = own_target(item, cfg, "cpu")
    # Its class 0 is the background.
    assert torch.equal(target["labels"], item["instances"].gt_classes + 1)
    assert target["masks"].shape == (2, 40, 60)
    assert target["masks"].dtype == torch.uint8


def test_detectron2_is_measured_where_it_is_installed(bench, monkeypatch):
    """It gets its own structures and every key that it has; d2lite takes its place here."""
    import d2lite.config
    import d2lite.modeling
    import d2lite.structures
    import d2lite.utils.events  # noqa: F401 - is looked up by its name

    config = ["--config-file", "quick_start.yaml", *TINY]
    status, text = bench("--task", "infer", "--against", "detectron2", *SMALL, *config)
    assert status == 2
    assert "cannot be imported" in text
    root = types.ModuleType("detectron2")
    root.utils = types.ModuleType("detectron2.utils")
    for name in ("config", "modeling", "structures", "utils.events"):
        ours = sys.modules[f"d2lite.{name}"]
        monkeypatch.setitem(sys.modules, f"detectron2.{name}", ours)
        setattr(root.utils if "." in name else root, name.rpartition(".")[2], ours)
    monkeypatch.setitem(sys.modules, "detectron2", root)
    monkeypatch.setitem(sys.modules, "detectron2.utils", root.utils)
    options = [*SMALL, *config, "SOLVER.OPTIMIZER", "SGD"]
    (found,), _ = bench("--task", "train", "--against", "detectron2", *options)
    ours, theirs = found["sides"].values()
    # The same model; only the optimizer and the checks of the trainer differ.
    assert theirs["operators"] == pytest.approx(ours["operators"], rel=0.3)
    (found,), _ = bench("--task", "infer", "--against", "detectron2", *options)
    ours, theirs = found["sides"].values()
    # With the same weights they find the same objects.
    assert theirs["operators"] == ours["operators"]


@pytest.mark.parametrize(
    "config",
    [
        "Base-DETR.yaml",
        pytest.param("coco_instance_eomt_small.yaml", marks=pytest.mark.slow),
        pytest.param("Base-DeformableDETR.yaml", marks=pytest.mark.slow),
        pytest.param("Base-RTDETR.yaml", marks=pytest.mark.slow),
        pytest.param("dfine_s.yaml", marks=pytest.mark.slow),
        pytest.param(
            "coco/instance-segmentation/swin/maskformer2_swin_tiny_bs16_50ep.yaml",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_models_of_queries_are_measured_beside_those_of_transformers(bench, config):
    pytest.importorskip("transformers")
    pytest.importorskip("timm")
    (found,), _ = bench(
        *("--task", "train", "--against", "transformers", "--size", 224, 224, "--repeats", 1),
        *("--warmup", 0, "--device", "cpu", "--config-file", config),
        *("SOLVER.AMP.ENABLED", False),
    )
    ours, theirs = found["sides"].values()
    assert set(theirs["median_s"]) == {"forward", "backward", "optimizer", "whole"}
    assert ours["operators"] < theirs["operators"]
    assert ours["waits"] < theirs["waits"]


def test_a_python_config_is_measured_too_and_not_compared_by_keys(bench):
    pytest.importorskip("omegaconf")
    config = ["--config-file", "retinanet_R_50_FPN_1x.py", "--device", "cpu"]
    (found,), _ = bench("--task", "infer", *SMALL, *config)
    assert found["sides"]["d2lite"]["median_s"]["whole"] > 0
    status, text = bench("--task", "infer", "--against", "torchvision", *SMALL, *config)
    assert status == 2
    assert "Give the .yaml file" in text


def test_a_trace_that_finds_no_room_is_said(tmp_path, monkeypatch):
    """Torch writes nothing on a full disk, and says nothing."""
    monkeypatch.setattr("torch.profiler.profile.export_chrome_trace", lambda *_: None)
    (tmp_path / "trace.json").write_text("{}")
    with pytest.raises(OutputError, match=r"Cannot write .*trace\.json: is its disk full"):
        profile_step(lambda: None, nn.Identity(), tmp_path / "trace.json")


def test_a_profile_names_modules_and_writes_a_trace(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.large, self.small = nn.Linear(400, 400), nn.Linear(400, 1)

        def forward(self, x):
            return self.small(self.large(x).relu())

    model, x = Model(), torch.ones(400, 400, requires_grad=True)
    trace = tmp_path / "new" / "trace.json"
    costs = profile_step(lambda: model(x).sum().backward(), model, trace)
    assert json.loads(trace.read_text())["traceEvents"]
    assert costs == sorted(costs, key=lambda cost: -cost.seconds)
    found = {(cost.module, cost.operator): cost.calls for cost in costs}
    assert found["large", "aten::addmm"] == 1
    # The gradients of a product are given to the module that made it.
    assert found["large", "backward of aten::mm"] == 2
    assert found["", "aten::relu"] == 1


def test_scores_are_measured_beside_pycocotools(bench):
    (found,), _ = bench("--task", "coco-eval", "--num-images", 3, "--against", "pycocotools")
    assert list(found["sides"]) == ["d2lite", "pycocotools"]


def test_imports_are_measured_in_new_processes(bench, monkeypatch):
    ran = []
    monkeypatch.setattr("subprocess.run", lambda words, **_: ran.append(words[1:]))
    found, text = bench("--task", "import", "--repeats", 1, "--warmup", 0)
    assert [word[0] for word in ran] == ["-c", "-c", "-m"]
    assert len(found) == 2
    assert "shows help" in text


def test_a_whole_run_shows_data_steps_and_evaluation(bench):
    (found,), text = bench(
        "--task", "end-to-end", "--repeats", 2, "--warmup", 1, "--config-file", "quick_start.yaml",
        *TINY, "DATASETS.TRAIN", "('shapes_val',)", "DATASETS.TEST", "('shapes_val',)",
    )  # fmt: skip
    phases = found["sides"]["d2lite"]["samples_s"]
    assert len(phases["whole"]) == len(phases["data"]) == 2
    assert phases["evaluation"][0] > 0
    assert 0 < found["data_share"] < 1
    assert "of its time for data" in text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--task", "data", "--against", "torchvision"], "its own comparison"),
        (["--task", "coco-eval", "--against", "torchvision"], "possible: pycocotools"),
        (["--task", "train", "--against", "pycocotools"], "possible: torchvision"),
        (["--task", "train", "--against", "onnxruntime"], "possible: torchvision"),
        (["--task", "infer", "--against", "onnxruntime,magic"], "onnxruntime-int8, openvino-int8"),
        (["--task", "infer", "--against", "onnxruntime,torchvision"], "only exported files"),
        (["--task", "infer", "--against", "onnxruntime", "--device", "cpu", "--config-file",
          "quick_start.yaml", "MODEL.META_ARCHITECTURE", "ProposalNetwork"], "no fixed-size form"),
        (["--task", "train", "--repeats", "0"], "1 or more"),
        (["--task", "end-to-end"], "DATASETS.TRAIN is empty"),
        (["--task", "infer", "--against", "torchvision", "--config-file",
          "solov2_quick_start.yaml"], "no model like SOLOv2"),
        (["--task", "infer", "--against", "transformers", "--config-file", "quick_start.yaml"],
         "not GeneralizedRCNN"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_with_the_reason(bench, words, why):
    if "transformers" in words:
        pytest.importorskip("transformers")
    status, text = bench(*words)
    assert status == 2
    assert why in text


def test_sides_take_turns_and_the_warm_up_does_not_count():
    order = []
    sides = [Side(name, lambda name=name: order.append(name) or {"whole": 1.0}) for name in "ab"]
    measure(sides, warmup=1, repeats=2)
    assert order == list("ababab")
    assert [side.samples for side in sides] == [{"whole": [1.0, 1.0]}] * 2


def test_phases_are_summed_and_the_spread_is_half_the_distance_of_the_quartiles():
    side = Side("one", lambda: {"forward": 1.0, "backward": 2.0})
    measure([side], warmup=0, repeats=1)
    assert side.median() == 3.0
    assert spread_of([1.0, 2.0, 3.0, 4.0, 5.0]) == 1.0
    assert spread_of([7.0]) == 0.0
    side.facts["waits"] = 4
    assert "| waits | 4 |" in markdown("a test", [side])


def test_a_clock_adds_up_a_phase_that_comes_twice():
    clock = PhaseClock()
    with clock("forward"):
        pass
    first = clock.seconds["forward"]
    clock.timed("forward", lambda: None)()
    assert clock.take()["forward"] > first
    assert clock.take() == {}


def test_counts_see_operators_waits_and_new_memory_of_both_passes():
    x = torch.arange(4.0, requires_grad=True)

    def step():
        x.grad = None  # the first gradient takes other operators than one that is added
        y = x * 2  # one operator, one allocation
        y.view(2, 2)  # an operator without memory of its own
        y.sum().backward()
        assert x[x > 1].numel() == 2  # comparison; indexing with a mask waits
        float(y.detach()[0])  # waits
        y.detach().tolist()  # waits without an operator

    found = count(step)
    assert found.waits == 3
    assert found.by_operator["aten::mul.Tensor"] == 2  # forward and backward
    assert found.allocations < found.operators
    assert count(step).totals() == found.totals()


def test_the_counters_of_an_optimizer_are_no_waits():
    """Torch keeps them on the host, whatever the device of the weights."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.ones(3)
    optimizer = torch.optim.AdamW([weight], foreach=False)
    assert count(optimizer.step).waits == 0
    assert count(lambda: (optimizer.step(), weight.sum().item())).waits == 1


def test_counts_are_given_to_modules():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    found = count(lambda: model(torch.ones(1, 2)), model)
    assert found.by_module["0", "aten::addmm"] == 1
    assert found.by_module["1", "aten::relu"] == 1


def test_generated_objects_are_inside_of_their_image_and_always_the_same():
    cfg = get_cfg()
    cfg.MODEL.KEYPOINT_ON = True
    for cfg.INPUT.MASK_FORMAT in ("polygon", "bitmask"):
        made = [generated_batch(cfg, 3, size=(40, 60), batch=2, objects=5) for _ in range(2)]
        truth = made[0][0]["instances"]
        assert torch.equal(made[0][1]["image"], made[1][1]["image"])
        assert len(truth) == 5
        assert (truth.gt_boxes.tensor >= 0).all()
        assert (truth.gt_boxes.tensor <= torch.tensor([60, 40, 60, 40])).all()
        boxes = truth.gt_masks.get_bounding_boxes().tensor
        torch.testing.assert_close(boxes, truth.gt_boxes.tensor, atol=1.5, rtol=0)
    assert len(generated_batch(cfg, 3, size=(40, 60), batch=1, objects=0)[0]["instances"]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_peak_is_what_the_action_takes():
    peak = peak_mib(lambda: torch.ones(64, 2**20).sum())
    assert 200 < peak < 400
