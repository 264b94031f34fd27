import asyncio
import base64
import io
import json
import resource
import threading
import time

import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
httpx = pytest.importorskip("httpx")

from d2lite.commands.actions.serve import _listen  # noqa: E402
from d2lite.serving import Limits, ModelQueue, build_app  # noqa: E402
from d2lite.serving.app import Prediction  # noqa: E402
from d2lite.utils.errors import ConfigError  # noqa: E402

from .conftest import encoded  # noqa: E402


@pytest.fixture(scope="module")
def client(predictor, serving):
    app = build_app(ModelQueue(predictor), Limits(num_bytes=100_000, num_pixels=200_000))
    with serving(app) as address, httpx.Client(base_url=address, timeout=30) as opened:
        yield opened


def test_answer_is_the_result_of_the_predictor(client, predictor, photo):
    answer = client.post("/predict", content=photo)
    assert answer.status_code == 200
    expected = predictor(Image.open(io.BytesIO(photo))).to_dict()
    assert len(expected["objects"]) == 7
    del expected["path"]
    assert answer.json() == json.loads(json.dumps(expected))


def test_form_and_body_give_the_same(client, photo):
    bare = client.post("/predict", content=photo, headers={"Content-Type": "image/png"})
    form = client.post("/predict", files={"file": ("street.png", photo)})
    assert form.status_code == 200
    assert form.json() == bare.json()


def test_kind_of_the_content_is_read_in_any_case(client, photo):
    form = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n%s\r\n--x--\r\n"
    kind = {"Content-Type": "Multipart/Form-Data; boundary=x"}
    assert client.post("/predict", content=form % photo, headers=kind).status_code == 200


def test_a_long_value_is_not_sent_back_whole(client, photo):
    answer = client.post("/predict", params={"threshold": "9" * 5000}, content=photo)
    assert answer.status_code == 422
    assert len(answer.text) < 300


def test_answer_is_as_openapi_describes_it(client, photo):
    answer = client.post("/predict?picture=true", content=photo)
    Prediction.model_validate_json(answer.content, strict=False)
    described = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert set(described["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    assert {"200", "413", "422", "503"} <= set(described["responses"])


def test_threshold_masks_and_picture_can_be_chosen(client, photo):
    whole = client.post("/predict", content=photo).json()
    lowest = whole["objects"][2]["score"]
    query = {"threshold": lowest, "masks": False, "picture": True}
    few = client.post("/predict", params=query, content=photo).json()
    assert [one["score"] for one in few["objects"]] == [
        one["score"] for one in whole["objects"] if one["score"] >= lowest
    ]
    assert "mask" in whole["objects"][0]
    assert "mask" not in few["objects"][0]
    head, _, data = few["picture"].partition(",")
    assert head == "data:image/jpeg;base64"
    Image.open(io.BytesIO(base64.b64decode(data))).load()


def test_photograph_is_turned_as_its_exif_tag_says(client, photo):
    image = Image.open(io.BytesIO(photo)).crop((0, 0, 100, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)
    answer = client.post("/predict", content=stream.getvalue()).json()
    assert (answer["width"], answer["height"]) == (60, 100)


def blank(width, height):
    return encoded(Image.new("1", (width, height)))


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"", 422, "The file is empty"),
        (b"hello", 422, "not an image"),
        (bytes(120_000), 413, "larger than 0.1 MB"),
        (blank(500, 500), 413, "more than 0.2 million pixels"),
        # So many that Pillow itself refuses to open it.
        (blank(20_000, 20_000), 413, "more than 0.2 million pixels"),
        (encoded(Image.new("RGB", (90, 90), "red"), "BMP")[:9000], 422, "Cannot decode"),
    ],
    ids=["empty", "text", "bytes", "pixels", "bomb", "cut off"],
)
@pytest.mark.parametrize("is_form", [False, True])
def test_what_cannot_be_predicted_is_refused_with_a_sentence(
    client, photo, content, status, sentence, is_form
):
    body = {"files": {"file": ("a.png", content)}} if is_form else {"content": content}
    answer = client.post("/predict", **body)
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]
    assert client.get("/health").json()["waiting"] == 0
    assert client.post("/predict", content=photo).status_code == 200


def test_a_body_of_unknown_length_is_not_read_beyond_the_limit(client):
    sent = []

    def chunks():
        for number in range(100):
            sent.append(number)
            yield bytes(10_000)

    assert client.post("/predict", content=chunks()).status_code == 413


