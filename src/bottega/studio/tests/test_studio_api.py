"""The studio's interface over a real connection: bounds, cancels, disconnects, and what it tells strangers."""

from __future__ import annotations

import http.client
import io
import json
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from bottega.results import read_origin
from bottega.serve import Cancelled
from bottega.studio import limits
from bottega.studio.tests.running import RunningStudio, running_studio

PATIENCE_SECONDS = 60.0
LONG = {"steps": 1000, "pause": 0.02}
INTERNALS = re.compile(r"(/[\w.-]+){2,}|0x[0-9a-f]{4,}|<\w+ object|Traceback|site-packages|\.py\b")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("studio"), capacity=3) as studio:
        yield studio


@pytest.fixture
def client(studio: RunningStudio) -> Iterator[httpx.Client]:
    """A client; every error that it is answered must be one clean sentence."""
    with httpx.Client(
        base_url=studio.address, timeout=PATIENCE_SECONDS, event_hooks={"response": [_is_clean]}
    ) as client:
        yield client
        for job in studio.parts.queue.jobs():
            studio.parts.queue.cancel(job.id)
            studio.parts.queue.wait(job.id, PATIENCE_SECONDS)


def _is_clean(response: httpx.Response) -> None:
    if response.status_code >= 400:
        response.read()
        sentence = response.json()["error"]
        assert sentence
        assert not INTERNALS.search(sentence), sentence
        assert "\n" not in sentence
    assert "default-src 'none'" in response.headers["content-security-policy"]


def _order(prompt: str = "red", **settings: Any) -> dict[str, Any]:
    return {"system": "gradient", "inputs": [{"text": prompt}], "settings": settings}


def _submit(client: httpx.Client, order: dict[str, Any]) -> str:
    answer = client.post("/api/jobs", json=order)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def _made(studio: RunningStudio, client: httpx.Client, order: dict[str, Any]) -> dict[str, Any]:
    job = _submit(client, order)
    studio.parts.queue.wait(job, PATIENCE_SECONDS)
    done = client.get(f"/api/jobs/{job}").json()
    assert done["state"] == "done", done
    return client.get(f"/api/gallery/{done['item']}").json()


def _folders(studio: RunningStudio) -> set[Path]:
    gallery = studio.parts.gallery
    return {each for each in gallery._folder.iterdir() if each.is_dir()}


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_a_form_says_what_the_request_says(client: httpx.Client) -> None:
    (form,) = client.get("/api/systems").json()
    fields = {field["name"]: field for field in form["fields"]}
    assert form["title"] == "Gradient"
    assert fields["steps"]["kind"] == "whole"
    assert fields["steps"]["help"] == "Denoising steps, from 1 to 2000."
    assert fields["guidance"]["default"] == 3.0
    assert fields["fault"]["kind"] == "switch"
    takes = {choice["value"]: choice["takes"] for choice in fields["mode"]["choices"]}
    assert takes["text-to-image"] == takes["text-variation"] == "text"
    assert takes["image-to-text"] == takes["image-variation"] == "picture"
    assert takes["joint"] == takes["text"] == "nothing"


def test_a_job_leads_to_pictures_with_their_recipe(studio: RunningStudio, client: httpx.Client, tmp_path: Path) -> None:
    item = _made(studio, client, _order("red blue", count=2, steps=4, seed=7))
    assert [thing["text"] for thing in item["things"]] == ["red blue", "red blue"]
    answer = client.get(f"/api/gallery/{item['id']}/things/1", params={"download": 1})
    assert answer.headers["content-type"] == "image/png"
    assert "red-blue" in answer.headers["content-disposition"]
    kept = tmp_path / "picture.png"
    kept.write_bytes(answer.content)
    origin = read_origin(kept)
    assert (origin.seed, origin.index, origin.request["inputs"]) == (7, 1, ["red blue"])
    assert client.get(f"/api/gallery/{item['id']}/recipe").json()["system"] == "gradient"
    assert client.get(f"/api/gallery/{item['id']}/sheet").status_code == 200
    assert client.get("/api/gallery").json()["items"][0]["id"] == item["id"]


