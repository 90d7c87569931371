"""Few-step students of diffusion models: progressive, guided and consistency distillation, LCM and MLCM.

A student is a copy of a trained model's network that learns to reach in 1 to 8 calls what its teacher reaches in many.
Any system that holds a diffusion model can be the teacher.
"""

from bottega.room import Card

CARD = Card(
    title="Few-step distillation (progressive, guided, consistency, LCM, MLCM)",
    sentence="Words to pictures in 1 to 8 calls of a network, by a student that is distilled from any diffusion model "
    "of the catalogue.",
    citation="Salimans and Ho, Progressive Distillation for Fast Sampling of Diffusion Models, ICLR 2022; Meng et al., "
    "On Distillation of Guided Diffusion Models, CVPR 2023; Song et al., Consistency Models, ICML 2023; Luo et al., "
    "Latent Consistency Models, 2023; Xie et al., TLCM (MLCM), 2024",
    papers=("2202.00512", "2210.03142", "2303.01469", "2310.04378", "2406.05768"),
    peer="huggingface/diffusers (LCMScheduler, guidance embedding)",
    licence="A student is a derivative of its teacher: the teacher's licence holds. The emoji world is Noto Color "
    "Emoji (OFL-1.1).",
    missing=(
        "A bundled student that gains much at four steps: it learned for eleven minutes, and comes a little nearer to "
        "its teacher than DDIM does in as many steps. The gain is larger at two.",
        "The published students of Stable Diffusion and SDXL: their U-Nets are not in the catalogue, so their weights "
        "cannot be loaded. A student always has its teacher's configuration.",
        "TLCM's adversarial loss, its low-rank adapters and its preference model: the reward here is any function of "
        "pictures, colourfulness among those that come with the package.",
    ),
    deviations=(
        "The strength of guidance enters as learned patterns added to the network's input, weighed by LCM's embedding "
        "of it, so that any network can be told; the papers add the embedding to that of the time, inside one U-Net.",
        "Mean squared or pseudo-Huber distances in place of LPIPS, which needs weights that do not come with the "
        "package.",
        "The tiny students learn from the teacher's own states at the end of each segment, for which it takes all its "
        "steps to there; MLCM takes one step and trusts the student's average from there (`Ahead.STEP`, the default of "
        "the method). This learns more from an update where the teacher is small.",
        "Trajectories of the data-free training go on from update to update, each update moving them by the steps "
        "of the teacher that the loss needs anyway.",
    ),
)
