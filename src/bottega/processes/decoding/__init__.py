"""Decoding: how a causal model writes, one token or several a pass."""

from bottega.processes.decoding.drafts import Draft, Generators, ModelDraft, Proposal, RoutedDraft
from bottega.processes.decoding.generate import Continuation, Stop, beam_search, never, prefill, require_room, write
from bottega.processes.decoding.model import Language, LanguageModel, Message, Speaker, TextTokens
from bottega.processes.decoding.ngram import NgramDraft, what_followed
from bottega.processes.decoding.passes import Task, read_on
from bottega.processes.decoding.sampling import GREEDY, Sampling, draw, next_tokens, probabilities
from bottega.processes.decoding.speculative import (
    Acceptance,
    BestLength,
    FixedLength,
    LengthRule,
    Round,
    Speculation,
    Watch,
    best_length,
    expected_tokens,
    judge,
    speculate,
    speedup,
)

__all__ = [
    "GREEDY",
    "Acceptance",
    "BestLength",
    "Continuation",
    "Draft",
    "FixedLength",
    "Generators",
    "Language",
    "LanguageModel",
    "Message",
    "LengthRule",
    "ModelDraft",
    "NgramDraft",
    "Proposal",
    "Round",
    "RoutedDraft",
    "Sampling",
    "Speculation",
    "Speaker",
    "Stop",
    "Task",
    "TextTokens",
    "Watch",
    "beam_search",
    "best_length",
    "draw",
    "expected_tokens",
    "judge",
    "never",
    "next_tokens",
    "prefill",
    "probabilities",
    "read_on",
    "require_room",
    "speculate",
    "speedup",
    "what_followed",
    "write",
]
