"""How a decoder becomes an assistant: answers, comparisons, rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from bottega.data import Chat, Preferred
from bottega.errors import RequestError
from bottega.processes.preference import (
    Margins,
    advantages,
    best_of,
    kl_estimate,
    penalised_rewards,
    sequence_returns,
    whiten,
)
from bottega.room import Stage
from bottega.systems.language.llama_chat.config import Role
from bottega.systems.language.llama_chat.model import VALUE, ChatModel, Policy
from bottega.systems.language.llama_chat.objective import (
    Pairs,
    Rollouts,
    Rows,
    last_answer,
    on_device,
    policy_loss,
    preference_loss,
    read_rows,
    reward_loss,
    rows_of,
    supervised_loss,
)
from bottega.systems.language.llama_chat.sampling import AS_IS, MOST_TOKENS, answered, drawn, rewards
from bottega.tokenizers import SPARE, ChatTokens, LanguageTokenizer, chat_texts
from bottega.training import (
    Cosine,
    FitSettings,
    Optimizer,
    Precision,
    TrainState,
    decay_groups,
    descend,
    sample_generators,
    split,
)
from bottega.worlds import Dice, mix_text
from bottega.worlds.requests import (
    Annotator,
    Comparison,
    Conversation,
    Intent,
    Request,
    careless_reply,
    comparison,
    conversation,
    styled,
)

TEXTS_FOR_TOKENIZER: Final = 2000
WINDOW: Final = 256  # tokens of a row of the supervised stage
INSTRUCTED: Final = 0.6  # share of ghost attention's conversations; the others keep answers without instructions plain
TURNS: Final = 3  # of conversations in training
BOTH: Final = (Annotator.HELPFUL, Annotator.SAFE)
REFERENCE: Final = Policy.GHOST.roles
"""What policies start from and stay near."""


class Requests(Protocol):
    """A source of requests, or of the user's own conversations and comparisons, each a function of its index."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Request | Chat | Preferred:
        """What lies at an index."""
        ...


def request_at(source: Requests, index: int) -> Request:
    """The request at an index.

    Raises:
        RequestError: The source holds something else.
    """
    found = source.sample(index)
    if not isinstance(found, Request):
        raise RequestError(
            "this stage learns from the requests world; with conversations of your own train sft, and with comparisons "
            "of your own reward-helpful or dpo"
        )
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """The numbers of the method.

    Args:
        margins: Of the reward models (all but the one that goes without).
        label_weight: Of what is safe in itself, in the safety model's loss.
        samples: Answers of which rejection sampling keeps the best.
        leash: PPO's cost of a nat away from the reference.
        clip: PPO's.
        critic: Whether PPO learns what to expect before each token; without, all tokens of an answer gain its reward.
        value_weight: Of what it expects, in its loss.
        parts: Updates that PPO makes of a batch of answers.
        dpo_beta: DPO's.
    """

    margins: Margins = Margins.SMALL
    label_weight: float = 0.5
    samples: int = 8
    leash: float = 0.05
    clip: float = 0.2
    critic: bool = True
    value_weight: float = 0.1
    parts: int = 4
    dpo_beta: float = 0.1


ALIGNMENT: Final = Alignment()


def dice_of(stage: str, index: int) -> Dice:
    """The chance that belongs to a sample of a stage."""
    return Dice(mix_text(stage), index)


@dataclass(frozen=True, slots=True)
class Prompted:
    """Requests with their prompts.

    Args:
        prompts: Ids of each.
        dangerous: Whether the request is one of safety, `(batch,)`.
        indices: Of the samples.
        generators: Chance of each.
    """

    prompts: tuple[tuple[int, ...], ...]
    dangerous: Tensor
    generators: tuple[torch.Generator, ...]


