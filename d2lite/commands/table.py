"""COMMANDS: which module is which command."""

_HERE = "d2lite.commands"

COMMANDS = {
    "train": f"{_HERE}.train",
    "eval": f"{_HERE}.eval",
    "predict": f"{_HERE}.predict",
    "report": f"{_HERE}.report",
    "analyze": f"{_HERE}.analyze",
    "export": f"{_HERE}.export",
    "serve": f"{_HERE}.serve",
    "data check": f"{_HERE}.data_check",
    "data show": f"{_HERE}.data_show",
    "data convert": f"{_HERE}.data_convert",
    "data download": f"{_HERE}.data_download",
    "config": f"{_HERE}.config",
    "checkpoint": f"{_HERE}.checkpoint",
    "check": f"{_HERE}.check",
    "analyze-model": f"{_HERE}.analyze_model",
    "benchmark": f"{_HERE}.benchmark",
    "replay": f"{_HERE}.replay",
    "run": f"{_HERE}.run",
    "migrate": f"{_HERE}.migrate",
    "completion": f"{_HERE}.completion",
}
"""Name -> module, in the order of the help. A name of two words belongs to a group."""