def test_the_gallery_outlives_the_studio_and_drops_unfinished_folders(tmp_path: Path) -> None:
    with running_studio(tmp_path) as first, httpx.Client(base_url=first.address, timeout=PATIENCE_SECONDS) as client:
        item = _made(first, client, _order(steps=2))
    (tmp_path / "results" / "0123456789abcdef").mkdir()
    with running_studio(tmp_path) as second, httpx.Client(base_url=second.address, timeout=PATIENCE_SECONDS) as client:
        assert [each["id"] for each in client.get("/api/gallery").json()["items"]] == [item["id"]]
        job = client.post(f"/api/gallery/{item['id']}/replay").json()["id"]
        second.parts.queue.wait(job, PATIENCE_SECONDS)
        replayed = client.get(f"/api/jobs/{job}").json()
    assert (replayed["item"], replayed["identical"]) == (item["id"], True)
    assert not (tmp_path / "results" / "0123456789abcdef").exists()


def test_a_replay_that_comes_out_different_says_so(studio: RunningStudio, client: httpx.Client) -> None:
    item = _made(studio, client, _order(steps=3))
    gallery = studio.parts.gallery
    kept = gallery.find(item["id"])
    assert kept is not None
    gallery.finish(kept.model_copy(update={"digest": "0" * 64}))
    job = client.post(f"/api/gallery/{item['id']}/replay").json()["id"]
    studio.parts.queue.wait(job, PATIENCE_SECONDS)
    replayed = client.get(f"/api/jobs/{job}").json()
    assert replayed["identical"] is False
    assert replayed["item"] != item["id"]


def test_a_replay_runs_on_the_kernels_of_its_recipe(studio: RunningStudio, client: httpx.Client) -> None:
    item = _made(studio, client, {"system": "gradient", "settings": {"mode": "text", "steps": 2}})
    gallery = studio.parts.gallery
    kept = gallery.find(item["id"])
    assert kept is not None
    gallery.finish(kept.model_copy(update={"digest": "0" * 64}))  # so that the replay is kept beside it
    recipe = gallery.file(kept, kept.recipe)
    for packed in (True, False):
        record = json.loads(recipe.read_text())
        (origin,) = (value for value in record.values() if isinstance(value, dict))
        origin["packed"] = packed
        recipe.write_text(json.dumps(record))
        job = client.post(f"/api/gallery/{item['id']}/replay").json()["id"]
        studio.parts.queue.wait(job, PATIENCE_SECONDS)
        made = client.get(f"/api/jobs/{job}").json()["item"]
        assert client.get(f"/api/gallery/{made}/recipe").json()["packed"] is packed


def test_parts_and_pictures_that_the_form_does_not_offer_are_refused(client: httpx.Client) -> None:
    answer = client.post("/api/jobs", json=_order() | {"parts": {"prior": "uvit=/etc/passwd"}})
    assert answer.status_code == 422
    assert "there is no such part" in answer.json()["error"]
    upload = client.post("/api/samples", params={"index": 7}).json()
    assert (upload["width"], upload["height"]) == (64, 64)
    answer = client.post("/api/jobs", json=_order() | {"pictures": {"mask": {"upload": upload["id"]}}})
    assert answer.status_code == 422
    assert "it must be left out" in answer.json()["error"]


def test_an_uploaded_picture_gets_words_variations_and_a_replay(studio: RunningStudio, client: httpx.Client) -> None:
    data = _png(np.full((30, 50, 3), (10, 10, 240), np.uint8))
    upload = client.post("/api/uploads", params={"name": "C:\\holiday\\sea.png"}, content=data).json()
    assert (upload["name"], upload["width"], upload["height"]) == ("sea.png", 50, 30)
    given = [{"upload": upload["id"]}]
    words = _made(
        studio, client, {"system": "gradient", "inputs": given, "settings": {"mode": "image-to-text", "steps": 2}}
    )
    assert [thing["text"] for thing in words["things"]] == ["blue"]
    assert words["inputs"][0]["label"] == "sea.png"
    again = client.post(f"/api/gallery/{words['id']}/replay").json()["id"]
    studio.parts.queue.wait(again, PATIENCE_SECONDS)
    assert client.get(f"/api/jobs/{again}").json()["identical"] is True
    recipe = client.get(f"/api/gallery/{words['id']}/recipe").json()
    assert recipe["request"]["inputs"] == [recipe["inputs"][0]["path"]] == ["input-00.png"]
    picture = _made(studio, client, _order(steps=2))
    variation = {"system": "gradient", "inputs": [{"item": picture["id"], "picture": 0}]}
    made = _made(studio, client, variation | {"settings": {"mode": "image-variation", "steps": 2}})
    assert made["things"][0]["kind"] == "picture"