class ChatRecipe:
    """What all stages have in common: which weights learn, and from which requests.

    Args:
        model: The model.
        source: The requests.
        trained: Modules whose weights learn; all others rest.
        collate: Samples and their generators to a batch.
        update: State and batch to the logged figures.
    """

    def __init__(
        self, model: ChatModel, source: Requests, trained: Sequence[nn.Module], *,
        collate: Callable[[Sequence[int], list[torch.Generator]], Any],
        update: Callable[[TrainState, Any], Mapping[str, float | Tensor]],
    ) -> None:  # fmt: skip
        self.model, self.source, self.trained = model, source, nn.ModuleList(trained)
        self.collate, self.update = collate, update
        model.requires_grad_(False)
        self.trained.requires_grad_(True)
        if model.tokenizer is None:
            texts = (text for index in range(min(TEXTS_FOR_TOKENIZER, 8 * len(source))) for text in said(source, index))
            made = LanguageTokenizer.trained(texts, model.config.decoder.vocabulary)
            if model.config.decoder.vocabulary > made.vocabulary + SPARE:
                raise RequestError(
                    "this size needs the tokenizer of its weights; start from them (--start, --start-format)"
                )
            model.use(made)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Any:
        """What a step learns from; a function of the indices, and of the generator where answers are drawn."""
        return self.collate(indices, sample_generators(generator, indices))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, norms without; the output head is no matrix for Muon."""
        groups = decay_groups(self.trained, settings)
        head = self.model.decoder.head
        if head is None or not head.weight.requires_grad or settings.optimizer is not Optimizer.MUON:
            return groups
        for group in groups:
            group["params"] = [weight for weight in group["params"] if weight is not head.weight]
        return [*groups, {"params": [head.weight], "weight_decay": settings.weight_decay}]

    def step(self, state: TrainState, batch: Any) -> Mapping[str, float | Tensor]:
        """One update, or several of one batch of answers."""
        return self.update(state, batch)

    def finish(self) -> None:
        """All weights may learn again."""
        self.model.requires_grad_(True)


def said(source: Requests, index: int) -> list[str]:
    """The texts of a conversation, as a tokenizer learns from them."""
    users, answers, system = demonstrated(source, dice_of("tokenizer", index))
    return [f"{asked}{answer}" for asked, answer in chat_texts(users, answers, system)]


def sft_recipe(model: nn.Module, source: Requests) -> ChatRecipe:
    """Answers as annotators wrote them, half of whom were careless; the system prompt stands in one turn only.

    Conversations lie one behind the other in windows of equal length (arXiv:2307.09288, section 3.1).
    """
    chat = chat_model(model)

    def window(index: int) -> ChatTokens:
        dice, ids, learned = dice_of("sft", index), list[int](), list[bool]()
        length = min(WINDOW, chat.config.decoder.context)
        while len(ids) < length:
            users, answers, system = demonstrated(source, dice)
            made = chat.chat(users, answers, system)
            ids, learned = [*ids, *made.ids], [*learned, *made.learned]
        return ChatTokens(ids=tuple(ids[:length]), learned=tuple(learned[:length]))

    def collate(indices: Sequence[int], generators: list[torch.Generator]) -> Rows:
        return rows_of(chat, [window(index) for index in indices])

    def update(state: TrainState, batch: Rows) -> Mapping[str, Tensor]:
        return descend(state, batch, lambda part: supervised_loss(chat, (), part))

    return ChatRecipe(chat, source, [chat.decoder], collate=collate, update=update)


def ghost_recipe(model: nn.Module, source: Requests) -> ChatRecipe:
    """Ghost attention: answers drawn with the instruction in every turn, learned with it in the first only."""
    chat = chat_model(model)

    def collate(indices: Sequence[int], generators: list[torch.Generator]) -> tuple[Conversation, ...]:
        dice = [dice_of("ghost", index) for index in indices]
        return tuple(
            talk_at(source, index, own, turns=TURNS, instructed=INSTRUCTED)
            for index, own in zip(indices, dice, strict=True)
        )

    def update(state: TrainState, batch: tuple[Conversation, ...]) -> Mapping[str, Tensor]:
        answers = answered(chat, (), batch, everywhere=True)
        made = [chat.chat(talk.users, said, talk.system) for talk, said in zip(batch, answers, strict=True)]
        rows = on_device(rows_of(chat, [last_answer(row) for row in made]), state.device)
        return descend(state, rows, lambda part: supervised_loss(chat, REFERENCE, part))

    return ChatRecipe(chat, source, [chat.lora(Role.GHOST)], collate=collate, update=update)


def reward_recipe(role: Role, annotators: Sequence[Annotator], margins: Margins) -> Callable[..., ChatRecipe]:
    """A reward model that learns from the comparisons of these annotators."""

    def recipe(model: nn.Module, source: Requests) -> ChatRecipe:
        chat = chat_model(model)

        def collate(indices: Sequence[int], generators: list[torch.Generator]) -> Pairs:
            made = []
            for index in indices:
                dice = dice_of(role.value, index)
                made.append(compared(source, index, annotators, dice))
            return pairs_of(chat, made)

        def update(state: TrainState, batch: Pairs) -> Mapping[str, Tensor]:
            return descend(state, batch, lambda part: reward_loss(chat, role, part, margins, ALIGNMENT.label_weight))

        return ChatRecipe(chat, source, [chat.lora(role), chat.heads[role.value]], collate=collate, update=update)

    return recipe


def rejection_recipe(model: nn.Module, source: Requests) -> ChatRecipe:
    """The best of several answers of the reference, learned as if annotators had written it."""
    chat, count, roles = chat_model(model), ALIGNMENT.samples, Policy.REJECTION.roles

    def collate(indices: Sequence[int], generators: list[torch.Generator]) -> Prompted:
        return prompted(chat, source, indices, generators, count)

    def update(state: TrainState, batch: Prompted) -> Mapping[str, Tensor]:
        made = draw_prompted(chat, REFERENCE, batch)
        scores = rewards(chat, on_device(rows_of(chat, made), state.device), batch.dangerous.to(state.device))
        best = best_of(scores.view(-1, count)).tolist()
        kept = on_device(rows_of(chat, [made[row * count + one] for row, one in enumerate(best)]), state.device)
        figures = {"mean": scores.mean(), "best": scores.view(-1, count).amax(1).mean()}
        return descend(state, kept, lambda part: supervised_loss(chat, roles, part)) | figures

    return ChatRecipe(chat, source, [chat.lora(Role.REJECTION)], collate=collate, update=update)


def ppo_recipe(model: nn.Module, source: Requests, alignment: Alignment = ALIGNMENT) -> ChatRecipe:
    """Answers of the policy itself, rewarded by the gated and whitened score less what leaving the reference costs."""
    chat, roles = chat_model(model), Policy.PPO.roles

    def collate(indices: Sequence[int], generators: list[torch.Generator]) -> Prompted:
        return prompted(chat, source, indices, generators, 1)

    def update(state: TrainState, batch: Prompted) -> Mapping[str, Tensor]:
        rows = on_device(rows_of(chat, draw_prompted(chat, roles, batch)), state.device)
        made, figures = rolled_out(chat, rows, batch.dangerous.to(state.device), alignment)
        logged: dict[str, Tensor] = {}
        for part in split(made, min(alignment.parts, len(rows.tokens))):
            logged = descend(
                state, part, lambda own: policy_loss(chat, roles, own, alignment.clip, alignment.value_weight)
            )
        return logged | figures

    return ChatRecipe(chat, source, [chat.lora(Role.PPO), chat.heads[VALUE]], collate=collate, update=update)


def dpo_recipe(model: nn.Module, source: Requests) -> ChatRecipe:
    """Comparisons alone: of safety where the request is one of safety, else of both kinds."""
    chat, roles = chat_model(model), Policy.DPO.roles

    def collate(indices: Sequence[int], generators: list[torch.Generator]) -> Pairs:
        made = []
        for index in indices:
            found = source.sample(index)
            danger = isinstance(found, Request) and found.intent is Intent.DANGEROUS
            made.append(compared(source, index, (Annotator.SAFE,) if danger else BOTH, dice_of("dpo", index)))
        return pairs_of(chat, made)

    def update(state: TrainState, batch: Pairs) -> Mapping[str, Tensor]:
        return descend(state, batch, lambda part: preference_loss(chat, roles, REFERENCE, part, ALIGNMENT.dpo_beta))

    return ChatRecipe(chat, source, [chat.lora(Role.DPO)], collate=collate, update=update)


# --------------------------------------------------------------------------------------------------------------- pieces
def chat_model(model: nn.Module) -> ChatModel:
    """The model of a stage."""
    if not isinstance(model, ChatModel):
        raise TypeError(f"Llama 2-Chat's stages train a ChatModel, not a {type(model).__name__}")
    return model


def demonstrated(source: Requests, dice: Dice) -> tuple[Sequence[str], Sequence[str], str]:
    """What the user says, the answers and the system prompt of some conversation to learn from."""
    index = dice.below(len(source))
    match source.sample(index):
        case Chat() as own:
            return own.users, own.answers, own.system
        case Preferred() as own:
            return own.users, (*own.answers, own.chosen), own.system
        case _:
            turns = 1 if dice.unit() < 0.8 else 2 + dice.below(TURNS - 1)
            talk = talk_at(source, index, dice, turns=turns, instructed=0.35 if turns == 1 else 0.0)
            return talk.users, [styled(careless_reply(asked, dice), talk.style) for asked in talk.requests], talk.system


def compared(source: Requests, index: int, annotators: Sequence[Annotator], dice: Dice) -> Comparison | Preferred:
    """A comparison at an index, by one of these annotators or by the user's.

    Raises:
        RequestError: The source has conversations there, which compare nothing.
    """
    found = source.sample(index)
    if isinstance(found, Preferred):
        return found
    return comparison(request_at(source, index), dice.pick(annotators), dice)


def talk_at(source: Requests, index: int, dice: Dice, *, turns: int, instructed: float) -> Conversation:
    """A conversation whose first request is the source's at an index."""
    others = [request_at(source, dice.below(len(source))) for _ in range(turns - 1)]
    return conversation([request_at(source, index), *others], dice, instructed=instructed)


