"""Score matching: the gradient of a log density, learned from samples alone, four ways.

Exact score matching takes a backward pass for each number of a sample; sliced score matching one for each random
direction; denoising score matching none. The data are a mixture whose score is known, so each can be judged.
"""

from bottega.room import Card

CARD = Card(
    title="Sliced score matching",
    sentence="Samples to the gradient of their log density, by exact, sliced, variance-reduced sliced or denoising "
    "score matching; drawn as a field, as a map of its error, or as where Langevin dynamics on it end.",
    citation="Song, Garg, Shi and Ermon, Sliced Score Matching: A Scalable Approach to Density and Score Estimation, "
    "UAI 2019",
    papers=("1905.07088", "1907.05600"),
    peer="ermongroup/sliced_score_matching, and the toy of ermongroup/ncsn",
    licence="The authors' code is under GPL-3.0 and comes without weights; this code is written from the equations.",
    missing=(
        "The paper's energy models (deep kernel exponential families, NICE), and the autoencoders around the score "
        "networks of the wae sizes, whose latents are here the two-mode mixture in as many dimensions.",
        "The baselines that the paper compares with: approximate backpropagation, curvature propagation, and the "
        "spectral and Stein estimators.",
    ),
    deviations=(
        "Directions on the sphere have the radius sqrt(dimension), so that all kinds estimate the same loss; the "
        "authors' general form takes radius 1, which scales it.",
        "The tiny size holds one network for each of the four losses, trained side by side on the same samples, with "
        "fewer and larger batches than the published toy.",
    ),
)
