"""DragDiffusion: points of a picture are dragged inside a diffusion model, with a sentence that says what it shows."""

from bottega.room import Card

CARD = Card(
    title="DragDiffusion",
    sentence="A sentence, or your own picture, and points of it to the picture in which they are elsewhere: a state "
    "halfway to noise is optimised, and the rest of the way is drawn beside the source.",
    citation="Shi et al., DragDiffusion: Harnessing Diffusion Models for Interactive Point-based Image Editing, "
    "CVPR 2024; Pan et al., Drag Your GAN, SIGGRAPH 2023",
    papers=("2306.14435", "2305.10973"),
    peer="Yujun-Shi/DragDiffusion (hyper-parameters; not compared number by number)",
    licence="The room has no weights; those of the diffusion model that is dragged keep their licence.",
    missing=(
        "Drags that look right on the bundled models: they see 8 x 8 patches, handles jump from one to the next, and "
        "long drags spoil the picture before the handle arrives (without the reference's keys and values, sooner).",
        "Stable Diffusion's U-Net, on which the paper works: the diffusion models here are transformers.",
    ),
    deviations=(
        "What may not move is held in the denoiser's features, as DragGAN does, not in the next state.",
        "Features are the tokens halfway through the blocks out of a U-ViT, in the place of a U-Net's third decoder "
        "stage.",
        "The state moves at a rate of 0.02, where 0.01 is published for Stable Diffusion: the bundled models need it.",
        "The low-rank additions are on the projections of the blocks that are looked into.",
    ),
)
