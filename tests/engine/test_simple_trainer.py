import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from d2lite.engine import AMPTrainer, CallbackHook, SimpleTrainer
from d2lite.engine.stepping import (
    LossGuard,
    StepRecord,
    as_scalars,
    gradient_norm,
    kept_generators,
    split_batch,
)
from d2lite.utils.errors import ConfigError, DataError, InputTypeError
from d2lite.utils.events import EventStorage

from .toys import LineModel, PointStream, make_sgd, weights


def make_trainer(kind=SimpleTrainer, model=None, loader=None, **options):
    model = model or LineModel()
    return kind(model, loader or PointStream(), make_sgd(model), **options)


def test_step_is_plain_gradient_descent():
    """The numbers are those of the loop that a person would write."""
    trainer = make_trainer()
    model, stream = LineModel(), iter(PointStream())
    optimizer = make_sgd(model)
    trainer.train(0, 5)
    for _ in range(5):
        optimizer.zero_grad()
        sum(model(next(stream)).values()).backward()
        optimizer.step()
    assert torch.equal(weights(trainer), nn.utils.parameters_to_vector(model.parameters()))


@pytest.mark.parametrize("passes", [2, 4, 6])
def test_accumulated_passes_equal_the_large_batch(passes):
    """6 points in 4 passes are 1, 2, 1 and 2: each pass counts by its share of the points."""
    whole, split = make_trainer(), make_trainer(accumulate_steps=passes)
    whole.train(0, 6)
    split.train(0, 6)
    torch.testing.assert_close(weights(split), weights(whole), rtol=1e-5, atol=1e-7)


def test_accumulated_losses_are_written_as_those_of_the_batch():
    written = []
    for passes in (1, 4):
        trainer = make_trainer(accumulate_steps=passes)
        trainer.train(0, 1)
        latest = trainer.storage.latest()
        written.append([latest[name][0] for name in ("loss_abs", "loss_square", "total_loss")])
    assert written[1] == pytest.approx(written[0])


def test_shares_add_up_and_small_batches_give_fewer_parts():
    parts = split_batch([0, 1, 2, 3, 4], 3)
    assert [part for part, _ in parts] == [[0], [1, 2], [3, 4]]
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert [part for part, _ in split_batch([7, 8], 5)] == [[7], [8]]


def test_batch_that_cannot_be_split_names_the_key():
    with pytest.raises(DataError, match=r"ACCUMULATE_STEPS=2 needs batches that are lists.*Tensor"):
        split_batch(torch.zeros(4), 2)


def test_number_of_passes_below_one_is_refused():
    with pytest.raises(ConfigError, match="ACCUMULATE_STEPS=0"):
        make_trainer(accumulate_steps=0)


def test_after_backward_sees_complete_gradients_and_old_weights():
    trainer = make_trainer(accumulate_steps=3)
    before = weights(trainer)
    seen = []

    def look(inner) -> None:
        assert torch.equal(weights(inner), before)
        seen.append(inner.model.line.weight.grad.clone())

    trainer.register_hooks([CallbackHook(after_backward=look)])
    trainer.train(0, 1)
    whole = make_trainer()
    whole.train(0, 1)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], whole.model.line.weight.grad)


@pytest.mark.parametrize("zero_first", [False, True])
def test_gradients_do_not_leak_from_step_to_step(zero_first):
    trainer = make_trainer(zero_grad_before_forward=zero_first)
    trainer.model.line.weight.grad = torch.full((1, 2), 1e6)
    trainer.train(0, 1)
    assert weights(trainer).abs().max() < 10


@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
def test_resumed_run_ends_bit_for_bit_as_the_uninterrupted_one(kind):
    """Momentum, the stream's position and the draws of dropout all have to go on."""
    options = {"precision": torch.bfloat16} if kind is AMPTrainer else {}
    whole = make_trainer(kind, LineModel(dropout=0.3), seed=11, **options)
    whole.train(0, 9)

    first = make_trainer(kind, LineModel(dropout=0.3), seed=11, **options)
    first.train(0, 4)
    state, kept = copy.deepcopy(first.state_dict()), copy.deepcopy(first.model.state_dict())
    torch.manual_seed(99)
    second = make_trainer(kind, LineModel(dropout=0.3), seed=11, **options)
    second.model.load_state_dict(kept)
    second.load_state_dict(state)
    second.train(4, 9)
    assert torch.equal(weights(second), weights(whole))


def test_loader_without_seek_is_named_when_a_run_goes_on(caplog):
    batches = [batch for batch, _ in zip(PointStream(), range(3), strict=False)]
    with caplog.at_level(logging.WARNING):
        make_trainer(loader=batches).train(5, 7)
    assert "no seek()" in caplog.text
    assert "iteration 5" in caplog.text


