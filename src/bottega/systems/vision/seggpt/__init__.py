"""SegGPT: segmenting everything in context.

Examples whose masks are painted in any colours say what is meant; the network paints the same things in new pictures
and films. It is a Painter that learned with random colours, so that only the examples say what a colour means.
"""

from bottega.room import Card

CARD = Card(
    title="SegGPT",
    sentence="Pictures, films and one or more examples with coloured masks to masks of the same things, by a vision "
    "transformer that completes the painting of an example.",
    citation="Wang et al., SegGPT: Segmenting Everything In Context, ICCV 2023",
    papers=("2304.03284", "2212.02499"),
    peer="transformers SegGptForImageSegmentation; baaivision/Painter for the feature ensemble",
    licence="The published weights (BAAI/SegGPT) are under MIT. The emoji world is Noto Color Emoji (OFL-1.1).",
    missing=(
        "Bundled weights: the recipe learns, and needs two to three hours on a processor core.",
        "Training on the paper's pool of real segmentation data; a folder of the user's own takes its place.",
    ),
    deviations=(
        "Masks are found by the nearest of all the examples' colours, which for one white mask is the authors' "
        "threshold; so one run can ask for several things.",
        "With several examples the first row of pixels, whose last convolution reaches into an example, sees their "
        "mean and not the first one, so that their order changes nothing.",
        "The authors' layout is written as safetensors under the authors' key names: bottega writes no pickles.",
        "The tiny size starts from nothing and not from a Painter: it learns first at half the size, with a loss that "
        "is a parabola up to 1 (published: 0.01), then as published; with more queries unknown altogether (40 % and "
        "70 %; published: 10 %) and by Muon.",
    ),
)
