"""A local S3 server that also fails as real ones do: the fixtures `server` and `bucket`."""

import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from d2lite.utils import object_store

QUIET = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:unclosed:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)  # fmt: skip


class Faults:
    """What goes wrong with the next answers to GET, and with the next files that are sent."""

    def __init__(self, app):
        self.app, self.waiting, self.num_gets = app, [], 0
        self.waiting_puts, self.puts = [], []

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        faults = {"GET": self.waiting, "PUT": self.waiting_puts}.get(method, [])
        is_file = method in ("GET", "PUT") and "." in path
        self.num_gets += is_file and method == "GET"
        fault = faults.pop(0) if is_file and faults else None
        if is_file and method == "PUT":
            self.puts.append(path.rpartition("/")[2])
            if fault == "truncated":
                sent = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
                environ["wsgi.input"] = io.BytesIO(sent[: len(sent) // 2])
                environ["CONTENT_LENGTH"] = str(len(sent) // 2)
                fault = None
        if fault == "503":
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        if fault == "timeout":
            time.sleep(3)
        body = b"".join(self.app(environ, start_response))
        return [body[: len(body) // 2] if fault == "truncated" else body]


@pytest.fixture(scope="module")
def server():
    moto_server = pytest.importorskip("moto.server")
    serving = pytest.importorskip("werkzeug.serving")
    app = Faults(moto_server.DomainDispatcherApplication(moto_server.create_backend_app))
    made = serving.make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    app.address = f"http://127.0.0.1:{made.port}"
    yield app
    made.shutdown()
    thread.join()


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    """A bucket with an image, annotations and weights; the cache is empty."""
    s3fs = pytest.importorskip("s3fs")
    for name, value in {
        "AWS_ENDPOINT_URL": server.address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "D2LITE_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(object_store, "_FIRST_PAUSE_S", 0.01)
    # A read that waits for 3 s fails, and the library's own attempts do not hide it.
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 1)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    if not store.exists("bucket"):
        store.mkdir("bucket")
    server.waiting, server.num_gets = [], 0
    server.waiting_puts, server.puts = [], []
    pixels = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    store.put_file(str(tmp_path / "a.png"), "bucket/photos/a.png")
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    labels = {
        "images": [{"id": 1, "file_name": "a.png", "height": 10, "width": 12}],
        "annotations": [{**box, "area": 16, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    store.pipe_file("bucket/labels.json", json.dumps(labels).encode())
    yield store
    s3fs.S3FileSystem.clear_instance_cache()
