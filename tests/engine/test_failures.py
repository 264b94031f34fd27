"""What goes wrong around a run: full disks, lost folders, bad numbers, killed workers."""

import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from d2lite.engine import AMPTrainer, CallbackHook, DefaultTrainer, SimpleTrainer
from d2lite.engine.reports.nonfinite_report import read_report
from d2lite.engine.reports.replay import load_reported_batch
from d2lite.engine.stepping import LossGuard, StepRecord, dead_worker_advice
from d2lite.utils.errors import (
    ConfigError,
    DataError,
    MissingFileError,
    OutOfMemoryError,
    OutputError,
    UserError,
)

from .toys import LineModel, PointStream, ToyDetector, make_sgd, weights


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level(logging.INFO)


@pytest.fixture
def cfg(toy_cfg):
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    toy_cfg.DATASETS.TEST = ()
    return toy_cfg


def run(cfg, *, at: dict[int, Callable] | None = None, resume=False) -> DefaultTrainer:
    """Train, and do something before the given steps."""
    torch.manual_seed(0)
    trainer = DefaultTrainer(cfg.clone())
    trainer.resume_or_load(resume=resume)

    def act(inner) -> None:
        if inner.iter in (at or {}):
            at[inner.iter]()

    trainer.register_hooks([CallbackHook(before_step=act)])
    try:
        trainer.train()
    finally:
        # Before pytest writes its own lines, perhaps into a file that is longer by now.
        limit_files(resource.RLIM_INFINITY)
    return trainer


def assert_whole(path: Path) -> None:
    assert torch.load(path, weights_only=True)["model"]


