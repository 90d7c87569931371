"""The world of lessons: pairs of pictures with the same kind of answer, for a network that learns tasks by example."""

from bottega.worlds.lessons.folder import FolderOfLessons
from bottega.worlds.lessons.lesson import Lesson, Study
from bottega.worlds.lessons.world import JOINTS, LessonsWorld, answered, doll_scene

__all__ = ["JOINTS", "FolderOfLessons", "Lesson", "LessonsWorld", "Study", "answered", "doll_scene"]
