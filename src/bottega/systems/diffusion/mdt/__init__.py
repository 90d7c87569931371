"""MDT: a diffusion transformer that also learns to fill in masked tokens, and so how the parts of a picture belong.

DiT, which it is built from and compared with, is one of its sizes.
"""

from bottega.room import Card

CARD = Card(
    title="MDT",
    sentence="Class names to pictures, by a diffusion transformer that learns with three to five in ten of its tokens "
    "masked how the parts of a picture belong together.",
    citation="Gao et al., Masked Diffusion Transformer is a Strong Image Synthesizer, ICCV 2023; Peebles and Xie, "
    "Scalable Diffusion Models with Transformers, ICCV 2023",
    papers=("2303.14389", "2212.09748"),
    peer="sail-sg/MDT, facebookresearch/DiT, diffusers' DiTTransformer2DModel",
    licence="The published MDT weights (sail-sg/MDT) are under Apache-2.0; DiT's (facebookresearch/DiT) and the "
    "autoencoder's are under CC-BY-NC 4.0 and MIT. The emoji world is Noto Color Emoji (OFL-1.1).",
    missing=(
        "The bundled weights draw faces, flags and signs that are known by colour and outline, and blots for the rest. "
        "The comparison of the three designs at equal compute (`python -m benchmarks masked_training`) has not been "
        "run to its end.",
        "The 512-pixel size of DiT is not among the presets.",
    ),
    deviations=(
        "Weights move by Muon and AdamW; MDT was trained with AdamW and MDTv2 with Adan.",
        "Classes are left out when a batch is made; the authors' embedding does it while it is in training mode.",
        "The likelihood at the first noise level uses the exact normal distribution, the authors' code nearly that.",
        "Pictures are drawn with DPM-Solver++ 2M in 25 steps unless the ancestral sampler is asked for; the paper used "
        "that with 250.",
        "The authors' layout is written as safetensors under the authors' key names: bottega writes no pickles.",
    ),
)
