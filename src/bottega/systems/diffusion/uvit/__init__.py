"""U-ViT: a plain vision transformer as the backbone of a diffusion model.

The time, the condition and the patches of the noisy picture are all tokens of one transformer, and long skip
connections join its shallow blocks with its deep ones.
"""

from bottega.room import Card

CARD = Card(
    title="U-ViT",
    sentence="Class names or words to pictures, by a diffusion transformer in which time, condition and patches are "
    "all tokens and shallow blocks are joined with deep ones.",
    citation="Bao et al., All are Worth Words: A ViT Backbone for Diffusion Models, CVPR 2023",
    papers=("2209.12152",),
    peer="baofff/U-ViT",
    licence="The published weights (baofff/U-ViT) are under MIT; the Stable Diffusion autoencoder that the latent "
    "sizes need is under CreativeML OpenRAIL-M. The emoji world is Noto Color Emoji (OFL-1.1).",
    missing=("Bundled weights whose pictures are clean: they keep the class, not yet the details.",),
    deviations=(
        "Pictures are drawn with DPM-Solver++ 2M for every size; the paper used Euler-Maruyama with 1000 steps for "
        "CIFAR-10 and CelebA, and DPM-Solver with 50 steps for the rest.",
        "The tiny size predicts velocity, with which classes are learned in fewer steps. The recipe of sizes that "
        "predict noise counts no error more than at a signal-to-noise ratio of 5 (Min-SNR); the paper's is even.",
        "The authors' layout is written as safetensors under the authors' key names: bottega writes no pickles.",
    ),
)
