import dataclasses
import json

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM
from transformers import LlamaConfig as PeerConfig

from bottega.errors import FileError, WeightsError
from bottega.networks import LlamaConfig, meta_config, meta_params
from bottega.room import Checkpoint
from bottega.systems.language.llama.checkpoints import (
    read_hf,
    read_meta,
    write_hf,
    write_meta,
)
from bottega.systems.language.llama.config import PRESETS
from bottega.systems.language.llama.model import LlamaPipeline
from bottega.tokenizers import LanguageTokenizer, SentencePieceTokenizer
from bottega.weights import read_tensors
from bottega.worlds.queries import QueriesWorld

LINES = ["SELECT a FROM b WHERE c > 12;", "There are 7 apples, and 5 more make 12.", "Zoë likes 🍎."] * 30
SMALL = LlamaConfig(vocabulary=400, context=64, width=48, depth=3, num_heads=6, num_kv_heads=2, hidden=80, eps=1e-6)


def randomised(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def pipeline():
    made = randomised(LlamaPipeline(SMALL))
    made.use(LanguageTokenizer.trained(LINES, 400))
    return made


def checkpoint(pipeline):
    return Checkpoint(config=pipeline.config, tensors=pipeline.state_dict(), assets=pipeline.assets())


def restored(found):
    made = LlamaPipeline(found.config)
    made.load_state_dict(found.tensors)
    made.attach(found.assets)
    return made.eval()


TOKENS = torch.arange(40).view(2, 20) * 7 % 400


@pytest.mark.parametrize("kv_heads", [6, 2, 1])
def test_folders_of_transformers_are_read_whole_or_in_shards(tmp_path, kv_heads):
    peer = randomised(
        LlamaForCausalLM(
            PeerConfig(
                vocab_size=400, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
                num_key_value_heads=kv_heads, max_position_embeddings=64, rms_norm_eps=1e-5,
            )
        )
    )  # fmt: skip
    for name, size in (("whole", "5GB"), ("shards", "60KB")):
        peer.save_pretrained(tmp_path / name, max_shard_size=size)
        found = read_hf(tmp_path / name, None)
        assert found.assets == {}
        torch.testing.assert_close(restored(found)(TOKENS), peer(TOKENS).logits, atol=1e-5, rtol=1e-5)
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()


def test_transformers_reads_what_is_written(tmp_path, pipeline):
    write_hf(checkpoint(pipeline), tmp_path)
    peer, tokenizer = LlamaForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    torch.testing.assert_close(peer(TOKENS).logits, pipeline(TOKENS), atol=1e-5, rtol=1e-5)
    assert tokenizer.encode(LINES[2], add_special_tokens=False) == pipeline.tokenizer.ids(LINES[2])
    assert (peer.config.eos_token_id, peer.config.bos_token_id) == (pipeline.tokenizer.end, pipeline.tokenizer.start)
    made = peer.generate(TOKENS[:1], max_new_tokens=8, do_sample=False, pad_token_id=2)[0, 20:]
    memory = pipeline.decoder.new_memory(1, 40)
    logits, ours = pipeline.decoder(TOKENS[:1], memory)[:, -1], []
    for _ in range(8):
        ours.append(int(logits.argmax()))
        logits = pipeline.decoder(torch.tensor([[ours[-1]]]), memory)[:, -1]
    assert made.tolist() == ours[: len(made)]


def cut(tensors, count):
    """Meta's tensors as `count` shards: the cuts are written down here once more, from Meta's parallel layers."""
    whole = ("norm.weight", "attention_norm.weight", "ffn_norm.weight")
    inputs = ("wo.weight", "w2.weight", "tok_embeddings.weight")
    shards = [{} for _ in range(count)]
    for key, value in tensors.items():
        pieces = [value] * count if key.endswith(whole) else value.chunk(count, 1 if key.endswith(inputs) else 0)
        for shard, piece in zip(shards, pieces, strict=True):
            shard[key] = piece.clone()
    return shards


@pytest.fixture
def shards(tmp_path, pipeline):
    """Meta's folder, in two .pth shards, with its tokenizer one level up."""
    write_meta(checkpoint(pipeline), tmp_path / "one")
    folder = tmp_path / "weights" / "7B"
    folder.mkdir(parents=True)
    for number, part in enumerate(cut(read_tensors(tmp_path / "one" / "consolidated.safetensors"), 2)):
        torch.save({**part, "rope.freqs": torch.ones(4)}, folder / f"consolidated.{number:02}.pth")
    params = json.loads((tmp_path / "one" / "params.json").read_text()) | {"vocab_size": -1}
    (folder / "params.json").write_text(json.dumps(params))
    (folder.parent / "tokenizer.model").write_bytes(SentencePieceTokenizer.trained(LINES, 380).model)
    return folder


def test_metas_layout_goes_through(tmp_path, pipeline):
    write_meta(checkpoint(pipeline), tmp_path)
    found = read_meta(tmp_path, SMALL)
    assert found.config == SMALL
    assert all(torch.equal(found.tensors[key], value) for key, value in pipeline.state_dict().items())
    assert restored(found).tokenizer.ids(LINES[1]) == pipeline.tokenizer.ids(LINES[1])


def test_metas_heads_turn_neighbours(tmp_path, pipeline):
    """Meta's own rotation (arXiv:2104.09864, eq. 34: pairs of neighbours) of Meta's weights is ours of ours."""
    write_meta(checkpoint(pipeline), tmp_path)
    theirs = read_tensors(tmp_path / "consolidated.safetensors")
    x = torch.randn(1, 5, 48, generator=torch.Generator().manual_seed(1))
    q = (x @ theirs["layers.0.attention.wq.weight"].T).view(1, 5, 6, 4, 2)
    angles = torch.arange(5)[:, None] * 10_000.0 ** (-torch.arange(4) / 4)
    turned = torch.view_as_real(torch.view_as_complex(q) * torch.polar(torch.ones_like(angles), angles)[:, None])
    attention, turns = pipeline.decoder.blocks[0].attention, pipeline.decoder.rotary.turns(torch.arange(5), x.dtype)
    ours = turns.rotate(attention.qkv(x)[..., :48].view(1, 5, 6, 8).transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours.view(1, 5, 6, 2, 4).transpose(-1, -2), turned, atol=1e-5, rtol=1e-5)


def test_shards_are_put_together(shards, pipeline):
    found = read_meta(shards, dataclasses.replace(SMALL))
    assert all(torch.equal(found.tensors[key], value) for key, value in pipeline.state_dict().items())
    assert isinstance(restored(found).tokenizer, SentencePieceTokenizer)
    assert read_meta(shards, None).config == dataclasses.replace(SMALL, context=2048)


def test_bad_shards_are_named(shards):
    second = read_tensors(shards / "consolidated.01.pth")
    torch.save({**second, "norm.weight": second["norm.weight"] + 1}, shards / "consolidated.01.pth")
    with pytest.raises(WeightsError, match=r"differ in norm\.weight"):
        read_meta(shards, SMALL)
    torch.save({**second, "output.weight": second["output.weight"][:-1]}, shards / "consolidated.01.pth")
    with pytest.raises(WeightsError, match=r"output\.weight in different shapes"):
        read_meta(shards, SMALL)
    torch.save({key: second[key] for key in list(second)[1:]}, shards / "consolidated.01.pth")
    with pytest.raises(WeightsError, match="only one has"):
        read_meta(shards, SMALL)
    (shards / "consolidated.01.pth").rename(shards / "consolidated.02.pth")
    with pytest.raises(FileError, match=r"lacks consolidated\.01\.pth"):
        read_meta(shards, SMALL)


def test_wrong_sizes_and_tokenizers_are_named(shards, tmp_path, pipeline):
    with pytest.raises(WeightsError, match="says num_kv_heads 2, but the preset has 6"):
        read_meta(shards, dataclasses.replace(SMALL, num_kv_heads=6))
    (shards / "params.json").write_text('{"dim": 48}')
    with pytest.raises(FileError, match=r"does not describe a LLaMA"):
        read_meta(shards, SMALL)
    write_hf(checkpoint(pipeline), tmp_path / "hf")
    texts = [passage.text for passage in QueriesWorld().batch(range(60))]
    (tmp_path / "hf" / "tokenizer.json").write_text(LanguageTokenizer.trained(texts, 500).tokenizer.to_str())
    with pytest.raises(FileError, match="has 500 tokens, but the model has 400"):
        read_hf(tmp_path / "hf", SMALL)
    (tmp_path / "hf" / "model.safetensors").unlink()
    with pytest.raises(FileError, match=r"has none of model\.safetensors"):
        read_hf(tmp_path / "hf", SMALL)
    with pytest.raises(WeightsError, match="tied"):
        write_meta(Checkpoint(config=dataclasses.replace(SMALL, tied=True), tensors={}), tmp_path / "tied")


@pytest.mark.parametrize("name", PRESETS)
def test_every_size_can_be_said_in_metas_params(name):
    config = PRESETS[name].config
    assert meta_config(meta_params(config), {}, config.context) == config


def test_published_params_are_understood():
    """params.json as Meta publishes it for Llama 2 70B and LLaMA 7B."""
    embeddings = {"tok_embeddings.weight": torch.empty(32000, 1, device="meta")}
    large = {
        "dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3, "n_heads": 64, "n_kv_heads": 8, "n_layers": 80,
        "norm_eps": 1e-05, "vocab_size": -1,
    }  # fmt: skip
    small = {"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-06, "vocab_size": -1}
    assert meta_config(large, embeddings, 4096) == PRESETS["llama2-70b"].config
    assert meta_config(small, embeddings, 2048) == PRESETS["7b"].config
    narrow = dataclasses.replace(SMALL, hidden=17)
    assert meta_config(meta_params(narrow), {}, 64) == narrow
