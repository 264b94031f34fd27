"""tools/train_net.py: training, evaluation and going on, from the command line."""

import subprocess
import sys

import pytest
import torch

from tests.projects.runs import metrics, table_values

from .conftest import TINY, TOOLS


def test_training_leaves_everything_that_a_run_should(trained):
    """The names are those that people's scripts look for."""
    assert (trained / "last_checkpoint").read_text().strip() == "model_final.pth"
    assert (trained / "config.yaml").is_file()
    assert (trained / "inference" / "coco_instances_results.json").is_file()
    assert (trained / "inference" / "predictions_shapes_val.jpg").is_file()
    log = (trained / "log.txt").read_text()
    for path in ("model_final.pth", "log.txt", "inference/predictions_shapes_val.jpg"):
        assert str(trained / path) in log
    assert "total_loss" in metrics(trained)[0]
    assert metrics(trained)[0]["iteration"] == 2


def test_checkpoint_is_plain_and_names_its_classes(trained):
    """Whoever gets the file can read it without d2lite and see what it detects."""
    saved = torch.load(trained / "model_final.pth", weights_only=True)
    assert saved["d2lite"]["class_names"] == [
        "circle", "square", "triangle", "star", "heart"
    ]  # fmt: skip
    assert saved["iteration"] == 2


def test_evaluating_the_final_weights_prints_what_training_printed(run, trained, tmp_path):
    """To the last digit: the same weights, data and code."""
    printed = table_values((trained / "log.txt").read_text())
    result = run(
        "train_net",
        *("--config-file", trained / "config.yaml", "--eval-only"),
        *("MODEL.WEIGHTS", trained / "model_final.pth", "OUTPUT_DIR", tmp_path),
    )
    assert result.status == 0
    assert table_values(result.out) == printed
    assert len(printed) >= 2


def test_resume_goes_on_where_the_run_ended(run, tmp_path):
    """And not one iteration earlier or later."""
    options = ["--config-file", "quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    options += ["DATASETS.TEST", "()"]
    assert run("train_net", *options).status == 0
    longer = [*options, "SOLVER.MAX_ITER", 5]
    result = run("train_net", longer[0], longer[1], "--resume", *longer[2:])
    assert result.status == 0
    assert "going on at iteration 3" in result.out
    assert [line["iteration"] for line in metrics(tmp_path)] == [2, 4]


def test_backbone_in_a_users_own_file_trains(run, tmp_path):
    """Nothing inside the project has to be edited for it."""
    mine = tmp_path / "my_backbone.py"
    mine.write_text(
        "from torch import nn\n"
        "from d2lite.layers import ShapeSpec\n"
        "from d2lite.modeling import BACKBONE_REGISTRY, Backbone\n"
        "\n"
        "def add_config(cfg):\n"
        "    cfg.MODEL.MY_WIDTH = 8\n"
        "\n"
        "@BACKBONE_REGISTRY.register()\n"
        "class ImportedBackbone(Backbone):\n"
        "    def __init__(self, cfg, input_shape):\n"
        "        super().__init__()\n"
        "        self.width = cfg.MODEL.MY_WIDTH\n"
        "        self.conv = nn.Conv2d(input_shape.channels, self.width, 3, 16, 1)\n"
        "    def forward(self, x):\n"
        "        return {'mine': self.conv(x)}\n"
        "    def output_shape(self):\n"
        "        return {'mine': ShapeSpec(channels=self.width, stride=16)}\n"
    )
    result = run(
        "train_net",
        *("--config-file", "quick_start.yaml", "--import", mine),
        *TINY,
        *("MODEL.BACKBONE.NAME", "ImportedBackbone", "MODEL.MY_WIDTH", 12),
        *("MODEL.RPN.IN_FEATURES", "['mine']", "MODEL.ROI_HEADS.IN_FEATURES", "['mine']"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16, 32]]", "DATASETS.TEST", "()"),
        *("OUTPUT_DIR", tmp_path / "out"),
    )
    assert result.status == 0
    weights = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["model"]
    assert weights["backbone.conv.weight"].shape[0] == 12


def test_two_processes_train_one_model(tmp_path):
    """--num-gpus counts processes; on a machine without GPUs they meet over gloo."""
    command = [sys.executable, TOOLS / "train_net.py", "--config-file", "quick_start.yaml"]
    command += ["--num-gpus", 2, *TINY, "DATASETS.TEST", "()", "OUTPUT_DIR", tmp_path]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert metrics(tmp_path)[-1]["iteration"] == 2


def test_mistake_in_two_processes_is_told_once_and_ends_both(tmp_path):
    """The parent says what a child found, and its status is the same 2."""
    command = [sys.executable, TOOLS / "train_net.py", "--config-file", "quick_start.yaml"]
    command += ["--num-gpus", 2, *TINY, "MODEL.ROI_HEADS.NUM_CLASSES", 2, "OUTPUT_DIR", tmp_path]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert ended.stderr.count("MODEL.ROI_HEADS.NUM_CLASSES=2") == 1
    assert "Traceback" not in ended.stderr


def test_help_shows_how_to_use_it(run):
    """Each tool explains itself."""
    for name in ("train_net", "demo", "visualize_data", "print_config", "plain_train_net"):
        result = run(name, "--help")
        assert result.status == 0
        assert "--config-file" in result.out
        assert f"tools/{name}.py" in result.out


@pytest.mark.parametrize("argument", [["--num-gpus", "many"], ["--no-such-option"]])
def test_unknown_option_ends_with_status_2(run, argument):
    """As argparse has it, and so all mistakes of the user."""
    assert run("train_net", *argument).status == 2


def test_plain_loop_trains_evaluates_and_resumes(run, tmp_path):
    """The loop laid bare does the same work."""
    options = ["--config-file", "quick_start.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    first = run("plain_train_net", *options)
    assert first.status == 0
    assert "copypaste" in first.out
    second = run("plain_train_net", "--resume", *options, "SOLVER.MAX_ITER", 4)
    assert second.status == 0
    assert metrics(tmp_path)[-1]["iteration"] == 3
