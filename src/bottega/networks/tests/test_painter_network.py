"""The network of Painter and SegGPT: published counts, transformers' SegGPT, the authors' ensemble, its invariances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import SegGptConfig, SegGptForImageSegmentation

from bottega.errors import WeightsError
from bottega.networks import Painter, PainterConfig, TargetKind, painter_keys, seggpt_config, seggpt_json, seggpt_keys
from bottega.weights import to_ours, to_theirs

SMALL = PainterConfig(
    size=24, patch_size=4, width=24, depth=5, num_heads=3, merge_index=1, taps=(1, 2, 4), decoder_width=6,
    position_rows=4, typed=True, drop_path=0.0,
)  # fmt: skip


def randomise(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = parameter.ndim == 1 and name.endswith("norm.weight") or "layernorm" in name and "weight" in name
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4 + gain)


@pytest.fixture(scope="module")
def pair() -> tuple[SegGptForImageSegmentation, Painter]:
    peer = SegGptForImageSegmentation(SegGptConfig(**seggpt_json(SMALL))).eval()
    randomise(peer, 1)
    ours = Painter(SMALL).eval()
    ours.load_state_dict(to_ours(seggpt_keys(SMALL), peer.state_dict()))
    return peer, ours


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts, their targets and queries, `(count, 3, size, size)` each."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(count, 3, SMALL.size, SMALL.size, generator=generator) for _ in range(3)]
    return drawn[0], drawn[1], drawn[2]


def lower_half() -> Tensor:
    return (torch.arange(2 * SMALL.rows) >= SMALL.rows)[None, :, None].expand(1, *SMALL.grid)


def test_published_sizes_have_the_published_counts() -> None:
    with torch.device("meta"):
        seggpt, painter = Painter(PainterConfig(typed=True)), Painter(PainterConfig())
        peer = SegGptForImageSegmentation(SegGptConfig())
    count = sum(p.numel() for p in seggpt.parameters())
    assert count == sum(p.numel() for p in peer.parameters()) == 370_723_203
    assert sum(p.numel() for p in painter.parameters()) == count - 2 * 1024
    theirs = to_theirs(seggpt_keys(PainterConfig(typed=True)), dict(seggpt.state_dict()))
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in peer.state_dict().items()}


@pytest.mark.parametrize("kind", list(TargetKind))
def test_equal_to_transformers_without_ensemble(
    pair: tuple[SegGptForImageSegmentation, Painter], kind: TargetKind
) -> None:
    peer, ours = pair
    prompt, target, query = pictures(2, 2)
    with torch.no_grad():
        expected = peer(query, prompt, target, embedding_type=kind.name.lower()).pred_masks
        full = ours(torch.cat((prompt, query), 2), torch.cat((target, target), 2), lower_half(), torch.tensor([kind]))
        asked = ours.answer(prompt[:, None], target[:, None], query, torch.tensor([kind]))
    assert expected.std() > 0.3
    torch.testing.assert_close(full, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(asked, expected[:, :, SMALL.size :], atol=1e-4, rtol=1e-4)


def test_equal_to_transformers_under_any_mask_and_in_its_loss(
    pair: tuple[SegGptForImageSegmentation, Painter],
) -> None:
    peer, ours = pair
    prompt, target, query = pictures(2, 3)
    label = pictures(2, 4)[0]
    masked = torch.rand(2, *SMALL.grid, generator=torch.Generator().manual_seed(5)) < 0.5
    with torch.no_grad():
        expected = peer(query, prompt, target, bool_masked_pos=masked.flatten(1), labels=label).pred_masks
        made = ours(torch.cat((prompt, query), 2), torch.cat((target, label), 2), masked)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)


def ensemble_of_peer(
    peer: SegGptForImageSegmentation, condition: Callable[[int], int], prompts: Tensor, targets: Tensor, query: Tensor
) -> Tensor:
    """The peer's ensemble with the merge condition given from outside, block by block."""
    encoder, count = peer.model.encoder, len(prompts)
    drawn = torch.cat((targets, targets), dim=2)
    embedded = peer.model.embeddings(
        torch.cat((prompts, query.expand(count, -1, -1, -1)), dim=2), drawn, lower_half(), "instance"
    )
    taps = []
    for number, layer in enumerate(encoder.layers):
        embedded = layer(embedded, condition(number), feature_ensemble=True)[0]
        if number == SMALL.merge_index:
            embedded = (embedded[:count] + embedded[count:]) * 0.5
        if number in SMALL.taps:
            taps.append(encoder.layernorm(embedded))
    return peer.decoder(torch.cat(taps, dim=-1))


