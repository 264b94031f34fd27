"""EventStorage: what is put comes out, whole, in order, and without waiting for the device."""

import tracemalloc

import numpy as np
import pytest
import torch

from d2lite.commands.benchmarking.counting import count
from d2lite.utils.errors import UnknownNameError
from d2lite.utils.events import (
    EventStorage,
    get_event_storage,
    has_event_storage,
    log_image,
    log_scalars,
)
from d2lite.utils.events.history import History


def test_the_innermost_block_is_the_active_storage():
    with EventStorage() as outer:
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer
    assert not has_event_storage()


def test_a_storage_is_handed_back_after_an_exception():
    with pytest.raises(ZeroDivisionError), EventStorage():
        raise ZeroDivisionError
    assert not has_event_storage()


def test_asking_for_a_storage_where_none_is_active_says_how_to_get_one():
    with pytest.raises(RuntimeError, match=r"with EventStorage.*log_scalars"):
        get_event_storage()


def test_leaving_blocks_out_of_order_is_refused():
    outer, inner = EventStorage(), EventStorage()
    outer.__enter__()
    inner.__enter__()
    try:
        with pytest.raises(RuntimeError, match="out of order"):
            outer.__exit__(None, None, None)
    finally:
        inner.__exit__(None, None, None)
        outer.__exit__(None, None, None)


def test_models_may_log_where_nobody_listens():
    """A model called by hand has no storage; it must neither fail nor draw pictures."""
    drawn = []
    log_scalars(loss=torch.tensor(1.0))
    log_image("picture", lambda: drawn.append(1))
    assert not drawn


def test_logged_scalars_and_images_reach_the_active_storage():
    with EventStorage(3) as storage:
        log_scalars(loss=1.5, smoothing_hint=False)
        log_image("picture", lambda: torch.zeros(3, 2, 2))
    assert storage.latest() == {"loss": (1.5, 3)}
    assert storage.smoothing_hints() == {"loss": False}
    assert [(image.name, image.iteration) for image in storage.images] == [("picture", 3)]


def test_values_carry_the_iteration_they_were_put_in():
    storage = EventStorage(start_iter=5)
    storage.put_scalar("a", 1)
    storage.step()
    storage.put_scalar("a", 2)
    storage.put_scalar("b", 3, cur_iter=0)
    storage.iter = 9
    storage.put_scalars(c=4, d=5)
    assert storage.history("a").values() == [(1.0, 5), (2.0, 6)]
    assert storage.latest() == {"a": (2.0, 6), "b": (3.0, 0), "c": (4.0, 9), "d": (5.0, 9)}
    assert storage.iteration == 9


def test_loggers_written_for_detectron2_find_the_scalars_under_its_private_names():
    storage = EventStorage()
    storage.put_scalars(a=1.0, b=torch.tensor(2.0))
    assert storage._latest_scalars == {"a": (1.0, 0), "b": (2.0, 0)}
    assert storage._history["b"].avg(20) == 2.0


def test_several_numbers_are_read_in_one_transfer():
    storage = EventStorage(3)
    values = {"a": torch.tensor(0.1), "b": torch.tensor(2.0**60 + 2**10, dtype=torch.float64)}
    found = count(lambda: storage.put_scalars(**values, c=torch.tensor(2**60), d=4, e=np.ones(1)))
    assert found.waits == 3  # one for each kind of number
    assert storage.latest() == {
        "a": (float(np.float32(0.1)), 3),
        "b": (2.0**60 + 2**10, 3),
        "c": (2.0**60, 3),
        "d": (4.0, 3),
        "e": (1.0, 3),
    }


@pytest.mark.parametrize(
    "value",
    [
        2,
        2.0,
        np.float32(2),
        np.array([2.0]),
        torch.tensor(2.0, requires_grad=True),
        torch.tensor([2]),
        torch.tensor([[2.0]], dtype=torch.bfloat16),
    ],
)
def test_numbers_of_any_kind_are_taken(value):
    storage = EventStorage()
    storage.put_scalar("x", value)
    assert storage.latest()["x"] == (2.0, 0)
    assert isinstance(storage.latest()["x"][0], float)


@pytest.mark.parametrize("value", [torch.zeros(2), np.zeros(0)])
def test_more_or_less_than_one_number_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"'rpn/loss' .*shape \(\d,\).*mean"):
        EventStorage().put_scalar("rpn/loss", value)


def test_a_tensor_changed_in_place_later_keeps_its_logged_value():
    """Running statistics are buffers that the next step overwrites."""
    storage = EventStorage()
    running = torch.tensor(1.0)
    storage.put_scalar("running", running)
    running.add_(1)
    assert storage.latest()["running"] == (1.0, 0)


