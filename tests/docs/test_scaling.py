"""The files for clusters in docs/scaling.md can be read, and start what they say."""

import re
import shlex
import subprocess
from pathlib import Path

import yaml

from d2lite.commands.train import build_parser

PAGE = (Path(__file__).resolve().parents[2] / "docs/scaling.md").read_text(encoding="utf-8")


def block(kind):
    return re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1]


def test_the_slurm_file_is_a_shell_script_that_starts_a_training():
    script = block("sh")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    words = shlex.split(script.replace("\\\n", " ").splitlines()[-1])
    args = build_parser().parse_args(words[words.index("train") + 1 :])
    assert args.resume is True
    assert args.opts[:2] == ["OUTPUT_DIR", "/shared/runs/r50"]


def test_the_kubernetes_file_starts_torchrun_on_all_of_its_machines():
    service, job = yaml.safe_load_all(block("yaml"))
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    words = container["args"]
    assert f"--nnodes={job['spec']['completions']}" in words
    assert f"--nproc-per-node={container['resources']['limits']['nvidia.com/gpu']}" in words
    name = service["metadata"]["name"]
    assert spec["subdomain"] == name
    assert any(word.startswith(f"--rdzv-endpoint={name}-0.{name}:") for word in words)
    args = build_parser().parse_args(words[words.index("train") + 1 :])
    assert (args.config_file, args.resume) == ("R50_3x.yaml", True)
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["volumes"]}


def test_the_model_of_cost_gives_the_numbers_of_its_table():
    rows = re.findall(
        r"\| (\d+) \| ([\d.]+) GB/s.*?\| (\d+) ms \| ([\d.]+) s \| (\d+) \| (\d+) % \|", PAGE
    )
    assert len(rows) == 4
    for gpus, link, exchange, step, speed, share in rows:
        n = int(gpus)
        shown = 2 * (n - 1) / n * 0.176 / float(link) - 0.67 * 0.16
        exposed = max(0.0, shown)
        found = 0.25 * (1 + 0.03 * (n // 8 - 1).bit_length()) + exposed
        assert abs(int(exchange) / 1000 - exposed) < 0.005
        assert abs(float(step) - found) < 0.006
        assert abs(int(speed) - 2 * n / found) < 2 + 0.005 * int(speed)
        assert abs(int(share) - 100 * 0.25 / found) < 1
