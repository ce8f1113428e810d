"""Folders that a layer does not name, and that an engine makes for what is in them."""

import io
import tarfile

import pytest

from worker.sandbox.entries import count_entries
from worker.sandbox.folders import MAX_NAME_BYTES, Folders
from worker.sandbox.unpack import LayerError

FILE, HARD, LINK, FOLDER = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


def _count(*entries: tuple[str, bytes]) -> list[int]:
    folders = Folders()
    return [folders.count(name.encode(), kind) for name, kind in entries]


def test_each_folder_above_a_file_counts_once() -> None:
    assert _count(("a/b/c/x", FILE), ("a/b/c/y", FILE), ("a/b/z", FILE), ("a/d/x", FILE)) == [3, 0, 0, 1]


def test_folders_that_the_tar_names_count_as_its_entries_alone() -> None:
    """As all usual tars do, whatever their names begin with."""
    for root in ("", "./", "/"):
        tree = [(root, FOLDER), *((f"{root}{name}", FOLDER) for name in ("a/", "a/b/")), (f"{root}a/b/x", FILE)]
        assert _count(*tree, (f"{root}a/y", FILE), (f"{root}c/", FOLDER), (f"{root}c/x", FILE)) == [0] * 7


def test_folders_of_another_order_count_again() -> None:
    assert _count(("a/", FOLDER), ("b/", FOLDER), ("a/x", FILE), ("b/x", FILE)) == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", [LINK, HARD])
def test_folders_behind_a_link_count_each_time(kind: bytes) -> None:
    """It may lead elsewhere each time: what is below it is not what was there before."""
    entries = [("l", kind), ("l/a/b/x", FILE), ("l/a/b/y", FILE), ("m/l", kind), ("m/l/a/x", FILE)]
    assert _count(*entries) == [0, 3, 3, 1, 3]


def test_folders_that_gave_way_to_something_else_count_again() -> None:
    assert _count(("a/b/x", FILE), ("a", LINK), ("a/b/x", FILE), ("c/d/x", FILE), ("c", FILE), ("c/d/x", FILE)) == [
        *(2, 0, 2),
        *(2, 0, 2),
    ]


def test_names_with_two_dots_count_whole() -> None:
    assert _count(("a/b/", FOLDER), ("a/../a/b/x", FILE), ("a/b/x", FILE)) == [1, 4, 2]


def test_a_name_that_no_engine_makes_is_refused() -> None:
    assert _count(("a/" * 2047 + "b", FILE)) == [2047]
    with pytest.raises(LayerError, match="name of more than 4096 bytes"):
        _count(("a" * (MAX_NAME_BYTES + 1), FILE))


def _make_tar(form: int, **header: str) -> bytes:
    """Return a tar of a file with a hundred folders above it, after a global header if one is given."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form, pax_headers=header) as archive:
        archive.addfile(tarfile.TarInfo("x/" * 100 + "end"))
    return content.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_folders_of_long_names_count_in_every_form_of_tar(form: int) -> None:
    """A name stands in the header, in two parts, or in another header before it."""
    tar = _make_tar(form)
    assert count_entries([tar], 1000) == 101
    with pytest.raises(LayerError, match="more than 100 files and folders"):
        count_entries([tar], 100)


def test_folders_above_the_name_in_a_global_header_count_too() -> None:
    assert count_entries([_make_tar(tarfile.PAX_FORMAT, comment="c")], 1000) == 102
    with pytest.raises(LayerError, match="that of all entries"):
        count_entries([_make_tar(tarfile.PAX_FORMAT, path="y/" * 50 + "end")], 1000)


def _prefix(magic: bytes, prefix: bytes, end: bytes = bytes(4)) -> bytes:
    """Return a header of a file `n` with these bytes where POSIX has the beginning of a name."""
    header = bytearray(tarfile.TarInfo("n").tobuf(tarfile.USTAR_FORMAT))
    header[257 : 257 + len(magic)] = magic
    header[345 : 345 + len(prefix)] = prefix
    header[508:512] = end
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("header", "count"),
    [
        (_prefix(b"ustar\0", b"a/b"), 3),
        (_prefix(b"ustar\0", b"a/b".ljust(131) + b"0000000000/", b"tar\0"), 3),  # a time, that of star's form
        (_prefix(b"ustar  \0", b"14712345670\0" * 2), 1),  # times, of GNU's form
        (_prefix(bytes(8), b"a/b"), 1),
    ],
    ids=["posix", "star", "gnu", "oldest"],
)
def test_a_prefix_counts_where_engines_read_one(header: bytes, count: int) -> None:
    """Else what leads through a link could look as if it led through a folder."""
    assert count_entries([header], 10) == count


def test_a_prefix_that_engines_may_read_or_not_is_refused() -> None:
    with pytest.raises(LayerError, match="header that is none"):
        count_entries([_prefix(b"ustar  \0", b"a/b")], 10)