def test_many_unread_tensors_keep_their_order_among_numbers():
    storage = EventStorage()
    for i in range(30):
        storage.put_scalar("x", torch.tensor(float(i)) if i % 2 else i)
        storage.step()
    assert [value for value, _ in storage.history("x").values()] == list(range(30))


def test_tensors_on_a_device_are_fetched_together(monkeypatch):
    """One transfer a device and number type, however many scalars wait; counted on fakes."""
    from d2lite.utils.events import storage as module

    transfers = []
    stack = torch.stack
    monkeypatch.setattr(module.torch, "stack", lambda t: transfers.append(len(t)) or stack(t))
    half, long = torch.tensor(0.5, dtype=torch.float16), torch.tensor(2**40 + 1)
    assert module._fetch([torch.tensor(1.25), half, 7.0, long]) == [1.25, 0.5, 7.0, 2**40 + 1]
    assert transfers == [2, 1]


def test_scopes_nest_in_names_and_end_with_their_block():
    storage = EventStorage()
    with storage.name_scope("a"):
        with pytest.raises(ValueError, match="a/b/bad"), storage.name_scope("b/"):
            storage.put_scalars(x=1, bad=[])
        storage.put_scalar("x", 2)
    storage.put_scalar("x", 3)
    assert {name: value for name, (value, _) in storage.latest().items()} == {
        "a/b/x": 1,
        "a/x": 2,
        "x": 3,
    }


def test_smoothing_shows_the_median_of_the_window_and_leaves_other_scalars_alone():
    storage = EventStorage()
    for i, value in enumerate([100.0, 1.0, 2.0, 9.0]):
        storage.iter = i
        storage.put_scalar("loss", value)
        storage.put_scalar("lr", value, smoothing_hint=False)
    shown = storage.latest_with_smoothing_hint(window_size=3)
    assert shown == {"loss": (2.0, 3), "lr": (9.0, 3)}


def test_samples_are_counted_by_iterations_not_by_puts():
    """A scalar put every fifth iteration has four samples in twenty; one put twice has forty."""
    storage = EventStorage()
    for i in range(100):
        storage.iter = i
        storage.put_scalar("twice", 0)
        storage.put_scalar("twice", 1)
        if i % 5 == 0:
            storage.put_scalar("rare", i)
    assert storage.count_samples("rare", 20) == 4
    assert storage.count_samples("twice", 20) == 40
    assert storage.count_samples("rare", 1000) == 20


def test_an_unknown_scalar_lists_the_known_ones():
    storage = EventStorage()
    with pytest.raises(UnknownNameError, match="none yet"):
        storage.history("x")
    storage.put_scalar("bbox/AP", 1)
    with pytest.raises(KeyError, match="bbox/AP"):
        storage.history("bbox/AP50")


def test_unread_scalars_and_images_do_not_grow_without_bound(monkeypatch):
    """A run without writers would otherwise keep a tensor of every iteration on the GPU."""
    from d2lite.utils.events import storage as module

    monkeypatch.setattr(module, "_MAX_UNREAD_SCALARS", 10)
    storage = EventStorage()
    for _ in range(1000):
        storage.put_scalar("x", 1)
        storage.put_image("x", torch.zeros(3, 1, 1))
    assert len(storage._unread) < 10
    assert len(storage.images) == module._MAX_UNREAD_IMAGES
    storage.clear_images()
    assert storage.images == ()


def test_a_histogram_counts_every_value_once():
    storage = EventStorage(4)
    storage.put_histogram("h", torch.tensor([[0.0, 1.0], [1.0, 4.0]]), bins=4)
    (histogram,) = storage.histograms
    assert histogram["bucket_counts"] == [1, 2, 0, 1]
    assert histogram["bucket_limits"] == [1, 2, 3, 4]
    assert (histogram["num"], histogram["sum"], histogram["sum_squares"]) == (4, 6, 18)
    assert (histogram["min"], histogram["max"], histogram["global_step"]) == (0, 4, 4)


@pytest.mark.parametrize("values", [torch.zeros(0), torch.tensor([1.0, float("nan")])])
def test_a_histogram_of_nothing_or_nan_is_refused(values):
    with pytest.raises(ValueError, match=r"'h'.*finite"):
        EventStorage().put_histogram("h", values)


def test_a_history_is_a_list_to_readers_and_small_in_memory():
    """As tuples, the values of a long run fill half a gigabyte."""
    history = History(max_length=50_000)
    tracemalloc.start()
    for iteration in range(60_000):
        history.update(iteration / 2, iteration)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 50_000 * 24
    assert history.values()[:2] == [(5000.0, 10_000), (5000.5, 10_001)]
    assert len(history.values()) == 50_000
    assert history.latest() == 29_999.5
    assert history.median(3) == 29_999.0
    assert history.avg(2) == 29_999.25
    assert history.global_avg() == pytest.approx(14_999.75)
