"""Llama 2-Chat: stages train what they should, folders are those of transformers and peft, answers stream."""

from __future__ import annotations

import copy
import dataclasses
import json
import math

import peft
import pytest
import torch
from transformers import LlamaForCausalLM

from bottega.data import ChatLines
from bottega.errors import FileError, RequestError, WeightsError
from bottega.layers import LoraConfig, applied
from bottega.networks import LlamaConfig
from bottega.room import Checkpoint, silent
from bottega.systems.language.llama_chat.checkpoints import read_hf, read_meta, write_hf, write_meta
from bottega.systems.language.llama_chat.config import ChatConfig, Role
from bottega.systems.language.llama_chat.evaluation import evaluate
from bottega.systems.language.llama_chat.inference import ChatRequest, infer
from bottega.systems.language.llama_chat.model import VALUE, ChatModel, Policy
from bottega.systems.language.llama_chat.objective import Rows, last_answer, supervised_loss
from bottega.systems.language.llama_chat.recipe import (
    ALIGNMENT,
    STAGES,
    dice_of,
    ppo_recipe,
    rolled_out,
    talk_at,
)
from bottega.systems.language.llama_chat.sampling import answered
from bottega.tokenizers import LanguageTokenizer
from bottega.training import FitSettings, TrainState, optimizer_of, to_device
from bottega.worlds.requests import RequestsWorld

CONFIG = ChatConfig(
    decoder=LlamaConfig(vocabulary=420, context=512, width=32, depth=2, num_heads=4, num_kv_heads=2, hidden=48),
    adapters=LoraConfig(rank=2, alpha=4.0),
)
TRAINED = {
    "sft": ("decoder",),
    "ghost": ("adapters.ghost",),
    "reward-helpful": ("adapters.helpful", "heads.helpful"),
    "reward-safe": ("adapters.safe", "heads.safe"),
    "reward-joint": ("adapters.joint", "heads.joint"),
    "reward-plain": ("adapters.plain", "heads.plain"),
    "rejection": ("adapters.rejection",),
    "ppo": ("adapters.ppo", f"heads.{VALUE}"),
    "dpo": ("adapters.dpo",),
}
SOURCE = RequestsWorld(length=64)


@pytest.fixture(scope="module")
def tokenizer():
    return LanguageTokenizer.trained((f"[INST] {r.text} [/INST] {r.reply}" for r in SOURCE.batch(range(64))), 420)


def made(tokenizer, config=CONFIG):
    """A model of which every weight is random."""
    torch.manual_seed(0)
    model = ChatModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    model.use(tokenizer)
    return model.eval()


@pytest.fixture
def model(tokenizer):
    return made(tokenizer)


def trained(model, name, steps=1, size=4, rate=1e-2, source=SOURCE, fixed=False):
    """The model after some updates of a stage, and what the last one logged."""
    recipe = next(stage for stage in STAGES if stage.name == name).recipe(model, source)
    return run(recipe, steps, size, rate, fixed=fixed)


def run(recipe, steps, size, rate, *, fixed=False):
    settings = FitSettings(steps=steps, batch_size=size, learning_rate=rate, weight_decay=0.0)
    state = TrainState(
        model=recipe.model, ema=None, optimizers={"main": optimizer_of(recipe.parameter_groups(settings), settings)},
        step=0, generator=torch.Generator(), settings=settings,
    )  # fmt: skip
    logged = []
    for step in range(steps):
        start = 0 if fixed else step * size % len(recipe)
        batch = recipe.batch(range(start, start + size), torch.Generator().manual_seed(step << 32))
        logged.append(
            {name: float(value) for name, value in recipe.step(state, to_device(batch, state.device)).items()}
        )
    recipe.finish()
    return logged


# --------------------------------------------------------------------------------------------------------------- stages
@pytest.mark.parametrize("name", TRAINED)
def test_a_stage_moves_its_own_weights_and_all_of_them(model, name):
    before = copy.deepcopy(model.state_dict())
    trained(model, name, steps=2)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    expected = {key for key in before if key.startswith(tuple(f"{part}." for part in TRAINED[name]))}
    assert moved == expected
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_answers_are_learned_by_heart(model):
    logged = trained(model, "sft", steps=60, rate=2e-2, fixed=True)
    assert logged[-1]["loss"] < 0.3 < logged[0]["loss"]


def test_comparisons_are_learned_by_heart(model):
    logged = trained(model, "reward-helpful", steps=60, size=8, rate=2e-2, fixed=True)
    assert logged[-1]["loss"] < 0.5 * logged[0]["loss"]


