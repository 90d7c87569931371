"""Simplified DSB: two networks that carry one distribution into another and back, each learning from the other."""

from bottega.room import Card

CARD = Card(
    title="Simplified Diffusion Schrödinger Bridge",
    sentence="Points or pictures of one kind to those of another, and back, by two networks that are trained in turn "
    "on each other's roll-outs, without pairs.",
    citation="Tang et al., Simplified Diffusion Schrödinger Bridge, 2024",
    papers=("2403.14623", "2106.01357"),
    peer="checkcrab/SDSB",
    licence="The repository states no licence for its weights; the AFHQ sizes need Stable Diffusion's autoencoder, "
    "which is under CreativeML OpenRAIL-M. The emoji world is Noto Color Emoji (OFL-1.1).",
    missing=(
        "The initialisation by a score-based model is in the core (`bottega.processes.bridge.denoised_end`), for any "
        "model that denoises, but no option of training uses it yet.",
        "AFHQ and CelebA are not bundled: their sizes train on a folder with two folders, `first` and `second`.",
        "The tiny size of two skin tones has no bundled weights; train it.",
        "The bundled bridge comes about half of the way in distance, and the fields of the checkerboard are not sharp. "
        "More updates at its rate and with its small batches do not bring it closer; larger batches were not tried "
        "to their end.",
    ),
    deviations=(
        "Roll-outs are made afresh for every update instead of being kept in a cache for an epoch.",
        "The bundled size goes between moons and a checkerboard; the authors' recipe between a pinwheel and a "
        "checkerboard.",
        "The authors' layout is written as safetensors under the authors' key names: bottega writes no pickles.",
    ),
)
