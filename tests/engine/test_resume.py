"""Going on with a run: from which checkpoint, with what changed, and when it is refused."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from d2lite.engine import (
    CallbackHook,
    DefaultTrainer,
    HookBase,
    default_argument_parser,
    evaluate_checkpoint,
)
from d2lite.engine.trainer_base import TrainerBase
from d2lite.utils.errors import ConfigError, MissingFileError, WeightsError
from d2lite.utils.events import EventStorage, JSONWriter

from .conftest import make_records
from .toys import weights


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level(logging.INFO)


@pytest.fixture
def cfg(toy_cfg):
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    toy_cfg.DATASETS.TEST = ()
    return toy_cfg


def run(cfg, *, resume=False, hooks=()) -> DefaultTrainer:
    trainer = DefaultTrainer(cfg.clone())
    trainer.resume_or_load(resume=resume)
    trainer.register_hooks(hooks)
    trainer.train()
    return trainer


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "a few bytes":
        # In the weights, where nothing but a checksum can tell.
        content = torch.load(path, weights_only=True)
        place = data.index(content["model"]["box.weight"].numpy().tobytes())
        path.write_bytes(data[:place] + b"\xff" * 8 + data[place + 8 :])
    else:
        path.unlink()


class TestNewestUsable:
    @pytest.mark.parametrize("how", ["empty", "cut", "a few bytes", "gone"])
    def test_damaged_newest_is_named_and_the_one_before_taken(self, cfg, caplog, how):
        whole = weights(run(cfg))
        out = Path(cfg.OUTPUT_DIR)
        damage(out / "model_final.pth", how)
        damage(out / "model_0000005.pth", how)
        caplog.clear()
        again = run(cfg, resume=True)
        assert again.start_iter == 4
        assert "Skipping model_final.pth" in caplog.text
        # Of a file that nobody notes, none can say that it is gone.
        assert ("Skipping model_0000005.pth" in caplog.text) == (how != "gone")
        assert torch.equal(weights(again), whole)

    def test_only_damaged_ones_are_refused_instead_of_starting_anew(self, cfg):
        run(cfg)
        for path in Path(cfg.OUTPUT_DIR).glob("*.pth"):
            damage(path, "cut")
        with pytest.raises(WeightsError, match="cut off or damaged"):
            run(cfg, resume=True)

    def test_weights_without_the_state_of_a_run_do_not_count(self, cfg):
        run(cfg)
        out = Path(cfg.OUTPUT_DIR)
        damage(out / "model_final.pth", "cut")
        content = torch.load(out / "model_0000005.pth", weights_only=True)
        torch.save({"model": content["model"]}, out / "exported.pth")
        assert run(cfg, resume=True).start_iter == 6

    def test_leftovers_of_a_killed_save_are_removed(self, cfg):
        run(cfg)
        left = Path(cfg.OUTPUT_DIR) / ".model_0000007.pth.0123abcd.tmp"
        left.write_bytes(b"half")
        run(cfg, resume=True)
        assert not left.exists()


class TestNamedFile:
    def test_goes_on_from_that_file(self, cfg):
        whole = weights(run(cfg))
        out = Path(cfg.OUTPUT_DIR)
        again = run(cfg, resume=str(out / "model_0000001.pth"))
        assert again.start_iter == 2
        assert torch.equal(weights(again), whole)

    def test_file_whose_checksum_does_not_fit_is_refused(self, cfg):
        run(cfg)
        file = Path(cfg.OUTPUT_DIR) / "model_0000003.pth"
        damage(file, "a few bytes")
        with pytest.raises(WeightsError, match=r"model_0000003\.pth is damaged: the checksum"):
            run(cfg, resume=str(file))

    def test_kill_before_the_next_save_leads_back_to_it(self, cfg):
        run(cfg)
        out = Path(cfg.OUTPUT_DIR)
        DefaultTrainer(cfg.clone()).resume_or_load(resume=str(out / "model_0000001.pth"))
        assert (out / "last_checkpoint").read_text() == "model_0000001.pth"

    def test_file_of_another_folder_begins_a_branch(self, cfg, tmp_path):
        run(cfg)
        file = Path(cfg.OUTPUT_DIR) / "model_0000003.pth"
        cfg.OUTPUT_DIR = str(tmp_path / "branch")
        assert run(cfg, resume=str(file)).start_iter == 4
        assert (tmp_path / "branch" / "model_final.pth").exists()

    def test_missing_file_and_bare_weights_are_refused(self, cfg, tmp_path):
        with pytest.raises(MissingFileError, match=r"gone\.pth"):
            run(cfg, resume=str(tmp_path / "gone.pth"))
        torch.save({"model": {"box.weight": torch.zeros(4, 3)}}, tmp_path / "bare.pth")
        with pytest.raises(WeightsError, match="not the state of a run"):
            run(cfg, resume=str(tmp_path / "bare.pth"))

    @pytest.mark.parametrize(
        ("words", "resume", "opts"),
        [
            ([], False, []),
            (["--resume"], True, []),
            (["--resume", "SEED", "3"], True, ["SEED", "3"]),
            (["--resume", "SOLVER.MAX_ITER", "3"], True, ["SOLVER.MAX_ITER", "3"]),
            (["--resume", "out/model.pth"], "out/model.pth", []),
            (["--resume", "out/model.pth", "SEED", "3"], "out/model.pth", ["SEED", "3"]),
            (["--resume", "--num-gpus", "2"], True, []),
        ],
    )
    def test_command_line_tells_a_file_from_a_key(self, words, resume, opts):
        args = default_argument_parser().parse_args(words)
        assert (args.resume, args.opts) == (resume, opts)


class TestChanges:
    @pytest.fixture
    def stopped(self, cfg):
        """A config whose run stands at iteration 4 of 6."""
        run(cfg)
        out = Path(cfg.OUTPUT_DIR)
        for name in ("model_final.pth", "model_0000005.pth"):
            (out / name).unlink()
        (out / "last_checkpoint").write_text("model_0000003.pth")
        return cfg

    def test_nothing_is_reported_where_nothing_changed(self, stopped, caplog):
        run(stopped, resume=True)
        assert "Changed since" not in caplog.text

    def test_schedule_and_batch_are_reported_with_what_they_mean(self, stopped, caplog):
        stopped.SOLVER.MAX_ITER = 8
        stopped.SOLVER.IMS_PER_BATCH = 4
        run(stopped, resume=True)
        assert "SOLVER.MAX_ITER 6 -> 8: the schedule is computed again" in caplog.text
        assert "SOLVER.IMS_PER_BATCH 2 -> 4: from here on the samples are others" in caplog.text

    def test_lower_learning_rate_takes_effect(self, stopped):
        """It is what the message about a loss that is not finite advises."""
        stopped.SOLVER.BASE_LR = 0.002
        stopped.SOLVER.STEPS = ()
        rates = []
        note = CallbackHook(before_step=lambda t: rates.append(t.optimizer.param_groups[0]["lr"]))
        run(stopped, resume=True, hooks=[note])
        assert rates == pytest.approx([0.002, 0.002])

    def test_number_of_images_is_reported(self, stopped, register, tmp_path, caplog):
        register("more", make_records(tmp_path, 10))
        stopped.DATASETS.TRAIN = ("more",)
        run(stopped, resume=True)
        assert "8 -> 10 training images" in caplog.text

    def test_exchanged_images_of_the_same_number_are_reported(
        self, stopped, register, tmp_path, caplog
    ):
        register("others", make_records(tmp_path, 12)[4:])
        stopped.DATASETS.TRAIN = ("others",)
        run(stopped, resume=True)
        assert "other training images or annotations than before" in caplog.text

    def test_number_of_processes_is_reported(self, stopped, caplog):
        file = Path(stopped.OUTPUT_DIR) / "model_0000003.pth"
        content = torch.load(file, weights_only=True)
        content["trainer"]["run"]["num_processes"] = 2
        torch.save(content, file)
        run(stopped, resume=True)
        assert "2 -> 1 processes" in caplog.text

    def test_seed_is_reported(self, stopped, caplog):
        stopped.SEED = 6
        run(stopped, resume=True)
        assert "SEED was 5 when the run began and is 6 now" in caplog.text

    def test_other_optimizer_is_refused(self, stopped):
        stopped.SOLVER.OPTIMIZER = "AdamW"
        with pytest.raises(ConfigError, match=r"SOLVER\.OPTIMIZER SGD -> AdamW"):
            run(stopped, resume=True)

    def test_run_longer_than_planned_now_is_refused(self, stopped):
        stopped.SOLVER.MAX_ITER = 3
        stopped.SOLVER.STEPS = ()
        with pytest.raises(ConfigError, match=r"has made 4 iterations, and SOLVER\.MAX_ITER is 3"):
            run(stopped, resume=True)

    def test_model_with_other_parameters_is_refused(self, stopped):
        file = Path(stopped.OUTPUT_DIR) / "model_0000003.pth"
        content = torch.load(file, weights_only=True)
        del content["model"]["box.bias"]
        torch.save(content, file)
        with pytest.raises(ConfigError, match=r"(?s)does not fit the model.*box"):
            run(stopped, resume=True)


class TestLastStep:
    """What came after the save, in the step that was saved, is made up for."""

    class Measures(HookBase):
        runs_again = True

        def __init__(self) -> None:
            self.seen = []

        def after_step(self) -> None:
            self.seen.append(self.trainer.iter)
            self.trainer.storage.put_scalar("measured", self.trainer.iter)

    def test_hook_behind_the_saving_one_runs_again_for_the_saved_step(self, cfg):
        run(cfg)
        out = Path(cfg.OUTPUT_DIR)
        measures = self.Measures()
        trainer = DefaultTrainer(cfg.clone())
        trainer.register_hooks([self.Measures()])
        trainer.resume_or_load(resume=str(out / "model_0000003.pth"))
        trainer.train()
        again = DefaultTrainer(cfg.clone())
        again.register_hooks([measures])
        again.resume_or_load(resume=str(out / "model_0000005.pth"))
        again.train()
        # The first part had no such hook when it saved model_0000003; the second one had.
        assert trainer._hooks[-1].seen == [4, 5]
        assert measures.seen == [5]

    def test_hooks_before_the_saving_one_do_not(self):
        class Saves(HookBase):
            def after_step(self) -> None:
                if self.trainer.iter == 2:
                    self.state = self.trainer.state_dict()

        class Trainer(TrainerBase):
            def run_step(self) -> None:
                pass

        first, saves, behind = self.Measures(), Saves(), self.Measures()
        trainer = Trainer()
        trainer.register_hooks([first, saves, behind])
        trainer.train(0, 5)
        again = Trainer()
        hooks = [self.Measures(), Saves(), self.Measures()]
        again.register_hooks(hooks)
        again.load_state_dict(saves.state)
        again.train(3, 5)
        assert hooks[0].seen == [3, 4]
        assert hooks[2].seen == [2, 3, 4]


class TestMetrics:
    def test_lines_after_the_resumed_step_are_set_aside_and_medians_go_on(self, tmp_path):
        """A line shows the median of 20 iterations, of which some were before the stop."""

        def write(folder: str, parts: list[tuple[int, int]], saved_at: int) -> list[dict]:
            state = {}
            for start, stop in parts:
                writer = JSONWriter(tmp_path / folder / "metrics.json")
                with EventStorage(start) as storage:
                    storage.load_state_dict(state)
                    for iteration in range(start, stop):
                        storage.iter = iteration
                        storage.put_scalar("loss", float(iteration**2 % 17))
                        if iteration % 25 == 7:
                            storage.put_scalar("rare", iteration, smoothing_hint=False)
                        if iteration == saved_at:
                            state = storage.state_dict()
                        if (iteration + 1) % 20 == 0:
                            writer.write()
                writer.close()
            text = (tmp_path / folder / "metrics.json").read_text()
            return [json.loads(line) for line in text.splitlines()]

        unbroken = write("whole", [(0, 80)], -1)
        # Killed at 65, after lines were written that the checkpoint of 33 does not know.
        assert write("broken", [(0, 65), (34, 80)], 33) == unbroken
        assert [line["iteration"] for line in unbroken] == [7, 19, 32, 39, 57, 59, 79]

    def test_no_iteration_is_doubled_or_missing_after_a_resume(self, cfg):
        cfg.SOLVER.MAX_ITER = 45
        run(cfg)
        out = Path(cfg.OUTPUT_DIR)
        lines = read_losses(out)
        run(cfg, resume=str(out / "model_0000033.pth"))
        assert read_losses(out) == lines


def read_losses(folder: Path) -> list[tuple]:
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [(line["iteration"], line["total_loss"], line["lr"]) for line in lines]


def test_longer_run_after_the_end_makes_no_gap(cfg):
    """The step after the last one is the first of the longer run."""
    whole = cfg.clone()
    whole.OUTPUT_DIR += "_whole"
    run(cfg)
    out = Path(cfg.OUTPUT_DIR)
    shutil.copytree(out, whole.OUTPUT_DIR)
    cfg.SOLVER.MAX_ITER = 8
    steps = []
    run(cfg, resume=True, hooks=[CallbackHook(before_step=lambda t: steps.append(t.iter))])
    assert steps == [6, 7]


def test_evaluation_takes_a_named_checkpoint(toy_cfg, caplog):
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    run(toy_cfg)
    file = Path(toy_cfg.OUTPUT_DIR) / "model_0000001.pth"
    with caplog.at_level(logging.INFO):
        evaluate_checkpoint(toy_cfg, resume=str(file))
    assert f"Loaded {file}" in caplog.text


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("iteration",), "one", "trainer.iteration is 'one'"),
        (("iteration",), None, "trainer.iteration is None"),
        (("iteration",), -3, "trainer.iteration is -3"),
        (("scalars",), 5, "does not fit this run"),
        (("hooks",), [1], "does not fit this run|trainer.hooks"),
        (("_trainer", "optimizer"), "sgd", "trainer._trainer.optimizer is 'sgd'"),
        (("_trainer",), {}, "does not fit this run"),
        (("seed",), "x", "trainer.seed is 'x'"),
    ],
)
def test_state_of_another_type_is_named_with_its_file(cfg, place, value, message):
    """Ten thousand steps later nobody knows any more what edited the file."""
    run(cfg)
    path = next(Path(cfg.OUTPUT_DIR).glob("*final.pth"))
    content = torch.load(path, weights_only=True)
    part = content["trainer"]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    torch.save(content, path)
    cfg.SOLVER.MAX_ITER += 1
    with pytest.raises(WeightsError, match=message) as refused:
        run(cfg, resume=str(path))
    assert path.name in str(refused.value)


def test_older_checkpoint_is_taken_where_the_newest_has_another_type(cfg, caplog):
    run(cfg)
    folder = Path(cfg.OUTPUT_DIR)
    path = folder / "model_final.pth"
    content = torch.load(path, weights_only=True)
    content["trainer"]["iteration"] = "many"
    torch.save(content, path)
    trainer = run(cfg, resume=True)
    assert trainer.start_iter == cfg.SOLVER.MAX_ITER
    assert "Skipping model_final.pth" in caplog.text
    assert "model_0000005.pth instead" in caplog.text


@pytest.mark.parametrize("config", ["MODEL: {A: [", 5, "just text", None])
def test_run_goes_on_where_the_stored_config_cannot_be_read(cfg, config, caplog):
    """Nothing but the comparison of options needs it."""
    run(cfg)
    path = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    content = torch.load(path, weights_only=True)
    content["d2lite"] |= {"config": config, "class_names": 5}
    torch.save(content, path)
    cfg.SOLVER.MAX_ITER += 1
    run(cfg, resume=True)
    assert "The config in" in caplog.text


def test_evaluation_that_broke_off_is_in_the_metrics_after_the_resume(cfg):
    """The line of its step has been written by then, without the numbers."""

    class Evaluate(HookBase):
        runs_again = True
        breaks = False

        def after_step(self):
            if self.trainer.iter == 1:
                if self.breaks:
                    raise KeyboardInterrupt
                self.trainer.storage.put_scalar("bbox/AP", 7.0, smoothing_hint=False)

    def train(breaks, *, resume):
        trainer = DefaultTrainer(cfg.clone())
        trainer.resume_or_load(resume=resume)
        hook = Evaluate()
        hook.breaks = breaks
        *others, writer = trainer._hooks
        trainer._hooks = others
        trainer.register_hooks([hook])
        trainer._hooks.append(writer)
        trainer.train()

    with pytest.raises(KeyboardInterrupt):
        train(True, resume=False)
    train(False, resume=True)
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    rows = {row["iteration"]: row for row in map(json.loads, lines)}
    assert rows[1]["bbox/AP"] == 7.0
    assert len(rows) == len(lines)
