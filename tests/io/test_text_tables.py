"""Tables of the user as texts: what a library would repair in silence is refused with its line."""

import pytest

from scrcl.errors import InputError
from scrcl.io.text_tables import read_text_table


@pytest.fixture
def read(tmp_path):
    def of(text):
        path = tmp_path / "t.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_text_table(path, what="NAMES")

    return of


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cluster,name\n0,1,T cell\n", "2 fields on each line.*3 fields, line 2"),
        ("cluster,name\n0,T\n1,B,\n", "3 fields, line 3"),
        ("cluster,name\n0,T\n1\n", "1 fields, line 3"),
        ("cluster,name\n\n0,T\n1;B\n", "1 fields, line 4"),
        ('cluster,name\n0,"T\n1,B\n', "plain quotes"),
        ('cluster,name\n0,"T" cell\n', r"plain quotes.*line 2"),
        ("cluster,name\n0,T\0 cell\n", "without NUL.*line 2"),
        (b"cluster,name\n0,T\xe9\n", "UTF-8; .* Copy it again, or save it as UTF-8"),
        ("", "which is empty. Name another file."),
        ("\n \n", "which is empty. Name another file."),
    ],
)
def test_a_text_that_is_no_table_is_refused(read, text, found):
    with pytest.raises(InputError, match=rf"NAMES must .*{found}"):
        read(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cluster,name\n0,T\n1,B\n", ["T", "B"]),
        ("\ufeffcluster;name\r\n0;T, CD4\r\n\r\n1;B\r\n", ["T, CD4", "B"]),
        ('cluster\tname \n0\t"T ""4"", x"\n1\tit\'s 5\' B', ['T "4", x', "it's 5' B"]),
        ("cluster,name\n0,NA\n1,\n", ["NA", ""]),
    ],
)
def test_fields_are_texts_whatever_sets_them_apart(read, text, names):
    table = read(text)
    assert table["name"].tolist() == names
    assert table["cluster"].tolist() == ["0", "1"]
