"""Records what the authors' NCSN++ gives: `python record_ncsnpp_goldens.py CHECKOUT`, a clone of score_sde_pytorch.

Their `op` compiles CUDA code when it is imported; its plain PyTorch function is taken from the same file instead. Two
calls that present-day torch refuses are mended in memory: `interpolate`'s third argument, which is a size no more, and
their FIR up-convolution, which torch never ran (those sizes are left out; no published one uses it).
"""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

from bottega.networks import BlockKind, NcsnppConfig, Progressive, TimeEmbedding

FOURIER = {"time": TimeEmbedding.FOURIER, "divide_by_sigma": True, "centred": False}
SMALL = {"size": 8, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention_sizes": (4,), "dropout": 0.0}
SIZES = {
    "ddpmpp": NcsnppConfig(**SMALL),
    "ncsnpp-cifar10": NcsnppConfig(**SMALL, **FOURIER, fir=True, input=Progressive.RESIDUAL),
    "ncsnpp-256": NcsnppConfig(**SMALL, **FOURIER, fir=True, input=Progressive.SKIP, output=Progressive.SKIP),
    "ddpm-blocks": NcsnppConfig(**SMALL, block=BlockKind.DDPM, output=Progressive.RESIDUAL, rescale_skips=False),
}
PLACE = Path(__file__).with_name("ncsnpp_goldens.json")


def fill(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Random tensors by the authors' names, the same for the same names and shapes."""
    generator = torch.Generator().manual_seed(0)
    filled = {}
    for name in sorted(shapes):
        shape = shapes[name]
        scale = 0.3 if len(shape) == 1 else max(torch.Size(shape[1:]).numel(), 1) ** -0.5
        filled[name] = torch.randn(shape, generator=generator) * scale
    return filled


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and times."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand((2, 3, 8, 8), generator=generator), torch.tensor([0.3, 7.0])


def import_authors(checkout: Path) -> type[torch.nn.Module]:
    """The authors' class."""
    sys.path.insert(0, str(checkout))
    source = (checkout / "op" / "upfirdn2d.py").read_text()
    op = ModuleType("op")
    op.__dict__.update(torch=torch, F=torch.nn.functional)
    exec(source[source.index("def upfirdn2d(") :], op.__dict__)
    sys.modules["op"] = op
    interpolate = torch.nn.functional.interpolate
    torch.nn.functional.interpolate = lambda x, size, mode, *rest: interpolate(x, size, mode=mode)
    from models.ncsnpp import NCSNpp

    return NCSNpp


def as_theirs(config: NcsnppConfig) -> SimpleNamespace:
    """The authors' configuration of a size."""
    pyramid = {Progressive.NONE: "none", Progressive.RESIDUAL: "residual"}
    model = SimpleNamespace(
        nf=config.width, ch_mult=config.multipliers, num_res_blocks=config.blocks, dropout=config.dropout,
        attn_resolutions=config.attention_sizes, resamp_with_conv=True, conditional=True, fir=config.fir,
        fir_kernel=[1, 3, 3, 1], skip_rescale=config.rescale_skips, resblock_type=config.block.value,
        progressive=pyramid.get(config.output, "output_skip"), progressive_combine="sum", init_scale=0.0,
        progressive_input=pyramid.get(config.input, "input_skip"), embedding_type=config.time.value,
        fourier_scale=16.0, scale_by_sigma=config.divide_by_sigma, nonlinearity="swish", sigma_min=0.01,
        sigma_max=50.0, num_scales=1000, normalization="GroupNorm",
    )  # fmt: skip
    data = SimpleNamespace(image_size=config.size, num_channels=config.channels, centered=config.centred)
    return SimpleNamespace(model=model, data=data, training=SimpleNamespace(continuous=True))


def main() -> None:
    """Writes the file."""
    authors, goldens = import_authors(Path(sys.argv[1])), {}
    for name, config in SIZES.items():
        network = authors(as_theirs(config)).eval()
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items() if key != "sigmas"}
        network.load_state_dict(fill(shapes) | {"sigmas": network.sigmas})
        with torch.no_grad():
            out = network(*inputs())
        head = [round(float(value), 6) for value in out.flatten()[::7]]
        goldens[name] = {"shapes": {key: list(shape) for key, shape in shapes.items()}, "every seventh": head}
    PLACE.write_text(json.dumps(goldens, separators=(",", ":")))


if __name__ == "__main__":
    main()
