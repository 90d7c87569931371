"""Pictures to tokens and back."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Cuts a picture into square patches and projects each to a token, row by row.

    Args:
        channels: Channels of the picture.
        width: Channels of a token.
        patch_size: Side of a patch in pixels.
        bias: Whether the projection has a bias.
    """

    def __init__(self, channels: int, width: int, patch_size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(channels, width, kernel_size=patch_size, stride=patch_size, bias=bias)

    def forward(self, picture: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to `(batch, patches, token width)`.

        Raises:
            ValueError: If height or width is no multiple of the patch size.
        """
        height, width = picture.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(f"a {height}x{width} picture cannot be cut into patches of {self.patch_size} pixels")
        return self.proj(picture).flatten(2).transpose(1, 2)


def unpatchify(tokens: Tensor, rows: int, patch_size: int) -> Tensor:
    """Lays patches of pixels back into a picture, row by row.

    Args:
        tokens: `(batch, rows * columns, patch_size * patch_size * channels)`, channels fastest.
        rows: Rows of patches.
        patch_size: Side of a patch in pixels.

    Returns:
        `(batch, channels, rows * patch_size, columns * patch_size)`.
    """
    return rearrange(tokens, "b (r c) (p q d) -> b d (r p) (c q)", r=rows, p=patch_size, q=patch_size)
