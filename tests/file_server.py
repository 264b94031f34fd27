"""A server of files on this machine that breaks off, changes its files, or knows no ranges."""

import http.server
import re
import threading
from contextlib import contextmanager

from d2lite.utils import download


class FileHandler(http.server.BaseHTTPRequestHandler):
    """Answers as the fields of its server say, see `file_server`."""

    def do_GET(self) -> None:
        server = self.server
        server.paths.append(self.path)
        server.requests.append(dict(self.headers))
        content = server.find(self.path)
        if content is None:
            self.send_error(404)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range") == server.tag
        start = int(wanted[1]) if wanted and is_same and server.knows_ranges else 0
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        limit = server.limits.pop(0) if server.limits else len(body)
        self.wfile.write(body[:limit])

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(made, monkeypatch):
    """A server at its `url` while the block runs; downloads do not wait between their attempts."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def file_server(find):
    """A server for `serving`.

    Args:
        find: the content of a path, None for none.

    Returns:
        It notes `paths` and `requests`, the headers; `limits` are the bytes after which the next
        answers break off.
    """
    made = http.server.HTTPServer(("127.0.0.1", 0), FileHandler)
    made.find, made.tag, made.knows_ranges = find, '"one"', True
    made.limits, made.paths, made.requests = [], [], []
    return made