def test_one_job_too_many_gets_429_with_a_time(studio: RunningStudio, client: httpx.Client) -> None:
    jobs = [_submit(client, _order(**LONG)) for _ in range(3)]
    answer = client.post("/api/jobs", json=_order())
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert client.delete(f"/api/jobs/{jobs[1]}").json() == {"cancelled": True}
    assert client.post("/api/jobs", json=_order()).status_code == 202
    assert client.get("/api/health").json()["unfinished"] == 3


def test_a_cancelled_job_stops_within_a_step_and_leaves_no_file(studio: RunningStudio, client: httpx.Client) -> None:
    before = _folders(studio)
    job = _submit(client, _order(**LONG))
    with client.stream("GET", f"/api/jobs/{job}/events") as stream:
        seen = _events(stream)
        while next(seen)["step"] < 5:
            pass
        client.delete(f"/api/jobs/{job}")
        steps = [event["step"] for event in seen if event["cancelling"]]
    assert len(set(steps)) <= 2
    assert client.get(f"/api/jobs/{job}").json()["state"] == "cancelled"
    assert _folders(studio) == before
    assert client.get("/api/health").json()["unfinished"] == 0


def test_fifty_readers_that_go_away_leave_nothing_behind(studio: RunningStudio, client: httpx.Client) -> None:
    before = _folders(studio)
    queue = studio.parts.queue
    for _ in range(50):
        job = _submit(client, _order(**LONG))
        with client.stream("GET", f"/api/jobs/{job}/events", params={"hold": True}) as stream:
            next(_events(stream))
        left = queue.wait(job, PATIENCE_SECONDS)
        assert left is not None
        assert left.state == Cancelled()
    assert queue.unfinished() == 0
    assert queue.listeners() == 0
    assert _folders(studio) == before


def test_a_page_that_goes_away_leaves_its_jobs_running(studio: RunningStudio, client: httpx.Client) -> None:
    job = _submit(client, _order(**LONG))
    with client.stream("GET", "/api/events") as stream:
        next(_events(stream))
    for _ in range(20):
        with client.stream("GET", "/api/events") as stream:
            next(stream.iter_lines())
    assert studio.parts.queue.unfinished() == 1
    client.delete(f"/api/jobs/{job}")


def test_previews_are_pictures(client: httpx.Client) -> None:
    job = _submit(client, _order(steps=20, pause=0.02))
    with client.stream("GET", f"/api/jobs/{job}/events") as stream:
        events = list(_events(stream))
    previews = [event["preview"] for event in events if event["preview"]]
    assert previews
    assert previews[0].startswith("data:image/webp;base64,")
    assert events[-1]["state"] == "done"
    assert [event["version"] for event in events] == sorted(event["version"] for event in events)


def _events(stream: httpx.Response) -> Iterator[Any]:
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        (_order(steps=5000), "steps is 5000, but it must be at most 1000 in the studio"),
        (_order(steps=0), "steps is 0, but it must be from 1 to 2000"),
        (_order(steps="many"), "steps is 'many', but it must be a valid integer"),
        (_order(mode="paint"), "mode is 'paint', but it must be one of text-to-image, "),
        (_order(colour="red"), "a setting's name is 'colour', but it must be one of mode, count, "),
        (_order(guidance=31), "guidance is 31.0, but it must be from 0 to 30"),
        (_order(count=65), "count is 65, but it must be at most 64"),
        ({"system": "gradient", "inputs": [], "settings": {}}, "nothing was given; write a prompt"),
        ({"system": "nothing"}, "system is 'nothing', but it must be one of gradient"),
        (_order(mode="image-to-text"), "image-to-text takes pictures, not words"),
        (_order(mode="joint"), "joint takes neither words nor pictures"),
        ({"system": "gradient", "inputs": [{"upload": "0" * 16}]}, "the picture is no longer here"),
        ({"system": "gradient", "inputs": [{"item": "0" * 16, "picture": 0}]}, "no longer here"),
        ({"system": "gradient", "inputs": [{"text": "x"}] * 65}, "at most 64 items"),
        ({"system": "gradient", "inputs": [{"text": "x"}] * 9, "settings": {"count": 64}}, "count is 64"),
        ({"system": "gradient", "inputs": "red"}, "body.inputs must be a valid list"),
        ({"system": "gradient", "shell": "ls"}, "Extra inputs are not permitted"),
        ([], "must be"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(client: httpx.Client, order: Any, sentence: str) -> None:
    answer = client.post("/api/jobs", json=order)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 60_000, b"NaN", b'{"system": 1e999}', b""])
