"""Out of CUDA memory: once more, then on the CPU. The failure is played, no GPU is needed."""

import pytest
import torch

from d2lite.utils.memory import _ignore_torch_cuda_oom, retry_if_cuda_oom


def _failing(times: int, error=torch.cuda.OutOfMemoryError):
    calls = []

    @retry_if_cuda_oom
    def add(x, *, others):
        """Adds."""
        calls.append((x, others))
        if len(calls) <= times:
            raise error
        return x + sum(others["all"])

    return add, calls


@pytest.mark.parametrize("times", [0, 1, 2])
def test_result_is_that_of_the_first_call_that_has_room(times):
    add, calls = _failing(times)
    one = torch.ones(())
    assert add(one, others={"all": [one, one]}) == 3
    assert len(calls) == times + 1


def test_an_extension_tells_of_full_memory_by_its_text():
    add, calls = _failing(2, RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert add(torch.ones(()), others={"all": []}) == 1
    assert len(calls) == 3


def test_third_failure_is_the_callers():
    add, calls = _failing(3)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        add(torch.ones(()), others={"all": []})
    assert len(calls) == 3


def test_other_errors_pass_at_once():
    calls = []

    @retry_if_cuda_oom
    def wrong():
        calls.append(1)
        raise RuntimeError("shape")

    with pytest.raises(RuntimeError, match="shape"):
        wrong()
    assert len(calls) == 1


def test_wrapped_function_keeps_its_name_and_docstring():
    add, _ = _failing(0)
    assert add.__name__ == "add"
    assert add.__doc__ == "Adds."


@pytest.mark.gpu
def test_third_call_gets_its_tensors_on_the_cpu():
    add, calls = _failing(2)
    one = torch.ones((), device="cuda")
    assert add(one, others={"all": [one]}).device.type == "cpu"
    assert calls[2][1]["all"][0].device.type == "cpu"


def test_a_block_ends_when_memory_is_full_and_other_errors_pass():
    with _ignore_torch_cuda_oom():
        raise torch.cuda.OutOfMemoryError
    with pytest.raises(ValueError, match="else"), _ignore_torch_cuda_oom():
        raise ValueError("else")
