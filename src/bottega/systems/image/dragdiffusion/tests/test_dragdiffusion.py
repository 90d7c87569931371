"""DragDiffusion on the bundled models: words and drags in one request, own pictures, the studio's dragger."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bottega import catalog
from bottega.errors import RequestError
from bottega.processes.dragging import Drawn, Worded
from bottega.systems.image.dragdiffusion.inference import DragDiffusionRequest, dragger, files
from bottega.worlds import EmojiWorld

FEW = DragDiffusionRequest(denoising=6, steps=3, rate=0.05, lessons=2)


@pytest.fixture(scope="module")
def ready():
    return catalog.load("dragdiffusion")


def test_words_and_a_drag_in_one_request(ready):
    plain = ready(replace(FEW, inputs=("a cat face",)))
    dragged = ready(replace(FEW, inputs=("a cat face",), handles="20,20", targets="28,26"))
    assert np.array_equal(dragged.frames[0], plain.items()[0])
    assert not np.array_equal(dragged.items()[0], plain.items()[0])
    assert dragged.paths.shape == (4, 1, 2)
    other = ready(replace(FEW, inputs=("a red apple",)))
    assert not np.array_equal(other.items()[0], plain.items()[0])


def test_an_own_picture_is_found_again(ready, tmp_path):
    picture = EmojiWorld(scenes=0.0).sample(3).picture
    path = tmp_path / "own.png"
    Image.fromarray(picture).save(path)
    request = replace(FEW, picture=str(path), denoising=20, depth=0.5)
    found = ready(request).items()[0].astype(float)
    mean = picture.reshape(-1, 3).mean(0)
    assert np.abs(found - picture).mean() < 0.5 * np.abs(picture - mean).mean()
    assert files(request) == (str(path),)


def test_the_studio_begins_with_words(ready):
    offered = replace(dragger(ready.model), how=replace(dragger(ready.model).how, steps=5))
    assert (offered.size, offered.kinds, offered.reads) == (64, (), True)
    session = offered.begin(Worded(text="a dog", seed=1), lambda *_: None)
    session.place([(20.0, 20.0)], [(30.0, 20.0)])
    assert session.step().picture().shape == (1, 3, 64, 64)
    assert offered.begin(Drawn(seed=1), lambda *_: None).state.number == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"handles": "1,2"}, "each handle needs a target"),
        ({"inputs": ("a", "b")}, "one sentence"),
        ({"depth": 1.0}, "depth"),
        ({"guidance": 0.0}, "guidance"),
        ({"denoising": 1}, "denoising steps"),
    ],
)
def test_requests_that_cannot_be_are_refused(changes, says):
    with pytest.raises(RequestError, match=says):
        DragDiffusionRequest(**changes)
