"""The results of the studio on disk: one folder each, complete once its `item.json` is there."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bottega.studio import limits
from bottega.studio.messages import GalleryPage, Item

log = logging.getLogger(__name__)

RECORD: Final = "item.json"


class Gallery:
    """Every finished result, by id. Only ids that are in its index ever become paths.

    Args:
        folder: Where the results lie. Folders that were never finished are removed when the studio starts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        found = [item for each in folder.iterdir() if each.is_dir() and (item := _read(each)) is not None]
        self._items = {item.id: item for item in sorted(found, key=lambda item: item.created)}

    def begin(self) -> Path:
        """Makes the folder of a new result; its name is the id."""
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def finish(self, item: Item) -> None:
        """Puts a result whose files are all written into the gallery."""
        path = self._folder / item.id / RECORD
        temporary = path.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(item.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        with self._lock:
            self._items[item.id] = item

    def abandon(self, folder: Path) -> None:
        """Removes the folder of a result that will not be finished."""
        shutil.rmtree(folder)

    def find(self, item_id: str) -> Item | None:
        """The result of that id, or None."""
        with self._lock:
            return self._items.get(item_id)

    def file(self, item: Item, name: str) -> Path:
        """A file of a result, by a name that the result itself holds."""
        return self._folder / item.id / name

    def remove(self, item_id: str) -> bool:
        """Deletes a result and its files; tells whether there was one."""
        with self._lock:
            item = self._items.pop(item_id, None)
        if item is None:
            return False
        shutil.rmtree(self._folder / item.id)
        return True

    def page(self, before: str | None, limit: int) -> GalleryPage:
        """The newest results, or the newest among those older than a given one.

        Args:
            before: Id of a result; an unknown one starts from the newest.
            limit: Most results to return.
        """
        with self._lock:
            items = list(reversed(self._items.values()))
        start = next((index + 1 for index, item in enumerate(items) if item.id == before), 0)
        end = start + min(limit, limits.GALLERY_PAGE)
        return GalleryPage(items=items[start:end], more=end < len(items))


def _read(folder: Path) -> Item | None:
    """The record of a folder. An unfinished folder is removed; a damaged record is left alone, and said in the log."""
    record = folder / RECORD
    if not record.is_file():
        shutil.rmtree(folder)
        return None
    try:
        item = Item.model_validate_json(record.read_bytes())
    except ValidationError as error:
        log.warning("%s is not shown: its record is damaged (%d errors)", folder, error.error_count())
        return None
    names = [
        item.recipe,
        item.sheet,
        item.traces,
        *(thing.file for thing in item.things),
        *(each.file for each in item.inputs),
    ]
    if item.id != folder.name or any(name != Path(name).name for name in names if name):
        log.warning("%s is not shown: its record names files outside its folder", folder)
        return None
    return item
