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
)
