"""Llama 2-Chat: a language model that became an assistant.

Supervised answers, two reward models (help and safety) from graded comparisons, rejection sampling and PPO against
them, ghost attention for instructions that last, and DPO beside them.
"""

from bottega.room import Card

CARD = Card(
    title="Llama 2-Chat",
    sentence="A conversation to the assistant's next answers, by a decoder that was tuned on answers, on people's "
    "comparisons of answers, and on rewards learned from these.",
    citation="Touvron et al., Llama 2: Open Foundation and Fine-Tuned Chat Models, 2023",
    papers=("2307.09288", "2106.09685", "2305.18290", "1707.06347"),
    peer="meta-llama/llama; transformers.LlamaForCausalLM; peft",
    licence="Published weights are Meta's, under the Llama 2 community licence with an acceptable use policy. The "
    "bundled weights were trained on requests and comparisons that bottega makes.",
    missing=(
        "People: the requests, answers and comparisons of the recipe are written by the requests world, which knows "
        "the right ones, and the published sizes' reward models were never published.",
        "Several rounds: the paper collects new comparisons of each new model's answers; here both reward models "
        "learn once, from answers that the world writes in all qualities.",
    ),
    deviations=(
        "The supervised stage trains the whole decoder; ghost attention, the reward models and the policies are LoRA "
        "adapters of that one decoder, where the paper has copies of all weights.",
        "The reward models' scores are gated and whitened as logits, which equals the paper's way over probabilities.",
        "The bundled size's PPO has batches of 64 answers and pays 0.05 a nat, where the paper has 512 and 0.01 or "
        "0.005; ghost attention comes before it, and four in ten of its conversations have no instruction.",
        "DPO came after the paper: it is here as the baseline of today.",
    ),
)
