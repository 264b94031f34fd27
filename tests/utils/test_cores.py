"""How many cores and threads a process uses where a container limits them."""

import os

import pytest

from d2lite.utils import cores, threads
from d2lite.utils.cores import usable_cores


@pytest.fixture
def add(tmp_path, monkeypatch):
    """A function that writes a file of the system; the process may run on 16 cores."""
    monkeypatch.setattr(cores, "_ROOT", tmp_path)
    monkeypatch.setattr(cores, "bound_cores", lambda: 16)
    monkeypatch.setattr(threads, "bound_cores", lambda: 16)
    # So that what a test sets in the environment goes with it.
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("D2LITE_OMP_LIMIT", "")
    monkeypatch.delenv("D2LITE_OMP_LIMIT")

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("5000 100000", 1),
        ("max 100000", 16),
        ("", 16),
        ("-1 0", 16),
        ("9" * 30 + " 1", 16),
    ],
)
def test_a_quota_of_control_groups_2_lowers_the_number_of_cores(add, limit, expected):
    add("proc/self/cgroup", "0::/\n")
    add("sys/fs/cgroup/cpu.max", limit)
    assert usable_cores() == expected


def test_the_tightest_quota_of_the_groups_around_counts(add):
    add("proc/self/cgroup", "0::/pod/job/step\n")
    add("sys/fs/cgroup/pod/cpu.max", "300000 100000\n")
    add("sys/fs/cgroup/pod/job/cpu.max", "max 100000\n")
    add("sys/fs/cgroup/pod/job/step/cpu.max", "800000 100000\n")
    assert usable_cores() == 3


def test_a_quota_of_control_groups_1_counts_where_the_group_is_named_from_outside(add):
    add("proc/self/cgroup", "5:memory:/a\n4:cpu,cpuacct:/docker/0123\n0::/\n")
    add("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n")
    add("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert usable_cores() == 4


@pytest.mark.usefixtures("add")
def test_without_control_groups_the_cores_are_those_it_is_bound_to():
    assert usable_cores() == 16
    threads.limit_number()
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_quota_limits_the_threads_unless_the_environment_says_how_many(add, monkeypatch):
    add("proc/self/cgroup", "0::/\n")
    add("sys/fs/cgroup/cpu.max", "200000 100000")
    assert not threads.is_number_chosen()
    threads.limit_number()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    # Each of several processes still takes its share of them.
    assert not threads.is_number_chosen()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    threads.limit_number()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert threads.is_number_chosen()


def test_a_number_of_the_environment_that_equals_the_quota_is_chosen_too(add, monkeypatch):
    add("proc/self/cgroup", "0::/\n")
    add("sys/fs/cgroup/cpu.max", "200000 100000")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    threads.limit_number()
    assert threads.is_number_chosen()
