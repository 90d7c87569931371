"""Painter: one vision transformer that does what an example shows, by painting.

A picture and its painted answer stand above a query and its unknown answer; the network paints what is missing.
"""

from bottega.room import Card

CARD = Card(
    title="Painter",
    sentence="A picture with its painted answer and a query to the query's answer (classes, things, depth, key points, "
    "a picture without noise), by one network that completes paintings.",
    citation="Wang et al., Images Speak in Images: A Generalist Painter for In-Context Visual Learning, CVPR 2023",
    papers=("2212.02499",),
    peer="baaivision/Painter",
    licence="The published weights (BAAI/Painter) are under MIT. The world of lessons is drawn by bottega.",
    missing=(
        "Bundled weights: the recipe learns, and needs two to three hours on a processor core.",
        "The search for the example of a task that serves best, which the authors ran over their training sets.",
        "The authors' start from MAE weights: training starts from nothing, or from weights in the authors' layout.",
    ),
    deviations=(
        "A colour of a thing is tried only where it is some pixel's nearest; the authors try all 6400.",
        "Key points are refined within their pixel; the authors shift heat maps and smooth them.",
        "Masks of blocks have exactly as many patches as asked for; where no block fits, single patches are added.",
        "The tiny size has 16 x 16 location colours, learns with three in four queries wholly masked, from endless "
        "scenes without cropping, and by Muon.",
        "The authors' layout is written as safetensors under the authors' key names: bottega writes no pickles.",
    ),
)
