"""A run says before its first step what it will do, and soon after when it will end."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from d2lite.config import get_cfg
from d2lite.data.dataset_dicts import counted_classes
from d2lite.engine import HookBase, setup_cfg
from d2lite.engine.hooks import StartReport, build_hooks_by_name
from d2lite.engine.reports.start import memory_in_use
from d2lite.evaluation import EVALUATOR_REGISTRY, DatasetEvaluator
from d2lite.utils.errors import ConfigError, InputTypeError, UnknownNameError
from d2lite.utils.events import EventStorage
from d2lite.utils.provenance import command_line, config_hash, git_commit

from .conftest import run, saved


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_the_start_says_what_the_run_will_do(toy_cfg, caplog):
    toy_cfg.TEST.EVAL_PERIOD = 3
    with caplog.at_level(logging.INFO):
        trainer = run(toy_cfg)
    text = next(text for text in messages(caplog) if text.startswith("This run:"))
    rows = {line[2:14].strip(): line[14:] for line in text.splitlines()[1:]}
    assert {"data", "model", "weights", "batch", "length", "evaluation", "saving"} <= set(rows)
    assert "images" in rows["data"]
    assert "objects of" in rows["data"]
    assert f"{toy_cfg.SOLVER.IMS_PER_BATCH} images" in rows["batch"]
    assert f"from 0 to {trainer.max_iter}" in rows["length"]
    assert "epochs of" in rows["length"]
    assert "every 3 iterations and at the end" in rows["evaluation"]
    assert toy_cfg.OUTPUT_DIR in rows["saving"]
    assert "random" in rows["weights"]
    order = messages(caplog)
    assert order.index(text) < next(i for i, m in enumerate(order) if m.startswith("Finished"))


def test_checkpoint_carries_commit_and_hash_that_the_log_shows(toy_cfg, caplog):
    with caplog.at_level(logging.INFO):
        run(toy_cfg)
    own = saved(toy_cfg, "model_final.pth")["d2lite"]
    text = next(text for text in messages(caplog) if text.startswith("This run:"))
    assert own["config_hash"] in text
    assert own["git"] == git_commit(Path.cwd())


def test_hash_differs_with_any_key_but_the_folder():
    cfg = get_cfg()
    first = config_hash(cfg.dump())
    cfg.OUTPUT_DIR = "elsewhere"
    assert config_hash(cfg.dump()) == first
    cfg.SOLVER.BASE_LR *= 2
    assert config_hash(cfg.dump()) != first


def test_commit_of_a_folder_says_whether_files_differ(tmp_path):
    def git(*words):
        who = ["-c", "user.name=x", "-c", "user.email=x@y"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    assert git_commit(tmp_path) == ""
    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "x")
    commit = git_commit(tmp_path)
    assert len(commit) == 12
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}+changes"
    assert git_commit(tmp_path / "no such folder") == ""


def test_the_expected_end_is_logged_once(caplog):
    class Trainer:
        start_iter, max_iter, iter = 10, 100, 10

    hook = StartReport(lambda: "what", lambda: "1 GiB", num_steps=4)
    hook.trainer = Trainer()
    with caplog.at_level(logging.INFO):
        hook.before_train()
        for hook.trainer.iter in range(10, 100):
            hook.after_step()
    assert messages(caplog)[0] == "what"
    (line,) = messages(caplog)[1:]
    assert "s an iteration the training ends in 0:00:00" in line
    assert "1 GiB" in line
    assert "GiB" in memory_in_use()


def test_classes_of_the_data_are_a_histogram_of_the_new_run(toy_cfg, monkeypatch):
    found = []
    monkeypatch.setattr(EventStorage, "put_histogram", lambda *args, **kw: found.append((args, kw)))
    toy_cfg.SOLVER.MAX_ITER = 1
    run(toy_cfg)
    ((_, name, ids), options) = found[0]
    assert name == "data/objects_of_class"
    counts = [row["objects"] for row in counted_classes(toy_cfg.DATASETS.TRAIN)]
    assert ids.bincount().tolist() == counts
    assert options == {"bins": len(counts)}
    toy_cfg.SOLVER.MAX_ITER = 2
    run(toy_cfg, resume=True)
    assert len(found) == 1


def test_period_of_writing_is_a_key(toy_cfg):
    toy_cfg.LOG_PERIOD = 2
    run(toy_cfg)
    lines = (Path(toy_cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines][:3] == [1, 3, 5]


def test_period_of_zero_is_refused(toy_cfg):
    toy_cfg.LOG_PERIOD = 0
    with pytest.raises(ConfigError, match="LOG_PERIOD is 0"):
        run(toy_cfg)


MINE = """
from d2lite.engine import HOOK_REGISTRY, HookBase

@HOOK_REGISTRY.register()
class {name}(HookBase):
    def __init__(self, cfg):
        self.folder = cfg.OUTPUT_DIR
    def after_step(self):
        self.trainer.seen_by_mine = self.folder
"""


def test_hook_of_an_imported_file_is_added_and_recorded(tmp_path):
    mine = tmp_path / "my_start_hook.py"
    mine.write_text(MINE.format(name="MineOfStart"))
    for _ in range(2):
        cfg = setup_cfg(imports=[str(mine)])
        assert cfg.HOOKS == ("MineOfStart",)
    (hook,) = build_hooks_by_name(cfg)
    assert hook.folder == cfg.OUTPUT_DIR
    assert setup_cfg().HOOKS == ()


class Plain(HookBase):
    """A hook that is named by its address."""


def test_hooks_are_named_by_address_or_refused():
    cfg = get_cfg()
    cfg.HOOKS = (f"{__name__}.Plain",)
    assert type(build_hooks_by_name(cfg)[0]).__name__ == "Plain"
    cfg.HOOKS = ("NoSuchHook",)
    with pytest.raises(UnknownNameError, match="NoSuchHook"):
        build_hooks_by_name(cfg)
    for name in ("collections.OrderedDict", "os.sep", "os.getcwdb"):
        cfg.HOOKS = (name,)
        with pytest.raises(InputTypeError, match="not a HookBase"):
            build_hooks_by_name(cfg)


def test_evaluators_of_a_key_run_besides_the_usual_one(toy_cfg):
    @EVALUATOR_REGISTRY.register()
    class CountsOfStart(DatasetEvaluator):
        def __init__(self, options):
            self.name = options.dataset_name

        def reset(self):
            self.count = 0

        def process(self, inputs, outputs):
            self.count += len(inputs)

        def evaluate(self):
            return {"counted": {"images": self.count}}

    toy_cfg.TEST.EVALUATORS = ("CountsOfStart",)
    trainer = run(toy_cfg)
    assert trainer._last_eval_results["counted"]["images"] > 0
    assert "AP50" in trainer._last_eval_results["bbox"]
    assert torch.is_tensor(next(trainer.model.parameters()))


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["/x/d2lite/__main__.py", "check"], "python -m d2lite check"),
        (["/usr/bin/d2lite", "eval", "a b"], "d2lite eval 'a b'"),
        (["tools/train_net.py", "K", "('x',)"], """tools/train_net.py K '('"'"'x'"'"',)'"""),
        ([""], "''"),
    ],
)
def test_the_command_in_the_log_can_be_copied(argv, shown, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert command_line() == shown
