"""The posterior room: one diffusion prior, conditioned by Bayes' rule on anything that has a likelihood.

The score of the posterior is the score of the prior plus the gradient of a log-likelihood. Classes, words, strokes,
masks, grey values, blurs, X-ray projections and magnetic resonance all steer the same prior; nothing is trained again.
"""

from bottega.room import Card

CARD = Card(
    title="Posterior sampling",
    sentence="What is known of a picture (its class, words, strokes, some pixels, a blurred copy, X-ray projections, "
    "frequencies) to draws of the whole, by one diffusion prior and Bayes' rule, without training again.",
    citation="Song et al., Solving Inverse Problems in Medical Imaging with Score-Based Generative Models, ICLR 2022; "
    "Meng et al., SDEdit, ICLR 2022; Song et al., Score-Based Generative Modeling through SDEs, ICLR 2021",
    papers=("2111.08005", "2108.01073", "2011.13456", "2212.00490", "2209.14687"),
    peer="yang-song/score_inverse_problems (sizes); scikit-image (Radon transform)",
    licence="The published code is under Apache-2.0 and comes without weights. The bundled weights were trained on "
    "procedural phantoms and on Noto Color Emoji (OFL-1.1).",
    missing=(
        "Colourisation nearer to the true colours than grey is: the bundled prior, which is told no class, picks other "
        "colours of its own. With SDEdit strokes become more like real pictures, but not steadily more so with the "
        "share of noise: the prior's own draws are no nearer than those from a little noise.",
        "The published NCSN++ priors have no published weights, so no format reads any; the sizes are built and can be "
        "trained.",
        "Metal-artefact removal, the third task of the medical paper.",
        "SDEdit's own priors (DDPM at 256 pixels): strokes work on any prior, here the emoji's.",
    ),
    deviations=(
        "Projections are parallel-beam sums of the turned picture; the paper resamples in Fourier space (a slice per "
        "angle), and mixes the measurement in by its filtered back-projection where the method merge here takes the "
        "least-squares inverse.",
        "The tiny prior over scans is an NCSN++ on blocks of 2 x 2 pixels with EDM's preconditioning, which learns in "
        "fewer steps than a variance-exploding score.",
        "PiGDM's gradient is weighted as Bayes' rule says; its paper weights early steps less.",
        "Words are read by a bag-of-words classifier of noisy pictures, not by a captioner.",
    ),
)
