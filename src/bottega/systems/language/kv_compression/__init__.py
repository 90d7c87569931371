"""Remembering less: what a language model or a reader of pictures can forget, and what that costs.

Caches that hold a bounded number of tokens, heads that share keys and values, patches of a picture that become one, and
a picture that leaves half way through the decoder.
"""

from bottega.room import Card

CARD = Card(
    title="KV compression",
    sentence="Text to more text, or a picture to what is in it, with fewer keys and values, fewer heads or fewer "
    "tokens than the model was trained with.",
    citation="Xiao et al., Efficient Streaming Language Models with Attention Sinks, ICLR 2024; Zhang et al., H2O: "
    "Heavy-Hitter Oracle for Efficient Generative Inference of LLMs, NeurIPS 2023; Ainslie et al., GQA, EMNLP 2023; "
    "Bolya et al., Token Merging: Your ViT But Faster, ICLR 2023; Lin et al., Boosting Multimodal Large Language "
    "Models with Visual Tokens Withdrawal for Rapid Inference, AAAI 2025; DeepSeek-AI, DeepSeek-V2, 2024",
    papers=("2309.17453", "2306.14048", "2305.13245", "2210.09461", "2405.05803", "2405.04434"),
    peer="facebookresearch/ToMe; transformers.models.deepseek_v2 (latent attention); mit-han-lab/streaming-llm; "
    "FMInference/H2O",
    licence="The bundled reader was trained on the emoji world, which is Noto Color Emoji (OFL-1.1). The language "
    "model is a part and brings its own licence.",
    missing=(
        "No trained model with multi-head latent attention: the layer is there in both forms, equal to DeepSeek-V2's, "
        "but DeepSeek-V2 as a whole is not.",
        "Grouped heads are means of the trained ones; the paper then trains on for 5 % of the updates.",
        "The papers' benchmarks on long texts, ImageNet and LLaVA. On the bundled sizes heavy hitters expect text no "
        "better than a plain window of as many bytes, merging costs far more right answers than in a ViT-L, and the "
        "picture is needed in all six blocks of the reader's decoder.",
    ),
    deviations=(
        "Heavy hitters are kept while the prompt is read too, token by token, so that the budget always holds; the "
        "authors' code reads the whole prompt first and evicts then.",
        "Tokens are merged, and visual tokens withdrawn, in a small reader of emoji that bottega trains, not in the "
        "papers' ViT-L and LLaVA.",
    ),
)
