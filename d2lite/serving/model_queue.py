"""ModelQueue: requests wait in a queue, and one thread predicts them in batches."""

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from d2lite.data.images.channels import is_channel_list
from d2lite.data.images.image_io import decode_image
from d2lite.predicting import Predictor, Result

# Threads that decode images and write answers.
_HELPERS = 4


class QueueFullError(Exception):
    """There is no free place in the queue.

    Attributes:
        seconds: after which a place is probably free.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"The queue is full. Try again in {seconds} s.")
        self.seconds = seconds


@dataclass
class _Job:
    content: bytes
    render: Callable[[Result], bytes]
    answer: Future[bytes] = field(default_factory=Future)


class ModelQueue:
    """A queue before a model, of bounded length and memory.

    Files wait as they came, and are decoded when their batch is predicted, so that the memory
    depends on the batch and on the sizes of the files, not on the pixels of all that wait.
    """

    def __init__(self, predictor: Predictor, *, places: int = 256, num_bytes: int = 2**30) -> None:
        """Start the thread of the model.

        Args:
            predictor: its `batch_size` is the largest batch.
            places: the most requests at a time, those that are being predicted included.
            num_bytes: the most bytes of all their files together.
        """
        self.predictor = predictor
        self.places, self._max_bytes = places, num_bytes
        self.num_waiting, self._num_bytes = 0, 0
        self._seconds_per_image = 0.1
        self._format: str = predictor.cfg.INPUT.FORMAT
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._helpers = ThreadPoolExecutor(_HELPERS, "serving")
        self._rendering: list[Future[None]] = []
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the model can still predict."""
        return self._thread.is_alive()

    @contextmanager
    def place(self, num_bytes: int) -> Iterator[None]:
        """A place in the queue. To be used in the thread of the event loop alone.

        Args:
            num_bytes: of the file, or the most that it can have.

        Raises:
            QueueFullError: if there is none.
        """
        is_full = self.num_waiting >= self.places
        # One file is always accepted, however large it is.
        is_full |= self.num_waiting > 0 and self._num_bytes + num_bytes > self._max_bytes
        if is_full:
            raise QueueFullError(max(1, math.ceil(self.num_waiting * self._seconds_per_image)))
        self.num_waiting += 1
        self._num_bytes += num_bytes
        try:
            yield
        finally:
            self.num_waiting -= 1
            self._num_bytes -= num_bytes

    async def predict(self, content: bytes, render: Callable[[Result], bytes]) -> bytes:
        """Wait until the model has predicted an image.

        Args:
            content: of an image file.
            render: makes the answer of the result; called in another thread.

        Returns:
            What `render` returned.

        Raises:
            DataError: if the image cannot be decoded.
            Exception: what the model or `render` raised.
        """
        job = _Job(content, render)
        self._jobs.put(job)
        return await asyncio.wrap_future(job.answer)

    def close(self) -> None:
        """Predict what waits, and end the thread."""
        self._jobs.put(None)
        self._thread.join()
        self._helpers.shutdown()

    def _run(self) -> None:
        while True:
            jobs = self._next_batch()
            # The requests of some may have been given up in the meantime.
            self._predict([job for job in jobs if job.answer.set_running_or_notify_cancel()])
            if not jobs:
                return

    def _next_batch(self) -> list[_Job]:
        """What waits, at least one and at most a batch; nothing when the queue is closed."""
        job = self._jobs.get()
        jobs: list[_Job] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) >= self.predictor.batch_size or self._jobs.empty():
                return jobs
            job = self._jobs.get()
        if jobs:
            self._jobs.put(None)
        return jobs

    def _predict(self, jobs: Sequence[_Job]) -> None:
        start = time.perf_counter()
        decoded = zip(jobs, self._helpers.map(self._decode, jobs), strict=True)
        ready = [(job, image) for job, image in decoded if image is not None]
        # The predictor puts neighbours of one size into one step of the model.
        ready.sort(key=lambda pair: str(getattr(pair[1], "size", "")))
        self._predict_decoded(ready)
        if ready:
            seconds = (time.perf_counter() - start) / len(ready)
            self._seconds_per_image += 0.2 * (seconds - self._seconds_per_image)

    def _predict_decoded(self, ready: Sequence[tuple[_Job, Any]]) -> None:
        if not ready:
            return
        try:
            results = self.predictor([image for _, image in ready])
        except Exception as error:  # the server goes on after any failure of a model
            if len(ready) == 1:
                ready[0][0].answer.set_exception(error)
            else:
                # One image, or the memory of all, may be the reason: each gets a try of its own.
                for pair in ready:
                    self._predict_decoded([pair])
            return
        # Answers are written while the next batch is predicted; of one batch at most.
        wait(self._rendering)
        self._rendering = [
            self._helpers.submit(self._answer, job, result)
            for (job, _), result in zip(ready, results, strict=True)
        ]

    def _decode(self, job: _Job) -> Any:
        """The image; None where it cannot be decoded, and the request has got the reason."""
        try:
            if is_channel_list(self._format):
                return decode_image("file", job.content, self._format)
            return Image.fromarray(decode_image("file", job.content, "RGB"))
        except Exception as error:
            job.answer.set_exception(error)
            return None

    @staticmethod
    def _answer(job: _Job, result: Result) -> None:
        try:
            job.answer.set_result(job.render(result))
        except Exception as error:
            job.answer.set_exception(error)
