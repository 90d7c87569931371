"""VDM: diffusion as a likelihood model, with a noise schedule that is learned and bits per dimension as the measure."""

from bottega.room import Card

CARD = Card(
    title="Variational diffusion models",
    sentence="Pictures out of nothing, and the bits that a picture costs, by a diffusion model trained on its "
    "variational bound together with its noise schedule.",
    citation="Kingma et al., Variational Diffusion Models, NeurIPS 2021; Kingma and Gao, Understanding Diffusion "
    "Objectives as the ELBO with Simple Data Augmentation, NeurIPS 2023",
    papers=("2107.00630", "2303.00848"),
    peer="google-research/vdm",
    licence="The authors' code is under Apache-2.0. The emoji world is Noto Color Emoji (OFL-1.1).",
    missing=(
        "Pictures as good as the bits: the bundled weights count well and draw patches of colour, hardly shapes.",
        "The authors' checkpoints are Flax's msgpack files, which are not read; there is no run beside their JAX code.",
        "Lossless compression by bits-back coding is not here; the bits are those of the bound.",
        "Bits per dimension of CIFAR-10 and ImageNet need these data sets and are not measured.",
    ),
    deviations=(
        "The monotone network is brought to the schedule's ends as in the paper's appendix H; the authors' code lets "
        "it move them.",
        "Fourier features, schedule and bounds follow the authors' code; the rest of the tiny size is smaller.",
    ),
)
