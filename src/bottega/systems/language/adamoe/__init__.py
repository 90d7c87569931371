"""AdaMoE: a mixture of experts in which some tokens need fewer of them.

Null experts stand among the others and cost nothing: a token that chooses them leaves out work, and no token has to
know what comes behind it.
"""

from bottega.room import Card

CARD = Card(
    title="AdaMoE",
    sentence="Text to more text by a decoder whose tokens choose their experts, null experts among them, so that easy "
    "tokens cost less than hard ones.",
    citation="Zeng et al., AdaMoE: Token-Adaptive Routing with Null Experts for Mixture-of-Experts Language Models, "
    "Findings of EMNLP 2024; Jiang et al., Mixtral of Experts, 2024",
    papers=("2406.13233", "2401.04088", "2202.09368", "2404.02258"),
    peer="transformers.MixtralForCausalLM; CengZihao/AdaMoE",
    licence="Mixtral's published weights are under Apache-2.0; the authors of AdaMoE published code without weights. "
    "The bundled weights were trained on text that bottega makes.",
    missing=(
        "The paper's experiments: fine-tuning of Mixtral 8x7B and of LLaMA with mixtures of adapters.",
        "The bundled weights had few updates: they write well-formed text with wrong facts. After as many, a dense "
        "decoder and two experts for every token, each with a seventh more work a token, expect held-out text a little "
        "better (perplexity 1.53 both, against 1.56), so the paper's gain in quality is not shown here.",
    ),
    deviations=(
        "The balance loss is the mean over layers of each layer's own loss (as in Switch Transformers); transformers "
        "and the authors' Mixtral code take the loads of all layers together.",
        "All null experts count with their mean load, as the paper says; in the authors' Mixtral code that line "
        "changes the wrong axis of its table and has no effect.",
        "The bundled size learns from scratch; the paper adds null experts to a trained model.",
    ),
)
