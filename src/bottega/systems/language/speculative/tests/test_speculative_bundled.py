from __future__ import annotations

from bottega import catalog, load
from bottega.systems.language.speculative.inference import SpeculativeRequest
from bottega.weights import bundled_path, verify


def test_the_draft_beats_copied_words_and_one_that_sees_other_prompts():
    found = verify(bundled_path(catalog.ROOMS.folder("speculative"), "tiny")).metrics
    for name in ("tokens a pass", "acceptance"):
        assert found[name] > found[f"{name}: control"]
    assert found["tokens a pass"] > found["tokens a pass: baseline"]
    online = "acceptance at the end of a stream that changed its topic, online draft"
    assert found[online] > found[f"{online}: baseline"]
    assert found[online] > found[f"{online}: control"]


def test_the_bundled_draft_saves_passes():
    ready = load("speculative")
    question = "There are 30 candles on the table of Lena. Lena finds 15 more. How many candles does Lena have now?"
    assert ready(SpeculativeRequest(inputs=(question,))).settings["tokens per pass"] > 1.2
