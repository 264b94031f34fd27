"""build_app: the page, the HTTP route and the health of a served model."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from PIL import Image
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from d2lite import __version__
from d2lite.predicting import Result
from d2lite.utils.errors import DataError

from .model_queue import ModelQueue, QueueFullError
from .upload import Limits, RefusedUploadError

# The longer side of a drawn picture is at most this many pixels.
_PICTURE_SIDE = 1600
# A client that sends more slowly than this gives its place up.
_UPLOAD_SECONDS = 60.0
# What multipart adds to a file: its boundaries and heads.
_MULTIPART_BYTES = 10_000
# Of a value that is refused.
_SHOWN_CHARACTERS = 100
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "properties": {"file": _BINARY["schema"]}, "required": ["file"]}
_BODY = {"image/*": _BINARY, "multipart/form-data": {"schema": _FORM}}
# The page has its style and its script in itself, and loads nothing.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; connect-src 'self'"
}


class FoundObject(BaseModel):
    """An object; coordinates are pixels of the image, upright as its EXIF tag says."""

    name: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]
    mask: dict[str, Any] | None = None
    keypoints: list[tuple[float, float, float]] | None = None
    rotated_box: tuple[float, float, float, float, float] | None = None


class Prediction(BaseModel):
    """The answer to an image: `box` is x0, y0, x1, y1, `mask` COCO's run-length code."""

    width: int
    height: int
    objects: list[FoundObject]
    segments: list[dict[str, Any]] | None = None
    picture: str | None = None


class Health(BaseModel):
    """Whether the model can predict, its classes, and how many requests wait."""

    status: str
    version: str
    classes: list[str]
    waiting: int
    places: int


class Problem(BaseModel):
    """What is wrong, in a sentence."""

    detail: str


def build_app(queue: ModelQueue, limits: Limits, *, title: str = "d2lite") -> FastAPI:
    """The application; it closes the queue when it ends.

    Args:
        queue: of the model.
        limits: of the images.
        title: of the page and of openapi.json.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(queue.close)

    # The pages of FastAPI's own documentation load scripts from other servers.
    app = FastAPI(
        title=title, version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    page = files("d2lite.serving").joinpath("page.html").read_text("utf-8")
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem} for status in (408, 413, 422, 500, 503)
    }

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> JSONResponse:
        """Whether the model can predict."""
        content = Health(
            status="ok" if queue.is_alive else "the model has stopped",
            version=__version__,
            classes=queue.predictor.class_names,
            waiting=queue.num_waiting,
            places=queue.places,
        )
        return JSONResponse(content.model_dump(), 200 if queue.is_alive else 503)

    @app.post(
        "/predict",
        response_model=Prediction,
        responses=problems,
        openapi_extra={"requestBody": {"required": True, "content": _BODY}},
    )
    async def predict(
        request: Request,
        threshold: Annotated[float | None, Query(ge=0, le=1, description="lowest score")] = None,
        masks: Annotated[bool, Query(description="with the masks of objects")] = True,
        picture: Annotated[bool, Query(description="with a drawing, as a data: address")] = False,
    ) -> Response:
        """Find objects in an image, sent as the body or as the file of a form."""
        stated = request.headers.get("content-length", "")
        num_bytes = int(stated) if stated.isdigit() else limits.num_bytes
        limits.check_bytes(num_bytes - _MULTIPART_BYTES)
        render = partial(_answer, threshold=threshold, has_masks=masks, has_picture=picture)
        with queue.place(num_bytes):
            content = await asyncio.wait_for(_read_upload(request, limits), _UPLOAD_SECONDS)
            limits.check_image(content)
            answer = await queue.predict(content, render)
        return Response(answer, media_type="application/json")

    _explain_failures(app)
    return app


async def _read_upload(request: Request, limits: Limits) -> bytes:
    """The file that a request carries, never more than the limit of it."""

    async def body() -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            limits.check_bytes(size - _MULTIPART_BYTES)
            yield chunk

    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        content = b"".join([chunk async for chunk in body()])
    else:
        form = await MultiPartParser(request.headers, body(), max_files=1).parse()
        try:
            sent = [value for value in form.values() if isinstance(value, UploadFile)]
            if not sent:
                raise RefusedUploadError(422, "The form has no file. Send the image as its 'file'.")
            content = await sent[0].read()
        finally:
            await form.close()
    limits.check_bytes(len(content))
    return content


def _answer(
    result: Result, *, threshold: float | None, has_masks: bool, has_picture: bool
) -> bytes:
    """The body of the answer, JSON."""
    if threshold is not None:
        result = result.filter(threshold=threshold)
    content = result.to_dict()
    del content["path"]
    if not has_masks:
        for found in content["objects"]:
            found.pop("mask", None)
    if has_picture:
        content["picture"] = _drawn(result)
    return json.dumps(content).encode()


def _drawn(result: Result) -> str:
    """The drawing of a result as a data: address."""
    scale = _PICTURE_SIDE / max(result.size)
    stream = io.BytesIO()
    picture = Image.fromarray(result.plot(scale=scale if scale < 1 else None))
    picture.save(stream, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _explain_failures(app: FastAPI) -> None:
    """Answer each failure with a sentence and the fitting status."""

    def problem(status: int, sentence: str, **headers: str) -> JSONResponse:
        return JSONResponse(Problem(detail=sentence).model_dump(), status, headers)

    @app.exception_handler(RefusedUploadError)
    async def refused(_: Request, error: RefusedUploadError) -> JSONResponse:
        return problem(error.status, str(error))

    @app.exception_handler(QueueFullError)
    async def full(_: Request, error: QueueFullError) -> JSONResponse:
        return problem(503, str(error), **{"Retry-After": str(error.seconds)})

    @app.exception_handler(DataError)
    async def broken(_: Request, error: DataError) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(MultiPartException)
    async def bad_form(_: Request, error: MultiPartException) -> JSONResponse:
        return problem(422, f"The form cannot be read: {error.message}")

    @app.exception_handler(RequestValidationError)
    async def bad_query(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        found = str(first.get("input"))[:_SHOWN_CHARACTERS]
        return problem(422, f"{first['loc'][-1]}={found}: {first['msg']}.")

    @app.exception_handler(TimeoutError)
    async def slow(_: Request, error: TimeoutError) -> JSONResponse:
        return problem(408, f"The image did not arrive within {_UPLOAD_SECONDS:g} s.")

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        # It is raised again after the answer, and the server writes it to the log.
        return problem(500, "The model has failed; the log of the server says why.")
