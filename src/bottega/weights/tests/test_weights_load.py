"""Strict loading into models, real and on the meta device."""

import pytest
import torch
from torch import nn

from bottega.errors import WeightsError
from bottega.weights import load_into


class Tied(nn.Module):
    """An embedding tied to an output layer, a saved buffer, a frozen parameter and a nested norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(4)
        self.frozen = nn.Parameter(torch.zeros(3), requires_grad=False)


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.randn(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(7)
        for key, value in model.state_dict().items()
    }
    if "head.weight" in state:
        state["head.weight"] = state["embed.weight"].clone()
    return state


@pytest.fixture(params=["cpu", "meta"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    with torch.device(request.param):
        return Tied()


def test_everything_arrives(model: nn.Module) -> None:
    state = values(model)
    report = load_into(model, state, source="a file")
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert model.head.weight is model.embed.weight
    assert model.embed.weight.requires_grad
    assert not model.frozen.requires_grad
    assert isinstance(model.frozen, nn.Parameter)
    assert report.parameters == 20 + 8 + 3
    assert report.bytes == 4 * (20 + 20 + 4 * 4 + 3) + 8
    assert report.dtypes == {"float32": 7, "int64": 1}
    assert report.source == "a file"


def test_the_model_keeps_its_dtype(model: nn.Module) -> None:
    state = {key: value.half() if value.is_floating_point() else value for key, value in values(model).items()}
    report = load_into(model, state, source="a file")
    assert report.dtypes == {"float16": 7, "int64": 1}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.embed.weight, state["embed.weight"].float())
    model.to(torch.bfloat16)
    load_into(model, state, source="a file")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_parameters_never_share_memory_by_accident() -> None:
    with torch.device("meta"):
        model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    same = torch.ones(2, 2)
    load_into(model, {"a.weight": same, "b.weight": same}, source="a file")
    with torch.no_grad():
        model["a"].weight.zero_()
    assert torch.equal(model["b"].weight, torch.ones(2, 2))


def test_every_misfit_is_named_in_one_error_and_nothing_changes(model: nn.Module) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = values(model)
    del state["frozen"]
    state["surplus.a"] = state["surplus.b"] = torch.zeros(1)
    state["norm.bias"] = torch.zeros(9)
    state["norm.num_batches_tracked"] = torch.tensor(1.5)
    state["norm.weight"] = torch.empty(4, device="meta")
    with pytest.raises(WeightsError) as caught:
        load_into(model, state, source="a file")
    text = str(caught.value)
    assert text.startswith("a file does not fit the model; missing: frozen; not in the model: surplus.a, surplus.b;")
    assert "wrong shape: norm.bias is (9,), not (4,)" in text
    assert "wrong kind of number: norm.num_batches_tracked is torch.float32, not torch.int64" in text
    assert "without values (on the meta device): norm.weight" in text
    for key, value in model.state_dict().items():
        assert value.is_meta or torch.equal(value, before[key])


def test_many_missing_keys_are_counted() -> None:
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(9)])
    with pytest.raises(WeightsError, match=r"missing: 0\.weight, 0\.bias, 1\.weight, 1\.bias \.\.\. \(18 in all\)"):
        load_into(model, {}, source="a file")


def test_tied_parameters_need_equal_values(model: nn.Module) -> None:
    state = values(model)
    state["head.weight"] = state["head.weight"] + 1
    with pytest.raises(WeightsError, match=r"tied parameters: embed\.weight, head\.weight"):
        load_into(model, state, source="a file")


def test_a_meta_model_with_unsaved_buffers_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(1, 1)
        model.register_buffer("table", torch.zeros(3), persistent=False)
    with pytest.raises(WeightsError, match="not saved: table; build the model on a real device"):
        load_into(model, {"weight": torch.ones(1, 1), "bias": torch.ones(1)}, source="a file")
    assert model.weight.is_meta


def test_loading_is_the_same_as_torch_on_a_real_model() -> None:
    ours, theirs = (nn.TransformerEncoderLayer(8, 2, 16) for _ in range(2))
    state = values(ours)
    load_into(ours, state, source="a file")
    theirs.load_state_dict(state)
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[key])
