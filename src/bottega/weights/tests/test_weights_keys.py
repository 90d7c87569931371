"""Key tables: both directions with one table, and every way in which a table and a file can disagree."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import WeightsError
from bottega.weights import (
    ConvAsLinear,
    Drop,
    Fuse,
    KeyTable,
    LinearAsConv,
    Permute,
    Rename,
    Reorder,
    Reshape,
    Split,
    Transpose,
    nested,
    to_ours,
    to_theirs,
)


def tensors(seed: int, **shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key.replace("__", "."): torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key


def random_model(rng: random.Random) -> tuple[KeyTable, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A random nested model as (table, theirs, ours); `ours` is made with torch alone, not with the table."""
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    make = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    width, depth, groups = rng.randint(1, 5), rng.randint(1, 13), rng.randint(1, 3)
    sizes = tuple(rng.randint(1, 4) for _ in range(rng.randint(2, 4)))
    parts = len(sizes)
    table = (
        Rename("stem.{rest}", "model.embed.{rest}"),
        Fuse("body.{i}.qkv", tuple(f"model.{n}.{{i}}.proj" for n in "abcd"[:parts]), sizes=sizes),
        Fuse("body.{i}.wide", ("model.wide.{i}.left", "model.wide.{i}.right"), dim=1),
        Split(("body.{i}.{j}.gate", "body.{i}.{j}.up"), "model.layers.{j}.group.{i}.gate_up", sizes=(width, 2 * width)),
        Rename("head.weight", "lm.weight", change=Transpose()),
        Drop("model.position_ids", "a constant", make=lambda ours: {"model.position_ids": torch.arange(7)}),
    )
    theirs: dict[str, torch.Tensor] = {"model.position_ids": torch.arange(7)}
    ours: dict[str, torch.Tensor] = {}
    for name in ("weight", "norm.bias", "deep.er.scale"):
        theirs[f"model.embed.{name}"] = ours[f"stem.{name}"] = make(width, 2)
    for i in range(depth):
        pieces = [make(size, width) for size in sizes]
        theirs |= {f"model.{'abcd'[n]}.{i}.proj": piece for n, piece in enumerate(pieces)}
        ours[f"body.{i}.qkv"] = torch.cat(pieces)
        left, right = make(3, width), make(3, width)
        theirs |= {f"model.wide.{i}.left": left, f"model.wide.{i}.right": right}
        ours[f"body.{i}.wide"] = torch.cat([left, right], dim=1)
        for j in range(groups):
            gate_up = make(3 * width, 2)
            theirs[f"model.layers.{j}.group.{i}.gate_up"] = gate_up
            ours[f"body.{i}.{j}.gate"], ours[f"body.{i}.{j}.up"] = gate_up.split([width, 2 * width])
    theirs["lm.weight"] = make(width, 6)
    ours["head.weight"] = theirs["lm.weight"].T
    shuffled = list(theirs.items())
    rng.shuffle(shuffled)
    return table, dict(shuffled), ours


@pytest.mark.parametrize("seed", range(25))
def test_random_nested_models_match_torch_and_come_back(seed: int) -> None:
    table, theirs, ours = random_model(random.Random(seed))
    assert_same(to_ours(table, theirs), ours)
    assert_same(to_theirs(table, ours), theirs)


@pytest.mark.parametrize("seed", range(5))
def test_a_mounted_table_maps_what_the_part_maps(seed: int) -> None:
    table, theirs, ours = random_model(random.Random(seed))
    mounted = nested("pipeline.part", "unet", table) + nested("", "vae", (Rename("decoder", "dec"),))
    all_theirs = {f"unet.{key}": value for key, value in theirs.items()} | {"vae.dec": torch.ones(1)}
    all_ours = {f"pipeline.part.{key}": value for key, value in ours.items()} | {"decoder": torch.ones(1)}
    assert_same(to_ours(mounted, all_theirs), all_ours)
    assert_same(to_theirs(mounted, all_ours), all_theirs)


@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    rank=st.integers(1, 4),
    dim=st.integers(-4, 3),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=150, deadline=None)
def test_fuse_and_split_are_cat_and_split(sizes: list[int], rank: int, dim: int, seed: int) -> None:
    dim = dim % rank - (rank if dim < 0 else 0)
    generator = torch.Generator().manual_seed(seed)
    names = tuple(f"p{n}" for n in range(len(sizes)))
    parts = []
    for size in sizes:
        shape = [3] * rank
        shape[dim] = size
        parts.append(torch.randn(shape, generator=generator))
    theirs, whole = dict(zip(names, parts, strict=True)), torch.cat(parts, dim=dim)
    fuse = (Fuse("w", names, dim=dim, sizes=tuple(sizes)),)
    split = (Split(names, "w", dim=dim, sizes=tuple(sizes)),)
    assert_same(to_ours(fuse, theirs), {"w": whole})
    assert_same(to_theirs(fuse, {"w": whole}), theirs)
    assert_same(to_ours(split, {"w": whole}), dict(zip(names, whole.split(sizes, dim=dim), strict=True)))
    assert_same(to_theirs(split, theirs), {"w": whole})


