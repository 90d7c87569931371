from __future__ import annotations

import copy

import pytest
import torch

from bottega.errors import RequestError
from bottega.networks import Llama, LlamaConfig
from bottega.processes.decoding import (
    Acceptance,
    FixedLength,
    ForwardKl,
    JensenShannon,
    ModelDraft,
    Notes,
    OnlineDistiller,
    OnlineSettings,
    ReverseKl,
    Task,
    TokenRouter,
    distillation_loss,
    padded_places,
    speculate,
)

DIVERGENCES = [ForwardKl(), ReverseKl(), JensenShannon(), JensenShannon(weight=0.5)]
TWO = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()


def random_llama(seed: int, width: int = 16, depth: int = 2, scale: float = 0.4) -> Llama:
    config = LlamaConfig(
        vocabulary=13, context=48, width=width, depth=depth, num_heads=2, num_kv_heads=1, hidden=2 * width
    )
    generator = torch.Generator().manual_seed(seed)
    made = Llama(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return made


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=repr)
def test_divergences_are_zero_where_both_agree_and_fall_by_descent(divergence):
    logits = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0))
    teacher = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(divergence(teacher, teacher + 3), torch.zeros(3, 4), atol=1e-5)
    assert (divergence(logits, teacher) > 0).all()
    student = logits.clone().requires_grad_()
    for _ in range(300):
        loss = divergence(student, teacher).sum()
        (gradient,) = torch.autograd.grad(loss, student)
        student = (student - 0.5 * gradient).detach().requires_grad_()
    assert divergence(student, teacher).sum() < 0.2 * divergence(logits, teacher).sum()


def test_divergences_have_their_values():
    student, teacher = TWO
    forward = 0.9 * torch.log(torch.tensor(0.9 / 0.5)) + 0.1 * torch.log(torch.tensor(0.1 / 0.5))
    backward = 0.5 * torch.log(torch.tensor(0.5 / 0.9)) + 0.5 * torch.log(torch.tensor(0.5 / 0.1))
    assert ForwardKl()(student, teacher) == pytest.approx(float(forward), abs=1e-6)
    assert ReverseKl()(student, teacher) == pytest.approx(float(backward), abs=1e-6)
    even = JensenShannon(weight=0.5)
    assert even(student, teacher) == pytest.approx(float(even(teacher, student)), abs=1e-6)
    assert 0 < even(student, teacher) < torch.log(torch.tensor(2.0))


def test_forward_kl_has_the_gradient_of_the_soft_cross_entropy():
    student = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    teacher = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    (ours,) = torch.autograd.grad(ForwardKl()(student, teacher).mean(), student)
    entropy = torch.nn.functional.cross_entropy(student, teacher.softmax(-1))
    assert torch.allclose(ours, torch.autograd.grad(entropy, student)[0], atol=1e-6)


def test_places_are_those_of_the_tokens():
    tokens, at, counts = padded_places([[5, 6, 7, 8], [9, 3]], [[1, 3], [1]])
    assert tokens.tolist() == [[5, 6, 7], [9, 0, 0]]
    assert at.tolist() == [[0, 2], [0, 0]]
    assert counts.tolist() == [[1, 1], [1, 0]]


def test_only_chosen_places_count_and_the_teacher_stays():
    student, teacher = (torch.randn(2, 3, 7, requires_grad=True) for _ in range(2))
    counts = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    distillation_loss(student, teacher, counts).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad[0, 0].abs().sum() > 0
    assert student.grad.flatten(0, 1)[1:].abs().sum() == 0
    assert distillation_loss(student, teacher, torch.zeros(2, 3)) == 0


def serve(target, draft, prompts, distiller=None):
    """Acceptance of each batch of a stream, learning in between if there is a distiller."""
    rates = []
    for batch in prompts:
        notes, acceptance = Notes(), Acceptance()
        task = Task(prompts=batch, most=12)
        steps = speculate(target, ModelDraft(draft), task, length=FixedLength(3), acceptance=acceptance,
                          watch=notes.watch)  # fmt: skip
        made = list(steps)[-1]
        texts = [[*prompt, *row.tokens] for prompt, row in zip(batch, made, strict=True)]
        if distiller is not None:
            distiller.served(notes.take(texts).values(), len(texts))
        rates.append(acceptance.accepted / acceptance.judged)
    return rates


def test_a_draft_that_learns_while_it_serves_is_accepted_more_often():
    target, draft = random_llama(3), random_llama(4, width=8, depth=1)
    generator = torch.Generator().manual_seed(0)
    stream = [torch.randint(13, (8, 4), generator=generator).tolist() for _ in range(14)]
    online = copy.deepcopy(draft)
    distiller = OnlineDistiller(online, OnlineSettings(every=8, rate=1e-2, passes=6))
    learned, offline = serve(target, online, stream, distiller), serve(target, draft, stream)
    assert distiller.updates == 14
    assert sum(learned[-5:]) / 5 > sum(offline[-5:]) / 5 + 0.1
    assert all(torch.equal(a, b) for a, b in zip(draft.parameters(), random_llama(4, 8, 1).parameters(), strict=True))


def test_notes_hold_wrong_places_with_the_models_logits():
    target, notes = random_llama(3), Notes()
    steps = speculate(target, ModelDraft(random_llama(4, 8, 1)), Task(prompts=[[1, 2, 3]], most=15), watch=notes.watch)
    (row,) = list(steps)[-1]
    (found,) = notes.take([[1, 2, 3, *row.tokens]]).values()
    with torch.no_grad():
        logits = target(torch.tensor([found.tokens]))[0]
    assert torch.allclose(found.logits.clone(), logits[torch.tensor(found.places) - 1], atol=1e-4)
    assert notes.take([[1]]) == {}


def test_an_update_waits_for_enough_texts():
    target, notes = random_llama(3), Notes()
    draft = random_llama(4, 8, 1)
    before = [parameter.clone() for parameter in draft.parameters()]
    list(speculate(target, ModelDraft(draft), Task(prompts=[[1, 2, 3]], most=15), watch=notes.watch))
    corrections = notes.take([[1, 2, 3, *range(13), 0, 0]]).values()
    distiller = OnlineDistiller(draft, OnlineSettings(every=3, rate=1e-3))
    assert distiller.served(corrections) is None
    assert distiller.served([]) is None
    assert all(torch.equal(a, b) for a, b in zip(before, draft.parameters(), strict=True))
    loss = distiller.served([])
    assert loss is not None
    assert loss > 0
    assert not torch.equal(before[0], next(iter(draft.parameters())))
    assert distiller.served([], texts=3) is None, "an empty buffer teaches nothing"


def test_a_router_learns_which_prompt_goes_where():
    generator = torch.Generator().manual_seed(0)

    def prompts(low, count=20):
        return torch.randint(low, low + 7, (count, 5), generator=generator).tolist()

    router = TokenRouter(13, [*((p, "low") for p in prompts(0)), *((p, "high") for p in prompts(6))])
    assert [router(prompt) for prompt in prompts(0, 10)] == ["low"] * 10
    assert [router(prompt) for prompt in prompts(6, 10)] == ["high"] * 10
    with pytest.raises(RequestError, match="no example"):
        TokenRouter(13)([1])


@pytest.mark.parametrize("bad", [{"every": 0}, {"passes": 0}, {"rate": 0.0}])
def test_online_settings_out_of_range_are_named(bad):
    with pytest.raises(RequestError, match=next(iter(bad))):
        OnlineSettings(**bad)
    with pytest.raises(RequestError, match="weight"):
        JensenShannon(weight=1.0)
