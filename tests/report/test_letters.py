"""Letters beyond English ones on the still pictures: no empty boxes, and one note where no font has them."""

import base64
import io

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageFont

from scrcl.report import letters
from scrcl.report.letters import letters_note, written
from scrcl.report.maps import Maps, category_column
from scrcl.report.pictures import picture_notes, still_pictures
from scrcl.report.svg import text_width


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty folder of fonts, which is all that this system has besides those of the packages."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(letters, "_folders", lambda: [tmp_path / "fonts"])
    letters._fonts_with.cache_clear()
    yield tmp_path / "fonts"
    letters._fonts_with.cache_clear()


def make_font(path, characters):
    """Write a font whose letters are triangles of different widths."""
    path.parent.mkdir(exist_ok=True)
    names = [".notdef", *(f"u{ord(each):04x}" for each in characters)]
    glyphs = {}
    for i, name in enumerate(names):
        pen = TTGlyphPen(None)
        pen.moveTo((100, 0))
        pen.lineTo((300 + 60 * i, 0))
        pen.lineTo((200, 700))
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def boxes(text, font):
    """Return the letters of a text that look like what no font has."""
    return {each for each in text if bytes(font.getmask(each)) == bytes(font.getmask("\uffff"))}


@pytest.mark.parametrize("name", ["0 γδ T", "1 Т-клетки", "2 Přední é µ", "3 神経 cells", "4 B"])  # noqa: RUF001
def test_no_name_has_an_empty_box(folder, name):
    text, font = written([name, "B"], 19)[name]
    assert not boxes(text, font)
    assert boxes("γδ", ImageFont.load_default(19)) == {"γ", "δ"}  # noqa: RUF001
    assert text == ("3 cells" if "神" in name else name)


def test_letters_of_no_font_are_left_out_with_one_note_until_a_font_has_them(folder):
    rng = np.random.default_rng(0)
    codes = np.arange(600) % 2
    column = category_column("cluster", codes, ["0 细胞", "1 B"], "Clusters")
    maps = Maps(600, rng.normal(size=(600, 2)) + 20 * codes[:, None], [column])
    (note,) = picture_notes(maps)
    assert note.startswith("No font of this machine has some letters of the names (细胞), so the")
    before = black(maps)
    make_font(folder / "Plain.ttf", "01B细胞")
    make_font(folder / "LastResort.ttf", "01B细胞")
    (folder / "broken.ttf").write_bytes(b"no font")
    letters._fonts_with.cache_clear()
    assert picture_notes(maps) == ()
    assert black(maps) > 2 * before
    assert written(["0 细胞"], 19)["0 细胞"].font.getname()[0] == "Plain"


def black(maps):
    ((_, png, _),) = still_pictures(maps)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    return int((pixels == 0).all(axis=2).sum())


def test_english_names_have_the_usual_font_and_no_note(folder):
    assert written(["0 T cell"], 19)["0 T cell"].font.getname() == ("Aileron", "Regular")
    assert letters_note(["0 T cell", "1 µ-glia é"]) is None
    assert picture_notes(None) == ()


def test_letters_that_fill_a_square_are_given_their_room():
    assert text_width("细胞", 10) == 20
    assert text_width("ab", 10) < 14
