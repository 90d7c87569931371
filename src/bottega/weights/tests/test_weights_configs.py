"""Configurations to JSON and back: nested, tagged unions, and every mistake named by its field."""

from __future__ import annotations

import enum
import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from bottega.errors import RequestError
from bottega.weights import decode_config, encode_config


class Order(enum.Enum):
    """How to walk."""

    FORWARD = 1
    BACKWARD = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Vp:
    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if self.beta_min >= self.beta_max:
            raise RequestError.of("beta_min", self.beta_min, f"below beta_max ({self.beta_max})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Edm:
    sigma_max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Same:
    pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    width: int
    ratios: tuple[float, ...] = (4.0,)
    dropout: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    path: Vp | Edm
    blocks: tuple[Block, ...]
    size: tuple[int, int]
    order: Order
    skips: bool
    name: str
    file: Path | None = None
    head: Vp | Edm | Same | None = None
    limit: int | float = 3
    window: int | tuple[int, int] = 3
    kind: Literal["a", "b", 3] = "a"
    metrics: Mapping[str, float] | None = None
    names: dict[str, Block] | None = None
    list_: list[int] | None = None
    annotated: Annotated[int, "pixels"] = 3

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty")


CONFIG = Config(
    path=Edm(sigma_max=math.inf),
    blocks=(Block(width=3), Block(width=4, ratios=(), dropout=0.5)),
    size=(3, 4),
    order=Order.BACKWARD,
    skips=True,
    name="é",
    file=Path("a/b"),
    head=Same(),
    names={"x": Block(width=1)},
    metrics={"a": -math.inf},
    list_=[1, 2],
)


def through_json(config: Any) -> Any:
    return json.loads(json.dumps(encode_config(config), allow_nan=False))


def test_what_is_written() -> None:
    assert encode_config(Block(width=3, dropout=math.inf)) == {
        "type": "Block", "width": 3, "ratios": [4.0], "dropout": "inf",
    }  # fmt: skip


def random_config(rng: random.Random) -> Config:
    paths = [Vp(beta_min=rng.random(), beta_max=1 + rng.random()), Edm(sigma_max=rng.expovariate(1))]
    return replace(
        CONFIG,
        path=rng.choice(paths),
        head=rng.choice([*paths, Same(), None]),
        blocks=tuple(
            Block(width=rng.randrange(9), dropout=rng.choice([None, rng.random()]), ratios=(rng.random(),) * n)
            for n in range(rng.randrange(4))
        ),
        limit=rng.choice([3, 3.5, math.inf]),
        window=rng.choice([3, (1, 2)]),
        kind=rng.choice(["a", "b", 3]),
        file=rng.choice([None, Path("/x/y z")]),
        order=rng.choice(list(Order)),
        metrics=rng.choice([None, {}, {"a": 1.0}]),
    )


@pytest.mark.parametrize("seed", range(40))
def test_configs_come_back(seed: int) -> None:
    config = random_config(random.Random(seed))
    again = decode_config(Config, through_json(config))
    assert again == config
    assert repr(again) == repr(config)  # types too: 3 is not 3.0, and a tuple is no list


def test_nan_comes_back() -> None:
    assert math.isnan(decode_config(Edm, through_json(Edm(sigma_max=math.nan))).sigma_max)


def test_a_union_is_a_type_too() -> None:
    assert decode_config(Vp | Edm, {"type": "Edm", "sigma_max": 3}) == Edm(sigma_max=3.0)


def test_whole_numbers_are_numbers_and_tags_may_be_left_out() -> None:
    config = decode_config(Block, {"width": 3, "dropout": 1})
    assert config == Block(width=3, dropout=1.0)
    assert isinstance(config.dropout, float)


def test_a_field_with_a_default_may_be_missing() -> None:
    assert decode_config(Block, {"type": "Block", "width": 3}) == Block(width=3)


WRONG = [
    (["path", "type"], "Rf", r"Config\.path\.type is 'Rf', but it must be one of Vp, Edm"),
    (["path", "type"], "os.system", r"Config\.path\.type is 'os\.system'"),
    (["path", "type"], ["Vp"], r"Config\.path\.type is \['Vp'\]"),
    (["path"], {"sigma_max": 3}, r"Config\.path\.type is None, but it must be one of Vp, Edm"),
    (["path"], 3, r"Config\.path is 3, but it must be Vp or Edm"),
    (["path"], None, r"Config\.path is None"),
    (["path", "sigma_max"], "3", r"Config\.path\.sigma_max is '3', but it must be a number"),
    (["path", "sigma_max"], True, r"sigma_max is True"),
    (["path", "sigma_max"], 10**400, r"sigma_max is 'a huge whole number'"),
    (["path", "steps"], 3, r"Config\.path has no field 'steps'; its fields are sigma_max"),
    (["path", "__class__"], 3, r"has no field '__class__'"),
    (["type"], "Block", r"Config\.type is 'Block', but it must be 'Config'"),
    (["blocks", 1, "width"], 3.5, r"Config\.blocks\[1\]\.width is 3\.5, but it must be a whole number"),
    (["blocks", 1, "width"], True, r"width is True"),
    (["blocks", 1, "ratios"], 3, r"Config\.blocks\[1\]\.ratios is 3, but it must be a list"),
    (["blocks", 1, "ratios"], [1, "x"], r"Config\.blocks\[1\]\.ratios\[1\] is 'x'"),
    (["blocks"], {"0": {}}, r"Config\.blocks is .* must be a list"),
    (["blocks", 0], [], r"Config\.blocks\[0\] is \[\], but it must be an object"),
    (["blocks", 0], {}, r"Config\.blocks\[0\] lacks the field 'width'"),
    (["size"], [1, 2, 3], r"Config\.size is \[1, 2, 3\], but it must be a list of 2"),
    (["order"], "SIDEWAYS", r"Config\.order is 'SIDEWAYS', but it must be one of FORWARD, BACKWARD"),
    (["order"], 1, r"Config\.order is 1"),
    (["order"], "__class__", r"Config\.order is '__class__'"),
    (["skips"], 1, r"Config\.skips is 1, but it must be true or false"),
    (["name"], 3, r"Config\.name is 3, but it must be text"),
    (["name"], "", r"Config has values that Config refuses: name is empty"),
    (["file"], "a\0b", r"Config\.file is "),
    (["kind"], "c", r"Config\.kind is 'c', but it must be one of 'a', 'b', 3"),
    (["kind"], 3.0, r"Config\.kind is 3\.0"),
    (["head"], {"type": "Vp", "beta_min": 30}, r"Config\.head: beta_min is 30\.0, but it must be below beta_max"),
    (["metrics"], {"a": None}, r"Config\.metrics\['a'\] is None"),
    (["names", "x", "width"], None, r"Config\.names\['x'\]\.width is None"),
    (["window"], [1], r"Config\.window is \[1\], but it must be a list of 2"),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_every_mistake_is_named_by_its_field(place: list[str | int], value: object, message: str) -> None:
    data = through_json(CONFIG)
    inner = data
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(RequestError, match=message) as caught:
        decode_config(Config, data)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("data", [None, 3, "x", [], [1], {3: 4}])
def test_what_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(RequestError, match="must be an object"):
        decode_config(Vp, data)


@dataclass(frozen=True)
class Bad:
    anything: object


@dataclass(frozen=True)
class Unclear:
    text: str | Path


@dataclass(frozen=True)
class Tagged:
    type: str


def test_dataclasses_that_cannot_be_kept_are_bugs() -> None:
    for make in (
        lambda: encode_config(Bad(anything=object())),
        lambda: encode_config(Bad(anything={3: 4})),
        lambda: encode_config(Tagged(type="x")),
        lambda: encode_config(Vp),
        lambda: encode_config({"a": 1}),
        lambda: decode_config(Bad, {"anything": 3}),
        lambda: decode_config(Unclear, {"text": "x"}),
    ):
        with pytest.raises(TypeError, match=r"."):
            make()
