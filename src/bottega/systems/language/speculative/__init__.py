"""Speculative sampling: a small draft guesses, the model judges many guesses in one pass, and its text stays its own.

Online, the draft learns from every guess that was wrong.
"""

from bottega.room import Card

CARD = Card(
    title="Speculative decoding, online",
    sentence="Questions to the answers of a language model, in a fraction of its passes, by a small draft that may go "
    "on learning from its mistakes.",
    citation="Leviathan, Kalman, Matias, Fast Inference from Transformers via Speculative Decoding, ICML 2023; Liu et "
    "al., Online Speculative Decoding, ICML 2024",
    papers=("2211.17192", "2302.01318", "2310.07177"),
    peer="transformers (assisted generation); LiuXiaoxuanPKU/OSD",
    licence="A draft is distilled from its target: the target's licence holds. LLaMA 160M, the published draft, is "
    "Apache-2.0.",
    missing=(
        "Trees of guesses: drafts are single lines.",
        "The published figures need Vicuna 7B; what is measured here is the bundled model on the world of queries.",
    ),
    deviations=(
        "The draft's cost, from which the best length follows, is its parameters over the model's: a ratio that no "
        "clock disturbs. On a processor with little memory to move, a pass over several tokens costs more than one.",
        "Before it serves, the bundled draft learns the target's distributions along the right answers of the world, "
        "not along the target's own (`Texts`): these cost no writing.",
        "Teacher logits are those of the judging pass; the authors' code computes them again when it updates.",
    ),
)