@pytest.mark.parametrize(
    ("query", "named"), [("threshold=2", "threshold=2"), ("picture=maybe", "picture=maybe")]
)
def test_wrong_query_is_named(client, photo, query, named):
    answer = client.post(f"/predict?{query}", content=photo)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_form_without_a_file_is_refused(client):
    answer = client.post("/predict", files={"note": (None, "hello")})
    assert answer.status_code == 422
    assert "no file" in answer.json()["detail"]
    answer = client.post("/predict", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code == 422
    assert "form" in answer.json()["detail"]


def test_health_names_the_classes(client, predictor):
    health = client.get("/health")
    assert health.status_code == 200
    assert health.json()["status"] == "ok"
    assert health.json()["classes"] == predictor.class_names


def test_page_may_load_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "<h1>" in page.text


class Stub:
    """A predictor that waits for a sign, or fails at some images."""

    batch_size = 4
    class_names = ()

    def __init__(self, predictor):
        self.cfg, self.predictor = predictor.cfg, predictor
        self.may_begin = threading.Event()
        self.batches = []

    def __call__(self, images):
        assert self.may_begin.wait(20)
        self.batches.append(len(images))
        if any(image.width == 13 for image in images):
            raise RuntimeError("the model cannot do this one")
        return self.predictor(images)


def test_full_queue_answers_503_and_says_when_to_try_again(predictor, serving, photo):
    stub = Stub(predictor)
    app = build_app(ModelQueue(stub, places=6), Limits())

    async def ask(address):
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            accepted = [
                asyncio.create_task(client.post("/predict", content=photo)) for _ in range(6)
            ]
            while (await client.get("/health")).json()["waiting"] < 6:
                await asyncio.sleep(0.01)
            refused = await client.post("/predict", content=photo)
            stub.may_begin.set()
            return refused, await asyncio.gather(*accepted)

    with serving(app) as address:
        refused, accepted = asyncio.run(ask(address))
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert "queue is full" in refused.json()["detail"]
    assert [answer.status_code for answer in accepted] == [200] * 6
    assert max(stub.batches) > 1


def test_bytes_that_wait_are_bounded_too(predictor, serving, photo):
    stub = Stub(predictor)
    app = build_app(ModelQueue(stub, num_bytes=len(photo) + 1), Limits())

    async def ask(address):
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            first = asyncio.create_task(client.post("/predict", content=photo))
            while (await client.get("/health")).json()["waiting"] < 1:
                await asyncio.sleep(0.01)
            second = await client.post("/predict", content=photo)
            stub.may_begin.set()
            return (await first).status_code, second.status_code

    with serving(app) as address:
        assert asyncio.run(ask(address)) == (200, 503)


def test_image_that_breaks_the_model_fails_alone(predictor, serving, photo):
    stub = Stub(predictor)
    app = build_app(ModelQueue(stub), Limits())
    bad = encoded(Image.new("RGB", (13, 13)))

    async def ask(address):
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            asked = [client.post("/predict", content=c) for c in (photo, bad, photo, photo)]
            tasks = [asyncio.create_task(one) for one in asked]
            while (await client.get("/health")).json()["waiting"] < 4:
                await asyncio.sleep(0.01)
            stub.may_begin.set()
            return await asyncio.gather(*tasks)

    with serving(app) as address:
        answers = asyncio.run(ask(address))
    assert [answer.status_code for answer in answers] == [200, 500, 200, 200]
    assert "log of the server" in answers[1].json()["detail"]


def test_requests_are_answered_before_the_server_ends(predictor, serving, photo):
    stub = Stub(predictor)
    app = build_app(ModelQueue(stub), Limits())
    answers = []
    with serving(app) as address:
        asking = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{address}/predict", content=photo, timeout=30)
            )
        )
        asking.start()
        while httpx.get(f"{address}/health").json()["waiting"] < 1:
            time.sleep(0.01)
        threading.Timer(0.3, stub.may_begin.set).start()
    asking.join()
    assert answers[0].status_code == 200


def test_200_requests_at_a_time_are_all_answered_in_steady_memory(predictor, serving):
    """An image is 2.2 MB when it is decoded; those of all requests would take 900 MB."""
    photo = encoded(Image.linear_gradient("L").resize((1000, 750)).convert("RGB"), "JPEG")
    app = build_app(ModelQueue(predictor), Limits())

    async def ask(address, number):
        limits = httpx.Limits(max_connections=number)
        async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            asked = [client.post("/predict?masks=false", content=photo) for _ in range(number)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    with serving(app) as address:
        asyncio.run(ask(address, 20))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(2):
            assert asyncio.run(ask(address, 200)) == [200] * 200
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # The clients are in this process too, and the allocator keeps memory for each thread: up to
    # 280 MB were seen on a busy machine, and 1,140 MB where requests hold decoded images.
    assert grown < 400_000, f"{grown} kB more"


def test_empty_host_does_not_open_the_server_to_every_machine():
    with pytest.raises(ConfigError, match="--host is empty"):
        _listen("", 0)
