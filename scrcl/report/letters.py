"""Fonts for the names on still pictures: Pillow's own font has no letters beyond English ones.

Greek, Cyrillic and accented letters are in the font that comes with matplotlib. Those of Chinese or Japanese are in
fonts of the machine, if it has any. A letter that no font has would be an empty box, so it is left out, and a note
says so. The interactive maps are drawn by the browser, which has fonts of its own.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from functools import cache
from importlib.util import find_spec
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from PIL.ImageFont import FreeTypeFont, ImageFont

__all__ = ["Written", "letters_note", "written"]

_OF_MATPLOTLIB = "mpl-data/fonts/ttf/DejaVuSans.ttf"
_SUFFIXES = (".ttf", ".ttc", ".otf")
_LATER = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "serif")
"""Parts of the names of fonts that are looked at after the others."""
_BOXES = ("lastresort", "adobeblank", "notdef")
"""Fonts that have something for any letter, but not the letter."""
_NO_LETTER = "\uffff"
_SIZE = 19
_MOST_SHOWN = 10


class Written(NamedTuple):
    """A name as a picture can have it, and the font that has its letters."""

    text: str
    font: FreeTypeFont | ImageFont


class _Font(NamedTuple):
    path: str
    letters: frozenset[str]
    """those of the letters asked for that it has"""


def written(names: Iterable[str], size: int) -> dict[str, Written]:
    """Return each name with the font to write it in; letters that no font has are left out."""
    from PIL import ImageFont

    names = list(names)
    own, found = ImageFont.load_default(size), {}
    fonts = _fonts_with(_letters_of(names))
    for name in names:
        letters = _letters_of([name])
        best = max(fonts, key=lambda font: len(font.letters & letters), default=None)
        if name.isascii() or best is None:
            found[name] = Written(_without(name, frozenset(filterfalse(str.isascii, name))), own)
        else:
            font = ImageFont.truetype(best.path, size)
            found[name] = Written(_without(name, letters - best.letters), font)
    return found


def letters_note(names: Iterable[str]) -> str | None:
    """Return which letters of names the pictures lack, and what to do; None if they have all."""
    names = list(names)
    lacking = {
        letter
        for name, (text, _) in written(names, _SIZE).items()
        for letter in _letters_of([name]) - _letters_of([text])
    }
    if not lacking:
        return None
    shown = "".join(sorted(lacking)[:_MOST_SHOWN]) + (" ..." if len(lacking) > _MOST_SHOWN else "")
    return (
        f"No font of this machine has some letters of the names ({shown}), so the still pictures of the report lack "
        "them; the maps of the report have them. Install a font that has them, such as Noto Sans CJK, and make the "
        'report again (`start="report"`).'
    )


def _letters_of(names: Iterable[str]) -> frozenset[str]:
    """Return the characters that a font must have: no spaces, and no marks that are joined to other letters."""
    return frozenset(
        letter for letter in "".join(names) if unicodedata.category(letter)[0] in "LNPS"
    )


def _without(name: str, letters: frozenset[str]) -> str:
    """Return a name without some letters, and without the gaps that they leave."""
    return " ".join("".join(each for each in name if each not in letters).split())


@cache
def _fonts_with(letters: frozenset[str]) -> tuple[_Font, ...]:
    """Return fonts that have some of the letters; none where all are of ASCII. The first one that has all ends it."""
    found: list[_Font] = []
    if all(map(str.isascii, letters)):
        return ()
    for path in _paths():
        font = _Font(path, _there(path, letters))
        if len(font.letters) == len(letters):
            return (font, *found)
        if font.letters:
            found.append(font)
    return tuple(found)


def _there(path: str, letters: frozenset[str]) -> frozenset[str]:
    """Return those of the letters that a font has. What it lacks looks like what no font has."""
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(path, _SIZE)
        boxes = {b"", bytes(font.getmask(_NO_LETTER))}
        return frozenset(each for each in letters if bytes(font.getmask(each)) not in boxes)
    except OSError:  # a damaged font, or one of pictures of a fixed size
        return frozenset()


def _paths() -> Iterator[str]:
    """Yield the fonts that there are: that of matplotlib, then those of the machine, plain ones first."""
    spec = find_spec("matplotlib")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield str(Path(folder) / _OF_MATPLOTLIB)
    files = {
        path
        for folder in _folders()
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
        and not any(part in path.stem.lower().replace(" ", "") for part in _BOXES)
    }
    yield from map(str, sorted(files, key=_order))


def _order(path: Path) -> tuple[int, str]:
    name = path.stem.lower().replace("sansserif", "sans")
    return sum(part in name for part in _LATER), str(path)


def _folders() -> list[Path]:
    """Return where this system keeps fonts."""
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    own = Path(os.environ.get("XDG_DATA_HOME", home / ".local/share"))
    return [
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        own / "fonts",
        home / ".fonts",
    ]
