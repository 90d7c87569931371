"""Learning from preferences: rewards from comparisons, and policies from rewards or from comparisons alone."""

from bottega.processes.preference.answers import answer_loss, log_chances, masked_mean, sequence_log_chances
from bottega.processes.preference.comparisons import Grade, Margins, dpo_loss, margins_of, ranking_loss
from bottega.processes.preference.ppo import (
    advantages,
    clipped_loss,
    kl_estimate,
    penalised_rewards,
    sequence_returns,
    value_loss,
)
from bottega.processes.preference.rewards import (
    UNSAFE,
    best_of,
    best_of_divergence,
    gated,
    whiten,
)

__all__ = [
    "UNSAFE",
    "Grade",
    "Margins",
    "advantages",
    "answer_loss",
    "best_of",
    "best_of_divergence",
    "clipped_loss",
    "dpo_loss",
    "gated",
    "kl_estimate",
    "log_chances",
    "margins_of",
    "masked_mean",
    "penalised_rewards",
    "ranking_loss",
    "sequence_log_chances",
    "sequence_returns",
    "value_loss",
    "whiten",
]