def test_what_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/api/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_without_a_value_are_refused(client: httpx.Client, number: str) -> None:
    body = json.dumps(_order(guidance=0)).replace('"guidance": 0', f'"guidance": {number}')
    answer = client.post("/api/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_a_bug_is_told_without_its_details(
    studio: RunningStudio, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    job = _submit(client, _order(fault=True, steps=2))
    studio.parts.queue.wait(job, PATIENCE_SECONDS)
    failed = client.get(f"/api/jobs/{job}").json()
    assert failed["state"] == "failed"
    assert not INTERNALS.search(failed["error"])
    assert "/etc/secret/fault" in caplog.text


def test_no_text_from_the_network_is_opened_as_a_file(
    studio: RunningStudio, client: httpx.Client, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(_png(np.zeros((4, 4, 3), np.uint8)))
    for mode in ("image-to-text", "image-variation"):
        for path in (str(secret), f"file://{secret}", "http://127.0.0.1:1/x.png", "secret.png"):
            assert client.post("/api/jobs", json=_order(path, mode=mode)).status_code == 422


TRAVERSALS = [
    "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..\\..\\windows\\win.ini",
    "....//....//etc/passwd", "/etc/passwd", "//etc/passwd", "%00", "..%c0%af..%c0%afetc/passwd", "~root", "C:\\x",
    "results", "item.json", "..;/item.json", "%252e%252e%252fetc%252fpasswd", "0123456789abcdef/../../app.py",
    "%e2%80%a5/x",
]  # fmt: skip


@pytest.mark.parametrize("place", ["/{}", "/assets/{}", "/api/{}", "/api/jobs/{}", "/api/jobs/{}/events",
    "/api/gallery/{}", "/api/gallery/{}/recipe", "/api/gallery/{}/things/0", "/api/gallery/{}/inputs/0",
    "/api/gallery/{}/sheet", "/api/uploads/{}"])  # fmt: skip
def test_no_address_leads_out_of_the_store(studio: RunningStudio, client: httpx.Client, place: str) -> None:
    item = _made(studio, client, _order(steps=1))["id"]
    for string in [*TRAVERSALS, f"{item}%2f..%2f{item}", f"{item}/../../uploads"]:
        url = httpx.URL(studio.address).copy_with(raw_path=place.format(string).encode("utf-8"))
        answer = client.get(url)
        assert answer.status_code in (404, 405, 422), (place, string)
        assert b"root:" not in answer.content


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_other_pages_may_ask_nothing(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    assert client.post("/api/jobs", json=_order(), headers=headers).status_code == status
    assert client.get("/api/gallery", headers=headers).status_code == status


def test_our_own_page_may(studio: RunningStudio, client: httpx.Client) -> None:
    own = {"origin": studio.address, "sec-fetch-site": "same-origin"}
    assert client.post("/api/jobs", json=_order(steps=1), headers=own).status_code == 202
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/api/gallery", headers=link).status_code == 403


def test_a_form_of_another_page_is_not_read(client: httpx.Client) -> None:
    body = json.dumps(_order())
    assert client.post("/api/jobs", content=body, headers={"content-type": "text/plain"}).status_code == 422


def test_a_token_is_demanded_where_one_is_set(tmp_path: Path) -> None:
    token = "a1b2c3d4e5f6a7b8"
    with running_studio(tmp_path, token=token) as studio, httpx.Client(base_url=studio.address) as client:
        assert client.get("/").status_code == 401
        assert client.get("/?token=wrong").status_code == 401
        assert client.get("/api/gallery", headers={"authorization": f"Bearer {token[:-1]}"}).status_code == 401
        assert client.get("/api/gallery", headers={"authorization": f"Bearer {token}"}).status_code == 200
        welcome = client.get(f"/?token={token}")
        assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
        assert "HttpOnly; SameSite=Strict" in welcome.headers["set-cookie"]
        assert client.get("/api/gallery").status_code == 200


def _bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than its few bytes hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _as(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"hello", "not a picture in a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture in a known format"),
        (_as("EPS"), "not a picture in a known format"),
        (_as("PPM"), "not a picture in a known format"),
        (_bomb(50_000, 50_000), "pixels"),
        (_bomb(6_400, 6_400), "has 6400 x 6400 pixels, but at most 40,000,000 are taken"),
        (_bomb(300, 300), "damaged"),
        (_as("PNG")[:40], "not a picture in a known format"),
        (_png(np.arange(30_000, dtype=np.uint8).reshape(100, 100, 3))[:300], "damaged"),
    ],
)
def test_bad_pictures_are_refused(client: httpx.Client, data: bytes, sentence: str) -> None:
    answer = client.post("/api/uploads", params={"name": "bad.png"}, content=data)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]
    assert answer.json()["error"].startswith("bad.png")


