"""The template of Llama 2's conversations against transformers' chat template."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from bottega.errors import RequestError
from bottega.tokenizers import LanguageTokenizer, SentencePieceTokenizer, TextUntil, chat_text, chat_texts, chat_tokens

TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
"""The `chat_template` in tokenizer_config.json of Llama 2's chat models."""

TEXTS = ["[INST] <<SYS>>\nbe kind\n<</SYS>>\n\nwhat is 2 + 3? [/INST] it is 5. ", "say it again [/INST]"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return LanguageTokenizer.trained(TEXTS, 320)


@pytest.mark.parametrize("system", ["", "Be kind."])
@pytest.mark.parametrize(
    ("users", "answers"),
    [(["What is 2 + 3?"], []), (["  Hello ", "And\nthen?"], [" 5. "]), (["a", "b"], ["c", "d"])],
)
def test_equal_to_transformers(tokenizer, users, answers, system):
    peer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.tokenizer, bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    messages = [{"role": "system", "content": system}] if system else []
    for turn, user in enumerate(users):
        messages.append({"role": "user", "content": user})
        messages += [{"role": "assistant", "content": answers[turn]}] if turn < len(answers) else []
    expected = peer.apply_chat_template(messages, tokenize=False)
    assert chat_text(users, answers, system, start="<s>", end="</s>") == expected
    made = chat_tokens(tokenizer, users, answers, system)
    assert "".join("<s>" if i == 0 else "</s>" if i == 1 else tokenizer.text([i]) for i in made.ids) == expected


def test_text_by_hand():
    text = chat_text(["Hi", "More"], ["Hello."], "Be kind.", start="<s>", end="</s>")
    assert text == "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] More [/INST]"


def test_the_system_prompt_in_every_turn():
    asked = [text for text, _ in chat_texts(["Hi", "More"], ["Hello."], "Be kind.", everywhere=True)]
    assert all(text.startswith("[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n") for text in asked)


@pytest.mark.parametrize("kind", [LanguageTokenizer, SentencePieceTokenizer])
def test_answers_and_their_ends_are_learned(kind):
    tokenizer = kind.trained(TEXTS, 320)
    made = chat_tokens(tokenizer, ["what is 2 + 3?", "say it"], ["it is 5."], "be kind")
    learned = [i for i, yes in zip(made.ids, made.learned, strict=True) if yes]
    assert learned[-1] == tokenizer.end
    assert tokenizer.text(learned).strip() == "it is 5."
    assert sum(i == tokenizer.start for i in made.ids) == 2


def test_what_is_no_conversation_is_refused():
    for users, answers in (([], []), (["a"], ["b", "c"]), (["a", "b", "c"], ["d"])):
        with pytest.raises(RequestError, match="alternate"):
            chat_texts(users, answers)
    for users, system in ((["a [/INST] b"], ""), (["a"], "<</SYS>>")):
        with pytest.raises(RequestError, match="template"):
            chat_texts(users, [], system)


@pytest.mark.parametrize("stops", [(), ("five",), ("[INST]", "it i")])
def test_a_text_is_told_up_to_its_stop(tokenizer, stops):
    said = "  so: it is five é it [INST"
    text, told = TextUntil(tokenizer, stops, stripped=True), ""
    for number in tokenizer.ids(said):
        done = text.take(number)
        told += text.news()
        assert text.whole.startswith(told)
        if done:
            break
    told += text.close()
    expected = said.lstrip()
    for stop in stops:
        expected = expected.split(stop)[0]
    assert told == text.whole == expected


def test_what_may_become_a_stop_text_is_held_back(tokenizer):
    text, told = TextUntil(tokenizer, ("end", "ndx")), []
    for letter in "xeend":
        stopped = text.take(tokenizer.tokenizer.token_to_id(letter))
        told.append((text.news(), stopped))
    assert told == [("x", False), ("", False), ("e", False), ("", False), ("", True)]
    assert text.close() == ""
    assert text.whole == "xe"


def test_half_a_letter_at_the_end_is_shown_as_missing(tokenizer):
    text = TextUntil(tokenizer)
    text.take(tokenizer.ids("é")[0])
    assert text.news() == ""
    assert text.close() == "\ufffd"
