"""Decoding: how a causal model writes, one token or several a pass."""

from bottega.processes.decoding.generate import Continuation, Stop, beam_search, never, prefill, require_room, write
from bottega.processes.decoding.model import Language, LanguageModel, TextTokens
from bottega.processes.decoding.sampling import GREEDY, Sampling, draw, next_tokens, probabilities

__all__ = [
    "GREEDY",
    "Continuation",
    "Language",
    "LanguageModel",
    "Sampling",
    "Stop",
    "TextTokens",
    "beam_search",
    "draw",
    "never",
    "next_tokens",
    "prefill",
    "probabilities",
    "require_room",
    "write",
]
