"""Draws that follow from counters."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2lite.utils.keyed_rng import DrawPurpose, draw_key, image_generator, keyed_draws, keyed_images

counters = st.lists(st.integers(0, 2**40), max_size=4)


def _draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@given(st.integers(0, 2**62), counters)
def test_key_is_a_function_of_seed_and_counters_and_fits_into_63_bits(seed, numbers):
    key = draw_key(seed, *numbers)
    assert key == draw_key(seed, *numbers)
    assert 0 <= key < 2**63


def test_keys_of_a_long_stream_and_of_its_neighbours_are_all_different():
    keys = {draw_key(seed, position) for seed in range(3) for position in range(2000)}
    assert len(keys) == 6000


def test_purposes_keep_their_numbers():
    """They are part of every result: a changed one gives other losses for the same seed."""
    assert [int(purpose) for purpose in DrawPurpose] == [1, 2, 3, 4, 7, 11, 12, 20_000, 20_001]
    assert draw_key(3, DrawPurpose.STEP) == draw_key(3, 7)


def test_order_of_counters_matters():
    assert draw_key(0, 1, 2) != draw_key(0, 2, 1)
    assert draw_key(0) != draw_key(0, 0)


def test_keyed_draws_repeat_and_leave_the_generators_as_they_were():
    with keyed_draws(5):
        first = _draws()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    undisturbed = _draws()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    with keyed_draws(5):
        assert _draws() == first
    assert _draws() == undisturbed


def test_keyed_draws_restore_after_an_exception():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), keyed_draws(5):
        torch.rand(3)[0] /= 0 // 0
    assert torch.equal(torch.get_rng_state(), before)


def test_different_keys_draw_differently_in_all_three_generators():
    with keyed_draws(5):
        first = _draws()
    with keyed_draws(draw_key(5)):
        second = _draws()
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_image_generator_follows_key_and_purpose():
    def draw(image: int, purpose: int) -> list[float]:
        generator = image_generator(image, purpose, "cpu")
        return torch.rand(4, generator=generator).tolist()

    with keyed_images([11, 12]):
        first = draw(0, 1)
        assert draw(0, 1) == first
        assert draw(0, 2) != first
        assert draw(1, 1) != first
    with keyed_images([12, 11]):
        assert draw(1, 1) == first


def test_no_key_means_the_global_generator():
    assert image_generator(0, 1, "cpu") is None
    with keyed_images([None, 3]):
        assert image_generator(0, 1, "cpu") is None
        assert image_generator(1, 1, "cpu") is not None
    assert image_generator(1, 1, "cpu") is None


def test_inner_batch_hides_the_outer_one_until_it_ends():
    with keyed_images([1]):
        with pytest.raises(TypeError), keyed_images([None]):
            len(image_generator(0, 1, "cpu"))
        assert image_generator(0, 1, "cpu") is not None


def test_images_of_a_repeated_batch_have_draws_of_their_own():
    """As in a model that runs each image through several branches."""
    with keyed_images([11, None]):
        states = [image_generator(image, 1, "cpu") for image in range(5)]
    assert [state is None for state in states] == [False, True] * 2 + [False]
    seeds = {state.initial_seed() for state in states if state is not None}
    assert len(seeds) == 3
