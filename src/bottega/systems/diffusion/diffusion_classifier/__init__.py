"""Diffusion Classifier: any diffusion model that takes a condition as a zero-shot classifier."""

from bottega.room import Card

CARD = Card(
    title="Diffusion Classifier",
    sentence="Pictures and a list of labels to the label under which a diffusion model removes noise best, without "
    "any training.",
    citation="Li et al., Your Diffusion Model is Secretly a Zero-Shot Classifier, ICCV 2023",
    papers=("2303.16203",),
    peer="diffusion-classifier/diffusion-classifier",
    licence="The method has no weights of its own; those of the diffusion model that it asks keep their licence.",
    missing=(
        "A comparison with CLIP inside the evaluation: no part offers a picture and a text tower. `python -m "
        "benchmarks zero_shot` asks the towers of the bundled UniDiffuser, which are weak at names of classes.",
        "Stable Diffusion as the model asked: its room is not there yet.",
    ),
    deviations=(
        "The rounds of elimination are set by three numbers (labels, draws, rounds); the paper sets them by hand for "
        "each data set.",
        "Times are even over the whole path in every round, so that an early round sees all noise levels.",
    ),
)