def test_loader_that_ends_says_what_training_needs():
    batches = [batch for batch, _ in zip(PointStream(), range(3), strict=False)]
    with pytest.raises(DataError, match="ended at iteration 3 of 8"):
        make_trainer(loader=batches).train(0, 8)


def test_new_loader_starts_at_the_present_iteration():
    trainer = make_trainer()
    trainer.train(0, 2)
    replacement = PointStream(seed=8)
    trainer.reset_data_loader(lambda: replacement)
    trainer.train(2, 3)
    assert replacement.start == 2


def test_loss_that_is_not_finite_stops_with_parts_and_images_and_spares_the_weights():
    class Exploding(LineModel):
        def forward(self, batch):
            losses = super().forward(batch)
            return {**losses, "loss_abs": losses["loss_abs"] / 0} if self.steps_left() else losses

        def steps_left(self) -> bool:
            self.count = getattr(self, "count", 0) + 1
            return self.count == 3

    trainer = make_trainer(model=Exploding())
    seen = []
    trainer.register_hooks([CallbackHook(after_step=lambda t: seen.append(weights(t)))])
    with pytest.raises(FloatingPointError) as caught:
        trainer.train(0, 9)
    message = str(caught.value)
    assert "iteration 2" in message
    assert "loss_abs=inf" in message
    assert "point_2_0.jpg, point_2_1.jpg" in message
    assert "SOLVER.BASE_LR" in message
    assert torch.equal(weights(trainer), seen[-1])


def test_guard_reads_an_accelerator_once_a_period_and_names_the_right_step():
    """On a GPU each look waits for the device, so a period is looked at together."""

    class Distant(torch.Tensor):
        """A tensor that says it lies on an accelerator."""

        device = torch.device("cuda")

    def step(iteration: int, value: float, image: str) -> StepRecord:
        return StepRecord(iteration, {"loss": torch.tensor(value).as_subclass(Distant)}, [image])

    guard = LossGuard(period=3)
    guard.check(step(0, 1.0, "good.jpg"))
    guard.check(step(1, float("nan"), "bad.jpg"))
    with pytest.raises(
        FloatingPointError, match=r"iteration 1 is not finite \(loss=nan\).*bad\.jpg"
    ):
        guard.check(step(2, 1.0, "good.jpg"))


def test_single_loss_is_enough():
    class OneLoss(LineModel):
        def forward(self, batch):
            return super().forward(batch)["loss_square"]

    trainer = make_trainer(model=OneLoss())
    trainer.train(0, 2)
    assert {"data_time", "total_loss"} <= set(trainer.storage.latest())


def test_metrics_are_written_at_their_period():
    trainer = make_trainer(gather_metric_period=3)
    trainer.train(0, 8)
    assert [step for _, step in trainer.storage.history("total_loss").values()] == [2, 5]


def test_model_in_evaluation_mode_is_refused():
    trainer = make_trainer()
    trainer.model.eval()
    with pytest.raises(RuntimeError, match=r"call model\.train\(\)"):
        trainer.train(0, 1)


@pytest.mark.parametrize("kind", [SimpleTrainer, AMPTrainer])
def test_asynchronous_metrics_are_accepted(kind):
    options = {"precision": torch.bfloat16} if kind is AMPTrainer else {}
    trainer = make_trainer(kind, async_write_metrics=True, **options)
    trainer.train(0, 2)
    assert trainer.storage.history("total_loss").values()[-1][1] == 1


class OwnInit(SimpleTrainer):
    """A trainer as people wrote them for early versions of detectron2."""

    def __init__(self, model, loader, optimizer):
        super(SimpleTrainer, self).__init__()
        self.model, self.data_loader, self.optimizer = model.train(), loader, optimizer
        self._data_loader_iter = iter(loader)


class OwnStep(OwnInit):
    def run_step(self):
        losses = self.model(next(self._data_loader_iter))
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self._write_metrics(losses, 0.0)
        self.optimizer.step()


@pytest.mark.parametrize("kind", [OwnInit, OwnStep])
def test_a_trainer_with_an_init_of_its_own_trains_as_ours(kind):
    trainer, ours = make_trainer(kind), make_trainer()
    trainer.train(0, 4)
    ours.train(0, 4)
    assert torch.equal(weights(trainer), weights(ours))
    assert trainer.storage.latest()["total_loss"] == ours.storage.latest()["total_loss"]
    assert trainer.state_dict()["iteration"] == 3


def test_a_step_of_its_own_ends_at_a_loss_that_is_not_finite():
    trainer = make_trainer(OwnStep)
    trainer.model.register_forward_hook(
        lambda model, inputs, losses: {name: loss * float("nan") for name, loss in losses.items()}
    )
    with pytest.raises(FloatingPointError, match="iteration 2"):
        trainer.train(2, 9)


