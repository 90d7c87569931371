"""Sizes of what the posterior room holds itself: a prior over scans, a supervised rival, and a reader of pictures."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.networks import NcsnppConfig, Progressive, TimeEmbedding
from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreNoise:
    """The paper's: the variance-exploding SDE on densities in [0, 1]; the network's output is the score.

    Args:
        sigma_max: Largest noise level.
        sigma_min: Smallest.
    """

    sigma_max: float
    sigma_min: float = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class PreconditionedNoise:
    """EDM's noise levels and preconditioning on densities in [-1, 1], which learn in fewer steps.

    Args:
        sigma_data: Standard deviation of the data.
        sigma_max: Largest noise level.
        sigma_min: Smallest.
    """

    sigma_data: float = 0.5
    sigma_max: float = 40.0
    sigma_min: float = 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanConfig:
    """A score-based prior over scans (one-channel pictures of densities).

    Args:
        network: The U-Net; its side times `fold` is the scan's.
        noise: Noise levels, and what the network predicts.
        fold: Side of the blocks of pixels that are channels to the network; 1 is none.
    """

    network: NcsnppConfig
    noise: ScoreNoise | PreconditionedNoise
    fold: int = 1

    def __post_init__(self) -> None:
        if self.fold < 1 or self.network.channels != self.fold**2:
            raise ValueError(f"channels is {self.network.channels}, but blocks of side {self.fold} have {self.fold**2}")
        if isinstance(self.noise, ScoreNoise) != self.network.divide_by_sigma:
            raise ValueError("a score is an output divided by sigma; other outputs are not divided")

    @property
    def size(self) -> int:
        """Side of a scan in pixels."""
        return self.network.size * self.fold


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderConfig:
    """A classifier of noisy pictures with two answers: the emoji's group, and which words its name holds.

    Args:
        size: Side of the pictures it reads, in pixels.
        widths: Channels of its stages; each after the first halves the picture.
        groups: How many groups there are.
        words: How many words it knows.
    """

    size: int = 32
    widths: tuple[int, ...] = (16, 32, 48, 80)
    groups: int = 9
    words: int = 256

    def __post_init__(self) -> None:
        if not self.widths or self.size % 2 ** (len(self.widths) - 1) or any(width % 4 for width in self.widths):
            raise ValueError(f"widths {self.widths} must be multiples of 4 and halve {self.size} px evenly")
        if self.groups < 2 or self.words < 1:
            raise ValueError(f"groups {self.groups} must be at least 2 and words {self.words} at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class PosteriorConfig:
    """What the room holds besides the prior over pictures, which is another system.

    Args:
        prior: Catalogue id of the diffusion model that pictures are drawn with.
        scans: The prior over scans; None leaves out computed tomography and magnetic resonance.
        rival: Projections of the measurement that the supervised rival is trained for; it is a U-Net of the size of
            the scans' and maps a filtered back-projection to the scan. 0 has no rival.
        reader: The reader of pictures; None leaves out guidance by a classifier and by words.
    """

    prior: str = "uvit"
    scans: ScanConfig | None = None
    rival: int = 0
    reader: ReaderConfig | None = None

    def __post_init__(self) -> None:
        if self.rival and self.scans is None:
            raise ValueError("the rival is a rival of the prior over scans; leave it out or give scans")


def _paper(size: int, multipliers: tuple[int, ...], attends: int, sigma_max: float, **sizes: int) -> PosteriorConfig:
    """A prior of the paper: NCSN++ with FIR resampling, pyramids in and out, and Fourier features of log(sigma)."""
    network = NcsnppConfig(
        size=size, channels=1, width=sizes.get("width", 32), multipliers=multipliers, blocks=sizes.get("blocks", 2),
        attention_sizes=(attends,), fir=True, output=Progressive.SKIP, input=Progressive.SKIP,
        time=TimeEmbedding.FOURIER, divide_by_sigma=True, centred=False, dropout=0.0,
    )  # fmt: skip
    return PosteriorConfig(scans=ScanConfig(network=network, noise=ScoreNoise(sigma_max=sigma_max)))


TINY_NETWORK = NcsnppConfig(
    size=16, channels=4, width=16, multipliers=(1, 2), blocks=1, attention_sizes=(8,), fir=True,
    output=Progressive.SKIP, input=Progressive.SKIP, dropout=0.0,
)  # fmt: skip
TINY = PosteriorConfig(
    scans=ScanConfig(network=TINY_NETWORK, noise=PreconditionedNoise(), fold=2), rival=12, reader=ReaderConfig()
)

PRESETS = {
    "ct2d-320": Preset(
        config=_paper(320, (1, 1, 2, 2, 2, 2, 2), 20, 128.0),
        parameters=4_118_983,
        source="score_inverse_problems, configs/ve/ct2d_320_ncsnpp_continuous.py: sparse-view CT, 320 px",
    ),
    "ldct-512": Preset(
        config=_paper(512, (1, 2, 4, 8, 16, 32, 32), 16, 220.0, width=16, blocks=1),
        parameters=75_669_031,
        source="score_inverse_problems, configs/ve/ldct_512_ncsnpp_continuous.py: low-dose CT, 512 px",
    ),
    "brats-240": Preset(
        config=_paper(240, (1, 1, 2, 2, 2), 30, 128.0),
        parameters=2_676_037,
        source="score_inverse_problems, configs/ve/brats_ncsnpp_continuous.py: undersampled MRI, 240 px",
    ),
    "pictures": Preset(
        config=PosteriorConfig(),
        parameters=0,
        source="nothing of its own: strokes, inpainting, colourisation, super-resolution and deblurring by the prior",
    ),
    "tiny": Preset(config=TINY, parameters=606_425, source="for phantoms and emoji at 32 pixels"),
}
"""Sizes by name. The paper's hold its prior over scans; its figures come from weights that are not with its code."""