def limit_files(size: int) -> None:
    """Let no file grow beyond `size` bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


# TensorBoard writes in a thread of its own, which may meet the limit whenever it likes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
class TestFullDisk:
    def test_save_that_fails_is_told_and_the_run_goes_on(self, cfg, caplog):
        whole = cfg.clone()
        whole.OUTPUT_DIR += "_whole"
        trainer = run(cfg, at={3: lambda: limit_files(4000), 4: lambda: limit_files(-1)})
        out = Path(cfg.OUTPUT_DIR)
        assert "model_0000003.pth of iteration 3 was not saved" in caplog.text
        assert "File too large" in caplog.text
        assert "the run continues" in caplog.text
        names = {path.name for path in out.glob("*.pth")}
        assert names == {"model_0000001.pth", "model_0000005.pth", "model_final.pth"}
        for name in names:
            assert_whole(out / name)
        assert not list(out.glob(".*.tmp"))
        assert torch.equal(weights(trainer), weights(run(whole)))

    def test_run_ends_if_it_was_configured_to(self, cfg):
        cfg.SOLVER.STOP_ON_SAVE_ERROR = True
        with pytest.raises(OutputError, match=r"Cannot write .*model_0000003\.pth"):
            run(cfg, at={3: lambda: limit_files(4000)})
        out = Path(cfg.OUTPUT_DIR)
        assert (out / "last_checkpoint").read_text() == "model_0000001.pth"
        assert_whole(out / "model_0000001.pth")

    def test_final_weights_that_cannot_be_saved_are_an_error(self, cfg):
        with pytest.raises(OutputError, match=r"Cannot write .*model_final\.pth"):
            run(cfg, at={5: lambda: limit_files(4000)})

    def test_a_finished_training_is_kept_where_its_folder_has_no_room(self, cfg, monkeypatch):
        out = Path(cfg.OUTPUT_DIR)
        other = out.with_name("temporary")
        other.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(other))
        (out / "model_final.pth").mkdir(parents=True)
        with pytest.raises(OutputError, match=r"The trained model is in .*temporary/") as caught:
            run(cfg)
        (saved,) = other.glob("*/model_final.pth")
        assert f"--resume {saved} goes on from it" in str(caught.value)
        assert torch.load(saved, weights_only=True)["trainer"]["iteration"] == 5

    def test_metrics_wait_for_space(self, cfg, caplog):
        cfg.SOLVER.MAX_ITER = 60
        cfg.SOLVER.CHECKPOINT_PERIOD = 100
        run(cfg, at={39: lambda: limit_files(10), 40: lambda: limit_files(-1)})
        assert "JSONWriter cannot write (File too large). The run continues" in caplog.text
        lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
        assert [json.loads(line)["iteration"] for line in lines] == [19, 39, 59]


NOBODY = 65534


@pytest.fixture
def _own_rights_again():
    user = os.geteuid()
    yield
    os.seteuid(user)


@pytest.mark.usefixtures("_own_rights_again")
class TestLostFolder:
    def test_read_only_folder_fails_saves_and_not_the_run(self, cfg, caplog):
        """While the hooks of step 3 work; root gives its own rights away for that."""
        out, user = Path(cfg.OUTPUT_DIR), os.geteuid()

        def forbid(inner) -> None:
            if inner.iter == 3:
                out.chmod(0o555)
                if user == 0:
                    os.seteuid(NOBODY)

        def allow(inner) -> None:
            os.seteuid(user)
            out.chmod(0o755)

        trainer = DefaultTrainer(cfg)
        trainer.register_hooks([CallbackHook(after_backward=forbid, after_step=allow)])
        trainer.train()
        assert "Permission denied" in caplog.text
        assert trainer.iter == 6
        assert not (out / "model_0000003.pth").exists()
        assert_whole(out / "model_final.pth")

    def test_folder_that_vanished_fails_saves_and_not_the_run(self, cfg, caplog, tmp_path):
        out = Path(cfg.OUTPUT_DIR)

        def lose() -> None:
            shutil.rmtree(out)
            out.write_text("a file is in its place")

        run(cfg, at={2: lose, 4: out.unlink})
        assert "model_0000003.pth of iteration 3 was not saved" in caplog.text
        assert_whole(out / "model_final.pth")


class TestData:
    def test_image_deleted_while_training_is_named(self, cfg, tmp_path):
        def delete() -> None:
            for image in tmp_path.glob("00*.png"):
                image.unlink()

        with pytest.raises((MissingFileError, DataError), match=r"00\d\.png"):
            run(cfg, at={3: delete})
        assert_whole(Path(cfg.OUTPUT_DIR) / "model_0000001.pth")

    def test_image_deleted_is_replaced_where_that_is_allowed(self, cfg, tmp_path, caplog):
        cfg.DATALOADER.MAX_BAD_SHARE = 0.3
        cfg.SOLVER.MAX_ITER = 10
        run(cfg, at={1: (tmp_path / "003.png").unlink})
        assert "Another image is trained on in place of a bad one" in caplog.text

    def test_killed_worker_is_told_with_its_mend(self, cfg):
        cfg.DATALOADER.NUM_WORKERS = 1
        cfg.SOLVER.MAX_ITER = 500

        def kill() -> None:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

        with pytest.raises(DataError, match=r"worker process .* killed: .*DATALOADER\.NUM_WORKERS"):
            run(cfg, at={3: kill})
        assert_whole(Path(cfg.OUTPUT_DIR) / "model_0000001.pth")


class Diverging(ToyDetector):
    """The toy detector, whose loss is NaN in the steps of `bad`."""

    bad: frozenset[int] = frozenset()
    step = -1

    def forward(self, batched_inputs):
        losses = super().forward(batched_inputs)
        if self.training:
            type(self).step += 1
            if self.step in self.bad:
                # As a forward pass that overflows leaves it behind.
                self.norm.running_mean.data.fill_(float("nan"))
                losses["loss_box"] = losses["loss_box"] * float("nan")
        return losses


@pytest.fixture
def diverging(cfg, monkeypatch):
    """A config of a run whose step 3 is not finite."""
    monkeypatch.setattr(DefaultTrainer, "build_model", classmethod(lambda cls, cfg: Diverging(cfg)))
    monkeypatch.setattr(Diverging, "bad", frozenset({3}))
    monkeypatch.setattr(Diverging, "step", -1)
    return cfg


class TestBlowUp:
    def test_run_stops_and_reports_the_step_beside_the_last_checkpoint(self, diverging):
        with pytest.raises(UserError) as caught:
            run(diverging)
        out = Path(diverging.OUTPUT_DIR)
        message = str(caught.value)
        assert "iteration 3" in message
        assert "loss_box=nan" in message
        assert f"d2lite replay {out / 'blow_up_0000003.json'}" in message
        report = read_report(out / "blow_up_0000003.json")
        assert report["learning_rate"] == pytest.approx(0.01)
        assert len(report["gradient_norms_before"]) == 3
        assert len(report["images"]) == 2
        assert report["last_checkpoint"] == "model_0000001.pth"
        assert_whole(out / "blow_up_0000003.pth")
        # It holds weights alone, and so no resume takes it.
        assert (out / "last_checkpoint").read_text() == "model_0000001.pth"

    def test_reported_batch_is_loaded_again(self, diverging):
        with pytest.raises(FloatingPointError):
            run(diverging)
        report = read_report(Path(diverging.OUTPUT_DIR) / "blow_up_0000003.json")
        build_loader = DefaultTrainer.build_train_loader
        batch = load_reported_batch(diverging, report, build_loader)
        assert [sample["file_name"] for sample in batch] == report["images"]
        with pytest.raises(DataError, match="has other images now"):
            load_reported_batch(diverging, {**report, "iteration": 4}, build_loader)

    def test_step_is_skipped_where_that_was_asked_for(self, diverging, caplog):
        diverging.SOLVER.NONFINITE.ACTION = "skip"
        diverging.SOLVER.MAX_ITER = 5
        states = {}

        def note(inner) -> None:
            model = {name: value.clone() for name, value in inner.model.state_dict().items()}
            momentum = inner.optimizer.state_dict()["state"][0]["momentum_buffer"].clone()
            states[inner.iter] = {**model, "momentum": momentum}

        trainer = DefaultTrainer(diverging)
        trainer.register_hooks([CallbackHook(after_step=note)])
        trainer.train()
        assert all(torch.equal(states[3][name], value) for name, value in states[2].items())
        assert not torch.equal(states[4]["box.weight"], states[3]["box.weight"])
        assert "Skipped step 3 (1 in a row" in caplog.text
        assert read_report(Path(diverging.OUTPUT_DIR) / "blow_up_0000003.json")
        # Its numbers are in no line either.
        text = (Path(diverging.OUTPUT_DIR) / "metrics.json").read_text()
        assert "NaN" not in text

    def test_more_in_a_row_than_allowed_end_the_run(self, diverging, monkeypatch):
        diverging.SOLVER.NONFINITE.ACTION = "skip"
        diverging.SOLVER.NONFINITE.MAX_SKIPS = 2
        monkeypatch.setattr(Diverging, "bad", frozenset({1, 3, 4, 5}))
        with pytest.raises(FloatingPointError, match="2 steps in a row were skipped before"):
            run(diverging)

    @pytest.mark.parametrize("action", ["stop", "skip"])
    def test_model_that_finds_itself_diverged_is_reported_alike(
        self, diverging, monkeypatch, action
    ):
        """As an RPN does, before there is any loss."""
        forward = Diverging.forward

        def give_up(self, batched_inputs):
            losses = forward(self, batched_inputs)
            if self.training and self.step in self.bad:
                raise FloatingPointError("The boxes are not finite.")
            return losses

        monkeypatch.setattr(Diverging, "forward", give_up)
        diverging.SOLVER.NONFINITE.ACTION = action
        if action == "stop":
            with pytest.raises(UserError, match=r"Iteration 3: The boxes are not finite\. Images"):
                run(diverging)
        else:
            assert run(diverging).iter == 6
        report = read_report(Path(diverging.OUTPUT_DIR) / "blow_up_0000003.json")
        assert report["failure"] == "The boxes are not finite."
        assert len(report["images"]) == 2

    def test_count_in_a_row_goes_on_after_a_resume(self):
        trainer = SimpleTrainer(LineModel(), PointStream(), make_sgd(LineModel()))
        trainer.guard.num_skipped = 3
        other = SimpleTrainer(LineModel(), PointStream(), make_sgd(LineModel()))
        other.load_state_dict(trainer.state_dict())
        assert other.guard.num_skipped == 3

    def test_gradient_that_is_not_finite_stops_before_the_weights_are_spoilt(self):
        class SteepModel(LineModel):
            def forward(self, batch):
                losses = super().forward(batch)
                # sqrt at 0: the value is finite, its slope is not.
                return {**losses, "loss_steep": (self.line.bias * 0).sqrt().sum()}

        model = SteepModel()
        before = nn.utils.parameters_to_vector(model.parameters()).clone()
        guard = LossGuard(alarm=10.0)
        trainer = SimpleTrainer(model, PointStream(), make_sgd(model), guard=guard)
        with pytest.raises(FloatingPointError, match=r"The gradient of iteration \d is not finite"):
            trainer.train(0, 2)
        assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), before)

    def test_anomalous_gradient_is_logged_with_its_images(self, caplog):
        class Jumpy(LineModel):
            def forward(self, batch):
                losses = super().forward(batch)
                is_odd = batch[0]["file_name"].startswith("point_30_")
                return {name: loss * (500 if is_odd else 1) for name, loss in losses.items()}

        model = Jumpy()
        guard = LossGuard(alarm=20.0)
        trainer = SimpleTrainer(model, PointStream(), make_sgd(model, 1e-6), guard=guard)
        trainer.train(0, 40)
        anomalies = [r.getMessage() for r in caplog.records if "anomalous" in r.getMessage()]
        assert len(anomalies) == 1
        assert "gradient of iteration 30" in anomalies[0]
        assert "point_30_0.jpg" in anomalies[0]
        assert "grad_norm" in trainer.storage.latest()

    def test_infinite_gradient_under_a_scaler_is_left_to_it(self):
        guard = LossGuard(alarm=10.0)
        record = StepRecord(0, {"loss": torch.tensor(1.0)}, [])
        weight = torch.zeros(1, requires_grad=True)
        weight.grad = torch.full((1,), float("inf"))
        guard.check(record)
        assert guard.check_gradients(record, [weight], may_be_infinite=True) == float("inf")
        guard.flush()

    def test_mixed_precision_skips_too(self):
        model = LineModel()
        guard = LossGuard(action="skip", alarm=10.0)
        trainer = AMPTrainer(
            model, PointStream(), make_sgd(model), precision=torch.bfloat16, guard=guard
        )
        forward = model.forward

        def spoil(batch):
            losses = forward(batch)
            return {name: loss / 0 for name, loss in losses.items()} if trainer.iter else losses

        model.forward = spoil
        trainer.train(0, 3)
        assert guard.num_skipped == 2

    def test_unknown_action_is_refused(self, cfg):
        cfg.SOLVER.NONFINITE.ACTION = "ignore"
        with pytest.raises(ConfigError, match=r"SOLVER\.NONFINITE\.ACTION='ignore'"):
            DefaultTrainer(cfg)


class TestMemory:
    def test_step_that_does_not_fit_names_batch_sizes_and_keys(self, cfg, monkeypatch):
        def too_much(self, batched_inputs):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        monkeypatch.setattr(ToyDetector, "forward", too_much)
        with pytest.raises(OutOfMemoryError) as caught:
            run(cfg)
        message = str(caught.value)
        assert "CUDA out of memory." in message
        assert "2 images in this process, 2 at a time" in message
        assert message.count(".png: ") == 2
        assert "1 objects" in message
        for key in ("SOLVER.ACCUMULATE_STEPS 2", "SOLVER.AMP.ENABLED", "INPUT.MAX_SIZE_TRAIN"):
            assert key in message

    def test_evaluation_that_does_not_fit_names_its_own_keys(self, toy_cfg, monkeypatch):
        trainer = DefaultTrainer(toy_cfg)

        def too_much(batched_inputs):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(trainer.model, "forward", too_much)
        with pytest.raises(OutOfMemoryError, match=r"evaluation of 'toy_val'.*TEST\.IMS_PER_BATCH"):
            DefaultTrainer.test(toy_cfg, trainer.model)


@pytest.mark.parametrize(("method", "is_told"), [("fork", False), ("forkserver", True)])
def test_a_worker_that_would_run_the_script_again_leads_to_its_main_guard(
    method, is_told, monkeypatch
):
    """Python 3.14 starts workers by forkserver: a script without the guard trains in them, too."""
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)
    with pytest.raises(DataError) as caught, dead_worker_advice():
        raise RuntimeError("DataLoader worker (pid 7) exited unexpectedly with exit code 1.")
    assert ("if __name__ == '__main__'" in str(caught.value)) == is_told
