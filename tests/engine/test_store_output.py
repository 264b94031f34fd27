"""OUTPUT_DIR at an s3:// address: a run is stopped on one machine and goes on on another."""

import logging
from argparse import Namespace

import pytest
import torch
import yaml

from d2lite.config import LazyConfig, as_run_config
from d2lite.engine import DefaultTrainer, default_setup
from d2lite.engine.defaults.output_dir import (
    follow_output_address,
    local_output_dir,
    write_config,
)
from d2lite.engine.hooks import CallbackHook
from d2lite.utils import output_mirror
from d2lite.utils.errors import OutputError
from d2lite.utils.output_mirror import mirror_of
from tests.store_server import QUIET

pytestmark = QUIET


def train(cfg, *, resume, steps, address):
    """What `d2lite train` does, up to `steps` of 6; the folder is at the address afterwards."""
    cfg = cfg.clone()
    cfg.OUTPUT_DIR = address
    default_setup(cfg, Namespace(resume=resume, eval_only=False))
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    start = trainer.start_iter
    if steps < trainer.max_iter:
        trainer.register_hooks([stop_at(steps)])
    try:
        trainer.train()
    except KeyboardInterrupt:
        assert steps < trainer.max_iter
    for handler in list(logging.getLogger("d2lite").handlers):
        handler.close()
        logging.getLogger("d2lite").removeHandler(handler)
    mirror_of(address).close()
    return start


def stop_at(steps):
    """A hook that asks the run to stop."""

    def stop(trainer):
        if trainer.iter + 1 == steps:
            trainer.request_stop(2)

    return CallbackHook(before_step=stop)


def test_a_run_goes_on_from_the_store_on_another_machine(toy_cfg, bucket, tmp_path, monkeypatch):
    toy_cfg.SOLVER.CHECKPOINT_PERIOD = 2
    toy_cfg.DATASETS.TEST = ()
    train(toy_cfg, resume=False, steps=6, address="s3://bucket/unbroken")
    address = "s3://bucket/broken"
    train(toy_cfg, resume=False, steps=3, address=address)
    place = "bucket/broken"
    bucket.invalidate_cache()
    first = {name.rpartition("/")[2] for name in bucket.find(place)}
    assert {"last_checkpoint", "metrics.json", "config.yaml", "log.txt"} <= first
    assert yaml.safe_load(bucket.cat_file(f"{place}/config.yaml"))["OUTPUT_DIR"] == address
    # Another machine: nothing is there.
    monkeypatch.setenv("D2LITE_CACHE", str(tmp_path / "other"))
    output_mirror._MIRRORS.clear()
    assert train(toy_cfg, resume=True, steps=6, address=address) == 3
    weights = [
        torch.load(local_output_dir(f"s3://bucket/{run}", fetch=True) / "model_final.pth")["model"]
        for run in ("unbroken", "broken")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    bucket.invalidate_cache()
    assert bucket.exists(f"{place}/model_final.pth")


def test_a_python_config_is_written_with_the_address(bucket):
    omegaconf = pytest.importorskip("omegaconf")
    parts = {"model": {}, "train": {"output_dir": "s3://bucket/python"}}
    given = as_run_config(omegaconf.OmegaConf.create(parts))
    follow_output_address(given, resume=False)
    write_config(given)
    folder = mirror_of("s3://bucket/python").folder
    assert str(folder) == given.OUTPUT_DIR
    assert LazyConfig.load(str(folder / "config.yaml")).train.output_dir == "s3://bucket/python"
    mirror_of("s3://bucket/python").close()


def test_other_addresses_are_refused(toy_cfg):
    toy_cfg.OUTPUT_DIR = "https://example.org/run"
    follow_output_address(toy_cfg, resume=False)
    with pytest.raises(OutputError, match=r"cannot write to.*s3://, gs://"):
        default_setup(toy_cfg, Namespace(resume=False, eval_only=False))