def pairs_of(model: ChatModel, made: Sequence[Comparison | Preferred]) -> Pairs:
    """Comparisons side by side; the user's own say nothing of safety, so both of their answers count as safe."""
    asked = [
        (one.users, one.answers, one.system) if isinstance(one, Preferred) else ((one.request.text,), (), "")
        for one in made
    ]
    chosen, rejected = (
        rows_of(
            model,
            [
                last_answer(model.chat(users, (*answers, text), system))
                for (users, answers, system), text in zip(asked, texts, strict=True)
            ],
        )
        for texts in ([one.chosen for one in made], [one.rejected for one in made])
    )
    safe = [
        [1.0, 1.0] if isinstance(one, Preferred) else [float(one.chosen_safe), float(one.rejected_safe)] for one in made
    ]
    return Pairs(
        chosen=chosen,
        rejected=rejected,
        grades=torch.tensor([one.grade for one in made]),
        safe=torch.tensor(safe),
    )


def prompted(
    model: ChatModel, source: Requests, indices: Sequence[int], generators: Sequence[torch.Generator], count: int
) -> Prompted:
    """Each request's prompt `count` times, each with a chance of its own."""
    requests = [request_at(source, index) for index in indices for _ in range(count)]
    seeds = [generator.initial_seed() + number for generator in generators for number in range(count)]
    return Prompted(
        prompts=tuple(model.chat([request.text], []).ids for request in requests),
        dangerous=torch.tensor([request.intent is Intent.DANGEROUS for request in requests]),
        generators=tuple(torch.Generator().manual_seed(seed) for seed in seeds),
    )


