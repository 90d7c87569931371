"""One decoder, its adapters, and the heads that turn its last state into a score."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import RequestError, WeightsError
from bottega.layers import Lora, applied, merge_into, merged
from bottega.networks import Llama, llama_lora
from bottega.processes.decoding import Language, Message, NoTokens, Speaker
from bottega.systems.language.llama_chat.config import REWARDS, ChatConfig, Role
from bottega.tokenizers import TOKENIZER, ChatTokens, TextTokenizer, chat_tokens, require_fit, tokenizer_from_json

VALUE: Final = "value"
"""The head that says what reward PPO expects."""


class Policy(Enum):
    """Which of the assistants answers: the decoder with some adapters."""

    SFT = "sft"
    """As it was tuned on answers."""
    GHOST = "ghost"
    """And keeps the system prompt in later turns."""
    REJECTION = "rejection"
    """And learned its best answers of several."""
    PPO = "ppo"
    """And learned from rewards."""
    DPO = "dpo"
    """And learned from comparisons."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """Its adapters; those of alignment lie on top of ghost attention's."""
        match self:
            case Policy.SFT:
                return ()
            case Policy.GHOST:
                return (Role.GHOST,)
            case _:
                return (Role.GHOST, Role(self.value))


class ChatModel(nn.Module):
    """The assistant and its judges, all of one decoder."""

    def __init__(self, config: ChatConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = Llama(config.decoder)
        self.tokenizer: TextTokenizer | None = None
        self.adapters, self.heads = new_adapters(self.decoder, config), new_heads(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids `(batch, tokens)` to the logits of the next ids, `(batch, tokens, vocabulary)`."""
        return self.decoder(tokens)

    def lora(self, role: Role) -> Lora:
        """An adapter.

        Raises:
            WeightsError: The model has none.
        """
        if role.value not in self.adapters:
            raise WeightsError("these weights have no adapters; take a preset that has some, such as tiny or 7b-lora")
        found = self.adapters[role.value]
        if not isinstance(found, Lora):
            raise TypeError(f"the adapter {role.value} is a {type(found).__name__}")
        return found

    def applied(self, roles: Sequence[Role]) -> AbstractContextManager[None]:
        """The decoder with adapters, for training and scoring."""
        return applied(self.decoder, *map(self.lora, roles))

    def merged(self, roles: Sequence[Role]) -> AbstractContextManager[None]:
        """The decoder with adapters in its weights, for writing."""
        return merged(self.decoder, *map(self.lora, roles))

    def states(self, tokens: Tensor) -> Tensor:
        """Ids `(batch, tokens)` to the states that the heads read, `(batch, tokens, width)`."""
        return self.decoder.states(self.decoder.token_embed(tokens))

    def logits(self, states: Tensor) -> Tensor:
        """States to the logits of the next ids."""
        head = self.decoder.head
        return F.linear(states, (self.decoder.token_embed if head is None else head).weight)

    def last_states(self, role: Role, tokens: Tensor, last: Tensor) -> Tensor:
        """The state `(batch, width)` of a reward model at each row's place `last` `(batch,)`, its end token."""
        with self.applied((role,)):
            states = self.states(tokens)
        return states[torch.arange(len(tokens), device=tokens.device), last]

    def scores(self, role: Role, tokens: Tensor, last: Tensor) -> Tensor:
        """A reward model's scores `(batch,)` of conversations that end with the answer to be judged.

        Args:
            role: One of `REWARDS`.
            tokens: Ids `(batch, tokens)`.
            last: The place of each row's last token, `(batch,)`.
        """
        return self.heads[role.value](self.last_states(role, tokens, last))[:, 0].float()

    def attach(self, assets: Mapping[str, str]) -> None:
        """Puts a checkpoint's tokenizer onto the model.

        Raises:
            FileError: It is damaged, or belongs to a model of another vocabulary.
        """
        if TOKENIZER in assets:
            self.use(tokenizer_from_json(assets[TOKENIZER]))

    def use(self, tokenizer: TextTokenizer) -> None:
        """Puts a tokenizer onto the model.

        Raises:
            FileError: It belongs to a model of another vocabulary.
        """
        require_fit(tokenizer, self.config.decoder.vocabulary)
        self.tokenizer = tokenizer

    def assets(self) -> dict[str, str]:
        """What `attach` takes; empty for a model without a tokenizer."""
        return {} if self.tokenizer is None else {TOKENIZER: self.tokenizer.to_json()}

    def tokens(self) -> TextTokenizer:
        """The tokenizer.

        Raises:
            WeightsError: The weights came without one.
        """
        if self.tokenizer is None:
            raise WeightsError("these weights have no tokenizer; put tokenizer.json or tokenizer.model beside them")
        return self.tokenizer

    def chat(
        self, users: Sequence[str], answers: Sequence[str], system: str = "", *, everywhere: bool = False
    ) -> ChatTokens:
        """A conversation as ids; see `bottega.tokenizers.chat_texts`."""
        return chat_tokens(self.tokens(), users, answers, system, everywhere=everywhere)

    @property
    def usual_policy(self) -> Policy:
        """The assistant that answers where none is named: the one that learned from rewards, if there is one."""
        return Policy.PPO if self.adapters else Policy.SFT

    def language(self) -> Language:
        """The usual assistant as rooms see it that work on any language model, and its template.

        Where it has adapters it is a copy of the decoder with these in its weights.
        """
        decoder = self.decoder
        if self.usual_policy.roles:
            decoder = copy.deepcopy(decoder)
            merge_into(decoder, *map(self.lora, self.usual_policy.roles))
        tokens = NoTokens() if self.tokenizer is None else self.tokenizer
        return Language(model=decoder, tokens=tokens, template=self.prompt)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """A conversation's ids, behind which the next answer comes.

        Raises:
            RequestError: The speakers do not take turns: perhaps a system message, then the user and the assistant in
                turn, the user last.
        """
        system = [message.text for message in messages[:1] if message.speaker is Speaker.SYSTEM]
        turns = messages[len(system) :]
        users, answers = ([message.text for message in turns[first::2]] for first in (0, 1))
        expected = [Speaker.USER if place % 2 == 0 else Speaker.ASSISTANT for place in range(len(turns))]
        if [message.speaker for message in turns] != expected or len(turns) % 2 == 0:
            order = ", ".join(message.speaker.value for message in messages) or "nobody"
            allowed = "at most one system message first, then user and assistant in turn, the user last"
            raise RequestError.of("the order of speakers", order, allowed)
        return list(self.chat(users, answers, "".join(system)).ids)


def new_adapters(decoder: Llama, config: ChatConfig) -> nn.ModuleDict:
    """Adapters that change nothing yet, by role; none where the configuration has none."""
    if config.adapters is None:
        return nn.ModuleDict()
    size = config.adapters
    return nn.ModuleDict({role.value: llama_lora(decoder, size) for role in Role})


def new_heads(config: ChatConfig) -> nn.ModuleDict:
    """Heads that say 0 of everything; none where the configuration has no adapters.

    A comparison says nothing of where the scores' zero lies, so only the safety model, which knows what is safe in
    itself, has a bias.
    """
    names = () if config.adapters is None else (*(role.value for role in REWARDS), VALUE)
    biased, width = (Role.SAFE.value, VALUE), config.decoder.width
    heads = nn.ModuleDict({name: nn.Linear(width, 1, bias=name in biased) for name in names})
    for weight in heads.parameters():
        nn.init.zeros_(weight)
    return heads
