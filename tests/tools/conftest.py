"""Running a tool as the shell would, but in this process, since starting torch takes seconds."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from d2lite.engine import run_tool
from tests.conftest import close_log

TOOLS = Path(__file__).resolve().parents[2] / "tools"

# quick_start.yaml, small enough for a step of some 50 ms.
TINY = [
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.FPN.OUT_CHANNELS", "16",
    "MODEL.ROI_BOX_HEAD.FC_DIM", "16",
    "MODEL.ROI_MASK_HEAD.CONV_DIM", "8",
    "MODEL.ROI_MASK_HEAD.NUM_CONV", "1",
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.FPN.NORM", "BN",
    "MODEL.ROI_BOX_HEAD.NUM_CONV", "0",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "7",
    "MODEL.ROI_MASK_HEAD.NORM", "BN",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0",
    "MODEL.DEVICE", "cpu",
    "TEST.DETECTIONS_PER_IMAGE", "5",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "3",
    "SOLVER.STEPS", "()",
    "SOLVER.WARMUP_ITERS", "0",
    "SOLVER.BASE_LR", "0.001",
]  # fmt: skip


class Finished(NamedTuple):
    """How a tool ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capfd) -> Callable[..., Finished]:
    """A function that runs a tool by name with arguments and says how it ended."""

    def run_one(name: str, *args: object) -> Finished:
        # As the shell does: the tool's folder comes first in the search path.
        monkeypatch.syspath_prepend(TOOLS)
        spec = importlib.util.spec_from_file_location(f"d2lite_tool_{name}", TOOLS / f"{name}.py")
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_tool(tool.main)
        return Finished(int(ended.value.code or 0), *capfd.readouterr())

    yield run_one
    close_log()


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The output folder of a finished tiny training."""
    folder = tmp_path_factory.mktemp("tools") / "trained"
    patch = pytest.MonkeyPatch()
    spec = importlib.util.spec_from_file_location("d2lite_train", TOOLS / "train_net.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with patch.context() as context:
        argv = ["train_net.py", "--config-file", "quick_start.yaml", *TINY]
        context.setattr(sys, "argv", [*argv, "OUTPUT_DIR", str(folder)])
        with pytest.raises(SystemExit) as ended:
            run_tool(tool.main)
    assert not ended.value.code
    return folder
