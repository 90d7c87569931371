"""Weights: safe readers, two-way key tables, strict loading, and our own checkpoint file."""

from bottega.weights.atomic import write_atomically, write_bytes, write_text
from bottega.weights.audit import PickleWatch, Unpickling, forbid_unpickling
from bottega.weights.bundled import WeightsCard, bundled_path, card_path, read_card, verify, write_card
from bottega.weights.changes import (
    Change,
    ConvAsLinear,
    LinearAsConv,
    PairsAsHalves,
    Permute,
    Reorder,
    Reshape,
    Same,
    Transpose,
)
from bottega.weights.configs import decode_config, encode_config
from bottega.weights.files import list_length, read_json, read_metadata, read_tensors, write_tensors
from bottega.weights.folders import first_file, read_folder_config, read_folder_tensors, write_folder
from bottega.weights.hub import resolve
from bottega.weights.keys import add_prefix, nested, take_prefix, to_ours, to_theirs
from bottega.weights.load import LoadReport, load_into
from bottega.weights.native import (
    NativeHeader,
    NativeWeights,
    load_native,
    read_native_header,
    save_native,
    weights_hash,
)
from bottega.weights.persistent import read_persistent
from bottega.weights.rules import Drop, Fuse, KeyTable, Rename, Rule, Split

__all__ = [
    "Change",
    "ConvAsLinear",
    "Drop",
    "Fuse",
    "KeyTable",
    "LinearAsConv",
    "LoadReport",
    "NativeHeader",
    "NativeWeights",
    "PairsAsHalves",
    "Permute",
    "PickleWatch",
    "Rename",
    "Reorder",
    "Reshape",
    "Rule",
    "Same",
    "Split",
    "Transpose",
    "Unpickling",
    "WeightsCard",
    "add_prefix",
    "bundled_path",
    "card_path",
    "decode_config",
    "encode_config",
    "first_file",
    "forbid_unpickling",
    "list_length",
    "load_into",
    "load_native",
    "nested",
    "read_card",
    "read_folder_config",
    "read_folder_tensors",
    "read_json",
    "read_metadata",
    "read_native_header",
    "read_persistent",
    "read_tensors",
    "resolve",
    "save_native",
    "take_prefix",
    "to_ours",
    "to_theirs",
    "verify",
    "weights_hash",
    "write_atomically",
    "write_bytes",
    "write_card",
    "write_folder",
    "write_tensors",
    "write_text",
]
