"""What systems return, how it is kept in files, and the recipe that makes it again."""

from bottega.results.animation import ANIMATION_SUFFIXES, animation_bytes
from bottega.results.charts import curves, heat_map, points
from bottega.results.compare import difference
from bottega.results.drags import DragFrames, DragResult, marked
from bottega.results.kinds import PicturesResult, WordsResult
from bottega.results.origin import InputFile, Origin, PartOrigin, WeightsOrigin
from bottega.results.pictures import PICTURE_SUFFIXES, decode_picture, picture_bytes
from bottega.results.save import SUFFIXES, forms_of, origin_of, read_origin, save, slug, with_origin
from bottega.results.sheet import contact_sheet

__all__ = [
    "points",
    "heat_map",
    "curves",
    "ANIMATION_SUFFIXES",
    "PICTURE_SUFFIXES",
    "SUFFIXES",
    "DragFrames",
    "DragResult",
    "InputFile",
    "Origin",
    "PartOrigin",
    "PicturesResult",
    "WeightsOrigin",
    "WordsResult",
    "animation_bytes",
    "contact_sheet",
    "decode_picture",
    "difference",
    "forms_of",
    "marked",
    "origin_of",
    "picture_bytes",
    "read_origin",
    "save",
    "slug",
    "with_origin",
]
