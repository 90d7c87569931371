"""Score-based generative modeling through stochastic differential equations.

Noise comes in continuously; its reversal needs only the score. The same model is an ordinary differential equation,
which encodes pictures, decodes them, and says how likely they are.
"""

from bottega.room import Card

CARD = Card(
    title="Score SDE (NCSN++ and DDPM++)",
    sentence="Pictures from noise by any sampler of the reverse-time SDE or its ODE; and from pictures their exact "
    "log-likelihood in bits per dimension, how unusual they are, and a code that turns back into them.",
    citation="Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, ICLR 2021",
    papers=("2011.13456",),
    peer="yang-song/score_sde_pytorch",
    licence="The authors' code is under Apache-2.0; their checkpoints come with it. The emoji world is Noto Color "
    "Emoji (OFL-1.1).",
    missing=(
        "The bundled weights draw blurred shapes; by the ODE pictures are darker and more often broken than by the "
        "stochastic samplers.",
        "The authors' discrete-time configurations (1000 noise levels) and their ports of NCSNv2 and DDPM are not "
        "presets here; class-conditional sampling, inpainting and colourisation are in the room `posterior`.",
    ),
    deviations=(
        "Norms in the Langevin corrector are measured for each picture, not averaged over the batch, so that a picture "
        "does not depend on its neighbours.",
        "The last step of every sampler takes the denoised picture; the authors take the last step without its noise.",
        "The authors' layout is written as safetensors under the authors' key names: bottega writes no pickles.",
    ),
)