def test_the_ensemble_is_the_authors_and_transformers_differs_at_the_merge(
    pair: tuple[SegGptForImageSegmentation, Painter],
) -> None:
    peer, ours = pair
    prompts, targets, queries = pictures(3, 6)
    query = queries[:1]
    with torch.no_grad():
        as_authors = ensemble_of_peer(
            peer, lambda i: 2 if i <= SMALL.merge_index else 1, prompts, targets, query
        )  # models_seggpt.py: `merge = 1 if merge_idx >= idx else 2`
        as_shipped = peer(
            query.expand(3, -1, -1, -1), prompts, targets, embedding_type="instance", feature_ensemble=True
        ).pred_masks
        made = ours.answer(prompts[None], targets[None], query)[0]
    below = slice(SMALL.size + 1, None)  # the first row of pixels sees the prompts, of which the peer decodes each
    torch.testing.assert_close(as_authors[0, :, below], as_authors[2, :, below], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made[:, 1:], as_authors[0, :, below], atol=1e-4, rtol=1e-4)
    assert (as_shipped[0, :, below] - as_authors[0, :, below]).abs().max() > 0.05


def test_identical_prompts_are_one_and_their_order_is_nothing(pair: tuple[Any, Painter]) -> None:
    ours = pair[1]
    prompts, targets, queries = pictures(3, 7)
    with torch.no_grad():
        one = ours.answer(prompts[None, :1], targets[None, :1], queries[:1])
        same = ours.answer(prompts[None, [0, 0, 0]], targets[None, [0, 0, 0]], queries[:1])
        three = ours.answer(prompts[None], targets[None], queries[:1])
        turned = ours.answer(prompts[None, [2, 0, 1]], targets[None, [2, 0, 1]], queries[:1])
    torch.testing.assert_close(same, one, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned, three, atol=1e-4, rtol=1e-4)
    assert (three - one).abs().max() > 0.1


def test_a_batch_of_queries_is_its_queries(pair: tuple[Any, Painter]) -> None:
    ours = pair[1]
    prompts, targets, queries = pictures(4, 8)
    kinds = torch.tensor([0, 1])
    prompts, targets, queries = prompts.unflatten(0, (2, 2)), targets.unflatten(0, (2, 2)), queries[:2]
    with torch.no_grad():
        together = ours.answer(prompts, targets, queries, kinds)
        apart = [
            ours.answer(prompts[i : i + 1], targets[i : i + 1], queries[i : i + 1], kinds[i : i + 1]) for i in (0, 1)
        ]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-4, rtol=1e-4)


def test_other_sizes_of_pictures_are_painted_too(pair: tuple[Any, Painter]) -> None:
    ours, generator = pair[1], torch.Generator().manual_seed(10)
    prompt, target, query = torch.randn(3, 2, 3, 16, 16, generator=generator)
    masked = (torch.arange(8) >= 4)[None, :, None].expand(1, 8, 4)
    with torch.no_grad():
        full = ours(torch.cat((prompt, query), 2), torch.cat((target, target), 2), masked)
        asked = ours.answer(prompt[:, None], target[:, None], query)
    torch.testing.assert_close(asked, full[:, :, 16:], atol=1e-4, rtol=1e-4)


def test_every_parameter_learns_and_what_is_masked_is_not_seen() -> None:
    torch.manual_seed(0)
    model = Painter(SMALL)
    prompt, target, query = pictures(2, 9)
    hidden = torch.cat((target, target), 2).requires_grad_()
    made = model(torch.cat((prompt, query), 2), hidden, lower_half(), torch.tensor([0, 1]))
    made.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert hidden.grad is not None
    assert hidden.grad[:, :, : SMALL.size].abs().max() > 0
    assert hidden.grad[:, :, SMALL.size :].abs().max() == 0


def test_drop_path_keeps_the_mean_and_works_in_training_only() -> None:
    from bottega.layers import DropPath  # noqa: PLC0415

    torch.manual_seed(0)
    path, ones = DropPath(0.25), torch.ones(4000, 3)
    made = path(ones)
    torch.testing.assert_close(made.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs(made.mean().item() - 1) < 0.05
    assert torch.equal(path.eval()(ones), ones)


def test_tables_go_both_ways() -> None:
    tensors = dict(Painter(SMALL).state_dict())
    for table in (painter_keys(SMALL), seggpt_keys(SMALL)):
        back = to_ours(table, to_theirs(table, tensors))
        assert back.keys() == tensors.keys()
        assert all(torch.equal(back[key], tensors[key]) for key in tensors)
    assert seggpt_config(seggpt_json(SMALL)) == SMALL
    assert seggpt_config({"model_type": "seggpt"}) == PainterConfig(typed=True)
    with pytest.raises(WeightsError, match="type tokens"):
        seggpt_json(PainterConfig())
    with pytest.raises(WeightsError, match="hidden_act"):
        seggpt_config({"hidden_act": "relu"})


def test_sizes_that_cannot_be_are_refused() -> None:
    for wrong in ({"size": 25}, {"num_heads": 5}, {"taps": (2, 1)}, {"merge_index": 3}, {"depth": 4}):
        with pytest.raises(ValueError, match=str(next(iter(wrong.values()))) if "depth" not in wrong else "to 3"):
            PainterConfig(**{**{name: getattr(SMALL, name) for name in SMALL.__slots__}, **wrong})
