"""What `fit` does in one uninterrupted run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from training_toys import Adversaries, Net, Regression, digests

from bottega.errors import RequestError
from bottega.layers import prepare_for_inference
from bottega.training import (
    Constant,
    Cosine,
    Ema,
    FitSettings,
    InverseSquareRoot,
    Linear,
    NotFiniteError,
    Optimizer,
    Precision,
    TrainProgress,
    TrainState,
    adamw,
    decay_groups,
    fit,
    load_checkpoint,
    rate_factor,
    split,
)

SHORT = FitSettings(steps=12, batch_size=8, learning_rate=1e-2, save_every=0, log_every=1, ema_decay=0.9)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_tiny_model_overfits(tmp_path: Path) -> None:
    recipe = Regression(dropout=0, noise=0)
    settings = replace(SHORT, steps=400, batch_size=48, schedule=Cosine(final=0.01), warmup_steps=10, log_every=50)
    result = fit(recipe, settings, tmp_path)
    assert result.loss is not None
    assert result.loss < 0.01
    recipe.model.load_state_dict(result.weights())
    assert recipe.loss({"x": recipe.inputs, "y": recipe.targets}).item() < 0.01


def test_accumulated_parts_equal_the_whole_batch(tmp_path: Path) -> None:
    whole = fit(Regression(dropout=0), SHORT, tmp_path / "whole")
    parts = fit(Regression(dropout=0), replace(SHORT, accumulate=4), tmp_path / "parts")
    for a, b in zip(lines(tmp_path / "whole"), lines(tmp_path / "parts"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-5)
    for name, tensor in whole.weights().items():
        if name != "calls":
            torch.testing.assert_close(parts.weights()[name], tensor, rtol=1e-4, atol=1e-6)


def test_one_update_is_the_published_equation(tmp_path: Path) -> None:
    settings = FitSettings(steps=1, batch_size=48, learning_rate=0.1, weight_decay=0.2, clip_norm=0.5, betas=(0.8, 0.9))
    recipe = Regression(dropout=0, noise=0)
    before = {name: p.detach().clone() for name, p in recipe.model.named_parameters()}
    # Row order does not matter to the mean; noise is off.
    recipe.loss({"x": recipe.inputs, "y": recipe.targets}).backward()
    gradients = {name: p.grad.clone() for name, p in recipe.model.named_parameters()}
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
    assert norm > 0.5, "the clip must be at work"
    fit(recipe, settings, tmp_path)
    for name, p in recipe.model.named_parameters():
        decay = 0.2 if p.ndim > 1 else 0.0
        g = gradients[name] * 0.5 / norm
        # After one update both moments are bias-corrected to g and g^2.
        expected = before[name] * (1 - 0.1 * decay) - 0.1 * g / (g.abs() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-3, atol=2e-4)


def test_muon_steps_along_the_orthogonal_factor_and_adamw_moves_the_vectors(tmp_path: Path) -> None:
    settings = FitSettings(
        steps=1, batch_size=8, learning_rate=0.01, weight_decay=0.1, clip_norm=None, optimizer=Optimizer.MUON
    )
    before, plain = Regression(dropout=0.0), Regression(dropout=0.0)
    start = {name: value.detach().clone() for name, value in before.model.named_parameters()}
    gradients: dict[str, Tensor] = {}
    for name, parameter in before.model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: gradients.__setitem__(name, p.grad.detach().clone())
        )
    fit(before, settings, tmp_path / "muon")
    fit(plain, replace(settings, optimizer=Optimizer.ADAMW), tmp_path / "adamw")
    others = dict(plain.model.named_parameters())
    for name, value in before.model.named_parameters():
        if value.ndim < 2:
            torch.testing.assert_close(value, others[name])
            continue
        u, sizes, v = torch.linalg.svd(gradients[name], full_matrices=False)
        direction = (start[name] * (1 - 0.01 * 0.1) - value.detach()) / (0.01 * 0.2 * max(value.shape) ** 0.5)
        large = sizes > 0.1 * sizes.norm()  # the rest is lost in bfloat16
        stretched = (u.T @ direction @ v.T)[large][:, large]
        torch.testing.assert_close(stretched, stretched.diagonal().diag(), atol=0.05, rtol=0, msg=name)
        assert len(stretched) > 1, name
        assert 0.6 < float(stretched.diagonal().min()), name  # five iterations leave them near 1
        assert float(stretched.diagonal().max()) < 1.3, name


def test_muon_takes_matrices_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Conv1d(1, 2, 3), nn.Embedding(5, 4), nn.Embedding(6, 4))
    settings = FitSettings(steps=1, batch_size=1, optimizer=Optimizer.MUON)
    muon, decayed, plain = decay_groups(model, settings, lambda name, _: name.startswith("2."))
    assert [tuple(p.shape) for p in muon["params"]] == [(4, 3)]
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 1, 3), (6, 4)]
    assert [tuple(p.shape) for p in plain["params"]] == [(4,), (2,), (5, 4)]


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        (Constant(), 0, 0.1), (Constant(), 9, 1.0), (Constant(), 10, 1.0), (Constant(), 110, 1.0),
        (Linear(final=0.2), 10, 1.0), (Linear(final=0.2), 60, 0.6), (Linear(final=0.2), 110, 0.2),
        (Cosine(final=0.1), 10, 1.0), (Cosine(final=0.1), 60, 0.55), (Cosine(final=0.1), 110, 0.1),
        (Cosine(final=0.0), 35, 0.5 + 0.5 * math.cos(math.pi / 4)),
        (InverseSquareRoot(), 4, 0.5), (InverseSquareRoot(), 10, 1.0), (InverseSquareRoot(), 40, 0.5),
    ],
)  # fmt: skip
def test_schedules_at_known_points(schedule: Constant, step: int, factor: float) -> None:
    assert rate_factor(schedule, step, steps=111, warmup_steps=10) == pytest.approx(factor)


def test_the_log_says_the_rate_of_each_step(tmp_path: Path) -> None:
    settings = replace(SHORT, warmup_steps=4, schedule=Linear(final=0.5))
    fit(Regression(), settings, tmp_path)
    rates = [line["lr"] for line in lines(tmp_path)]
    assert rates == pytest.approx([1e-2 * rate_factor(settings.schedule, step, 12, 4) for step in range(12)])


def test_the_average_follows_its_formula(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []

    class Watched(Regression):
        def step(self, state: TrainState, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
            figures = super().step(state, batch)
            seen.append({name: p.detach().clone().double() for name, p in self.model.named_parameters()})
            return figures

    recipe = Watched()
    average = {name: p.detach().clone().double() for name, p in recipe.model.named_parameters()}
    result = fit(recipe, replace(SHORT, steps=30, ema_decay=0.6), tmp_path)
    for s, live in enumerate(seen):
        decay = min(0.6, (1 + s) / (10 + s))
        average = {name: decay * average[name] + (1 - decay) * live[name] for name in average}
    for name, tensor in average.items():
        torch.testing.assert_close(result.weights()[name].double(), tensor, rtol=1e-5, atol=1e-6)
    assert result.weights()["calls"] == 30, "buffers are the live ones"
    assert not torch.equal(result.weights()["head.weight"], result.state.model.head.weight)


def test_the_average_is_applied_and_taken_back() -> None:
    model = nn.Linear(2, 2)
    average = Ema(model, 0.5)
    average.tensors["weight"].fill_(7.0)
    before = model.weight.detach().clone()
    with average.applied(model):
        assert (model.weight == 7.0).all()
    assert torch.equal(model.weight, before)
    assert (average.tensors["weight"] == 7.0).all()


def test_shared_parameters_are_averaged_under_every_name(tmp_path: Path) -> None:
    class Shared(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.model.blocks[2].weight = self.model.blocks[0].weight

    result = fit(Shared(), SHORT, tmp_path)
    weights = result.weights()
    assert torch.equal(weights["blocks.0.weight"], weights["blocks.2.weight"])
    assert torch.equal(weights["blocks.0.weight"], result.state.ema.tensors["blocks.0.weight"])
    again = fit(Shared(), replace(SHORT, steps=13), tmp_path)
    assert again.state.step == 13


def test_frozen_parts_keep_their_values_and_get_no_optimizer_state(tmp_path: Path) -> None:
    recipe = Regression(dropout=0.5)
    recipe.model.blocks.requires_grad_(False)
    before = recipe.model.blocks[0].weight.clone()
    result = fit(recipe, SHORT, tmp_path)
    files = load_checkpoint(result.checkpoint).tensors
    assert torch.equal(files["model"]["blocks.0.weight"], before)
    assert not [name for name in files["optimizer"] if "blocks" in name]
    assert "blocks.0.weight" not in files["ema"]
    assert {"main/embed.weight/exp_avg", "main/embed.weight/exp_avg_sq", "main/embed.weight/step"} <= set(
        files["optimizer"]
    )
    assert not recipe.model.blocks.training
    assert recipe.model.dropout.training


def test_bf16_computes_in_bf16_and_keeps_float32_weights(tmp_path: Path) -> None:
    kinds = set()

    class Watched(Regression):
        def loss(self, batch: dict[str, Tensor]) -> Tensor:
            out = self.model(batch["x"])
            kinds.add(out.dtype)
            return (out.float() - batch["y"]).square().mean()

    settings = replace(SHORT, steps=150, batch_size=48, precision=Precision.BF16, log_every=50)
    result = fit(Watched(dropout=0, noise=0), settings, tmp_path)
    assert kinds == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in result.state.model.parameters())
    assert result.loss is not None
    assert result.loss < 0.2


def test_neither_threads_nor_the_callers_randomness_change_the_result(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = fit(Regression(), replace(SHORT, workers=0), tmp_path / "0")
    torch.manual_seed(2)
    expected = torch.random.get_rng_state()
    second = fit(Regression(), replace(SHORT, workers=3), tmp_path / "3")
    assert digests(first.checkpoint) == digests(second.checkpoint)
    assert torch.equal(torch.random.get_rng_state(), expected), "the caller's generator is as it was"
    other = fit(Regression(), replace(SHORT, seed=1), tmp_path / "seed")
    assert digests(other.checkpoint) != digests(first.checkpoint)


def test_an_error_while_loading_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(Regression):
        def batch(self, indices: list[int], generator: torch.Generator) -> dict[str, Tensor]:
            raise OSError("picture 7 cannot be read")

    with pytest.raises(OSError, match="picture 7"):
        fit(Broken(), replace(SHORT, workers=2), tmp_path)


def test_two_optimizers_through_the_same_loop(tmp_path: Path) -> None:
    recipe = Adversaries()
    settings = FitSettings(
        steps=300, batch_size=16, learning_rate=5e-3, betas=(0.5, 0.9), log_every=100, preview_every=100, ema_decay=0.9
    )
    result = fit(recipe, settings, tmp_path)
    names = set(load_checkpoint(result.checkpoint).tensors["optimizer"])
    assert "generator/generator.0.weight/exp_avg" in names
    assert "critic/critic.0.weight/momentum_buffer" in names
    assert not [name for name in names if name.startswith(("generator/critic", "critic/generator"))]
    made = recipe.model["generator"](torch.randn(256, 4, generator=torch.Generator().manual_seed(5)))
    start = Adversaries().model["generator"](torch.randn(256, 4, generator=torch.Generator().manual_seed(5)))
    # Points of a unit circle lie at radius 1; the untrained generator's lie near 0.
    assert (made.norm(dim=1) - 1).abs().mean() < 0.6 * (start.norm(dim=1) - 1).abs().mean()
    assert {"loss", "loss_critic", "grad_norm", "lr"} <= set(lines(tmp_path)[-1])
    pictures = sorted(path.name for path in (tmp_path / "previews").iterdir())
    assert pictures == [f"step-000{n}00-points.png" for n in (1, 2, 3)]
    # Previews show the averaged weights.
    recipe.model.load_state_dict(result.weights())
    with torch.no_grad():
        expected = recipe.preview(result.state)["points"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "previews" / pictures[-1])), expected)


def test_log_and_progress(tmp_path: Path) -> None:
    told: list[TrainProgress] = []
    fit(Regression(), replace(SHORT, log_every=5), tmp_path, report=told.append)
    log = lines(tmp_path)
    assert [line["step"] for line in log] == [5, 10, 12]
    assert set(log[0]) == {"step", "loss", "grad_norm", "lr", "samples_per_second", "seconds"}
    assert all(line["samples_per_second"] > 0 for line in log)
    assert [progress.step for progress in told] == list(range(1, 13))
    assert told[0].loss is None
    assert told[-1].loss == log[-1]["loss"]
    assert told[-1].seconds_left == 0
    assert told[5].seconds_left > 0
    every = fit(Regression(), SHORT, tmp_path / "every")
    means = [line["loss"] for line in lines(every.checkpoint.parent)]
    assert log[0]["loss"] == pytest.approx(sum(means[:5]) / 5, rel=1e-5)
    assert log[2]["loss"] == pytest.approx(sum(means[10:]) / 2, rel=1e-5)


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit(Regression(), SHORT, tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == {line["step"]: pytest.approx(line["loss"]) for line in lines(tmp_path)}


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    class Exploding(Regression):
        def step(self, state: TrainState, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
            if state.step == 7:
                batch["y"] = batch["y"] * float("inf")
            return super().step(state, batch)

    with pytest.raises(NotFiniteError, match="loss is .* at step 8;"):
        fit(Exploding(), replace(SHORT, log_every=5, save_every=4), tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-000004"]
    assert all(
        tensor.isfinite().all() for tensor in load_checkpoint(tmp_path / "step-000004").tensors["model"].values()
    )


def test_compiled_training_is_the_same_training(tmp_path: Path) -> None:
    torch._dynamo.utils.counters.clear()
    fit(Regression(dropout=0), replace(SHORT, steps=4), tmp_path / "plain")
    assert torch._dynamo.utils.counters["frames"]["ok"] == 0
    result = fit(Regression(dropout=0), replace(SHORT, steps=4, compile=True), tmp_path / "compiled")
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    for a, b in zip(lines(tmp_path / "plain"), lines(tmp_path / "compiled"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    assert not [name for name in result.weights() if "_orig_mod" in name]


def test_decay_goes_to_matrices_without_the_exceptions() -> None:
    model = Regression().model
    settings = replace(SHORT, weight_decay=0.3)
    groups = decay_groups(model, settings, no_decay=lambda name, p: name == "embed.weight")
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    decayed = {id(p) for p in groups[0]["params"]}
    assert {name for name, p in model.named_parameters() if id(p) in decayed} == {
        "blocks.0.weight", "blocks.1.weight", "blocks.2.weight", "head.weight",
    }  # fmt: skip
    optimizer = adamw([{"params": list(model.head.parameters()), "lr": 0.5}], settings)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0]["weight_decay"] == 0.3


def test_split_walks_records_and_refuses_unequal_parts() -> None:
    batch = {"x": torch.arange(6).view(6, 1), "words": list("abcdef"), "pair": (torch.arange(6), 3), "scale": None}
    second = split(batch, 3)[1]
    assert second["x"].flatten().tolist() == [2, 3]
    assert second["words"] == ["c", "d"]
    assert second["pair"][0].tolist() == [2, 3]
    assert second["pair"][1] == 3
    assert second["scale"] is None
    with pytest.raises(ValueError, match="6 samples cannot be cut into 4"):
        split(batch, 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0), ("batch_size", 0), ("learning_rate", -1.0), ("warmup_steps", -1), ("betas", (0.9, 1.0)),
        ("clip_norm", 0.0), ("accumulate", 3), ("ema_decay", 1.0), ("keep", 0), ("workers", -1),
    ],
)  # fmt: skip
def test_settings_name_the_bad_value(field: str, value: object) -> None:
    with pytest.raises(RequestError, match=f"{field} is ") as error:
        replace(SHORT, **{field: value})
    assert repr(value) in str(error.value)


def test_a_model_made_ready_to_run_is_trained_and_then_runs_with_what_it_learned(tmp_path: Path) -> None:
    """Packed copies of weights are known by a version that fused optimizers leave as it is."""
    recipe = Regression()
    prepare_for_inference(recipe.model, packed=True)
    recipe.model.eval()
    with torch.no_grad():
        recipe.model(recipe.inputs)  # packs
    fit(recipe, FitSettings(steps=3, batch_size=8, learning_rate=0.1), tmp_path)
    fresh = Net(0.1).eval()
    fresh.load_state_dict(recipe.model.state_dict())
    recipe.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(recipe.model(recipe.inputs), fresh(recipe.inputs))
