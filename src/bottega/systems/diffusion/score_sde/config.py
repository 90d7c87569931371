"""Sizes of score SDE models: published ones, and for the emoji world."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bottega.networks import NcsnppConfig, Progressive, TimeEmbedding
from bottega.processes.diffusion import SubVp, VeGeometric, Vp
from bottega.room import Preset

Sde = VeGeometric | Vp | SubVp


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreSdeConfig:
    """A network and the SDE that it reverses.

    Args:
        network: NCSN++ or DDPM++.
        sde: How noise comes in; on the scale of the network's pictures ([0, 1], or [-1, 1] where it is centred).
        snr: The Langevin corrector's ratio of score to noise.
    """

    network: NcsnppConfig
    sde: Sde
    snr: float = 0.16

    def __post_init__(self) -> None:
        exploding = isinstance(self.sde, VeGeometric)
        if exploding != (self.network.time is TimeEmbedding.FOURIER):
            raise ValueError("a VE network is told log(sigma) by Fourier features, and no other network is")
        if exploding != self.network.divide_by_sigma:
            raise ValueError("the output of a VE network, and of no other, is divided by the noise level")
        if not 0 < self.snr < 10:
            raise ValueError(f"snr is {self.snr}, but it must be above 0 and below 10")


def _cifar10(*, blocks: int = 4, ncsnpp: bool = False, sde: Sde) -> ScoreSdeConfig:
    network = NcsnppConfig(
        size=32, blocks=blocks, fir=ncsnpp, input=Progressive.RESIDUAL if ncsnpp else Progressive.NONE
    )
    return ScoreSdeConfig(network=_for(network, sde), sde=sde)


def _for(network: NcsnppConfig, sde: Sde) -> NcsnppConfig:
    """A network with what the SDE asks of it."""
    if not isinstance(sde, VeGeometric):
        return network
    return replace(network, time=TimeEmbedding.FOURIER, divide_by_sigma=True, centred=False)


def _large(sigma_max: float, size: int, width: int, multipliers: tuple[int, ...], blocks: int) -> ScoreSdeConfig:
    network = NcsnppConfig(
        size=size, width=width, multipliers=multipliers, blocks=blocks, fir=True, output=Progressive.SKIP,
        input=Progressive.SKIP, dropout=0.0,
    )  # fmt: skip
    sde = VeGeometric(sigma_max=sigma_max)
    return ScoreSdeConfig(network=_for(network, sde), sde=sde, snr=0.075 if size == 256 else 0.15)


def _256(sigma_max: float) -> ScoreSdeConfig:
    return _large(sigma_max, 256, 128, (1, 1, 2, 2, 2, 2, 2), 2)


def _1024() -> ScoreSdeConfig:
    return _large(1348.0, 1024, 16, (1, 2, 4, 8, 16, 32, 32, 32), 1)


VE, VP, SUB_VP = VeGeometric(), Vp(t_min=1e-5), SubVp(t_min=1e-5)
"""The SDEs of CIFAR-10. Networks are trained from t = 1e-5."""


def _tiny(sde: Sde) -> ScoreSdeConfig:
    network = NcsnppConfig(size=16, width=28, multipliers=(1, 2, 2), blocks=1, attention_sizes=(8,), dropout=0.0)
    return ScoreSdeConfig(network=_for(network, sde), sde=sde)


def _preset(config: ScoreSdeConfig, parameters: int, source: str) -> Preset[ScoreSdeConfig]:
    return Preset(config=config, parameters=parameters, source=source)


NCSNPP, NCSNPP_DEEP, DDPMPP, DDPMPP_DEEP = 62_758_787, 107_586_947, 61_804_419, 106_632_579

PRESETS = {
    "cifar10-ncsnpp-ve": _preset(_cifar10(ncsnpp=True, sde=VE), NCSNPP, "ve/cifar10_ncsnpp_continuous.py"),
    "cifar10-ncsnpp-deep-ve": _preset(
        _cifar10(ncsnpp=True, blocks=8, sde=VE), NCSNPP_DEEP, "ve/cifar10_ncsnpp_deep_continuous.py"
    ),
    "cifar10-ddpmpp-vp": _preset(_cifar10(sde=VP), DDPMPP, "vp/cifar10_ddpmpp_continuous.py"),
    "cifar10-ddpmpp-deep-vp": _preset(_cifar10(blocks=8, sde=VP), DDPMPP_DEEP, "vp/cifar10_ddpmpp_deep_continuous.py"),
    "cifar10-ncsnpp-vp": _preset(_cifar10(ncsnpp=True, sde=VP), NCSNPP - 65_536, "vp/cifar10_ncsnpp_continuous.py"),
    "cifar10-ncsnpp-deep-vp": _preset(
        _cifar10(ncsnpp=True, blocks=8, sde=VP), NCSNPP_DEEP - 65_536, "vp/cifar10_ncsnpp_deep_continuous.py"
    ),
    "cifar10-ddpmpp-subvp": _preset(_cifar10(sde=SUB_VP), DDPMPP, "subvp/cifar10_ddpmpp_continuous.py"),
    "cifar10-ddpmpp-deep-subvp": _preset(
        _cifar10(blocks=8, sde=SUB_VP), DDPMPP_DEEP, "subvp/cifar10_ddpmpp_deep_continuous.py"
    ),
    "cifar10-ncsnpp-subvp": _preset(
        _cifar10(ncsnpp=True, sde=SUB_VP), NCSNPP - 65_536, "subvp/cifar10_ncsnpp_continuous.py"
    ),
    "cifar10-ncsnpp-deep-subvp": _preset(
        _cifar10(ncsnpp=True, blocks=8, sde=SUB_VP), NCSNPP_DEEP - 65_536, "subvp/cifar10_ncsnpp_deep_continuous.py"
    ),
    "bedroom-256": _preset(_256(378.0), 65_574_421, "ve/bedroom_ncsnpp_continuous.py"),
    "church-256": _preset(_256(380.0), 65_574_421, "ve/church_ncsnpp_continuous.py"),
    "ffhq-256": _preset(_256(348.0), 65_574_421, "ve/ffhq_256_ncsnpp_continuous.py, celebahq_256 alike"),
    "ffhq-1024": _preset(_1024(), 105_785_880, "ve/ffhq_ncsnpp_continuous.py, celebahq alike"),
    "tiny": _preset(_tiny(VP), 966_227, "DDPM++ for the emoji world at 16 pixels"),
    "tiny-ve": _preset(_tiny(VE), 969_363, "the same network on the VE SDE"),
    "tiny-subvp": _preset(_tiny(SUB_VP), 966_227, "the same on the sub-VP SDE"),
}
"""Sizes by name. Sources are the files of the authors' `configs/`, whose modules were counted."""
