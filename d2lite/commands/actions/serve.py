"""What `d2lite serve` does."""

import argparse
import contextlib
import logging
import socket

from d2lite.predicting import Predictor
from d2lite.utils.errors import ConfigError, MissingPackageError
from d2lite.utils.logger import setup_logger

from .predict_words import parse_threshold

try:
    import python_multipart  # noqa: F401 - FastAPI loads it at the first form
    import uvicorn

    from d2lite.serving import Limits, ModelQueue, build_app
    from d2lite.serving.upload import MEGA
except ImportError as error:
    raise MissingPackageError(
        f"d2lite serve needs the package {error.name}: pip install 'd2lite[serve]'"
    ) from error

# Requests that were accepted before the end have this long.
_GRACE_SECONDS = 60

logger = logging.getLogger("d2lite.serve")


def serve(args: argparse.Namespace) -> None:
    """Load the model and serve it until the program is stopped.

    Raises:
        ConfigError: if the address cannot be used.
    """
    setup_logger()
    # Before the model, which takes longer to load.
    listener = _listen(args.host, args.port)
    with contextlib.closing(listener):
        predictor = Predictor(
            args.run,
            device=args.device,
            threshold=parse_threshold(args.confidence_threshold),
            batch_size=args.batch_size,
            opts=args.opts,
            imports=args.imports,
        )
        limits = Limits(int(args.max_mb * MEGA), int(args.max_megapixels * MEGA))
        app = build_app(ModelQueue(predictor, places=args.queue), limits, title=args.run)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_GRACE_SECONDS)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        logger.info(f"Serving {args.run} at http://{shown}:{port} (Ctrl-C ends it)")
        # uvicorn finishes what it has accepted, and then raises the interrupt again.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    logger.info("The server has ended; all requests that it had accepted are answered")


def _listen(host: str, port: int) -> socket.socket:
    if not host:  # the system would take all its addresses
        raise ConfigError("--host is empty. Use 127.0.0.1, or 0.0.0.0 to let other machines in.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"Cannot listen on --host {host} --port {port} ({error}). Choose another "
            "port, or 0 for a free one."
        ) from error
