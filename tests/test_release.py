"""What a release consists of agrees: one version, valid workflows, files that the forms name."""

import re
from pathlib import Path

import pytest
import yaml

import d2lite
from d2lite.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
YAML = [
    ROOT / "CITATION.cff",
    ROOT / "mkdocs.yml",
    *sorted((ROOT / ".github").rglob("*.y*ml")),
]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_file_is_valid_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict)


def test_version_is_stated_once_and_repeated_by_the_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == d2lite.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+([ab.]\w+)?", d2lite.__version__)


def test_form_of_a_problem_asks_for_commands_that_exist():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/problem.yaml").read_text("utf-8"))
    required = [part for part in form["body"] if part.get("validations", {}).get("required")]
    assert any("`d2lite check`" in part["attributes"]["label"] for part in required)
    named = re.findall(r"`d2lite (\w+)", str(form))
    assert len(named) >= 3
    assert set(named) <= set(COMMANDS)


def test_workflows_may_write_nothing_but_their_own_proofs():
    for path in (ROOT / ".github/workflows").glob("*.yaml"):
        workflow = yaml.safe_load(path.read_text("utf-8"))
        assert workflow["permissions"] == {"contents": "read"}, path.name
        for job in workflow["jobs"].values():
            granted = {k for k, v in job.get("permissions", {}).items() if v == "write"}
            assert granted <= {"id-token", "attestations"}
