"""LLaMA: the open decoder of text that most later language models are variations of.

RMSNorm in front of each layer, rotary positions, SwiGLU, and (from Llama 2 70B on) fewer key heads than query heads.
"""

from bottega.room import Card

CARD = Card(
    title="LLaMA",
    sentence="Text to more text, token by token, by a causal transformer with rotary positions, gated feed-forward "
    "layers and grouped-query attention.",
    citation="Touvron et al., LLaMA: Open and Efficient Foundation Language Models, 2023; Touvron et al., Llama 2: "
    "Open Foundation and Fine-Tuned Chat Models, 2023",
    papers=("2302.13971", "2307.09288"),
    peer="meta-llama/llama; transformers.LlamaForCausalLM",
    licence="Published weights are Meta's: LLaMA's for research only, Llama 2's under its community licence with an "
    "acceptable use policy. The bundled weights were trained on text that bottega makes and on the language reference "
    "of Python (PSF licence).",
    missing=("The text that LLaMA was trained on: a user brings folders of text, or takes the queries world.",),
    deviations=(
        "The bundled size has a byte-level BPE tokenizer of its own with 2048 tokens; published sizes read "
        "SentencePiece and tokenizer.json files.",
        "The stages of `bottega train` are those of the bundled size: Muon moves the matrices, topics are mixed by "
        "shares of their own, and windows are short at first. `recipe.published_settings` holds the paper's AdamW, "
        "`recipe.PUBLISHED_SHARES` its table; a `mixture.json` beside the user's folders gives them shares.",
        "Meta's layout is written as consolidated.safetensors beside params.json: bottega writes no pickles. It reads "
        "both, in any number of shards.",
    ),
)
