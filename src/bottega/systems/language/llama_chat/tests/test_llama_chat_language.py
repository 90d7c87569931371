from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.decoding import Message, Speaker
from bottega.systems.language.llama_chat.config import PRESETS, Role
from bottega.systems.language.llama_chat.model import ChatModel, Policy
from bottega.tokenizers import LanguageTokenizer

SYSTEM, USER, ASSISTANT = (
    Message(speaker=speaker, text=text)
    for speaker, text in ((Speaker.SYSTEM, "Be brief."), (Speaker.USER, "What is it?"), (Speaker.ASSISTANT, "A pen."))
)


@pytest.fixture(scope="module")
def model() -> ChatModel:
    torch.manual_seed(0)
    made = ChatModel(PRESETS["tiny"].config)
    made.use(LanguageTokenizer.trained(["What is it? A pen. Be brief. [INST] <<SYS>>"], 400))
    with torch.no_grad():
        for parameter in made.adapters.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def test_other_rooms_get_the_assistant_that_answers_here(model: ChatModel) -> None:
    tokens = torch.arange(3, 15)[None]
    language = model.language()
    with torch.no_grad():
        got, plain = language.model(tokens), model.decoder(tokens)
        with model.merged((Role.GHOST, Role(Policy.PPO.value))):
            expected = model.decoder(tokens)
    assert torch.equal(got, expected)
    assert not torch.allclose(got, plain)
    assert torch.equal(model.decoder(tokens), plain)


def test_messages_become_the_template(model: ChatModel) -> None:
    template = model.language().template
    assert template is not None
    got = template([SYSTEM, USER, ASSISTANT, USER])
    assert got == list(model.chat(["What is it?"] * 2, ["A pen."], "Be brief.").ids)
    assert "<<SYS>>\nBe brief." in model.tokens().text(got)


@pytest.mark.parametrize("messages", [[], [SYSTEM], [ASSISTANT], [USER, USER], [USER, ASSISTANT], [USER, SYSTEM, USER]])
def test_speakers_take_turns(model: ChatModel, messages: list[Message]) -> None:
    with pytest.raises(RequestError, match="user and assistant in turn"):
        model.prompt(messages)
