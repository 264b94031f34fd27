"""A tiny model behind a server on the loopback address."""

import io
import threading
import time
from contextlib import contextmanager

import pytest
from PIL import Image

from d2lite.data.images.image_io import read_image
from d2lite.predicting import Predictor
from tests.predicting.conftest import checkpoint  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def predictor(checkpoint):  # noqa: F811
    return Predictor(checkpoint, threshold=0)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="session")
def photo() -> bytes:
    return encoded(Image.fromarray(read_image("shapes://val/0", "RGB")))


@pytest.fixture(scope="session")
def serving():
    """A function: an application to the address where it is served."""
    uvicorn = pytest.importorskip("uvicorn")

    @contextmanager
    def serve(app):
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()

    return serve
