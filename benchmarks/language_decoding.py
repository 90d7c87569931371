"""Writing with a LLaMA of 125 M parameters against transformers and CTranslate2, on the same random weights."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig as PeerConfig
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.measure import Outcome, Row, median_ratio, medians, take_turns
from bottega.layers import linears_to_int8, prepare_for_inference
from bottega.networks import Llama, LlamaConfig, llama_json, llama_keys
from bottega.processes.decoding import write
from bottega.weights import to_theirs

CONFIG = LlamaConfig(
    vocabulary=32000, context=1024, width=768, depth=12, num_heads=12, num_kv_heads=4, hidden=2048
)  # fmt: skip
PROMPT, NEW, ROUNDS = 512, 32, 5
BATCHES = (1, 8)
Way = Callable[[int, int], object]
"""`(rows, new tokens)`: reads the prompts and writes."""


def run() -> Outcome:
    """Prefill and decoding, every way in turns."""
    torch.manual_seed(0)
    model = Llama(CONFIG).eval()
    peer = LlamaForCausalLM(PeerConfig(**llama_json(CONFIG))).eval()
    peer.load_state_dict(to_theirs(llama_keys(CONFIG), dict(model.state_dict())))
    prompts = torch.randint(0, CONFIG.vocabulary, (max(BATCHES), PROMPT))
    errors = _errors(model, peer, prompts[:1])
    assert errors["fp32"] < 1e-5, errors
    assert errors["bf16"] < 2 * errors["bf16, peer"], errors
    ways = {**_our_ways(model, prompts), **_peer_ways(peer, prompts), **_ctranslate2(peer, prompts)}
    seconds = take_turns(_jobs(ways), ROUNDS)
    seconds["read memory"] = _read_seconds(ROUNDS)
    return _outcome(model, _per_token(seconds, list(ways)), errors)


def _our_ways(model: Llama, prompts: Tensor) -> dict[str, Way]:
    def way(made: nn.Module) -> Way:
        return lambda rows, new: list(write(made, prompts[:rows].tolist(), most=new))  # pyright: ignore

    plain, half, small = (copy.deepcopy(model) for _ in range(3))
    prepare_for_inference(plain)
    prepare_for_inference(half.bfloat16())
    linears_to_int8(small)
    return {"fp32": way(plain), "bf16": way(half), "int8": way(small)}


def _peer_ways(peer: LlamaForCausalLM, prompts: Tensor) -> dict[str, Way]:
    def way(made: LlamaForCausalLM, cache: str | None) -> Way:
        def generate(rows: int, new: int) -> object:
            given = {} if cache is None else {"cache_implementation": cache}
            return made.generate(
                prompts[:rows], attention_mask=torch.ones_like(prompts[:rows]), max_new_tokens=new, min_new_tokens=new,
                do_sample=False, pad_token_id=0, **given,
            )  # fmt: skip

        return generate

    half = copy.deepcopy(peer).bfloat16()
    return {
        "transformers fp32": way(peer, None),
        "transformers bf16": way(half, None),
        "transformers bf16, static cache": way(half, "static"),
    }


def _ctranslate2(peer: LlamaForCausalLM, prompts: Tensor) -> dict[str, Way]:
    """CTranslate2 with weights and products in 8 bits, from the same weights."""
    import ctranslate2

    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(CONFIG.vocabulary)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    with tempfile.TemporaryDirectory() as place:
        peer.save_pretrained(f"{place}/hf")
        special = {"bos_token": "t1", "eos_token": "t2", "unk_token": "t0"}
        PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(f"{place}/hf")
        ctranslate2.converters.TransformersConverter(f"{place}/hf").convert(f"{place}/int8", quantization="int8")
        generator = ctranslate2.Generator(
            str(Path(place) / "int8"), device="cpu", compute_type="int8", intra_threads=torch.get_num_threads()
        )
    texts = [[f"t{token}" for token in row] for row in prompts.tolist()]

    def generate(rows: int, new: int) -> object:
        return generator.generate_batch(
            texts[:rows], max_length=new, min_length=new, sampling_topk=1, include_prompt_in_result=False
        )

    return {"CTranslate2 int8": generate}


def _jobs(ways: Mapping[str, Way]) -> dict[str, Callable[[], object]]:
    return {
        f"{name}, batch {rows}, {new}": lambda way=way, rows=rows, new=new: way(rows, new)
        for name, way in ways.items()
        for rows in BATCHES
        for new in (1, 1 + NEW)
    }


def _per_token(seconds: dict[str, list[float]], names: list[str]) -> dict[str, list[float]]:
    """Seconds of reading the prompt and of each further step, by way and batch."""
    out = {"read memory": seconds["read memory"]}
    for name in names:
        for rows in BATCHES:
            first, whole = (seconds[f"{name}, batch {rows}, {new}"] for new in (1, 1 + NEW))
            out[f"{name}, batch {rows}, prefill"] = first
            out[f"{name}, batch {rows}, step"] = [(b - a) / NEW for a, b in zip(first, whole, strict=True)]
    return out


def _read_seconds(rounds: int) -> list[float]:
    """Seconds to read one byte from memory, by summing far more than the caches hold."""
    big = torch.ones(1 << 27)
    times = take_turns({"read": big.sum}, rounds)["read"]
    return [value / (big.numel() * 4) for value in times]


def _errors(model: Llama, peer: LlamaForCausalLM, tokens: Tensor) -> dict[str, float]:
    def far(a: Tensor, b: Tensor) -> float:
        return float((a.float() - b).norm() / b.norm())

    small = copy.deepcopy(model)
    linears_to_int8(small)
    with torch.inference_mode():
        truth = peer(tokens).logits
        return {
            "fp32": far(model(tokens), truth),
            "bf16": far(copy.deepcopy(model).bfloat16()(tokens), truth),
            "bf16, peer": far(copy.deepcopy(peer).bfloat16()(tokens).logits, truth),
            "int8": far(small(tokens), truth),
        }


def step_bytes(model: Llama, kind: str) -> float:
    """Bytes of weights, keys and values that one new token must read."""
    linear = sum(p.numel() for p in model.parameters()) - model.token_embed.weight.numel()
    cache = 2 * CONFIG.depth * CONFIG.num_kv_heads * CONFIG.head_dim * (PROMPT + NEW / 2)
    return {"fp32": 4, "bf16": 2, "int8": 1}[kind] * linear + (2 if kind == "bf16" else 4) * cache


def _outcome(model: Llama, seconds: dict[str, list[float]], errors: dict[str, float]) -> Outcome:
    middle, floor = medians(seconds), medians(seconds)["read memory"]

    def row(kind: str, rows: int, part: str, peer: str) -> Row:
        ours, theirs = f"{kind}, batch {rows}, {part}", f"{peer}, batch {rows}, {part}"
        ratio = median_ratio(seconds[theirs], seconds[ours])
        if part == "prefill":
            what = f"{kind}, prefill of {rows} x {PROMPT} tokens, against {peer}"
            return Row(what=what, value=1e3 * middle[ours], unit="ms", peer=1e3 * middle[theirs], ratio=ratio)
        reached = f"{100 * step_bytes(model, kind) * floor / middle[ours]:.0f} % of the floor" if rows == 1 else ""
        return Row(
            what=f"{kind}, decoding, batch {rows}, against {peer}", value=rows / middle[ours], unit="tokens/s",
            peer=rows / middle[theirs], ratio=ratio, note=reached,
        )  # fmt: skip

    peers = {"fp32": ["transformers fp32"], "bf16": ["transformers bf16", "transformers bf16, static cache"]}
    peers["int8"] = ["transformers bf16", "transformers bf16, static cache", "CTranslate2 int8"]
    decoding = [row(kind, rows, "step", peer) for kind, names in peers.items() for peer in names for rows in BATCHES]
    prefills = [row(kind, 1, "prefill", f"transformers {kind}") for kind in ("fp32", "bf16")]
    state = 2 * CONFIG.depth * CONFIG.num_kv_heads * CONFIG.head_dim
    size, read = sum(p.numel() for p in model.parameters()), {kind: step_bytes(model, kind) / 1e6 for kind in peers}
    method = (
        f"Width {CONFIG.width}, depth {CONFIG.depth}, {CONFIG.num_heads} heads, {CONFIG.num_kv_heads} of keys and "
        f"values, vocabulary {CONFIG.vocabulary}: {size / 1e6:.0f} M parameters; prompts of {PROMPT} tokens, {NEW} new "
        f"ones behind the first, greedy, {torch.get_num_threads()} threads. A new token reads {read['bf16']:.0f} MB in "
        f"bf16 and {read['int8']:.0f} MB in int8; memory gives {1e-9 / floor:.1f} GB/s. A token seen takes {2 * state} "
        f"bytes in bf16 and {4 * state} in fp32. int8 rounds weights and rows to 8 bits and keeps the rest in fp32. "
        f"Medians of {ROUNDS} rounds in turns; ratios are medians of rounds. Relative distance from transformers' "
        f"logits in fp32: fp32 {errors['fp32']:.1e}, bf16 {errors['bf16']:.1e} (its own {errors['bf16, peer']:.1e}), "
        f"int8 {errors['int8']:.1e}; with random weights int8's is that of noise without structure."
    )
    return Outcome(
        name="language_decoding",
        title="Writing with a LLaMA of 125 M parameters",
        method=method,
        rows=(*decoding, *prefills),
        details={"seconds": seconds, "errors": errors},
    )
