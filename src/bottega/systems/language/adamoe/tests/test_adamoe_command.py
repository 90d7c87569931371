"""AdaMoE on the command line, with its bundled weights."""

from __future__ import annotations

import json

import pytest

from bottega.cli import main


def test_the_experts_of_a_token_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "adamoe", "What is (12 + 7) * 3?", "--max-new-tokens", "4", "--json"]) in (None, 0)
    record = json.loads(capsys.readouterr().out)
    assert len(record["words"]) == 1
    assert 0.5 < record["settings"]["experts_per_token"] < 2.5
