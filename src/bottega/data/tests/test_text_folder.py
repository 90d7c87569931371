import json

import pytest

from bottega.data import TextFolder
from bottega.errors import FileError


def test_texts_come_back_whole_in_pieces_of_paragraphs(tmp_path):
    whole = "\n\n".join(f"Paragraph {n} of ünïcode words. " * 12 for n in range(40)) + "\n"
    (tmp_path / "b.txt").write_text(whole, encoding="utf-8")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "code.py").write_text("x = 1\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden.txt").write_text("secret")
    folder = TextFolder(tmp_path)
    pieces = [folder.sample(index) for index in range(len(folder))]
    assert pieces[0].text == "x = 1\n"
    assert pieces[0].name == "a/code.py"
    assert "".join(piece.text for piece in pieces[1:]) == whole
    assert len(pieces) > 5
    assert all(piece.text.endswith("\n") and 0 < len(piece.text.encode()) <= 4200 for piece in pieces)
    assert not folder.problems


def test_every_line_of_jsonl_is_a_text(tmp_path):
    texts = ["one\ntwo", "drei ü", "x" * 9000]
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in texts) + "\n\n")
    folder = TextFolder(file)
    assert [folder.sample(index).text for index in range(len(folder))] == texts


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        TextFolder(tmp_path / "none")
    with pytest.raises(FileError, match="holds no texts"):
        TextFolder(tmp_path)
    (tmp_path / "latin.txt").write_bytes("für".encode("latin-1"))
    with pytest.raises(FileError, match="not UTF-8 at byte 1"):
        TextFolder(tmp_path)
    (tmp_path / "lines.jsonl").write_text('{"text": "fine"}\n{"words": 3}\n')
    with pytest.raises(FileError, match="line 2"):
        TextFolder(tmp_path)
    (tmp_path / "good.txt").write_text("good")
    folder = TextFolder(tmp_path)
    assert len(folder) == 1
    assert len(folder.problems) == 2
    (tmp_path / "good.txt").unlink()
    with pytest.raises(FileError, match="has changed"):
        folder.sample(0)
