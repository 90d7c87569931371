"""Results in files, with the recipe inside."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.errors import FileError, RequestError
from bottega.results import (
    InputFile,
    Origin,
    PicturesResult,
    WeightsOrigin,
    WordsResult,
    contact_sheet,
    decode_picture,
    difference,
    forms_of,
    read_origin,
    save,
    with_origin,
)
from bottega.results.save import slug

ORIGIN = Origin(
    bottega="0.1.0",
    torch="2.13.0",
    system="painter",
    preset="tiny",
    weights=WeightsOrigin(sha256="ab" * 32, source="bundled"),
    request={"type": "PaintRequest", "inputs": ["röter Apfel 😀", "猫"]},
    seed=4,
    device="cpu",
    dtype="float32",
    threads=2,
    inputs=(InputFile(path="a.png", sha256="cd" * 32),),
)


def pictures(count: int, captions: tuple[str, ...] | None = None) -> PicturesResult:
    values = np.random.default_rng(0).integers(0, 256, (count, 12, 9, 3), dtype=np.uint8)
    return PicturesResult(pictures=values, captions=captions, seed=4, origin=ORIGIN)


def words() -> WordsResult:
    return WordsResult(words=("a red apple", "猫"), sources=("a.png", "b.png"), seed=4, origin=ORIGIN)


@pytest.mark.parametrize("form", ["p.png", "p.webp", "p.jpg", "p.JPEG", "p.npz"])
def test_recipe_comes_back_from_every_form(tmp_path: Path, form: str) -> None:
    result = pictures(1, ('猫 "x"',))
    (file,) = result.save(tmp_path / form)
    origin = read_origin(file)
    assert origin.request == ORIGIN.request
    assert (origin.weights, origin.inputs, origin.index) == (ORIGIN.weights, ORIGIN.inputs, 0)
    assert difference(file, result, origin) is None


@pytest.mark.parametrize("form", ["p.png", "p.webp"])
def test_lossless_forms_keep_every_pixel(tmp_path: Path, form: str) -> None:
    (file,) = pictures(1).save(tmp_path / form)
    assert np.array_equal(decode_picture(file.read_bytes()), pictures(1).pictures[0])


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    for form in ("p.png", "p.webp", "p.jpg", "p.npz"):
        (first,), (second,) = pictures(1).save(tmp_path / "a" / form), pictures(1).save(tmp_path / "b" / form)
        assert first.read_bytes() == second.read_bytes(), form


def test_several_pictures_to_one_name(tmp_path: Path) -> None:
    files = pictures(3).save(tmp_path / "p.png")
    assert [file.name for file in files] == ["p.png", "p-00.png", "p-01.png", "p-02.png"]
    assert [read_origin(file).index for file in files] == [None, 0, 1, 2]


def test_folder_names_come_from_captions_and_stay_inside(tmp_path: Path) -> None:
    files = pictures(3, ("../../etc/passwd", "a\x00b/c", "")).save(tmp_path / "out")
    assert [file.name for file in files[1:]] == ["etc-passwd-4-00.png", "a-b-c-4-01.png", "picture-4-02.png"]
    assert all(file.parent == tmp_path / "out" for file in files)


def test_other_content_never_overwrites(tmp_path: Path) -> None:
    first = pictures(1, ("a",)).save(tmp_path)
    assert pictures(1, ("a",)).save(tmp_path) == first
    changed = PicturesResult(pictures=pictures(1).pictures ^ 1, captions=("a",), seed=4)
    assert [file.name for file in changed.save(tmp_path)] == ["a-4-00-v2.png"]


def test_words_as_text_json_and_arrays(tmp_path: Path) -> None:
    (text,) = words().save(tmp_path / "w.txt")
    assert text.read_text(encoding="utf-8") == "a red apple\n猫\n"
    (file,) = words().save(tmp_path / "w.json")
    assert read_origin(file) == ORIGIN
    assert difference(file, words(), ORIGIN) is None
    other = WordsResult(words=("a red apple", "a dog"), sources=("a.png", "b.png"), seed=4)
    assert difference(file, other, ORIGIN) == "other words"
    (arrays,) = words().save(tmp_path / "w.npz")
    with np.load(arrays, allow_pickle=False) as kept:
        assert kept["words"].tolist() == ["a red apple", "猫"]


def test_difference_names_what_differs(tmp_path: Path) -> None:
    (file,) = pictures(1).save(tmp_path / "p.png")
    changed = pictures(1)
    changed.pictures[0, 0, 0, 0] ^= 2
    assert difference(file, changed, read_origin(file)) == "1 of 324 pixel values differ, by at most 2"
    (file,) = pictures(2).save(tmp_path / "p.npz")
    assert "uint8 (1, 12, 9, 3), not uint8 (2, 12, 9, 3)" in str(difference(file, pictures(1), ORIGIN))


def test_forms_that_do_not_fit(tmp_path: Path) -> None:
    assert forms_of(words()) == (".txt", ".json", ".npz")
    with pytest.raises(RequestError, match=r"'w.png', but it must be a folder or end in .txt"):
        words().save(tmp_path / "w.png")
    with pytest.raises(RequestError, match="'p.txt'"):
        pictures(1).save(tmp_path / "p.txt")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="p.png"):
        pictures(1).save(tmp_path / "file" / "p.png")


def test_a_recipe_too_long_for_jpeg_says_so(tmp_path: Path) -> None:
    long = Origin.from_json(ORIGIN.to_json().replace('"painter"', f'"{"p" * 70_000}"'), "here")
    with pytest.raises(FileError, match=r"does not fit into a .jpg file; write a .png"):
        save(pictures(1), tmp_path / "p.jpg", long)
    (file,) = save(pictures(1), tmp_path / "p.png", long)
    assert read_origin(file).system == "p" * 70_000


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weights": 3}', '{"bottega": "1", "extra": 2}', "null"])
def test_damaged_recipes_are_refused(text: str) -> None:
    with pytest.raises(FileError, match="damaged or from another version"):
        Origin.from_json(text, "x.png")


def test_files_without_a_recipe(tmp_path: Path) -> None:
    for name in ("plain.png", "plain.jpg", "plain.webp"):
        Image.new("RGB", (3, 3)).save(tmp_path / name)
        with pytest.raises(FileError, match="holds no recipe"):
            read_origin(tmp_path / name)
    np.savez(tmp_path / "plain.npz", a=np.zeros(3))
    with pytest.raises(FileError, match="holds no recipe"):
        read_origin(tmp_path / "plain.npz")


def test_results_check_their_shapes() -> None:
    with pytest.raises(ValueError, match="not uint8"):
        PicturesResult(pictures=np.zeros((2, 4, 4, 3)), seed=0)
    with pytest.raises(ValueError, match="1 captions for 2 pictures"):
        PicturesResult(pictures=np.zeros((2, 4, 4, 3), np.uint8), captions=("a",), seed=0)
    with pytest.raises(ValueError, match="1 sources for 2 texts"):
        WordsResult(words=("a", "b"), sources=("a",), seed=0)


def test_with_origin_keeps_the_result() -> None:
    made = PicturesResult(pictures=pictures(1).pictures, seed=4)
    assert with_origin(made, ORIGIN).items()[0] is not None
    assert made.origin is None


def test_sheet_holds_every_picture_and_draws_every_script() -> None:
    whites = [
        np.full((16, 16, 3), 255, np.uint8),
        np.full((16, 40, 3), 255, np.uint8),
        np.full((900, 300, 3), 255, np.uint8),
    ]
    labels = ["red apple", "猫 قطة кошка 😀", "a very long label " * 20]
    sheet = contact_sheet(whites, labels)
    blank = contact_sheet(whites, ["", "", ""])
    assert sheet.shape == blank.shape
    for index in range(3):
        column, row = index % 2, index // 2
        cell = (slice(row * 268 + 214, row * 268 + 268), slice(column * 208 + 16, column * 208 + 208))
        assert (sheet[cell] != blank[cell]).any(), labels[index]
    assert (blank == 255).all(axis=-1).sum() == 192 * 192 + (40 * 4) * (16 * 4) + 192 * 64


def test_slug_keeps_letters_of_any_script() -> None:
    assert slug("Red  Apple!") == "red-apple"
    assert slug("猫と犬") == "猫と犬"
    assert slug("😀") == "picture"
    assert len(slug("word " * 40)) <= 40
