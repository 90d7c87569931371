"""Adapters of LLaMA: the same as peft's on transformers' model, read and written."""

from __future__ import annotations

import json

import peft
import pytest
import torch
from transformers import LlamaConfig as PeerConfig
from transformers import LlamaForCausalLM

from bottega.errors import FileError, RequestError, WeightsError
from bottega.layers import LoraConfig, applied, merged
from bottega.networks import (
    Llama,
    LlamaConfig,
    llama_json,
    llama_keys,
    llama_lora,
    llama_lora_parts,
    read_peft,
    write_peft,
)
from bottega.weights import to_ours

CONFIG = LlamaConfig(vocabulary=50, context=32, width=24, depth=2, num_heads=4, num_kv_heads=2, hidden=20)
SOME = ("q_proj", "v_proj", "up_proj")


@pytest.fixture(scope="module")
def pair():
    """transformers' model and ours, of the same random weights."""
    torch.manual_seed(0)
    peer = LlamaForCausalLM(PeerConfig(**llama_json(CONFIG))).eval()
    for parameter in peer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = Llama(CONFIG).eval()
    ours.load_state_dict(to_ours(llama_keys(CONFIG), peer.state_dict()))
    return peer, ours


@pytest.fixture
def tokens():
    return torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(3))


def peft_folder(peer, folder, targets, **settings):
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=list(targets), task_type="CAUSAL_LM", **settings)
    model = peft.get_peft_model(peer, config).eval()
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"layers_to_transform": [1]}])
@pytest.mark.parametrize(
    "targets", [SOME, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")]
)
def test_an_adapter_of_peft_is_read(pair, tokens, tmp_path, targets, settings):
    peer, ours = pair
    model = peft_folder(peer, tmp_path, targets, **settings)
    with torch.no_grad():
        expected = model(tokens).logits
    model.unload()
    lora = read_peft(tmp_path).onto(ours, llama_lora_parts(CONFIG))
    with torch.no_grad():
        plain = ours(tokens)
        assert (plain - expected).abs().max() > 0.1
        with applied(ours, lora.eval()):
            torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=1e-4)
        with merged(ours, lora):
            torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=1e-4)


def test_an_adapter_of_ours_is_opened_by_peft(pair, tokens, tmp_path):
    peer, ours = pair
    lora = llama_lora(ours, LoraConfig(rank=3, alpha=7.0), SOME).eval()
    torch.manual_seed(6)
    for parameter in lora.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    write_peft(tmp_path, lora)
    model = peft.PeftModel.from_pretrained(peer, tmp_path).eval()
    with torch.no_grad(), applied(ours, lora):
        torch.testing.assert_close(ours(tokens), model(tokens).logits, atol=1e-4, rtol=1e-4)
    model.unload()
    again = read_peft(tmp_path)
    assert again.config == lora.config
    assert all(torch.equal(value, lora.state_dict()[name]) for name, value in again.tensors.items())


def test_what_cannot_be_read_is_named(pair, tmp_path):
    peer, ours = pair
    peft_folder(peer, tmp_path, SOME).unload()
    found = read_peft(tmp_path)
    with pytest.raises(WeightsError, match="does not have"):
        found.onto(ours, llama_lora_parts(CONFIG, ("q_proj",)))
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    for change, said in (({"use_dora": True}, "use_dora"), ({"peft_type": "IA3"}, "IA3"), ({"bias": "all"}, "bias")):
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings | change))
        with pytest.raises(FileError, match=said):
            read_peft(tmp_path)


def test_unknown_projections_are_refused():
    with pytest.raises(RequestError, match="qkv"):
        llama_lora_parts(CONFIG, ("qkv",))
