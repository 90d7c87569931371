from __future__ import annotations

from bottega import catalog, load
from bottega.systems.language.cllm.inference import CllmRequest, Writer
from bottega.weights import bundled_path, verify


def metrics():
    return verify(bundled_path(catalog.ROOMS.folder("cllm"), "tiny")).metrics


def test_tuning_saved_passes_beyond_both_baselines():
    found = metrics()
    for topic in ("sql", "sums"):
        for baseline in ("plain Jacobi", "n-gram draft"):
            name = f"{topic}: tokens a pass (baseline: {baseline})"
            assert found[name] > 1.1 * found[f"{name}: baseline"]
        name = f"{topic}: right answers"
        assert found[name] > found[f"{name}: control"]
        assert found[f"{topic}: repeated tokens"] < 5


def test_the_bundled_model_is_faster_than_its_target():
    ready = load("cllm")
    question = "There are 30 candles on the table of Lena. Lena finds 15 more. How many candles does Lena have now?"
    tuned, before = (ready(CllmRequest(inputs=(question,), writer=writer)).settings for writer in Writer)
    assert tuned["tokens per pass"] > 1.2 * before["tokens per pass"]