def test_losses_are_written_where_detectron2_06_calls_for_them():
    with EventStorage(7) as storage:
        losses = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}
        SimpleTrainer.write_metrics(losses, 0.5)
        SimpleTrainer.write_metrics(losses, 0.5, "my_")
        SimpleTrainer.write_metrics(losses, 0.5, 9, "late_")
    latest = storage.latest()
    assert latest["total_loss"] == latest["my_total_loss"] == (3.0, 7)
    assert latest["late_total_loss"] == (3.0, 9)


class OwnMetrics(SimpleTrainer):
    def _write_metrics(self, loss_dict, data_time, prefix=""):
        super()._write_metrics({**loss_dict, "mine": torch.ones(())}, data_time, prefix)


def test_metrics_that_a_subclass_adds_are_written():
    trainer = make_trainer(OwnMetrics)
    trainer.train(0, 2)
    assert trainer.storage.latest()["mine"] == (1.0, 1)


def test_bfloat16_trains_on_the_cpu_close_to_float32():
    exact, mixed = make_trainer(), make_trainer(AMPTrainer, precision=torch.bfloat16)
    exact.train(0, 1)
    mixed.train(0, 1)
    assert weights(mixed).dtype == torch.float32
    assert not torch.equal(weights(mixed), weights(exact))
    # One point of six whose absolute error changes its sign moves a weight by a thirtieth.
    torch.testing.assert_close(weights(mixed), weights(exact), rtol=0, atol=0.05)
    assert "grad_scaler" not in mixed.state_dict()


def test_float16_on_the_cpu_is_refused_with_the_mend():
    with pytest.raises(ConfigError, match=r"SOLVER\.AMP\.PRECISION bfloat16"):
        make_trainer(AMPTrainer)


def test_other_precisions_are_refused():
    with pytest.raises(ConfigError, match="'float16' or 'bfloat16'"):
        make_trainer(AMPTrainer, precision=torch.float64)


@pytest.mark.gpu
def test_float16_scales_the_loss_shows_true_gradients_and_keeps_the_scale():
    model = LineModel().cuda()
    stream = [
        [{"x": point["x"].cuda(), "y": point["y"].cuda()} for point in batch]
        for batch, _ in zip(PointStream(), range(4), strict=False)
    ]
    trainer = make_trainer(AMPTrainer, model, stream, log_grad_scaler=True)
    sizes = []
    trainer.register_hooks(
        [CallbackHook(after_backward=lambda t: sizes.append(t.model.line.weight.grad.abs().max()))]
    )
    trainer.train(0, 4)
    assert max(float(size) for size in sizes) < 100
    assert trainer.state_dict()["grad_scaler"]["scale"] > 1
    assert trainer.storage.latest()["[metric]grad_scaler"][0] > 1


def test_the_generators_of_an_apple_device_are_kept(monkeypatch):
    """Torch takes the devices that it is given for those of CUDA, unless it is told their type."""
    states = iter(("before", "after"))
    put_back = []
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda device: next(states))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state, device: put_back.append(state))
    model = SimpleNamespace(parameters=lambda: [SimpleNamespace(device=torch.device("mps"))])
    with kept_generators(model):
        pass
    assert put_back == ["before"]


def test_losses_of_one_element_and_numbers_are_losses():
    """In detectron2 they are: only their sum and their numbers are used."""

    class Model(LineModel):
        def forward(self, batch):
            loss = super().forward(batch)["loss_abs"]
            return {"a": loss.view(1), "b": loss, "none": 0.0}

    trainer = make_trainer(model=Model())
    trainer.train(0, 1)
    latest = trainer.storage.latest()
    assert latest["a"][0] == latest["b"][0] == latest["total_loss"][0] / 2


def test_a_loss_of_many_numbers_is_refused():
    class Model(LineModel):
        def forward(self, batch):
            return {"a": torch.ones(3) * super().forward(batch)["loss_abs"]}

    with pytest.raises(InputTypeError, match=r"'a' has shape \(3,\)"):
        make_trainer(model=Model()).train(0, 1)


def test_losses_and_gradients_of_two_devices_go_to_one():
    """The 0 of a part without objects may be on the CPU, and a model on two devices."""
    on_meta = torch.zeros((), device="meta")
    losses = as_scalars({"none": torch.tensor(0.0), "a": on_meta})
    assert {loss.device.type for loss in losses.values()} == {"meta"}
    weights = [nn.Parameter(torch.zeros(2, device=device)) for device in ("meta", "cpu")]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    assert gradient_norm(weights).device.type == "meta"
