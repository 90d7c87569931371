"""EVA and EVA-CLIP: masked pre-training on CLIP's features, and pictures and sentences in one space."""

from bottega.room import Card

CARD = Card(
    title="EVA",
    sentence="Pictures and sentences to features that can be compared, by a vision transformer that first learned to "
    "tell the features of hidden patches.",
    citation="Fang et al., EVA: Exploring the Limits of Masked Visual Representation Learning at Scale, CVPR 2023; "
    "Sun et al., EVA-CLIP: Improved Training Techniques for CLIP at Scale, 2023",
    papers=("2211.07636", "2303.15389"),
    peer="baaivision/EVA; mlfoundations/open_clip with huggingface/pytorch-image-models",
    licence="The published weights (BAAI/EVA, QuanSun/EVA-CLIP) are under MIT. The emoji world is Noto Color Emoji "
    "(OFL-1.1).",
    missing=(
        "Fine-tuning for classification, video, detection and segmentation: a tower gives features, and a linear probe "
        "is part of the evaluation.",
        "EVA-02's own masked pre-training and EVA-CLIP B/16; their towers share every part of L/14's.",
        "Bundled weights that were trained for long: of the names of 1,900 emoji they tell every fifth picture's.",
    ),
    deviations=(
        "The tiny size is trained with Muon and batches of 128 to 256; LAMB, the paper's choice for batches of 41,000 "
        "to 144,000, is Optimizer.LAMB of FitSettings. The text tower and the projection behind it go on from the "
        "teacher's; the published training starts the projection anew.",
        "Pictures that other systems hand over are stretched to squares; files are cropped to squares, as published.",
        "A block-wise mask that ends early is filled up patch by patch, so that all have as many hidden patches.",
    ),
)
