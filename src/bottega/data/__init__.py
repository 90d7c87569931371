"""Readers of users' pictures, folders and archives; the order of training; typed batches."""

from bottega.data.archive import PictureArchives
from bottega.data.batch import PictureBatch, collate
from bottega.data.chats import Chat, ChatLines, Preferred
from bottega.data.folder import PictureFolder
from bottega.data.frames import read_frames
from bottega.data.open import open_source
from bottega.data.pictures import (
    MAX_PIXELS,
    Crop,
    Pad,
    PictureSource,
    fit_picture,
    picture_to_tensor,
    pictures_to_tensor,
    read_picture,
    tensor_to_picture,
    tensor_to_pictures,
)
from bottega.data.sampler import SamplerState, ShuffledSampler, shuffled
from bottega.data.source import Captioned, CaptionedPicture, Fitted, Pictured, Problem, Source
from bottega.data.texts import TextFolder, TextPiece

__all__ = [
    "MAX_PIXELS",
    "Captioned",
    "CaptionedPicture",
    "Chat",
    "ChatLines",
    "Crop",
    "Fitted",
    "Pad",
    "PictureArchives",
    "PictureBatch",
    "PictureFolder",
    "PictureSource",
    "Pictured",
    "Preferred",
    "Problem",
    "SamplerState",
    "ShuffledSampler",
    "Source",
    "TextFolder",
    "TextPiece",
    "collate",
    "fit_picture",
    "open_source",
    "picture_to_tensor",
    "pictures_to_tensor",
    "read_frames",
    "read_picture",
    "shuffled",
    "tensor_to_picture",
    "tensor_to_pictures",
]
