import pickle

import pytest

from d2lite.utils.serialize import PicklableWrapper


def test_a_wrapped_lambda_pickles_and_is_called():
    step = 3
    again = pickle.loads(pickle.dumps(PicklableWrapper(lambda number: number + step)))
    assert isinstance(again, PicklableWrapper)
    assert again(4) == 7


def test_attributes_are_those_of_the_wrapped_object():
    wrapped = PicklableWrapper(PicklableWrapper(str.upper))
    assert wrapped.__name__ == "upper"
    with pytest.raises(AttributeError, match="no_such"):
        _ = wrapped.no_such
