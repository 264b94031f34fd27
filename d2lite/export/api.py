"""Names of the export to Caffe2, which no longer exists; they say what to use."""

from typing import Any

from d2lite.utils.errors import ExportError

__all__ = ["Caffe2Model", "Caffe2Tracer", "add_export_config"]


def add_export_config(cfg: Any) -> Any:
    """Nothing has to be added to a configuration before an export; it is returned as it is."""
    return cfg


class Caffe2Tracer:
    """Refused when it is made.

    Raises:
        ExportError: always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ExportError(
            f"{type(self).__name__}: Caffe2 no longer exists. Use d2lite.export.export_model, or "
            "`d2lite export RUN --to onnx`; onnxruntime and OpenVINO run the file."
        )


class Caffe2Model(Caffe2Tracer):
    """As `Caffe2Tracer`."""

    @staticmethod
    def load_protobuf(dir: str) -> "Caffe2Model":
        """As the constructor."""
        return Caffe2Model(dir)