def test_own_conversations_and_comparisons_are_learned(model, tmp_path):
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    records = [{"messages": said}] * 8, [{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}] * 8
    for name, lines in zip(("chats", "pairs"), records, strict=True):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    chats, pairs = (ChatLines(tmp_path / f"{name}.jsonl") for name in ("chats", "pairs"))
    assert (
        trained(model, "sft", steps=20, source=chats)[-1]["loss"] < trained(model, "sft", source=pairs)[0]["loss"] + 1
    )
    assert trained(model, "reward-helpful", steps=15, source=pairs)[-1]["accuracy"] == 1
    assert trained(model, "dpo", steps=15, source=pairs)[-1]["accuracy"] == 1
    for name in ("ppo", "reward-safe"):
        with pytest.raises(RequestError, match="of your own"):
            trained(model, name, source=chats)


def test_what_the_user_says_is_not_learned(model):
    rows = Rows.of([model.chat(["What is 2 + 3?"], ["It is 5."])], pad=2, most=99)
    right = supervised_loss(model, (), rows)
    chances = model(rows.tokens).log_softmax(-1)[0, :-1].gather(1, rows.tokens[0, 1:, None])[:, 0]
    torch.testing.assert_close(right, -chances[rows.learned[0, 1:]].mean())
    wider = Rows.of([model.chat(["What is 2 + 3?"], ["It is 5."]), model.chat(["Hi"], ["Yes"])], pad=2, most=99)
    padded = Rows(tokens=wider.tokens[:1], learned=wider.learned[:1], last=wider.last[:1])
    torch.testing.assert_close(supervised_loss(model, (), padded), right)


def test_ppo_leaves_the_reference_and_a_short_leash_holds_it(tokenizer):
    """Rewarded for what a random model calls good, the policy goes; with a nat costing 1000 times as much, it stays."""
    far = {}
    for leash in (0.0, 1000.0):
        model = made(tokenizer)
        for name, parameter in model.lora(Role.PPO).named_parameters():
            torch.nn.init.normal_(parameter) if name.endswith(".a") else torch.nn.init.zeros_(parameter)
        torch.nn.init.zeros_(model.heads[VALUE].weight)
        recipe = ppo_recipe(model, SOURCE, dataclasses.replace(ALIGNMENT, leash=leash))
        settings = FitSettings(steps=5, batch_size=8, learning_rate=1.0, clip_norm=None)
        weights = list(model.lora(Role.PPO).parameters())
        # plain gradient descent: Adam would divide the leash out again
        optimizer = torch.optim.SGD(weights, lr=100.0 / (1 + leash))
        state = TrainState(
            model=model,
            ema=None,
            optimizers={"main": optimizer},
            step=0,
            generator=torch.Generator(),
            settings=settings,
        )
        for step in range(5):
            logged = recipe.step(state, recipe.batch(range(8), torch.Generator().manual_seed(step << 32)))
        far[leash] = float(logged["divergence"])
        recipe.finish()
    assert far[0.0] > 1e-3
    assert far[1000.0] < far[0.0] / 20


def test_without_a_critic_an_answer_is_one_action(model):
    rows = Rows.of([model.chat(["a"], ["one two"]), model.chat(["b"], ["three"])], pad=2, most=99)
    dangerous = torch.tensor([False, False])
    made, _ = rolled_out(model, rows, dangerous, dataclasses.replace(ALIGNMENT, critic=False, leash=0.0))
    mask = rows.learned[:, 1:]
    for row in range(2):
        assert made.advantages[row][mask[row]].unique().numel() == 1
    assert math.isclose(float(made.advantages.amax() + made.advantages.amin()), 0, abs_tol=1e-3)
    with_critic, _ = rolled_out(model, rows, dangerous, ALIGNMENT)
    assert not torch.allclose(with_critic.advantages, made.advantages)


def test_ghost_attention_learns_the_last_answer_only(model):
    talk = model.chat(["a", "b"], ["one", "two"], "Be kind.")
    learned = last_answer(talk)
    said = [number for number, yes in zip(learned.ids, learned.learned, strict=True) if yes]
    assert model.tokens().text(said).strip() == "two"
    talks = [talk_at(SOURCE, 0, dice_of("x", 0), turns=3, instructed=1.0)]
    assert len(answered(model, (), talks, everywhere=True)[0]) == 3


# -------------------------------------------------------------------------------------------------------------- folders
def checkpoint(model):
    return Checkpoint(config=model.config, tensors=model.state_dict(), assets=model.assets())


def test_adapters_are_opened_by_peft(model, tmp_path):
    write_hf(checkpoint(model), tmp_path)
    peer = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    tokens = torch.arange(24).view(2, 12)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), peer(tokens).logits, atol=1e-4, rtol=1e-4)
        for role in (Role.PPO, Role.GHOST):
            with applied(model.decoder, model.lora(role)):
                own = model(tokens)
            tuned = peft.PeftModel.from_pretrained(peer, tmp_path / "adapters" / role.value).eval()
            torch.testing.assert_close(own, tuned(tokens).logits, atol=1e-4, rtol=1e-4)
            assert (own - model(tokens)).abs().max() > 1e-3
            peer = tuned.unload()


