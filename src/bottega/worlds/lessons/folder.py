"""Lessons from a user's folder: pictures beside paintings of their answers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from bottega.data import read_picture
from bottega.errors import FileError
from bottega.processes.painting import PaintTask
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.lessons.lesson import Lesson, Study

TARGET = "_target"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class FolderOfLessons:
    """Pairs of files: `<task>/<name>.png` and `<task>/<name>_target.png`, a folder a task (see `PaintTask`).

    Targets are painted in the colours of the network that is trained. The example of a lesson is any other pair of the
    same folder.

    Args:
        folder: The folder that holds the tasks' folders.

    Raises:
        FileError: There is no pair.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not self.pairs:
            names = ", ".join(task.value for task in PaintTask)
            raise FileError(
                f"{folder} holds no pairs; put pictures and their paintings into folders named {names}, "
                f"as depth/one.png and depth/one{TARGET}.png"
            )

    @cached_property
    def pairs(self) -> list[tuple[PaintTask, Path, Path]]:
        """Task, picture and painting of all pairs, in order of their names."""
        found = []
        for task in PaintTask:
            files = sorted((self.folder / task.value).glob("*"))
            for file in files:
                if file.suffix.lower() in SUFFIXES and not file.stem.endswith(TARGET):
                    targets = [file.with_name(f"{file.stem}{TARGET}{suffix}") for suffix in SUFFIXES]
                    found += [(task, file, target) for target in targets if target in files][:1]
        return found

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int) -> Lesson:
        """The pair at an index as the query, and another of its task as the example."""
        task, picture, target = self.pairs[index]
        others = [pair for pair in self.pairs if pair[0] is task and pair[1] != picture] or [self.pairs[index]]
        _, example, its_target = Dice(mix_text("examples"), index).pick(others)
        return Lesson(
            task=task,
            example=Study(picture=read_picture(example), painted=read_picture(its_target)),
            query=Study(picture=read_picture(picture), painted=read_picture(target)),
        )
