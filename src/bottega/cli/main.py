"""`bottega VERB ...`: finds the verb, runs it, and turns every error of the user's into one line."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bottega import __version__
from bottega.catalog import ROOMS, Catalog
from bottega.cli.wording import nearest, one_line
from bottega.errors import BottegaError, Cancelled

OK, DIFFERENT, REFUSED, STOPPED = 0, 1, 2, 130


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One job.

    Args:
        module: Where its `main(arguments, rooms) -> exit code` is.
        usage: Its arguments in short.
        help: What it does.
    """

    module: str
    usage: str
    help: str


VERBS = {
    "list": Verb(module="bottega.cli.listing", usage="", help="every system: family, sizes, formats, verbs"),
    "info": Verb(module="bottega.cli.information", usage="ID", help="one system: paper, licence, sizes, weights"),
    "plan": Verb(module="bottega.cli.plan", usage="run|train ID", help="memory, time and disk, before anything runs"),
    "run": Verb(module="bottega.cli.run", usage="ID INPUTS... -o OUT", help="make pictures, words, ... and keep them"),
    "train": Verb(module="bottega.cli.train", usage="ID --data FOLDER", help="from scratch, or on your own files"),
    "eval": Verb(module="bottega.cli.evaluate", usage="ID", help="the paper's figures, beside baseline and control"),
    "convert": Verb(module="bottega.cli.convert", usage="ID FROM TO", help="weights to and from published formats"),
    "replay": Verb(module="bottega.cli.replay", usage="FILE", help="make a result again, bit for bit"),
    "tour": Verb(module="bottega.cli.tour", usage="", help="every system on one page, with its bundled weights"),
    "studio": Verb(module="bottega.cli.studio", usage="", help="the studio in your browser, on this machine only"),
    "serve": Verb(module="bottega.cli.serve", usage="ID", help="a language model for OpenAI's clients"),
    "doctor": Verb(module="bottega.cli.doctor", usage="", help="what this machine has and what it lacks"),
}


def main(arguments: Sequence[str] | None = None, rooms: Catalog = ROOMS) -> int:
    """Runs the command line.

    Args:
        arguments: What follows `bottega`; None takes the process's own.
        rooms: The systems.

    Returns:
        The exit code: 0 done, 1 a replay differs, 2 refused with one line, 130 stopped by the user.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows "?"
    try:
        return _dispatch(given, rooms)
    except Cancelled as stop:
        return _say(str(stop), STOPPED)
    except BottegaError as error:
        return _say(str(error), REFUSED)
    except KeyboardInterrupt:
        return _say("stopped", STOPPED)
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        return _say("out of memory; `bottega plan` says how much is needed: ask for less, or a smaller size", REFUSED)


def _dispatch(given: list[str], rooms: Catalog) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(_help())
        return OK
    if given[0] in ("-V", "--version"):
        print(f"bottega {__version__}")
        return OK
    name, *rest = given
    if name not in VERBS:
        raise BottegaError(f"there is no verb {name!r}; {nearest(name, VERBS)}")
    verb: Callable[[list[str], Catalog], int] = importlib.import_module(VERBS[name].module).main
    return verb(rest, rooms)


def _help() -> str:
    rows = [(f"{name} {verb.usage}".strip(), verb.help) for name, verb in VERBS.items()]
    width = max(len(left) for left, _ in rows)
    lines = "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)
    return f"""bottega {__version__}: one workshop for published systems that see and make.

usage: bottega VERB ...

{lines}

`bottega VERB --help` says more; `bottega run ID --help` lists the options of a system.
Try: bottega tour"""


def _say(text: str, code: int) -> int:
    print(f"bottega: {one_line(text)}", file=sys.stderr)
    return code


def _out_of_memory(error: Exception) -> bool:
    """Python's, or torch's, whose own type would have to be imported to be named."""
    told = "can't allocate memory" in str(error) or "not enough memory" in str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or told
