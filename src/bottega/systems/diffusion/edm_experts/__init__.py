"""eDiff-I: an ensemble of expert denoisers, each for its own noise levels, told by two text encoders and a style.

A cascade of pixel diffusion models in Karras et al.'s formulation. One shared denoiser is trained, split into experts
for the noisiest and the cleanest levels, and trained on; a call costs what it cost before.
"""

from bottega.room import Card

CARD = Card(
    title="eDiff-I",
    sentence="Words, a picture of a style and painted regions tied to words to pictures, by a cascade of EDM denoisers "
    "that are experts for their noise levels.",
    citation="Balaji et al., eDiff-I: Text-to-Image Diffusion Models with an Ensemble of Expert Denoisers, 2022",
    papers=("2211.01324", "2206.00364"),
    peer="NVlabs/edm for the denoiser (no code of eDiff-I is public)",
    licence="No weights of eDiff-I are published. The emoji world is Noto Color Emoji (OFL-1.1).",
    missing=(
        "In the bundled weights the second reader of texts adds nothing: CLIP and T5 together bind colours to shapes "
        "no better than CLIP alone. Shapes are often blurred: the base model has eight pixels a side.",
        "Weights at the published size: there are none to load. The paper states totals (9.1 billion parameters); the "
        "sizes of its U-Nets here are this room's reading of it. T5's published vocabulary is not read either.",
    ),
    deviations=(
        "All experts learn side by side, each down its own branch of the tree; the paper trains one after another.",
        "Pictures of the super-resolution stages are degraded by noise alone in training.",
        "The bundled T5-like encoder learns to fill in masked words from its own states, without a decoder.",
        "The largest score of paint-with-words is taken for each sample and head, so that a picture does not depend "
        "on the others in its batch.",
    ),
)
