"""tools/print_config.py shows a configuration that loads back to the same one."""

import pytest
import yaml

from d2lite.engine import setup_cfg


@pytest.mark.parametrize("diff", [[], ["--diff"]])
@pytest.mark.parametrize("name", ["quick_start.yaml", "R50_3x.yaml", "retinanet_R_50_FPN_1x.yaml"])
def test_output_loads_back_to_an_equal_config(run, tmp_path, name, diff):
    """Whoever saves what is printed has the run."""
    result = run("print_config", "--config-file", name, *diff, "SOLVER.BASE_LR", 0.123)
    assert result.status == 0
    saved = tmp_path / "printed.yaml"
    saved.write_text(result.out)
    assert setup_cfg(str(saved)) == setup_cfg(name, ["SOLVER.BASE_LR", 0.123])


def test_each_value_says_where_it_comes_from(run):
    """Default, which file, or the command line."""
    result = run("print_config", "--config-file", "quick_start.yaml", "SOLVER.BASE_LR", 0.123)
    lines = {line.split(":")[0].strip(): line for line in result.out.splitlines()}
    assert "command line" in lines["BASE_LR"]
    assert "quick_start.yaml" in lines["MAX_ITER"]
    assert "default" in lines["MOMENTUM"]


def test_difference_leaves_out_what_nobody_set(run):
    """Neither d2lite's defaults nor those of a project."""
    result = run("print_config", "--diff", "SOLVER.BASE_LR", 0.123)
    assert yaml.safe_load(result.out) == {"SOLVER": {"BASE_LR": 0.123}}
