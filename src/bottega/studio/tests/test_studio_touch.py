"""The page "Touch" on the server's side, over a real connection: masks, exports, searches, drags, and their bounds."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageSequence

from bottega.catalog import ROOMS, build_in
from bottega.errors import RequestError
from bottega.ops import RunLengths, mask_overlaps
from bottega.studio import limits
from bottega.studio.tests.running import RunningStudio, running_studio
from bottega.studio.tests.touch_rooms import SIZE, Ball, TouchCatalog
from bottega.studio.touch.films import accept_film
from bottega.studio.touch.shelf import Shelf

PATIENCE = 30.0


@pytest.fixture(scope="module")
def catalog() -> TouchCatalog:
    return TouchCatalog()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, catalog: TouchCatalog) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("touch"), catalog=catalog) as studio:
        yield studio


@pytest.fixture
def client(studio: RunningStudio) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{studio.address}/api", timeout=PATIENCE) as client:
        yield client


def scene(*shapes: tuple[str, tuple[int, int, int, int]], size: tuple[int, int] = (200, 256)) -> np.ndarray:
    """Discs of colours on white."""
    image = Image.new("RGB", size[::-1], "white")
    for colour, box in shapes:
        ImageDraw.Draw(image).ellipse(box, fill=colour)
    return np.asarray(image)


RED, BLUE = ("red", (40, 40, 100, 100)), ("blue", (150, 80, 220, 150))
TWO = scene(RED, BLUE)


def give(client: httpx.Client, picture: np.ndarray, name: str = "two discs.png") -> dict[str, str]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    answer = client.post("/uploads", params={"name": name}, content=file.getvalue())
    assert answer.status_code == 201, answer.text
    return {"upload": answer.json()["id"]}


def ask(client: httpx.Client, picture: dict[str, str], **said: Any) -> dict[str, Any]:
    answer = client.post("/touch/masks", json={"system": "flood", "picture": picture, **said})
    assert answer.status_code == 200, answer.text
    return answer.json()


def mask(candidate: dict[str, Any], shape: tuple[int, int] = (200, 256)) -> np.ndarray:
    return RunLengths.parse(candidate["counts"], *shape).mask()


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(mask_overlaps(torch.from_numpy(one)[None], torch.from_numpy(other)[None])[0])


def is_red(picture: np.ndarray = TWO) -> np.ndarray:
    return (picture == (255, 0, 0)).all(-1)


def is_blue(picture: np.ndarray = TWO) -> np.ndarray:
    return (picture == (0, 0, 255)).all(-1)


def events(client: httpx.Client, path: str, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    with client.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        return list(read_events(answer))


def read_events(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def kept(answer: dict[str, Any], which: int, name: str) -> dict[str, Any]:
    chosen = answer["candidates"][which]
    return {
        "counts": chosen["counts"], "name": name, "score": chosen["score"],
        "source": {"answer": answer["answer"], "candidate": which},
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ masks
def test_tools_are_the_systems_that_offer_something(client: httpx.Client) -> None:
    tools = client.get("/touch").json()
    assert [[each["id"] for each in tools[kind]] for kind in ("segmenters", "finders", "draggers")] == [
        ["flood"], ["hue"], ["ball"],
    ]  # fmt: skip


def test_a_segmenter_is_got_ready_before_there_is_a_picture(client: httpx.Client) -> None:
    assert client.post("/touch/segmenters/flood").json() == {"ready": True}
    assert "promptable segmenter" in client.post("/touch/segmenters/hue").json()["error"]


def test_a_click_gives_three_candidates_and_more_say_which(client: httpx.Client) -> None:
    picture = give(client, TWO)
    looked = client.post("/touch/looks", json={"system": "flood", "picture": picture}).json()
    assert (looked["width"], looked["height"], looked["words"]) == (256, 200, False)
    first = ask(client, picture, spots=[{"x": 70, "y": 70}])
    assert [round(each["score"], 2) for each in first["candidates"]] == [0.71, 0.93, 0.4]
    assert overlap(mask(first["candidates"][1]), is_red()) > 0.97
    assert first["candidates"][1]["box"] == [40, 40, 100, 100]
    more = ask(
        client, picture, spots=[{"x": 70, "y": 70}, {"x": 180, "y": 120}],
        refines={"answer": first["answer"], "candidate": 1},
    )  # fmt: skip
    assert len(more["candidates"]) == 4
    assert overlap(mask(more["candidates"][0]), is_red() | is_blue()) > 0.97
    out = ask(client, picture, spots=[{"x": 70, "y": 70}, {"x": 180, "y": 120}, {"x": 70, "y": 70, "inside": False}])
    assert overlap(mask(out["candidates"][0]), is_blue()) > 0.97


def test_a_box_and_paint_find_the_thing(client: httpx.Client) -> None:
    picture = give(client, TWO)
    boxed = ask(client, picture, box={"left": 140, "top": 70, "right": 230, "bottom": 160})
    assert overlap(mask(boxed["candidates"][0]), is_blue()) > 0.97
    rough = np.zeros((200, 256), dtype=bool)
    rough[60:80, 60:80] = True
    painted = ask(client, picture, painted=RunLengths.of(rough).text())
    assert overlap(mask(painted["candidates"][0]), is_red()) > 0.97


def test_a_picture_is_encoded_once_and_let_go_when_many_follow(
    client: httpx.Client, studio: RunningStudio, catalog: TouchCatalog
) -> None:
    touch = studio.app.state.touch
    picture = give(client, TWO)
    segmenter = touch.toolbox.segmenter("flood")
    before = segmenter.encoded
    threads = [
        threading.Thread(target=ask, args=(client, picture), kwargs={"spots": [{"x": 70, "y": 70}]}) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert segmenter.encoded == before + 1
    for number in range(limits.LOOKS + 1):
        other = give(client, scene(("red", (10, 10, 40 + number, 50))))
        client.post("/touch/looks", json={"system": "flood", "picture": other}).raise_for_status()
    assert len(touch.looking) == limits.LOOKS
    assert ask(client, picture, spots=[{"x": 70, "y": 70}])["candidates"]
    assert segmenter.encoded == before + limits.LOOKS + 3
    assert catalog.loads.count("flood") == 1


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "nothing is said of the thing; click on it"),
        ({"spots": [{"x": 300, "y": 10}]}, "a click is '300,10', but it must be inside the picture, 256 x 200"),
        ({"spots": [{"x": -5, "y": 10}]}, "spots.0.x must be greater than or equal to -0.5"),
        ({"spots": [{"x": 1, "y": 1}] * 65}, "spots must be"),
        ({"box": {"left": 9, "top": 9, "right": 9, "bottom": 20}}, "the box is empty"),
        ({"painted": "5"}, "run lengths is '5 pixels'"),
        ({"painted": "\u00e9"}, "a character of run lengths"),
        ({"painted": RunLengths.of(np.zeros((200, 256), dtype=bool)).text()}, "nothing is painted"),
        ({"words": "a disc"}, "this one knows colours only"),
        ({"system": "hue", "spots": [{"x": 1, "y": 1}]}, "system is 'hue', but it must be a promptable segmenter"),
        ({"picture": {"upload": "0" * 16}, "spots": [{"x": 1, "y": 1}]}, "the picture is no longer here"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(client: httpx.Client, said: dict[str, Any], sentence: str) -> None:
    body = {"system": "flood", "picture": give(client, TWO), **said}
    answer = client.post("/touch/masks", json=body)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_segment_anything_answers_clicks_on_a_cached_picture(tmp_path_factory: pytest.TempPathFactory) -> None:
    import dataclasses

    system = dataclasses.replace(ROOMS.get("sam"), bundled="tiny")
    catalog = TouchCatalog("flood")
    catalog.rooms["sam"] = dataclasses.replace(system, build=lambda _: build_in(ROOMS, "sam", "tiny").eval())
    with running_studio(tmp_path_factory.mktemp("sam"), catalog=catalog) as studio:
        with httpx.Client(base_url=f"{studio.address}/api", timeout=PATIENCE) as client:
            picture = give(client, TWO)
            first = ask(client, picture, system="sam", spots=[{"x": 70, "y": 70}])
            assert len(first["candidates"]) == 3
            refines = {"answer": first["answer"], "candidate": 2}
            spots = [{"x": 70, "y": 70}, {"x": 60, "y": 60, "inside": False}]
            more = ask(client, picture, system="sam", spots=spots, refines=refines)
            alone = ask(client, picture, system="sam", spots=spots)
            assert len(more["candidates"]) == 4
            assert [each["score"] for each in more["candidates"]] != [each["score"] for each in alone["candidates"]]


# ---------------------------------------------------------------------------------------------------------- exports
def test_things_are_taken_home_as_cut_outs_coco_and_arrays(client: httpx.Client) -> None:
    picture = give(client, TWO)
    red, blue = (ask(client, picture, spots=[{"x": x, "y": y}]) for x, y in ((70, 70), (180, 120)))
    objects = [kept(red, 1, "ball"), kept(blue, 1, "größer")]
    body = {"system": "flood", "sheets": [{"picture": picture, "objects": objects}]}
    png = client.post("/touch/exports", json={**body, "form": "png"})
    assert png.headers["content-disposition"] == "attachment; filename*=UTF-8''two-discs-cut-out.png"
    cut = np.asarray(Image.open(io.BytesIO(png.content)))
    both = mask(objects[0]) | mask(objects[1])
    assert (cut[..., 3] == both * 255).all()
    assert (cut[both][:, :3] == TWO[both]).all()
    trimmed = client.post(
        "/touch/exports",
        json={"form": "png", "trim": True, "sheets": [{"picture": picture, "objects": objects[:1]}]},
    )
    assert Image.open(io.BytesIO(trimmed.content)).size == (61, 61)
    coco = client.post("/touch/exports", json={**body, "form": "json"}).json()
    assert [each["name"] for each in coco["categories"]] == ["ball", "größer"]
    assert coco["images"] == [{"id": 1, "file_name": "two discs.png", "height": 200, "width": 256}]
    first = coco["annotations"][0]
    assert (first["bbox"], first["area"]) == ([40, 40, 61, 61], int(mask(objects[0]).sum()))
    assert (RunLengths.parse(first["segmentation"]["counts"], 200, 256).mask() == mask(objects[0])).all()
    arrays = np.load(io.BytesIO(client.post("/touch/exports", json={**body, "form": "npz"}).content))
    assert sorted(arrays.files) == ["low_res_logits", "masks", "names", "scores"]
    assert (arrays["masks"] == np.stack([mask(each) for each in objects])).all()
    assert arrays["low_res_logits"].shape == (2, 256, 256)
    assert ((arrays["low_res_logits"][0][:200] > 0) == mask(objects[0])).mean() > 0.99
    assert arrays["scores"].tolist() == pytest.approx([0.93, 0.93])


def test_a_forgotten_answer_has_no_logits(client: httpx.Client) -> None:
    picture = give(client, TWO)
    red, blue = (kept(ask(client, picture, spots=[{"x": x, "y": y}]), 1, "disc") for x, y in ((70, 70), (180, 120)))
    red["source"] = {"answer": "0" * 16, "candidate": 0}
    body = {"form": "npz", "system": "flood", "sheets": [{"picture": picture, "objects": [red, blue]}]}
    arrays = np.load(io.BytesIO(client.post("/touch/exports", json=body).content))
    assert np.isnan(arrays["low_res_logits"][0]).all()
    assert np.isfinite(arrays["low_res_logits"][1]).all()


def test_several_pictures_make_a_zip_a_film_or_one_line(client: httpx.Client) -> None:
    sheets = []
    for number in range(3):
        picture = give(client, scene(("red", (40 + 10 * number, 40, 100 + 10 * number, 100))), f"disc {number}.png")
        sheets.append({"picture": picture, "objects": [kept(ask(client, picture, spots=[{"x": 80, "y": 70}]), 1, "a")]})
    packed = client.post("/touch/exports", json={"form": "png", "sheets": sheets})
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.namelist() == ["01-disc-0.png", "02-disc-1.png", "03-disc-2.png"]
    film = Image.open(io.BytesIO(client.post("/touch/exports", json={"form": "gif", "sheets": sheets}).content))
    assert len(list(ImageSequence.Iterator(film))) == 3
    sheets[0]["picture"] = give(client, scene(RED, size=(100, 100)))
    sheets[0]["objects"] = []
    wrong = client.post("/touch/exports", json={"form": "gif", "sheets": sheets})
    assert wrong.json()["error"] == "a film needs pictures of one size; take PNG, COCO or npz"
    sheets[0]["objects"] = sheets[1]["objects"]
    wrong = client.post("/touch/exports", json={"form": "json", "sheets": sheets})
    assert "pixels, in whole runs" in wrong.json()["error"]


# --------------------------------------------------------------------------------------------------------- searches
def test_the_same_thing_is_found_in_other_pictures(client: httpx.Client) -> None:
    first = give(client, TWO)
    red = kept(ask(client, first, spots=[{"x": 70, "y": 70}]), 1, "ball")
    others = [scene(("red", (120, 20, 180, 80)), ("green", (20, 100, 80, 160))), scene(BLUE)]
    body = {
        "system": "hue", "examples": [{"picture": first, "objects": [red]}],
        "pictures": [give(client, each) for each in others],
    }  # fmt: skip
    for film in (False, True):
        told = events(client, "/touch/searches", {**body, "film": film})
        assert [kind for kind, _ in told] == ["found", "found", "end"]
        assert overlap(mask(told[0][1]["mask"]), is_red(others[0])) > 0.97
        assert (told[1][1]["mask"]["area"], told[1][1]["index"]) == (0, 1)
    nothing = client.post("/touch/searches", json={**body, "examples": [{"picture": first, "objects": []}]})
    assert nothing.json()["error"].startswith("nothing is marked")
    gone = client.post("/touch/searches", json={**body, "pictures": [{"upload": "1" * 16}]})
    assert gone.status_code == 422


def test_a_search_ends_when_nobody_reads_it(
    client: httpx.Client, studio: RunningStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = studio.app.state.touch
    looked_at: list[int] = []
    finder = touch.toolbox.finder("hue")
    find = finder.find

    def slow(*given: Any) -> Any:
        looked_at.append(1)
        time.sleep(0.05)
        return find(*given)

    monkeypatch.setattr(finder, "find", slow)
    first = give(client, TWO)
    red = kept(ask(client, first, spots=[{"x": 70, "y": 70}]), 1, "ball")
    body = {"system": "hue", "examples": [{"picture": first, "objects": [red]}], "pictures": [first] * 64}
    with client.stream("POST", "/touch/searches", json=body) as answer:
        next(read_events(answer))
    for _ in range(200):
        if not touch.hands._tellings:
            break
        time.sleep(0.05)
    assert not touch.hands._tellings
    assert len(looked_at) < 64


def test_a_film_becomes_pictures(client: httpx.Client, studio: RunningStudio) -> None:
    frames = [Image.fromarray(scene(("red", (40 + 4 * number, 40, 100, 100)))) for number in range(5)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50)
    answer = client.post("/touch/films", params={"name": "walk.gif"}, content=file.getvalue())
    assert [each["name"] for each in answer.json()] == [f"walk 00{number}" for number in range(1, 6)]
    for data, name, sentence in (
        (b"GIF89a nothing", "walk.gif", "walk.gif cannot be read"),
        (b"text", "notes.txt", "notes.txt is not a film"),
    ):
        wrong = client.post("/touch/films", params={"name": name}, content=data)
        assert wrong.status_code == 422
        assert wrong.json()["error"].startswith(sentence)
        assert "bottega-film" not in wrong.json()["error"]
    assert len(accept_film(studio.parts.uploads, file.getvalue(), "walk.gif")) == 5


# ------------------------------------------------------------------------------------------------------------ drags
def begin(client: httpx.Client, **start: Any) -> dict[str, Any]:
    told = events(client, "/touch/drags", {"system": "ball", "start": start or {"seed": 3}})
    assert told[-1][0] == "ready", told
    return told[-1][1]


def pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"))


def centre(picture: np.ndarray) -> tuple[float, float]:
    weight = picture[..., 0].astype(float) ** 2
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return float((columns * weight).sum() / weight.sum()), float((rows * weight).sum() / weight.sum())


def test_a_drag_moves_the_picture_and_can_be_taken_back(client: httpx.Client) -> None:
    assert client.get("/touch/draggers/ball").json() == {"size": 64, "kinds": ["ball", "marble"], "words": False}
    ready = begin(client)
    x, y = centre(pixels(ready["picture"]))
    body = {"handles": [{"x": x, "y": y}], "targets": [{"x": x + 12, "y": y - 6}]}
    assert client.get(f"/touch/drags/{ready['id']}/film").json()["error"].startswith("nothing was dragged yet")
    told = events(client, f"/touch/drags/{ready['id']}/move", body)
    end = told[-1][1]
    assert (told[-1][0], end["ending"], end["undo"]) == ("end", "arrived", 1)
    assert all(kind == "frame" for kind, _ in told[:-1])
    there = centre(pixels(end["last"]["picture"]))
    assert there == (pytest.approx(x + 12, abs=2), pytest.approx(y - 6, abs=2))
    film = Image.open(io.BytesIO(client.get(f"/touch/drags/{ready['id']}/film").content))
    assert film.size == (256, 256)
    assert len(list(ImageSequence.Iterator(film))) > 5
    assert Image.open(io.BytesIO(client.get(f"/touch/drags/{ready['id']}/picture").content)).size == (64, 64)
    back = client.post(f"/touch/drags/{ready['id']}/undo").json()
    assert back["undo"] == 0
    assert (pixels(back["picture"]) == pixels(ready["picture"])).all()
    assert client.post(f"/touch/drags/{ready['id']}/undo").json()["error"] == "there is nothing to take back"
    again = events(client, f"/touch/drags/{ready['id']}/move", body)[-1][1]
    assert (pixels(again["last"]["picture"]) == pixels(end["last"]["picture"])).all()
    assert client.delete(f"/touch/drags/{ready['id']}").json() == {"left": True}
    gone = client.post(f"/touch/drags/{ready['id']}/move", json=body)
    assert gone.json()["error"] == "this picture is no longer under the hand; begin again"


def test_what_may_not_move_holds_the_picture(client: httpx.Client) -> None:
    ready = begin(client)
    x, y = centre(pixels(ready["picture"]))
    corner = np.zeros((SIZE, SIZE), dtype=bool)
    corner[:4, :4] = True
    body = {
        "handles": [{"x": x, "y": y}], "targets": [{"x": x + 12, "y": y}], "region": RunLengths.of(corner).text(),
    }  # fmt: skip
    end = events(client, f"/touch/drags/{ready['id']}/move", body)[-1][1]
    assert abs(centre(pixels(end["last"]["picture"]))[0] - x) < 6


def test_a_drag_is_stopped_within_a_step_and_one_at_a_time(
    client: httpx.Client, studio: RunningStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = begin(client)
    view, steps = Ball.view, []

    def slow(self: Ball, latent: torch.Tensor) -> Any:
        steps.append(1)
        time.sleep(0.05)
        return view(self, latent)

    monkeypatch.setattr(Ball, "view", slow)
    x, y = centre(pixels(ready["picture"]))
    body = {"handles": [{"x": x, "y": y}], "targets": [{"x": 60 - x / 8, "y": y}]}
    path = f"/touch/drags/{ready['id']}"
    with client.stream("POST", f"{path}/move", json=body) as answer:
        told = read_events(answer)
        assert next(told)[0] == "frame"
        other = events(client, f"{path}/move", body)
        assert other == [("fault", {"error": "this picture is being dragged already; stop that first"})]
        assert client.post(f"{path}/undo").json()["error"] == "this picture is being dragged; stop that first"
        client.post(f"{path}/stop").raise_for_status()
        at = len(steps)
        last = list(told)[-1]
    assert (last[0], last[1]["ending"]) == ("end", "stopped")
    assert len(steps) <= at + 2
    undone = client.post(f"{path}/undo").json()
    assert (pixels(undone["picture"]) == pixels(ready["picture"])).all()


def test_a_drag_begins_with_ones_own_picture_but_not_with_words(client: httpx.Client) -> None:
    dark = give(client, scene(("black", (50, 60, 70, 80)), size=(128, 128)))
    told = events(client, "/touch/drags", {"system": "ball", "start": {"picture": dark}})
    assert told[-1][0] == "ready"
    assert {kind for kind, _ in told[:-1]} <= {"preparing"}
    assert centre(pixels(told[-1][1]["picture"])) == (pytest.approx(30, abs=3), pytest.approx(35, abs=3))
    words = events(client, "/touch/drags", {"system": "ball", "start": {"words": "a heart", "seed": 1}})
    assert [kind for kind, _ in words] == ["fault"]
    assert "reads no sentences" in words[0][1]["error"]
    light = events(client, "/touch/drags", {"system": "ball", "start": {"picture": give(client, scene())}})
    assert light[-1][1]["error"].startswith("there is nothing dark")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"targets": []}, "targets must be"),
        ({"targets": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]}, "1 handles and 2 targets"),
        ({"region": "9"}, "64 x 64 pixels"),
    ],
)
def test_a_drag_that_cannot_be_is_one_line(client: httpx.Client, change: dict[str, Any], sentence: str) -> None:
    ready = begin(client)
    body = {"handles": [{"x": 1, "y": 1}], "targets": [{"x": 9, "y": 9}], **change}
    answer = client.post(f"/touch/drags/{ready['id']}/move", json=body)
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_a_handle_outside_the_picture_is_told(client: httpx.Client) -> None:
    ready = begin(client)
    body = {"handles": [{"x": 80, "y": 1}], "targets": [{"x": 9, "y": 9}]}
    told = events(client, f"/touch/drags/{ready['id']}/move", body)
    assert told[0][0] == "fault"
    assert "inside the picture" in told[0][1]["error"]


def test_pictures_under_the_hand_are_few(client: httpx.Client) -> None:
    ready = [begin(client)["id"] for _ in range(limits.DRAGS + 1)]
    assert client.get(f"/touch/drags/{ready[0]}/picture").status_code == 422
    assert client.get(f"/touch/drags/{ready[-1]}/picture").status_code == 200


# ------------------------------------------------------------------------------------------------------------ shelf
def test_a_shelf_is_bounded_by_number_and_bytes_and_forgets_failures() -> None:
    shelf: Shelf[int, bytes] = Shelf(3, weight=len, most_bytes=10)
    for number in range(5):
        shelf.put(number, b"x")
    assert [shelf.find(number) for number in range(5)] == [None, None, b"x", b"x", b"x"]
    shelf.put(5, b"x" * 9)
    assert (shelf.find(3), shelf.find(4), shelf.find(5)) == (None, b"x", b"x" * 9)
    shelf.put(6, b"x" * 20)
    assert len(shelf) == 1

    def fail() -> bytes:
        raise RequestError("no")

    with pytest.raises(RequestError):
        shelf.get(7, fail)
    assert shelf.get(7, lambda: b"y") == b"y"
