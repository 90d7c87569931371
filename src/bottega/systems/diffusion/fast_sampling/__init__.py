"""Fast sampling: every solver of the core on any diffusion model of the catalogue, side by side."""

from bottega.room import Card

CARD = Card(
    title="Fast sampling",
    sentence="Words or classes to pictures in a handful of calls of any diffusion model, by 18 solvers on the same "
    "noise, one after another or side by side.",
    citation="Song et al., Denoising Diffusion Implicit Models, ICLR 2021; Liu et al., PNDM, ICLR 2022; Lu et al., "
    "DPM-Solver, NeurIPS 2022; Zhang and Chen, DEIS, ICLR 2023; Zhao et al., UniPC, NeurIPS 2023; Shih et al., "
    "ParaDiGMS, NeurIPS 2023",
    papers=(
        "2010.02502",
        "2202.09778",
        "2206.00927",
        "2211.01095",
        "2204.13902",
        "2302.04867",
        "2206.00364",
        "2305.16317",
    ),
    peer="huggingface/diffusers schedulers",
    licence="Solvers have no weights; those of the diffusion model that is sampled keep their licence.",
    missing=(
        "DPM-Solver's adaptive step size (order 12 and 23).",
        "ParaDiGMS over several devices: a window is one batch on one device.",
    ),
    deviations=(
        "Steps are counted in calls of the network, so that solvers of two or three calls a step are compared fairly.",
        "ParaDiGMS measures a state's change against the state's own size, not against the noise that DDPM adds.",
        "UniPC and the multistep solvers take a step that ends in clean data at first order.",
    ),
)  # fmt: skip