CHANGES = [
    (Transpose(), (3, 4), lambda t: t.T),
    (Transpose(1, 2), (2, 3, 4), lambda t: t.transpose(1, 2)),
    (Permute((2, 0, 1)), (2, 3, 4), lambda t: t.permute(2, 0, 1)),
    (Reshape(ours=(6, -1), theirs=(2, 3, 4)), (2, 3, 4), lambda t: t.reshape(6, 4)),
    (ConvAsLinear(), (3, 4, 1, 1), lambda t: t[:, :, 0, 0]),
    (ConvAsLinear(1), (3, 4, 1), lambda t: t[:, :, 0]),
    (LinearAsConv(), (3, 4), lambda t: t[:, :, None, None]),
    (Reorder((1, 0)), (4, 3), lambda t: torch.cat([t[2:], t[:2]])),
    (Reorder((2, 0, 1), dim=1), (2, 6), lambda t: torch.cat([t[:, 4:], t[:, :2], t[:, 2:4]], dim=1)),
]


@pytest.mark.parametrize(("change", "shape", "expected"), CHANGES, ids=lambda value: type(value).__name__)
def test_changes_are_what_they_say_and_invert(change, shape, expected) -> None:
    theirs = tensors(0, w=shape)
    table = (Rename("ours", "w", change=change),)
    ours = to_ours(table, theirs)
    assert torch.equal(ours["ours"], expected(theirs["w"]))
    assert_same(to_theirs(table, ours), theirs)


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (Transpose(), (3,)),
        (Permute((1, 0)), (2, 3, 4)),
        (ConvAsLinear(), (3, 4, 3, 3)),
        (ConvAsLinear(), (3,)),
        (LinearAsConv(), (3,)),
        (Reorder((1, 0)), (5,)),
        (Reshape(ours=(6,), theirs=(2, 3)), (3, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_shape_that_a_change_cannot_take_is_named(change, shape) -> None:
    with pytest.raises(WeightsError, match=r"cannot take: layer\.w \(shape"):
        to_ours((Rename("ours", "layer.w", change=change),), {"layer.w": torch.zeros(shape)})


def test_integer_wildcards_match_integers_only() -> None:
    table = (Rename("a.{i}.w", "b.{i}.w"),)
    assert set(to_ours(table, tensors(0, b__0__w=(1,), b__10__w=(1,), b__123__w=(1,)))) == {
        "a.0.w",
        "a.10.w",
        "a.123.w",
    }
    for key in ("b.x.w", "b.01.w", "b.-1.w", "b.1.2.w", "b..w", "xb.1.w", "b.1.ww", "b.1xw", "b.٣.w", "b.1.w\n"):
        with pytest.raises(WeightsError, match="no rule maps"):
            to_ours(table, {"b.1.w": torch.zeros(1), key: torch.zeros(1)})


def test_word_wildcards_match_whole_parts() -> None:
    table = (Rename("a.{rest}", "b.{rest}"),)
    assert set(to_ours(table, tensors(0, b__x=(1,), b__x__y__0=(1,)))) == {"a.x", "a.x.y.0"}
    for key in ("b", "b.", "b..x", "bb.x", "b.x."):
        with pytest.raises(WeightsError, match="no rule maps"):
            to_ours(table, {"b.x": torch.zeros(1), key: torch.zeros(1)})


def test_a_repeated_wildcard_is_the_same_value() -> None:
    table = (Rename("a.{i}", "b.{i}.c.{i}"),)
    assert set(to_ours(table, tensors(0, b__3__c__3=(1,)))) == {"a.3"}
    assert set(to_theirs(table, tensors(0, a__3=(1,)))) == {"b.3.c.3"}
    with pytest.raises(WeightsError, match=r"no rule maps: b\.3\.c\.4"):
        to_ours(table, tensors(0, b__3__c__3=(1,), b__3__c__4=(1,)))


def test_two_wildcards_keep_their_order() -> None:
    table = (Rename("a.{i}.{j}", "b.{j}.{i}"),)
    assert_same(to_ours(table, {"b.1.2": torch.ones(1)}), {"a.2.1": torch.ones(1)})


def test_unmapped_keys_are_named_and_counted() -> None:
    theirs = {f"extra.{n}": torch.zeros(1) for n in range(9)} | {"b": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"no rule maps: extra\.0, extra\.1, extra\.2, extra\.3 \.\.\. \(9 in all\)"):
        to_ours((Rename("a", "b"),), theirs)
    with pytest.raises(WeightsError, match="our keys that no rule maps: extra"):
        to_theirs((Rename("a", "b"),), {"a": torch.zeros(1), "extra": torch.zeros(1)})


def test_a_rule_that_matches_nothing_is_named_in_both_directions() -> None:
    table = (Rename("a", "b"), Rename("blocks.{i}.w", "layers.{i}.w"))
    with pytest.raises(WeightsError, match=r"match nothing: layers\.\{i\}\.w"):
        to_ours(table, tensors(0, b=(1,)))
    with pytest.raises(WeightsError, match=r"match nothing: blocks\.\{i\}\.w"):
        to_theirs(table, tensors(0, a=(1,)))
    with pytest.raises(WeightsError, match="match nothing: gone"):
        to_ours((Rename("a", "b"), Drop("gone", "no use")), tensors(0, b=(1,)))
    assert set(to_ours((Rename("a", "b"), Drop("gone", "no use", optional=True)), tensors(0, b=(1,)))) == {"a"}


def test_a_key_that_two_rules_map_is_named() -> None:
    with pytest.raises(WeightsError, match=r"two rules map: b\.x"):
        to_ours((Rename("a.{rest}", "b.{rest}"), Rename("c", "b.x")), tensors(0, b__x=(1,), b__y=(1,)))


def test_two_tensors_for_one_name_are_an_error() -> None:
    table = (Rename("a.{i}", "b.{i}"), Rename("a.0", "c"))
    with pytest.raises(WeightsError, match=r"our keys made twice: a\.0"):
        to_ours(table, tensors(0, b__0=(1,), c=(1,)))


def test_a_missing_part_of_a_fusion_is_named() -> None:
    table = (Fuse("qkv.{i}", ("q.{i}", "k.{i}", "v.{i}")),)
    theirs = {f"{name}.{i}": torch.zeros(2, 2) for name in "qkv" for i in range(3)}
    del theirs["k.1"]
    with pytest.raises(WeightsError, match=r"missing beside their other parts: k\.1"):
        to_ours(table, theirs)


def test_unequal_parts_need_sizes() -> None:
    parts = {"q": torch.zeros(4, 2), "k": torch.zeros(2, 2)}
    with pytest.raises(WeightsError, match="must agree"):
        to_ours((Fuse("qk", ("q", "k")),), parts)
    assert to_ours((Fuse("qk", ("q", "k"), sizes=(4, 2)),), parts)["qk"].shape == (6, 2)
    with pytest.raises(WeightsError, match="3 equal parts"):
        to_ours((Split(("x", "y", "z"), "w"),), {"w": torch.zeros(4)})
    with pytest.raises(WeightsError, match=r"parts of \(1, 2\)"):
        to_ours((Split(("x", "y"), "w", sizes=(1, 2)),), {"w": torch.zeros(4)})
    with pytest.raises(WeightsError, match="no dimension 1"):
        to_ours((Split(("x", "y"), "w", dim=1),), {"w": torch.zeros(4)})
    with pytest.raises(WeightsError, match="dtypes"):
        to_ours((Fuse("qk", ("q", "k")),), {"q": torch.zeros(2), "k": torch.zeros(2).half()})


def test_dropped_tensors_are_made_again_under_their_own_names_only() -> None:
    make = lambda ours: {"tied": ours["w"]}  # noqa: E731
    good = (Rename("w", "w"), Drop("tied", "the same tensor", make=make))
    assert set(to_theirs(good, tensors(0, w=(2,)))) == {"w", "tied"}
    bad = (Rename("w", "w"), Drop("other", "the same tensor", make=make))
    with pytest.raises(WeightsError, match="does not match: tied"):
        to_theirs(bad, tensors(0, w=(2,)))


def test_tables_map_meta_tensors() -> None:
    table, theirs, ours = random_model(random.Random(3))
    mapped = to_ours(table, {key: value.to("meta") for key, value in theirs.items()})
    assert {key: value.shape for key, value in mapped.items()} == {key: value.shape for key, value in ours.items()}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rename("a.{i}", "b"),
        lambda: Rename("a.{i}", "b.{j}"),
        lambda: Fuse("a.{i}", ("b.{i}", "c")),
        lambda: Fuse("a", ("b",)),
        lambda: Fuse("a", ("b", "b")),
        lambda: Fuse("a", ("b", "c"), sizes=(1,)),
        lambda: Fuse("a", ("b", "c"), sizes=(1, 0)),
        lambda: Split(("a",), "b"),
        lambda: Drop("a", "  "),
        lambda: Permute((0, 2)),
        lambda: Reorder((1, 1)),
    ],
)
def test_rules_that_make_no_sense_are_refused_when_written(make) -> None:
    with pytest.raises(ValueError, match=r"."):
        make()
