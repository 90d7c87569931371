"""DragGAN: points of a picture are dragged to where the user wants them, inside the generator that draws it."""

from bottega.room import Card

CARD = Card(
    title="DragGAN",
    sentence="Drags points of a picture to other places: what is under them moves, and the rest follows as the "
    "generator has learned it.",
    citation="Pan et al., Drag Your GAN: Interactive Point-based Manipulation on the Generative Image Manifold, "
    "SIGGRAPH 2023",
    papers=("2305.10973", "1912.04958", "2006.06676"),
    peer="NVlabs/stylegan2-ada-pytorch and XingangPan/DragGAN",
    licence="The authors' code is under CC BY-NC 4.0 and NVIDIA's source licence, published weights under NVIDIA's: "
    "no commercial use. The portraits are drawn here, or are Noto Color Emoji (OFL-1.1).",
    missing=(
        "Bundled weights.",
        "StyleGAN3 and StyleGAN-Human, which the authors' program also drags.",
    ),
    deviations=(
        "An own picture is looked for by pixels and by the features of the generator's own discriminator, not by those "
        "of a recognition network (LPIPS).",
        "Augmentation of the tiny size moves pictures by bilinear interpolation, not through the paper's filter.",
        "Features are compared at the side of their map, not after resizing it to the picture's.",
    ),
)
