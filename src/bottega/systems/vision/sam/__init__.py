"""Segment Anything: masks for points, boxes, masks and words.

A picture is encoded once by a vision transformer; prompts become tokens; a small two-way transformer between both
answers each prompt with three masks (whole, part, part of a part) and how well each is expected to fit.
"""

from bottega.room import Card

CARD = Card(
    title="Segment Anything",
    sentence="Pictures and clicks, boxes, rough masks or words to masks with confidences, or every mask of a picture "
    "at once, by a promptable segmentation transformer.",
    citation="Kirillov et al., Segment Anything, ICCV 2023",
    papers=("2304.02643",),
    peer="facebookresearch/segment-anything; transformers.SamModel",
    licence="The published weights (facebookresearch/segment-anything) are under Apache-2.0; SA-1B, which they were "
    "trained on, has a research licence. The emoji world is Noto Color Emoji (OFL-1.1).",
    missing=(
        "Bundled weights that know photographs: theirs are emoji and drawn shapes, learned in an hour on one core. A "
        "single click is no better than flooding from it; more clicks and boxes are.",
        "Bundled weights that read words: their last stage was not trained. Scores are low, so finding every mask "
        "needs a lower --min-score.",
    ),
    deviations=(
        "First prompts also teach the single answer, so that a box alone can be asked for one mask.",
        "Training from scratch begins with first prompts only, and then learns from three of the eleven rounds at a "
        "time; `Rounds()` is the published simulation. The encoder starts without MAE's weights, and without the "
        "published layer-wise rates and stochastic depth.",
        "The published layouts are written as safetensors under the published names: bottega writes no pickles.",
        "COCO records have boxes that hold the last column and row, as COCO reads them; the published generator's are "
        "one pixel smaller.",
    ),
)
