"""The page of keys is that of the code and has every key with its default."""

import re

from d2lite.config import get_cfg
from tests.docs.scripts import script


def test_the_page_is_that_of_the_code():
    maker = script("docs_config_keys")
    page = maker.PAGE.read_text(encoding="utf-8")
    assert page == maker.config_keys(), "run python .ci/docs_config_keys.py"


def test_page_of_keys_has_every_key_with_its_default():
    page = script("docs_config_keys").config_keys()
    listed = re.findall(r"^\| `([A-Z0-9_.]+)` \| `(.+?)` \|", page, flags=re.MULTILINE)
    cfg = dict(get_cfg().keys_and_values())
    listed = {key: default for key, default in listed if "CN(" not in default}
    assert set(listed) == set(cfg)
    for key, default in listed.items():
        # tests/conftest.py switches reports off.
        if key != "REPORT.ENABLED":
            assert eval(default.replace(r"\|", "|")) == cfg[key], key
    assert "| `LOG_PERIOD` | `20` | Iterations between two writings" in page
    assert "| `DATALOADER.NUM_WORKERS` | `4` | Loader processes" in page
