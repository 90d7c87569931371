"""What comes in from the network and from disk, and what goes out: every shape is checked here before anything else."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from bottega.studio import limits
from bottega.studio.forms import Field as FormField

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=limits.TEXT_CHARACTERS)]
Setting = bool | int | float | str | None


class Message(BaseModel):
    """Exactly these fields, and no infinite or undefined numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TextInput(Message):
    """A prompt."""

    text: Text


class UploadInput(Message):
    """A picture that was uploaded before."""

    upload: Id


class MadeInput(Message):
    """A picture of the gallery."""

    item: Id
    picture: Annotated[int, Field(ge=0)]


Input = TextInput | UploadInput | MadeInput


class JobBody(Message):
    """What a person asks a system for.

    Args:
        system: A catalogue id.
        inputs: Prompts or pictures.
        settings: Values of the system's form, by field name; what is absent keeps its default.
        parts: Other systems to work with, of those that the form offers.
        pictures: Further pictures, by the name of their field.
    """

    system: Annotated[str, StringConstraints(max_length=64)]
    inputs: Annotated[list[Input], Field(max_length=limits.INPUTS)] = []
    settings: dict[Annotated[str, StringConstraints(max_length=64)], Setting] = {}
    parts: dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=64)]] = {}
    pictures: Annotated[
        dict[Annotated[str, StringConstraints(max_length=64)], UploadInput | MadeInput], Field(max_length=8)
    ] = {}


class Said(Message):
    """A message of a conversation."""

    speaker: Literal["system", "user", "assistant"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=limits.SAID_CHARACTERS)]


class ChatBody(Message):
    """A conversation that a language model is to answer.

    Args:
        system: A catalogue id.
        messages: What was said so far, the user's last.
        temperature: 0 takes the likeliest token each time.
        top_p: Draws from the likeliest tokens that together reach this probability.
        most: Most new tokens.
        seed: Equal seeds make equal answers.
    """

    system: Annotated[str, StringConstraints(max_length=64)]
    messages: Annotated[list[Said], Field(min_length=1, max_length=limits.SAID)]
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    most: Annotated[int, Field(ge=1, le=limits.NEW_TOKENS)] = 256
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class TalkingSystem(Message):
    """A system with a language model that is ready to run.

    Args:
        id: The catalogue id.
        title: Its published name.
        sentence: What it does.
    """

    id: str
    title: str
    sentence: str


class ChatPiece(Message):
    """More of an answer."""

    text: str


class ChatEnd(Message):
    """The end of an answer.

    Args:
        ending: "stop" or "length".
        tokens: How many tokens were written.
        seconds: From the question on.
    """

    ending: str
    tokens: int
    seconds: float


class ChatFault(Message):
    """Why an answer will not be completed."""

    error: str


class KeptInput(Message):
    """An input as a result keeps it.

    Args:
        kind: "text" or "picture".
        label: The prompt, or what the person called the picture.
        file: The copy of the picture in the folder of the result; empty for a text.
    """

    kind: Literal["text", "picture"]
    label: str
    file: str = ""


class Thing(Message):
    """One thing that was made.

    Args:
        kind: "picture" or "words".
        text: The words, or the caption of the picture.
        file: The picture's file; empty for words.
        width: Of the picture in pixels.
        height: Of the picture in pixels.
    """

    kind: Literal["picture", "words"]
    text: str = ""
    file: str = ""
    width: int = 0
    height: int = 0


class Item(Message):
    """A result of the gallery, as `item.json` in its folder says.

    Args:
        id: The name of its folder.
        system: A catalogue id.
        created: Seconds since 1970.
        seconds: Time that the work took.
        settings: The settings as they were sent.
        inputs: What it was made from.
        things: What was made.
        sheet: The file of the contact sheet, when there are several pictures.
        recipe: The file that holds the recipe for `bottega replay`.
        digest: SHA-256 over every raw array of the result, to know the same bits again.
        parts: Other systems that it worked with, as they were sent.
        pictures: Further pictures that it was made from, by the name of their field.
        traces: The file that says how each text came about, step by step, when the system tells it.
    """

    id: Id
    system: str
    created: float
    seconds: float
    settings: dict[str, Setting]
    inputs: list[KeptInput]
    things: list[Thing]
    sheet: str = ""
    recipe: str
    digest: str
    parts: dict[str, str] = {}
    pictures: dict[str, KeptInput] = {}
    traces: str = ""


class GalleryPage(Message):
    """Some results, newest first.

    Args:
        items: The results.
        more: Whether there are older ones.
    """

    items: list[Item]
    more: bool


class Upload(Message):
    """A picture that was accepted.

    Args:
        id: How to name it in a job.
        name: What the person called it.
        width: Of the kept copy, in pixels.
        height: Of the kept copy, in pixels.
    """

    id: Id
    name: str
    width: int
    height: int


class PartForm(Message):
    """Another system that a system works with.

    Args:
        name: What to send it as.
        default: The one that is taken when none is sent.
        choices: Catalogue ids that fit.
    """

    name: str
    default: str
    choices: list[str]


class SystemForm(Message):
    """A system that is ready to run, and what it can be asked.

    Args:
        id: The catalogue id.
        title: Its published name.
        sentence: What goes in, what comes out.
        citation: Authors, title, venue and year.
        licence: What to know about the licence of weights and data.
        fields: The form.
        parts: Other systems that it works with.
    """

    id: str
    title: str
    sentence: str
    citation: str
    licence: str
    fields: list[FormField]
    parts: list[PartForm] = []


class JobView(Message):
    """A job as the page shows it.

    Args:
        id: Of the job.
        system: A catalogue id.
        label: What it is about, in a few words.
        state: One of the five states.
        version: A later state has a higher one.
        ahead: Jobs before it, while "queued".
        step: Steps done, while "running".
        total: Steps in all, while "running".
        stage: What is being done, while "running".
        seconds: Time at work so far, or in all.
        cancelling: Whether the next step will end it.
        preview: A picture of the intermediate state as a `data:` address, or empty.
        item: The result, when "done".
        identical: For a replay that is done: whether every bit came out the same.
        error: One sentence, when "failed".
        replay: Whether the job replays a result.
    """

    id: str
    system: str
    label: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    version: int
    ahead: int = 0
    step: int = 0
    total: int = 0
    stage: str = ""
    seconds: float = 0.0
    cancelling: bool = False
    preview: str = ""
    item: str = ""
    identical: bool | None = None
    error: str = ""
    replay: bool = False
