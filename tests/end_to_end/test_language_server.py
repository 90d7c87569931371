"""`bottega serve` as a process of its own, asked by OpenAI's client and ended by a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from bottega.catalog import ROOMS
from bottega.processes.decoding import write

TOKEN = "abcdefabcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = ["-m", "bottega.cli", "serve", "llama", "--port", "0", "--token", TOKEN, "--json", "--slots", "2"]
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    with process:
        yield process, json.loads(process.stdout.readline())
        process.kill()


def test_a_served_model_answers_and_ends_what_it_writes(
    server: tuple[subprocess.Popen[str], dict[str, Any]],
) -> None:
    process, told = server
    assert (told["model"], told["slots"], told["token"]) == ("llama", 2, TOKEN)
    client = openai.OpenAI(base_url=told["base_url"], api_key=TOKEN, max_retries=0)
    question = {"role": "user", "content": "Work out 3 + 4."}
    fields = {"model": "llama", "messages": [question], "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**fields).choices[0].message.content  # pyright: ignore

    ready = ROOMS.load("llama")
    assert ready.system.language is not None
    language = ready.system.language(ready.model)
    prompt = language.tokens.ids("Work out 3 + 4.\n", start=True)
    tokens = list(write(language.model, [prompt], most=24, end=language.tokens.end))[-1][0].tokens
    assert whole == language.tokens.text(tokens)

    stream = iter(
        client.completions.create(
            model="llama", prompt="Work out", max_tokens=60, stream=True, extra_body={"ignore_eos": True}
        )
    )
    next(stream)
    process.send_signal(signal.SIGTERM)
    assert [piece.choices[0].finish_reason for piece in stream][-1] == "length", "the signal cut what was being written"
    assert process.wait(30) in (0, -signal.SIGTERM)