def test_folders_are_read_back(model, tmp_path):
    write_hf(checkpoint(model), tmp_path)
    for config in (CONFIG, None):
        found = read_hf(tmp_path, config)
        assert found.config == CONFIG
        assert found.tensors.keys() == model.state_dict().keys()
        assert all(torch.equal(value, found.tensors[key]) for key, value in model.state_dict().items())
        assert found.assets == model.assets()
    with pytest.raises(WeightsError, match="width"):
        read_hf(tmp_path, dataclasses.replace(CONFIG, decoder=dataclasses.replace(CONFIG.decoder, width=16)))


def test_any_llama_is_a_start(model, tmp_path):
    plain = ChatConfig(decoder=CONFIG.decoder)
    tensors = {key: value for key, value in model.state_dict().items() if key.startswith("decoder.")}
    write_hf(Checkpoint(config=plain, tensors=tensors, assets={}), tmp_path)
    assert read_hf(tmp_path, None).config == plain
    start = ChatModel(CONFIG)
    start.load_state_dict(read_hf(tmp_path, CONFIG).tensors)
    rows = torch.arange(12).view(1, 12)
    for policy in Policy:
        with start.applied(policy.roles):
            assert torch.equal(start(rows), model(rows))


def test_meta_s_folders_hold_what_has_no_adapters(model, tmp_path):
    plain = ChatConfig(decoder=dataclasses.replace(CONFIG.decoder, hidden=256, context=4096))
    start = ChatModel(plain)
    start.use(model.tokens())
    write_meta(checkpoint(start), tmp_path)
    found = read_meta(tmp_path, None)
    assert found.config == plain
    assert all(torch.equal(value, found.tensors[key]) for key, value in start.state_dict().items())
    with pytest.raises(WeightsError, match="says hidden"):
        read_meta(tmp_path, CONFIG)
    with pytest.raises(WeightsError, match="adapters"):
        write_meta(checkpoint(model), tmp_path)


def test_an_adapter_s_folder_is_read_with_its_base(model, tmp_path):
    write_hf(checkpoint(model), tmp_path)
    found = read_hf(tmp_path / "adapters" / "dpo", None)
    merged = ChatModel(found.config)
    merged.load_state_dict(found.tensors)
    rows = torch.arange(12).view(1, 12)
    with torch.no_grad(), model.applied((Role.DPO,)):
        torch.testing.assert_close(merged(rows), model(rows), atol=1e-4, rtol=1e-4)
    file = tmp_path / "adapters" / "dpo" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "nobody/nothing"}))
    with pytest.raises(FileError, match="nobody/nothing"):
        read_hf(tmp_path / "adapters" / "dpo", None)


# -------------------------------------------------------------------------------------------------------------- answers
def ask(**changes):
    usual = {"inputs": ("What is 2 + 3?", "And 4?"), "max_new_tokens": 12}
    return ChatRequest(**{**usual, **changes})


def test_answers_stream_and_repeat(model):
    told = []
    result = infer(model, ask(), told.append)
    assert len(result.items()) == 2
    assert "".join(progress.text for progress in told).count(result.words[0][:3]) >= 1
    assert infer(model, ask(), silent).words == result.words
    assert infer(model, ask(seed=1), silent).words != result.words
    one = []
    single = infer(model, ask(inputs=("Hi",)), one.append)
    assert "".join(progress.text for progress in one).strip() == single.words[0]


def test_earlier_answers_are_gone_on_from(model):
    both = infer(model, ask(), silent).words
    second = infer(model, ask(answers=both[:1]), silent).words
    assert second == both[1:]


def test_policies_differ_and_need_adapters(model, tokenizer):
    words = {policy: infer(model, ask(policy=policy, temperature=0), silent).words for policy in Policy}
    assert len(set(words.values())) > 1
    assert infer(model, ask(temperature=0), silent).words == words[Policy.PPO]
    plain = made(tokenizer, ChatConfig(decoder=CONFIG.decoder))
    assert infer(plain, ask(), silent).words
    with pytest.raises(WeightsError, match="no adapters"):
        infer(plain, ask(policy=Policy.DPO), silent)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": -1}, "temperature"),
        ({"stop": ("",)}, "stop"),
        ({"answers": ("a", "b")}, "answers"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"seed": -1}, "seed"),
        ({"inputs": ("a",) * 65}, "inputs"),
    ],
)
def test_requests_are_checked(changes, said):
    with pytest.raises(RequestError, match=said):
        ask(**changes)


def test_what_cannot_be_answered_is_refused(model):
    for changes, said in (
        ({"inputs": ()}, "nobody"),
        ({"inputs": ("[INST]",)}, "template"),
        ({"inputs": ("a " * 600,)}, "context"),
    ):
        with pytest.raises(RequestError, match=said):
            infer(model, ask(**changes), silent)


def test_figures_have_their_baselines(model):
    found = evaluate(model, 0, 8, silent)
    assert found["goodness, ppo"].baseline is not None
    assert found["helpful comparisons right"].control is not None
    assert all(0 <= measure.value <= 100 for name, measure in found.items() if measure.unit == "%")
