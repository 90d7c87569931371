"""Talking to a language model through the studio, and how texts came about."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bottega.processes.decoding import write
from bottega.serve.language.tests.tiny_language import tiny_language
from bottega.studio.tests.running import RunningStudio, running_studio
from bottega.studio.tests.words_rooms import WordsCatalog


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("studio"), catalog=WordsCatalog()) as studio:
        yield studio


def talk(studio: RunningStudio, **change: object) -> httpx.Response:
    body = {"system": "llama", "messages": [{"speaker": "user", "text": "one two"}], "most": 20, **change}
    return httpx.post(f"{studio.address}/api/words", json=body, timeout=30)


def events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n", 1) for block in answer.text.split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_only_systems_with_a_language_model_can_be_talked_to(studio: RunningStudio) -> None:
    assert [each["id"] for each in httpx.get(f"{studio.address}/api/words").json()] == ["llama"]
    assert "one with a language model: llama" in talk(studio, system="cllm").json()["error"]


def test_an_answer_comes_in_pieces_and_is_what_write_gives(studio: RunningStudio) -> None:
    told = events(talk(studio))
    language = tiny_language(context=160)
    prompt = language.tokens.ids("one two\n", start=True)
    tokens = list(write(language.model, [prompt], most=20, end=language.tokens.end))[-1][0].tokens
    assert "".join(data["text"] for name, data in told if name == "piece") == language.tokens.text(tokens)
    assert len(told) > 5
    assert told[-1][0] == "end"
    assert told[-1][1]["tokens"] == len(tokens)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"speaker": "tool", "text": "x"}]}, "speaker"),
        ({"messages": [{"speaker": "assistant", "text": "x"}]}, "last message"),
        ({"messages": [{"speaker": "user", "text": "one two three four " * 100}]}, "begin a new one"),
        ({"temperature": 9}, "temperature"),
        ({"most": 0}, "most"),
        ({"beams": 2}, "beams"),
    ],
)
def test_what_cannot_be_answered_is_said(studio: RunningStudio, change: dict[str, Any], says: str) -> None:
    answer = talk(studio, **change)
    assert answer.status_code == 422
    assert says in answer.json()["error"]


def test_who_goes_away_ends_the_answer(studio: RunningStudio) -> None:
    body = {"system": "llama", "messages": [{"speaker": "user", "text": "one"}], "most": 100}
    with httpx.stream("POST", f"{studio.address}/api/words", json=body, timeout=30) as answer:
        next(answer.iter_lines())
    engine = studio.parts.words.engine("llama")
    end = time.monotonic() + 20
    while engine.load().writing and time.monotonic() < end:
        time.sleep(0.02)
    assert (engine.load().writing, engine.load().memory_bytes) == (0, 0)


@pytest.mark.parametrize(("system", "steps"), [("speculative", "rounds"), ("cllm", "iterations")])
def test_a_result_tells_how_its_text_came_about(studio: RunningStudio, system: str, steps: str) -> None:
    body = {"system": system, "inputs": [{"text": "one two"}]}
    job = httpx.post(f"{studio.address}/api/jobs", json=body, timeout=30).json()["id"]
    studio.parts.queue.wait(job, 30)
    item = httpx.get(f"{studio.address}/api/jobs/{job}").json()["item"]
    (trace,) = httpx.get(f"{studio.address}/api/gallery/{item}/traces").json()
    assert len(trace["tokens"]) > 3
    assert trace[steps]
    assert httpx.get(f"{studio.address}/api/gallery/{'0' * 16}/traces").status_code == 404


def test_results_without_traces_have_none(tmp_path: Path) -> None:
    with running_studio(tmp_path) as studio:
        body = {"system": "gradient", "inputs": [{"text": "red"}], "settings": {"steps": 1}}
        job = httpx.post(f"{studio.address}/api/jobs", json=body, timeout=30).json()["id"]
        studio.parts.queue.wait(job, 30)
        item = httpx.get(f"{studio.address}/api/jobs/{job}").json()["item"]
        answer = httpx.get(f"{studio.address}/api/gallery/{item}/traces")
        assert (answer.status_code, answer.json()["error"]) == (404, "there is no such trace here")
        assert httpx.get(f"{studio.address}/api/words").json() == []
