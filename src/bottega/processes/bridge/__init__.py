"""Schroedinger bridges by iterative proportional fitting: two movers, each trained on the other's roll-outs.

A mover takes states from one end to the other in N steps and counts its own steps from 0; a step goes to a mean and
adds noise of variance 2 gamma. An epoch rolls out the one mover (at first a reference) and trains the other on the way
back.

    gammas = Gammas.linear(16, 1e-4, 1e-3)
    path = roll_out(toward(prior_samples, 16), data_samples, gammas, generator)  # epoch 0: data to prior
    state, time, target = targets(path, Move.FLOW)                               # what the way back should say
    back = mover(network, Move.FLOW, gammas.steps)                               # a trained network as a mover
    samples = roll_out(back, prior_samples, gammas, generator, last_noise=False)[-1]

Source: arXiv:2106.01357 (DSB); arXiv:2403.14623 (simplified and reparameterised).
"""

from bottega.processes.bridge.gaussian import GaussianBridge
from bottega.processes.bridge.movers import (
    Gammas,
    Mean,
    Move,
    denoised_end,
    drift_to_normal,
    mover,
    stay,
    toward,
)
from bottega.processes.bridge.rollouts import original_targets, path_energy, roll_out, targets

__all__ = [
    "Gammas",
    "GaussianBridge",
    "Mean",
    "Move",
    "denoised_end",
    "drift_to_normal",
    "mover",
    "original_targets",
    "path_energy",
    "roll_out",
    "stay",
    "targets",
    "toward",
]
