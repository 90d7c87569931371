"""The emoji world: Noto Color Emoji as real data that comes with the package, with exact answers.

The pictures are under the SIL Open Font License 1.1 (see `data/LICENSE.txt`); names and keywords are Unicode's.
"""

from bottega.worlds.emoji.atlas import Emoji, compose, languages, load_atlas, load_index, names
from bottega.worlds.emoji.splits import family_weights, held_out_ids, pair_is_held_out, reference_pictures, split
from bottega.worlds.emoji.world import EmojiWorld

__all__ = [
    "Emoji",
    "EmojiWorld",
    "compose",
    "family_weights",
    "held_out_ids",
    "languages",
    "load_atlas",
    "load_index",
    "names",
    "pair_is_held_out",
    "reference_pictures",
    "split",
]
