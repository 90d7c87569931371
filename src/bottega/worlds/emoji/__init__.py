"""The emoji world: Noto Color Emoji as real data that comes with the package, with exact answers.

The pictures are under the SIL Open Font License 1.1 (see `data/LICENSE.txt`); names and keywords are Unicode's.
"""

from bottega.worlds.emoji.atlas import Emoji, languages, load_atlas, load_index, names
from bottega.worlds.emoji.classes import EMOJI_CLASSES, HasCaption, class_number, class_of_sample, emoji_class
from bottega.worlds.emoji.coloured import ColouredEmojiWorld, coloured_nouns
from bottega.worlds.emoji.places import EmojiPlacesWorld, ground, place
from bottega.worlds.emoji.splits import family_weights, held_out_ids, reference_pictures, split
from bottega.worlds.emoji.world import EmojiWorld
from bottega.worlds.pixels import compose

__all__ = [
    "ColouredEmojiWorld",
    "EMOJI_CLASSES",
    "Emoji",
    "EmojiPlacesWorld",
    "EmojiWorld",
    "HasCaption",
    "class_number",
    "class_of_sample",
    "coloured_nouns",
    "compose",
    "emoji_class",
    "family_weights",
    "ground",
    "held_out_ids",
    "languages",
    "load_atlas",
    "load_index",
    "names",
    "place",
    "reference_pictures",
    "split",
]
