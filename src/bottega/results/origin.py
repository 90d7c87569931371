"""Where a result came from: all that is needed to make the same bits again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bottega.errors import FileError


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFile:
    """A file that a request read: its path as the user wrote it, and what it held.

    Args:
        path: The path as given; a relative one counts from the current folder.
        sha256: Of the file's bytes.
    """

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsOrigin:
    """Which weights made a result.

    Args:
        sha256: Of the file, or of a folder's files and their names.
        source: "bundled", or the path as the user gave it.
        format: The published format it was read from; None for bottega's own.
    """

    sha256: str
    source: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class PartOrigin:
    """Another system that took part.

    Args:
        system: Which, as users name it: `ID` or `ID:PRESET`.
        weights: Its weights.
    """

    system: str
    weights: WeightsOrigin


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The recipe of a result, kept inside its file.

    Args:
        bottega: Version of bottega.
        torch: Version of torch, which may change the last bits.
        system: Catalogue id.
        preset: The size that ran.
        weights: Which weights ran.
        request: The request, as `bottega.weights.encode_config` writes it.
        packed: Whether linear layers ran on packed weights, which may change the last bits.
        inputs: The files that the request names.
        seed: The seed that the result reports.
        device: Where it ran, such as "cpu" or "cuda:0".
        dtype: Type of the parameters, such as "float32".
        threads: CPU threads; sums over another number of threads may differ in the last bit.
        index: Which of the result's items the file holds; None for all of them.
        parts: Other systems that took part, by the field that names them.
    """

    bottega: str
    torch: str
    system: str
    preset: str
    weights: WeightsOrigin
    request: Mapping[str, Any]
    seed: int
    device: str
    dtype: str
    threads: int
    packed: bool = False
    inputs: tuple[InputFile, ...] = ()
    index: int | None = None
    parts: Mapping[str, PartOrigin] = field(default_factory=dict)

    def to_json(self) -> str:
        """The origin as one line of ASCII JSON, equal for equal origins."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str, where: str) -> Origin:
        """Reads what `to_json` wrote.

        Args:
            text: The JSON.
            where: The file it was found in, for the error.

        Raises:
            FileError: The text is not an origin; nothing can be replayed from this file.
        """
        try:
            fields = json.loads(text)
            fields["weights"] = WeightsOrigin(**fields["weights"])
            fields["inputs"] = tuple(InputFile(**each) for each in fields["inputs"])
            parts = fields.get("parts", {}).items()
            fields["parts"] = {
                name: PartOrigin(system=part["system"], weights=WeightsOrigin(**part["weights"]))
                for name, part in parts
            }
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FileError(f"the recipe inside {where} is damaged or from another version ({error})") from error
