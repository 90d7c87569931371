"""UniDiffuser: one transformer for every distribution over pictures and words.

One U-ViT sees a noisy picture and a noisy text, each with a time of its own, and predicts the noise of both. A time of
zero gives a modality as a condition, the last time takes it away, equal times draw both: text to picture, picture to
text, both together, either alone, and variations of either.
"""

from bottega.room import Card

CARD = Card(
    title="UniDiffuser",
    sentence="Words to pictures, pictures to words, both at once, either alone and variations, by one diffusion "
    "transformer with a time for each modality.",
    citation="Bao et al., One Transformer Fits All Distributions in Multi-Modal Diffusion at Scale, ICML 2023",
    papers=("2303.06555",),
    peer="diffusers UniDiffuser",
    licence="The published weights (thu-ml/unidiffuser) are under AGPL-3.0; the bundled ones are ours, Apache-2.0, "
    "trained on Noto Color Emoji (OFL-1.1).",
    missing=(
        "The bundled weights are small and learned on two CPU cores: people and faces come out right, rarer objects "
        "often as shapes of the right colour, and captions are seldom exact.",
        "Version 1's data type is always the better collection; requests do not choose it.",
    ),
    deviations=(
        "The bundled preset trains mostly on the times that the seven modes use (a modality clean, absent, or in step "
        "with the other) instead of on all pairs: the same optimum on those, reached with fewer steps.",
        "The bundled preset predicts velocity, not noise: at the noisiest levels a small network then says what the "
        "picture shows. The published presets predict noise.",
        "The bundled preset learns its own autoencoder, CLIP towers and caption decoder on the emoji world, because "
        "the published ones do not fit in a package.",
    ),
)
