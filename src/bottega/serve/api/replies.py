"""What clients get: OpenAI's objects, whole or in pieces."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bottega.processes.decoding import TextTokens
from bottega.serve.language import Ended, TokenScore, Wrote


@dataclass(slots=True)
class Choice:
    """One text as it stands.

    Args:
        before: What is echoed in front of it.
        parts: What was written.
        scores: The tokens told so far, where they were asked for; None where not.
        ended: How it ended.
    """

    before: str = ""
    parts: list[str] = field(default_factory=list)
    scores: list[TokenScore] | None = None
    ended: Ended | None = None

    def add(self, event: Wrote | Ended) -> None:
        """Takes what happened."""
        if isinstance(event, Ended):
            self.ended = event
            return
        self.parts.append(event.text)
        if self.scores is not None:
            self.scores.extend(event.scores)

    @property
    def reason(self) -> str | None:
        """Why it ended, in OpenAI's words."""
        return None if self.ended is None else self.ended.ending.value


class Replies:
    """The answer to one request. `stream` and `whole` shape it.

    Args:
        tokens: Names tokens.
        model: The model's id.
        fingerprint: Says which weights answered.
        prompt_tokens: Of all prompts together.
        chat: Whether this is a chat completion.
        scored: Whether log-probabilities were asked for.
    """

    def __init__(
        self, tokens: TextTokens, *, model: str, fingerprint: str, prompt_tokens: int, chat: bool, scored: bool
    ) -> None:
        self._tokens, self._chat, self._scored, self._prompt_tokens = tokens, chat, scored, prompt_tokens
        self._head = {
            "id": ("chatcmpl-" if chat else "cmpl-") + secrets.token_hex(12),
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    def whole(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The whole answer."""
        kind = "chat.completion" if self._chat else "text_completion"
        shown = [self._whole(index, choice) for index, choice in enumerate(choices)]
        return {**self._head, "object": kind, "choices": shown, "usage": self.usage(choices)}

    def usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        """The numbers of tokens."""
        new = sum(choice.ended.new_tokens for choice in choices if choice.ended is not None)
        old = self._prompt_tokens
        return {"prompt_tokens": old, "completion_tokens": new, "total_tokens": old + new}

    def opening(self, index: int, before: str) -> dict[str, Any] | None:
        """The first piece of a text, where there is one to send before anything is written."""
        if self._chat:
            return self._piece(index, {"delta": {"role": "assistant", "content": ""}})
        return self._piece(index, {"text": before}) if before else None

    def piece(self, index: int, event: Wrote | Ended, before: str) -> dict[str, Any]:
        """What happened, as a piece."""
        text = event.text if isinstance(event, Wrote) else ""
        content: dict[str, Any] = {"text": text}
        if self._chat:
            content = {"delta": {"content": text} if isinstance(event, Wrote) else {}}
        if self._scored and isinstance(event, Wrote):
            content["logprobs"] = self._logprobs(event.scores, before)
        return self._piece(index, content, event.ending.value if isinstance(event, Ended) else None)

    def last(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The piece behind all texts that says the numbers of tokens."""
        return {**self._piece(0, {}), "choices": [], "usage": self.usage(choices)}

    def _piece(self, index: int, content: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        choice = {"index": index, "logprobs": None, "finish_reason": reason, **content}
        return {**self._head, "object": kind, "choices": [choice]}

    def _whole(self, index: int, choice: Choice) -> dict[str, Any]:
        text = choice.before + "".join(choice.parts)
        content: dict[str, Any] = {"message": {"role": "assistant", "content": text, "refusal": None}}
        if not self._chat:
            content = {"text": text}
        scores = None if choice.scores is None else self._logprobs(choice.scores, choice.before)
        return {"index": index, "finish_reason": choice.reason, "logprobs": scores, **content}

    def _logprobs(self, scores: Sequence[TokenScore], before: str) -> dict[str, Any]:
        if self._chat:
            return {"content": [self._score(score) for score in scores], "refusal": None}
        return {
            "tokens": [self._name(score.token) for score in scores],
            "token_logprobs": [score.log_chance for score in scores],
            "top_logprobs": [{self._name(token): chance for token, chance in score.rivals} for score in scores],
            "text_offset": [len(before) + score.begins for score in scores],
        }

    def _score(self, score: TokenScore) -> dict[str, Any]:
        rivals = [self._chance(token, chance) for token, chance in score.rivals]
        return {**self._chance(score.token, score.log_chance), "top_logprobs": rivals}

    def _chance(self, token: int, chance: float) -> dict[str, Any]:
        return {"token": self._name(token), "logprob": chance, "bytes": list(self._tokens.token_bytes(token))}

    def _name(self, token: int) -> str:
        """A token's text; its bytes where they are no letters, its id where it has no text."""
        said = self._tokens.token_bytes(token)
        if not said:
            return f"<{token}>"
        try:
            return said.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in said)
