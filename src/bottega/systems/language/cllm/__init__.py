"""Consistency large language models: taught to solve for many tokens at once, they need a fraction of the passes.

A language model is tuned so that every state on the way of Jacobi decoding leads to the same text in one pass.
"""

from bottega.room import Card

CARD = Card(
    title="Consistency LLM (CLLM)",
    sentence="Questions to answers by Jacobi decoding: a language model that was tuned to guess many tokens at once, "
    "and to correct them all in each pass.",
    citation="Kou, Hu, He, Deng, Zhang, CLLMs: Consistency Large Language Models, ICML 2024",
    papers=("2403.00835", "2002.03629", "2305.10427"),
    peer="hao-ai-lab/Consistency_LLM",
    licence="A tuned model is a derivative of its target: the target's licence holds. The published ones derive from "
    "LLaMA and Llama 2 (Meta's licences).",
    missing=(
        "Bundled weights that keep the accuracy of their target: three and a half minutes of tuning double the tokens "
        "a pass on sums and give 1.6 of them on SQL (the paper: 2.4 to 3.4), and lose 13 points of right answers, "
        "where the paper loses at most a few.",
        "A measured run without the autoregressive loss: it is an option of training (`--ar-weight 0`).",
        "The published figures need 7 B parameters; measured here is the bundled model on the world of queries.",
        "Parallel decoding of image tokens: the decoder takes any causal model of tokens, but no picture model with "
        "discrete codes is in the catalogue yet.",
        "Lookahead decoding, which the authors combine with it.",
    ),
    deviations=(
        "The bundled model learns from states of its own trajectories while it changes, in blocks that begin anywhere "
        "in the right answers of the world; the paper collects trajectories beforehand with the model that it starts "
        "from, towards that model's answers. Both are settings (`Collected`, `Solutions`).",
        "States are learned from after at most a few passes (`passes`), all blocks of an answer in one pass of the "
        "network; the paper draws one state of a whole trajectory at a time.",
        "The published weight of the autoregressive loss, 10 with labels smoothed by 0.1, belongs to the published "
        "size; the bundled one has 1 and plain labels.",
        "Windows roll over the text unless `--blocks whole` is asked for, the published way.",
        "Sampling at a temperature is exact too: noise fixed for each place makes drawing a function (2002.09928).",
    ),
)
