"""OpenAI's own client against our server."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import openai
import pytest
import torch

from bottega.processes.decoding import Language, Sampling, write
from bottega.serve.api.tests.running import RunningApi, running_api
from bottega.serve.language.tests.tiny_language import Watched, tiny_language

TOKEN = "abcdefabcdef"


@pytest.fixture(scope="module")
def language() -> Language:
    return tiny_language()


@pytest.fixture(scope="module")
def api(language: Language) -> Iterator[RunningApi]:
    with running_api(language, slots=4, queue=8) as running:
        yield running


def greedy(language: Language, prompt: str, most: int, sampling: Sampling | None = None, seed: int = 0) -> list[int]:
    ids = language.tokens.ids(prompt, start=True)
    generators = [torch.Generator().manual_seed(seed)]
    steps = write(
        language.model, [ids], most=most, end=language.tokens.end, sampling=sampling or Sampling(),
        generators=generators,
    )  # fmt: skip
    return list(steps)[-1][0].tokens


def soon(holds: Callable[[], bool]) -> bool:
    """Whether something comes true while other threads work."""
    end = time.monotonic() + 20
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def test_models(api: RunningApi) -> None:
    client = api.client()
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "bottega"
    with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
        client.models.retrieve("other")


def test_completions_are_what_write_gives(api: RunningApi, language: Language) -> None:
    prompts = ["one two", "the cat", "seven", "the dog sat by", "größer"]
    made = api.client().completions.create(model="tiny", prompt=prompts, max_tokens=12, temperature=0)
    assert made.object == "text_completion"
    assert [choice.index for choice in made.choices] == list(range(5))
    tokens = [greedy(language, prompt, 12) for prompt in prompts]
    assert [choice.text for choice in made.choices] == [language.tokens.text(row) for row in tokens]
    assert made.usage is not None
    assert made.usage.completion_tokens == sum(map(len, tokens))
    assert made.usage.prompt_tokens == sum(len(language.tokens.ids(prompt, start=True)) for prompt in prompts)
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens


def test_the_same_seed_gives_the_same_text_whoever_is_there(api: RunningApi, language: Language) -> None:
    def ask(seed: int) -> str:
        made = api.client().completions.create(model="tiny", prompt="the", max_tokens=20, temperature=0.9, seed=seed)
        return made.choices[0].text

    with concurrent.futures.ThreadPoolExecutor(6) as people:
        texts = list(people.map(ask, [5, 6, 5, 7, 5, 8]))
    expected = language.tokens.text(greedy(language, "the", 20, Sampling(temperature=0.9), seed=5))
    assert texts[0] == texts[2] == texts[4] == expected
    assert len(set(texts)) > 1
    both = api.client().completions.create(model="tiny", prompt="the", max_tokens=20, temperature=0.9, seed=5, n=2)
    assert both.choices[0].text == expected
    assert both.choices[1].text == texts[1]


def test_a_streamed_chat_is_the_whole_one_in_pieces(api: RunningApi) -> None:
    client, messages = api.client(), [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "one"}]
    fields = {"model": "tiny", "messages": messages, "max_tokens": 15, "temperature": 0.0, "n": 2}
    whole = client.chat.completions.create(**fields)  # pyright: ignore
    pieces = list(client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True}))  # pyright: ignore
    assert whole.choices[0].message.role == "assistant"
    for index in range(2):
        own = [piece.choices[0] for piece in pieces if piece.choices and piece.choices[0].index == index]
        assert own[0].delta.role == "assistant"
        assert "".join(piece.delta.content or "" for piece in own) == whole.choices[index].message.content
        assert [piece.finish_reason for piece in own if piece.finish_reason] == [whole.choices[index].finish_reason]
    assert len(pieces) > 8, "nothing was streamed"
    assert pieces[-1].choices == []
    assert pieces[-1].usage == whole.usage
    assert len({piece.id for piece in pieces}) == 1


def test_a_stream_ends_with_done(api: RunningApi) -> None:
    body = {"model": "tiny", "prompt": "one", "max_tokens": 3, "stream": True, "echo": True, "temperature": 0}
    with httpx.stream("POST", f"{api.address}/v1/completions", json=body, timeout=30) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    pieces = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert pieces[0]["choices"][0]["text"] == "one"
    assert pieces[-1]["choices"][0]["finish_reason"] == "length"


def test_stop_sequences(api: RunningApi, language: Language) -> None:
    text = language.tokens.text(greedy(language, "the cat", 30))
    stop = text[7:11]
    client = api.client()
    made = client.completions.create(
        model="tiny", prompt="the cat", max_tokens=30, temperature=0, stop=[stop, "\n\n\n"]
    )
    assert made.choices[0].text == text[: text.index(stop)]
    assert made.choices[0].finish_reason == "stop"
    pieces = client.completions.create(
        model="tiny", prompt="the cat", max_tokens=30, temperature=0, stop=stop, stream=True
    )
    assert "".join(piece.choices[0].text for piece in pieces) == text[: text.index(stop)]


def test_logprobs(api: RunningApi, language: Language) -> None:
    client = api.client()
    made = client.completions.create(model="tiny", prompt="the", max_tokens=6, temperature=0, logprobs=3)
    told = made.choices[0].logprobs
    assert told is not None
    assert told.tokens
    assert told.top_logprobs
    assert told.token_logprobs
    text = made.choices[0].text
    for token, chance, rivals, place in zip(
        told.tokens, told.token_logprobs, told.top_logprobs, told.text_offset or [], strict=True
    ):
        assert chance == pytest.approx(max(rivals.values()))
        # a byte that began no letter is told as one letter in front of the token that shows it
        assert token in text[place : place + len(token) + 1] or token.startswith(("bytes:", "<"))
    messages = [{"role": "user", "content": "the"}]
    fields = {"model": "tiny", "messages": messages, "max_tokens": 6, "logprobs": True, "top_logprobs": 2, "seed": 3}
    chat = client.chat.completions.create(**fields)  # pyright: ignore
    content = chat.choices[0].logprobs.content
    assert [len(each.top_logprobs) for each in content] == [2] * len(content)
    assert b"".join(bytes(each.bytes) for each in content).decode(errors="replace") == chat.choices[0].message.content
    pieces = client.chat.completions.create(**fields, stream=True)  # pyright: ignore
    streamed = [each for piece in pieces for each in (piece.choices[0].logprobs or _NONE).content or []]
    assert streamed == content


class _NONE:
    content = None


def test_a_client_that_goes_away_frees_its_slot(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    gated, cancelled = Watched(language.model, gated=True), threading.Event()
    assert gated.permits is not None
    with running_api(dataclasses.replace(language, model=gated), slots=1) as api:
        cancel = api.engine.cancel
        monkeypatch.setattr(api.engine, "cancel", lambda ticket: (cancel(ticket), cancelled.set()))
        body = {"model": "tiny", "prompt": "one", "max_tokens": 40}
        stream = api.client().completions.create(**body, stream=True, extra_body={"ignore_eos": True})  # pyright: ignore
        gated.permits.release(6)
        next(iter(stream))
        assert api.engine.load().writing == 1
        stream.close()
        assert cancelled.wait(20), "nobody saw that the reader of the stream had gone"
        gated.permits.release()
        assert soon(lambda: api.engine.load().writing == 0)

        cancelled.clear()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{api.address}/v1/completions", json={**body, "ignore_eos": True}, timeout=0.5)
        assert cancelled.wait(20), "nobody saw that the client had gone"
        gated.permits.release()
        assert soon(lambda: api.engine.load().writing == 0)
        assert len(gated.passes) < 12, "what nobody reads was written to its end"


def test_a_full_queue_and_a_closing_engine(language: Language) -> None:
    gated = Watched(language.model, gated=True)
    assert gated.permits is not None
    with running_api(dataclasses.replace(language, model=gated), slots=1, queue=1) as api:
        body = {"model": "tiny", "prompt": "one", "max_tokens": 3, "temperature": 0}
        with concurrent.futures.ThreadPoolExecutor(2) as people:
            first = people.submit(api.post, "/v1/completions", body)
            assert soon(lambda: api.engine.load().writing == 1)
            second = people.submit(api.post, "/v1/completions", body)
            assert soon(lambda: api.engine.load().waiting == 1)
            refused = api.post("/v1/completions", body)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            with pytest.raises(openai.RateLimitError):
                api.client().completions.create(**body)
            health = httpx.get(f"{api.address}/health").json()
            assert health == {"status": "ok", "writing": 1, "waiting": 1, "slots": 1}
            gated.permits.release(1000)
            assert first.result().status_code == second.result().status_code == 200
        api.engine.close()
        assert api.post("/v1/completions", body).status_code == 503


def test_a_failure_of_ours_is_a_server_error(language: Language) -> None:
    broken = Watched(language.model)
    broken.broken = True
    with running_api(dataclasses.replace(language, model=broken)) as api:
        body = {"model": "tiny", "prompt": "one", "max_tokens": 3}
        assert api.post("/v1/completions", body).json()["error"]["type"] == "server_error"
        with pytest.raises(openai.APIError, match="bug"):
            list(api.client().completions.create(**body, stream=True))


CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "one"}], "max_tokens": 2}
TEXT = {"model": "tiny", "prompt": "one", "max_tokens": 2}
IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]


@pytest.mark.parametrize(
    ("path", "change", "status", "param", "says"),
    [
        ("chat", {"tools": [{"type": "function"}]}, 400, "tools", "no tools"),
        ("chat", {"functions": [{"name": "f"}]}, 400, "functions", "no tools"),
        ("chat", {"tool_choice": "auto"}, 400, "tool_choice", "no tools"),
        ("chat", {"messages": [{"role": "user", "content": IMAGE}]}, 400, "messages", "image_url"),
        ("chat", {"messages": []}, 400, "messages", "at least 1"),
        ("chat", {"messages": [{"role": "tool", "content": "x"}]}, 400, "messages", "role"),
        ("chat", {"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages", "last message"),
        ("chat", {"top_logprobs": 2}, 400, "top_logprobs", "logprobs"),
        ("chat", {"response_format": {"type": "json_object"}}, 400, "response_format", "no format"),
        ("chat", {"model": "gpt-4"}, 404, "model", "this server has"),
        ("chat", {"model": None}, 400, "model", "string"),
        ("", {"max_tokens": 1000}, 400, None, "context is 96"),
        ("", {"max_tokens": 0}, 400, "max_tokens", "greater than or equal to 1"),
        ("", {"temperature": 3}, 400, "temperature", "less than or equal to 2"),
        ("", {"temperature": "hot"}, 400, "temperature", "number"),
        ("", {"top_p": 0}, 400, "top_p", "greater than 0"),
        ("", {"n": 100}, 400, None, "from 1 to 12"),
        ("", {"stop": [""]}, 400, "stop", "1 to 500"),
        ("", {"prompt": []}, 400, "prompt", "at least one"),
        ("", {"prompt": [[9999]]}, 400, "prompt", "from 0 to"),
        ("", {"prompt": [[]]}, 400, "prompt", "no tokens"),
        ("", {"best_of": 4}, 400, "best_of", "n texts"),
        ("", {"frequency_penalty": 5}, 400, "frequency_penalty", "less than or equal to 2"),
        ("", {"logit_bias": {"50256": -100}}, 400, "logit_bias", "no tokens"),
        ("", {"echo": True, "logprobs": 1}, 400, "echo", "leave one out"),
        ("", {"suffix": "end"}, 400, "suffix", "behind a prompt"),
        ("", {"beam_width": 4}, 400, "beam_width", "no parameter"),
    ],
)
def test_what_is_refused_and_how(
    api: RunningApi, path: str, change: dict[str, object], status: int, param: str | None, says: str
) -> None:
    body = {**(CHAT if path else TEXT), **change}
    answer = api.post("/v1/chat/completions" if path else "/v1/completions", body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert says in error["message"]
    assert (error["code"] == "context_length_exceeded") == ("context" in says)


def test_what_asks_for_nothing_is_no_fault(api: RunningApi) -> None:
    asked = {"tools": [], "tool_choice": "none", "presence_penalty": 0, "response_format": {"type": "text"}}
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    body = {**CHAT, **asked, "user": "ada", "messages": [{"role": "user", "content": parts}]}
    assert api.post("/v1/chat/completions", body).status_code == 200


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"text"'])
def test_a_body_that_is_no_object(api: RunningApi, content: bytes) -> None:
    answer = httpx.post(f"{api.address}/v1/completions", content=content, timeout=30)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]


def test_addresses_that_are_not_there(api: RunningApi) -> None:
    assert httpx.get(f"{api.address}/v1/files").json()["error"]["type"] == "not_found_error"
    assert httpx.get(f"{api.address}/v1/completions").status_code == 405


def test_foreign_hosts_pages_and_large_bodies(api: RunningApi) -> None:
    assert api.post("/v1/completions", TEXT, {"Host": "evil.example"}).status_code == 421
    assert api.post("/v1/completions", TEXT, {"Origin": "https://evil.example"}).status_code == 403
    large = api.post("/v1/completions", {**TEXT, "prompt": "a" * (5 << 20)})
    assert large.status_code == 413
    assert "4 MB" in large.json()["error"]["message"]


def test_a_token_is_the_api_key(language: Language) -> None:
    with running_api(language, token=TOKEN) as api:
        with pytest.raises(openai.AuthenticationError, match="a token is needed"):
            api.client().models.list()
        assert api.client(TOKEN).models.list().data[0].id == "tiny"
        assert httpx.get(f"{api.address}/health").status_code == 200
