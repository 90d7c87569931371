"""What the bundled weights must keep: figures of their card beside baselines, and right answers now."""

from pathlib import Path

import pytest

from bottega.catalog import load
from bottega.room import silent
from bottega.systems.language.llama.evaluation import answers
from bottega.systems.language.llama.inference import LlamaRequest
from bottega.weights import bundled_path, card_path, read_card
from bottega.worlds.queries import QueriesWorld, Topic, is_right

ROOM = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def llama():
    return load("llama")


@pytest.mark.parametrize(("topic", "least"), [(Topic.SQL, 0.6), (Topic.CODE, 0.5), (Topic.SUMS, 0.1)])
def test_held_out_questions_are_answered(llama, topic, least):
    passages = QueriesWorld(split="heldout", topics=(topic,), seed=77).batch(range(24))
    right = [is_right(passage, made) for passage, made in zip(passages, answers(llama.model, passages), strict=True)]
    assert sum(right) / len(right) > least


def test_figures_of_the_card_beat_their_baselines():
    metrics = read_card(card_path(bundled_path(ROOM, "tiny"))).metrics
    for topic in Topic:
        perplexity = metrics[f"perplexity, {topic.value}"]
        assert perplexity < metrics[f"perplexity, {topic.value}: baseline"]
        assert perplexity < metrics[f"perplexity, {topic.value}: control"]
    for topic in (Topic.SQL, Topic.SUMS, Topic.CODE):
        right = metrics[f"right answers, {topic.value}"]
        assert right > 4 * metrics[f"right answers, {topic.value}: baseline"]
        assert right > 4 * metrics[f"right answers, {topic.value}: control"]


def test_an_answer_ends_by_itself(llama):
    question = "Table: books(title, genre, pages, price, year).\nWhat are the lowest and average price of the books "
    result = llama(LlamaRequest(inputs=(question + "with pages above 300?\n",)), silent)
    assert result.words[0].startswith("SELECT MIN(books.price)")
    assert result.words[0].endswith("books.pages > 300;")
