"""Min-SNR: noise levels as tasks that fight each other, and the weights that make peace between them."""

from bottega.room import Card

CARD = Card(
    title="Min-SNR",
    sentence="Class names to pictures, by a plain diffusion transformer trained with clamped signal-to-noise weights; "
    "and a measurement of how noise levels help or hurt one another.",
    citation="Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, ICCV 2023",
    papers=("2303.09556",),
    peer="TiankaiHang/Min-SNR-Diffusion-Training",
    licence="The repository states no licence for its weights; the Stable Diffusion autoencoder that the latent sizes "
    "need is under CreativeML OpenRAIL-M. The emoji world is Noto Color Emoji (OFL-1.1).",
    missing=(
        "The U-Net of the paper's ablations (guided diffusion's) is not a preset.",
        "The paper's FID figures need ImageNet and are not measured here.",
        "The bundled weights had 1880 updates; their pictures are still farther from real ones than these blurred to "
        "4 x 4 colours. The paper's 3.4 times is not shown: in a race "
        "of 1200 updates at 16 pixels (seed 0) the least distance is 23.0 with Min-SNR, 79.3 with an even weight on "
        "the noise, as the paper leads to expect, but 16.9 with an even weight on the picture, the fastest here.",
    ),
    deviations=(
        "Pictures are drawn with DPM-Solver++ 2M; the paper used Heun's method of EDM on the nearest trained steps.",
        "The tiny size is told nine groups of emoji and has 100 noise levels; the published ones have 1000.",
        "The authors' layout is written as safetensors under the authors' key names: bottega writes no pickles.",
    ),
)