def draw_prompted(model: ChatModel, roles: Sequence[Role], batch: Prompted) -> list[ChatTokens]:
    """An answer to each prompt, as the policy expects it."""
    return drawn(model, roles, batch.prompts, most=MOST_TOKENS, sampling=AS_IS, generators=batch.generators)


@torch.no_grad()
def rolled_out(
    model: ChatModel, rows: Rows, dangerous: Tensor, alignment: Alignment
) -> tuple[Rollouts, dict[str, Tensor]]:
    """What PPO learns from answers that it drew, and how good and how far away they are."""
    scores, mask = rewards(model, rows, dangerous), rows.learned[:, 1:]
    old, values = read_rows(model, Policy.PPO.roles, rows)
    reference, _ = read_rows(model, REFERENCE, rows)
    given = penalised_rewards(whiten(scores), old, reference, mask, alignment.leash)
    gained = returns = sequence_returns(given, mask)
    if alignment.critic:
        gained, returns = advantages(given, values, mask)
    figures = {"reward": scores.mean(), "divergence": kl_estimate(old, reference, mask).mean()}
    return Rollouts(rows=rows, old=old, advantages=gained, returns=returns), figures


def _settings(steps: int, batch_size: int, learning_rate: float) -> FitSettings:
    return FitSettings(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=min(20, steps // 8),
        schedule=Cosine(final=0.1),
        weight_decay=0.1,
        betas=(0.9, 0.95),
        optimizer=Optimizer.MUON,
        precision=Precision.BF16,
    )


STAGES: Final = (
    Stage(name="sft", recipe=sft_recipe, settings=_settings(300, 8, 3e-3), finetune=True),
    Stage(name="ghost", recipe=ghost_recipe, settings=_settings(32, 16, 2e-2)),
    Stage(
        name="reward-helpful",
        recipe=reward_recipe(Role.HELPFUL, (Annotator.HELPFUL,), ALIGNMENT.margins),
        settings=_settings(300, 16, 1e-2),
    ),
    Stage(
        name="reward-safe",
        recipe=reward_recipe(Role.SAFE, (Annotator.SAFE,), ALIGNMENT.margins),
        settings=_settings(300, 16, 1e-2),
    ),
    Stage(
        name="reward-joint",
        recipe=reward_recipe(Role.JOINT, BOTH, ALIGNMENT.margins),
        settings=_settings(600, 16, 1e-2),
    ),
    Stage(
        name="reward-plain",
        recipe=reward_recipe(Role.PLAIN, (Annotator.HELPFUL,), Margins.NONE),
        settings=_settings(300, 16, 1e-2),
    ),
    Stage(name="rejection", recipe=rejection_recipe, settings=_settings(24, 16, 1e-2)),
    Stage(name="ppo", recipe=ppo_recipe, settings=_settings(50, 64, 2e-3)),
    Stage(name="dpo", recipe=dpo_recipe, settings=_settings(80, 16, 5e-3)),
)
"""In this order: the policies need the reward models, and all need the answers. The joint model sees as many
comparisons of each kind as the two that it is measured against."""
