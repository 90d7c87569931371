"""How choices are written on a form."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bottega import catalog
from bottega.studio.forms import describe


class Side(Enum):
    """A choice that says no labels."""

    FAR_LEFT = "far_left"
    TOP = "top"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request with such a choice."""

    side: Side = Side.TOP


def labels(request: type, name: str) -> dict[str, str]:
    (field,) = (field for field in describe(request) if field.name == name)
    return {choice.value: choice.label for choice in field.choices}


def test_words_become_a_label() -> None:
    assert labels(Asked, "side") == {"far_left": "Far left", "top": "Top"}


def test_solvers_are_written_as_the_field_writes_them() -> None:
    fast = labels(catalog.get("fast_sampling").request, "solver")
    spelled = {"ddim": "DDIM", "dpm++2m": "DPM-Solver++ 2M", "unipc": "UniPC", "pndm": "PNDM", "heun": "Heun"}
    assert {value: fast[value] for value in spelled} == spelled
    assert len({*fast.values()}) == len(fast)
    assert labels(catalog.get("fast_sampling").request, "grid")["edm"] == "EDM"
    assert labels(catalog.get("posterior").request, "solver")["dpm"] == "DPM-Solver++ 2M"
    assert labels(catalog.get("score_sde").request, "sampler")["ode"] == "ODE"
    assert labels(catalog.get("edm_experts").request, "readers") == {"both": "Both", "clip": "CLIP", "t5": "T5"}
