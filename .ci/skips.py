"""A pytest plugin that records skipped tests, runs them again, and fails where one is unexpected.

    pytest -p skips --record-skips FILE                         # writes what was skipped
    pytest -p skips --only-skipped FILE --expected-skips LIST   # runs those, compares the rest

With pytest-xdist (`pytest -n 2 ...`) too.

LIST has the names of the tests that may skip; an empty line or one that begins with # says why.
"""

from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the three options."""
    for name in ("record-skips", "only-skipped", "expected-skips"):
        parser.addoption(f"--{name}", type=Path, metavar="FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Collect the skips of this run."""
    config.pluginmanager.register(_Skips(config))


class _Skips:
    def __init__(self, config: pytest.Config) -> None:
        self._record_file = config.getoption("record_skips")
        self._only_file = config.getoption("only_skipped")
        self._expected_file = config.getoption("expected_skips")
        self._reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "?"
            self._reasons[report.nodeid] = reason

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        if self._only_file is None:
            return
        recorded = set(self._only_file.read_text().splitlines())
        # A file that was skipped as a whole is recorded by its path.
        kept = [i for i in items if recorded & {i.nodeid, i.nodeid.split("::")[0]}]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    # pytest-xdist passes a worker's reports of tests on, and not those of files.
    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._reasons.update(getattr(node, "workeroutput", {}).get("skips", {}))

    def _unexpected(self) -> dict[str, str]:
        expected = set(self._expected_file.read_text().splitlines()) if self._expected_file else ()
        names = {node: node.partition("[")[0] for node in self._reasons}
        return {node: self._reasons[node] for node in names if names[node] not in expected}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["skips"] = self._reasons
            return
        if self._record_file is not None:
            self._record_file.write_text("".join(f"{node}\n" for node in self._reasons))
        if self._expected_file is not None and self._unexpected() and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._expected_file is None:
            return
        for node, reason in self._reasons.items():
            terminalreporter.write_line(f"still skipped: {node}: {reason}")
        for node in self._unexpected():
            terminalreporter.write_line(f"error: {node} is skipped and not in the expected list")
