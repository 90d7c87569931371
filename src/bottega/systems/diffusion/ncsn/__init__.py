"""NCSN and NCSNv2: the score of pictures at many noise levels, and annealed Langevin dynamics.

One network learns the gradient of the log density of pictures under much and under little noise; sampling follows it
with noise added in every step, first at the largest level and last at one that cannot be seen.
"""

from bottega.room import Card

CARD = Card(
    title="NCSN and NCSNv2",
    sentence="Pictures from noise by annealed Langevin dynamics on a score that one network learned at many noise "
    "levels; also rows of pictures that turn into each other, and half pictures completed.",
    citation="Song and Ermon, Generative Modeling by Estimating Gradients of the Data Distribution, NeurIPS 2019; "
    "Improved Techniques for Training Score-Based Generative Models, NeurIPS 2020",
    papers=("1907.05600", "2006.09011"),
    peer="ermongroup/ncsn and ermongroup/ncsnv2",
    licence="The authors' code for NCSNv2 (ermongroup/ncsnv2) is under MIT, for NCSN (ermongroup/ncsn) under "
    "GPL-3.0; this code is written from the equations. The emoji world is Noto Color Emoji (OFL-1.1).",
    deviations=(
        "The tiny size averages its weights over about a hundred steps, the published ones over a thousand, because "
        "it trains for fewer.",
        "The church size works at 96 pixels, as in the paper, for which its noise levels were chosen; the authors' "
        "church.yml says 64.",
        "At the levels of plain Langevin dynamics, or at others than the published ones, the step size is that of "
        "NCSNv2's fourth rule.",
        "The authors' layout is written as safetensors under the authors' key names: bottega writes no pickles.",
    ),
)