def test_bytes_that_are_announced_are_refused_before_they_are_sent(studio: RunningStudio) -> None:
    connection = http.client.HTTPConnection(studio.address.removeprefix("http://"), timeout=PATIENCE_SECONDS)
    connection.putrequest("POST", "/api/uploads")
    connection.putheader("content-length", str(limits.UPLOAD_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_bytes_that_are_not_announced_are_refused_while_they_come(client: httpx.Client) -> None:
    sent = [0]

    def endless() -> Iterator[bytes]:
        while sent[0] < 4 * limits.UPLOAD_BYTES:
            sent[0] += 2**20
            yield bytes(2**20)

    try:
        assert client.post("/api/uploads", content=endless()).status_code == 413
    except httpx.TransportError:  # the server closed while we were still sending
        assert sent[0] < 4 * limits.UPLOAD_BYTES
    big = json.dumps({"system": "gradient", "inputs": [{"text": "x" * limits.BODY_BYTES}]})
    assert client.post("/api/jobs", content=big).status_code == 413


def test_uploads_are_bounded_in_number_and_lose_what_was_hidden_in_them(
    studio: RunningStudio, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEPT_UPLOADS", 2)
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    file = io.BytesIO()
    Image.new("RGB", (2000, 10)).save(file, "JPEG", exif=exif)
    ids = [client.post("/api/uploads", content=file.getvalue()).json()["id"] for _ in range(3)]
    assert [client.get(f"/api/uploads/{each}").status_code for each in ids] == [404, 200, 200]
    kept = client.get(f"/api/uploads/{ids[2]}").content
    assert b"where I live" not in kept
    assert Image.open(io.BytesIO(kept)).size == (limits.KEPT_SIDE, 8)


def test_open_streams_are_bounded(studio: RunningStudio, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS", 0)
    answer = client.get("/api/events")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_many_at_once_never_break_it(studio: RunningStudio) -> None:
    statuses: list[int] = []

    def hurry() -> None:
        with httpx.Client(base_url=studio.address, timeout=PATIENCE_SECONDS) as client:
            statuses.extend(client.post("/api/jobs", json=_order(steps=2)).status_code for _ in range(10))

    threads = [threading.Thread(target=hurry) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(statuses) == 80
    assert set(statuses) <= {202, 429}
    for job in studio.parts.queue.jobs():
        studio.parts.queue.wait(job.id, PATIENCE_SECONDS)


def test_deleted_results_are_gone(studio: RunningStudio, client: httpx.Client) -> None:
    item = _made(studio, client, _order(steps=1))["id"]
    folders: Callable[[], set[str]] = lambda: {each.name for each in _folders(studio)}  # noqa: E731
    assert item in folders()
    assert client.delete(f"/api/gallery/{item}").status_code == 204
    assert item not in folders()
    assert client.delete(f"/api/gallery/{item}").status_code == 404
