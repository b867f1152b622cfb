"""Pages: what is written is what a browser shows, and nothing in it is taken for markup."""

from html.parser import HTMLParser

import pytest

from medfs.errors import StorageError
from medfs.export import PagePicture, PageTable, write_page


class Page(HTMLParser):
    """Text of the cells, sources of the pictures and names of all tags, as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.pictures, self.tags, self._inside = [], [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._inside = tag in ("td", "th")
        if self._inside:
            self.cells.append("")
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data

    def handle_endtag(self, tag):
        self._inside = False


def test_cells_come_in_order_and_figures_stand_right(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, "Title", ["A line."], [PageTable("T", ["case", "volume"], [["a", 1.5], ["b", "2.0"]], "A note.")])
    text = path.read_text()
    assert Page(text).cells == ["case", "volume", "a", "1.5", "b", "2.0"]
    assert text.count('class="number"') == 2
    assert "A line." in text
    assert "A note." in text


def test_names_are_text_and_never_markup(tmp_path):
    hostile = "<script>alert('x')</script>"
    path = tmp_path / "page.html"
    picture = PagePicture(tmp_path / 'a"b<i>#?.png', hostile)
    write_page(path, hostile, [hostile], [PageTable(hostile, [hostile], [[hostile]], hostile)], [picture])
    page = Page(path.read_text())
    assert "script" not in page.tags
    assert "i" not in page.tags
    assert page.cells == [hostile, hostile]
    assert page.pictures == ["a%22b%3Ci%3E%23%3F.png"]


def test_pictures_are_linked_from_where_the_page_lies(tmp_path):
    (tmp_path / "pages").mkdir()
    path = tmp_path / "pages" / "page.html"
    write_page(path, "T", pictures=[PagePicture(tmp_path / "run" / "a b.png", "a b")])
    assert Page(path.read_text()).pictures == ["../run/a%20b.png"]


def test_a_page_of_nothing_has_no_table(tmp_path):
    write_page(tmp_path / "page.html", "Nothing")
    assert "table" not in Page((tmp_path / "page.html").read_text()).tags


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(StorageError, match=r"page\.html"):
        write_page(tmp_path / "missing" / "page.html", "T")
