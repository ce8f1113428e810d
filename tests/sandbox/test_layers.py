"""What a layer unpacks to: the same whatever it was packed with and by whom, and no surprise for the engine."""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.fake_registry import digest_of
from worker.sandbox import entries as entries_module
from worker.sandbox import layers as layers_module
from worker.sandbox import unpack as unpack_module
from worker.sandbox.entries import count_entries
from worker.sandbox.headers import parse_attributes
from worker.sandbox.layers import Counts, Layer, measure_layer
from worker.sandbox.unpack import LayerError, read_unpacked

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def _make_tar(*entries: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT, body: bytes = b"") -> bytes:
    """Return a tar whose files all have the same body."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for entry in entries:
            if entry.isreg():
                entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return content.getvalue()


def _make_entry(name: str = "a", kind: bytes = tarfile.REGTYPE, **attributes: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.pax_headers = kind, attributes
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = "t" * 90
    return info


def _measure(content: bytes, most_bytes: int = 1 << 30, most_entries: int = 1000) -> Layer:
    return measure_layer(io.BytesIO(content), most_bytes, most_entries, lambda: None)


def _split_gzip(content: bytes) -> bytes:
    """Pack each third apart, as formats do whose files can be read one by one."""
    step = len(content) // 3 + 1
    return b"".join(gzip.compress(content[at : at + step]) for at in range(0, len(content), step))


def _split_zstd(content: bytes) -> bytes:
    half = len(content) // 2
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    return zstd.compress(content[:half]) + skipped + zstd.compress(content[half:])


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "members": _split_gzip,
    "zstd": zstd.compress,
    "frames": _split_zstd,
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_a_layer_is_the_same_whatever_it_is_packed_with(pack: Callable[[bytes], bytes]) -> None:
    tar = _make_tar(_make_entry("a"), _make_entry("b", tarfile.DIRTYPE), body=bytes(5 << 20))
    assert _measure(pack(tar)) == Layer(digest_of(tar), len(tar), 2)


@pytest.mark.parametrize("form", FORMATS)
def test_all_kinds_of_entries_are_counted(form: int) -> None:
    kinds = (
        *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
        *(tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE),
    )
    tar = _make_tar(*(_make_entry(f"n{number}", kind) for number, kind in enumerate(kinds)), form=form, body=b"x" * 600)
    assert count_entries([tar], 100) == len(kinds)
    assert count_entries((tar[at : at + 7] for at in range(0, len(tar), 7)), 100) == len(kinds)


@pytest.mark.parametrize("form", FORMATS[1:])
def test_names_and_attributes_of_an_entry_are_none_of_their_own(form: int) -> None:
    long = [_make_entry(f"{number}{'ü' * 200}", kind) for number, kind in enumerate((tarfile.REGTYPE, tarfile.SYMTYPE))]
    assert count_entries([_make_tar(*long, form=form, body=b"x")], 100) == 2


def test_a_size_in_the_attributes_or_in_binary_counts() -> None:
    """More than eight GiB cannot be said in octal digits."""
    body = b"x" * 1000
    attributed = bytearray(_make_tar(_make_entry(size="1000"), _make_entry("b"), body=body))
    header = attributed.index(b"a\0", 512)
    binary = bytearray(_make_tar(_make_entry(), _make_entry("b"), form=tarfile.GNU_FORMAT, body=body))
    for tar, at, size in ((attributed, header, b"0" * 11 + b"\0"), (binary, 0, b"\x80" + bytes(9) + b"\x03\xe8")):
        tar[at + 124 : at + 136] = size
        _sign(tar, at)
        assert count_entries([bytes(tar)], 100) == 2


def _sign(tar: bytearray, at: int, *, is_signed: bool = False) -> None:
    """Write the checksum of a header."""
    tar[at + 148 : at + 156] = b" " * 8
    header = tar[at : at + 512]
    total = sum(header) - (256 * sum(byte > 127 for byte in header) if is_signed else 0)
    tar[at + 148 : at + 156] = b"%06o\0 " % total


def test_a_checksum_of_signed_bytes_is_one() -> None:
    tar = bytearray(_make_tar(_make_entry("ü"), form=tarfile.GNU_FORMAT))
    _sign(tar, 0, is_signed=True)
    assert count_entries([bytes(tar)], 100) == 1


@pytest.mark.parametrize("options", [(), ("--format=v7",), ("--format=ustar",), ("--format=posix", "--xattrs")])
def test_what_gnu_tar_makes_is_counted(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / name).write_bytes(name.encode() * 700)
    (tmp_path / "in" / "link").hardlink_to(tmp_path / "in" / "a")
    (tmp_path / "in" / "sym").symlink_to("a")
    tar = subprocess.run(["tar", *options, "-C", tmp_path, "-c", "in"], check=True, capture_output=True).stdout
    assert count_entries([tar], 100) == 5


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    """The engine writes its holes out: two blocks of the tar would fill any disk."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    for form in ("gnu", "posix"):
        command = ["tar", "--sparse", f"--format={form}", "-C", str(tmp_path), "-c", "sparse"]
        tar = subprocess.run(command, check=True, capture_output=True).stdout
        assert len(tar) < 1 << 20
        with pytest.raises(LayerError, match="sparse"):
            count_entries([tar], 100)


def test_attributes_are_read_once_however_many_there_are() -> None:
    """A copy of the rest for each costs the square of their number, and a small layer packs thousands of MiB."""
    copied = 0

    class Counted(bytes):
        def __getitem__(self, key: Any) -> Any:
            nonlocal copied
            part = Counted(super().__getitem__(key))
            copied += len(part)
            return part

    body = b"5 a=\n" * 10_000 + b"6 b=x\n"
    assert parse_attributes(Counted(body)) == [(b"a", b"")] * 10_000 + [(b"b", b"x")]
    assert copied < 5 * len(body)


def test_attributes_have_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    tar = _make_tar(_make_entry(comment="x", a="y"), _make_entry("b", comment="x"))
    monkeypatch.setattr(entries_module, "MAX_ATTRIBUTES", 3)
    assert count_entries([tar], 100) == 2
    monkeypatch.setattr(entries_module, "MAX_ATTRIBUTES", 2)
    with pytest.raises(LayerError, match="more than 2 attributes"):
        count_entries([tar], 100)


def _oldest(name: str) -> bytes:
    tar = bytearray(_make_tar(_make_entry(name), form=tarfile.GNU_FORMAT, body=b"x" * 600))
    tar[156] = 0
    _sign(tar, 0)
    return bytes(tar)


def _resized(field: bytes) -> bytes:
    tar = bytearray(_make_tar(_make_entry(), body=b"x" * 600))
    tar[124:136] = field
    _sign(tar, 0)
    return bytes(tar)


def _extend(tar: bytes, **attributes: str) -> bytes:
    """Return a tar whose first header has attributes before it."""
    extension = _make_tar(_make_entry("a", tarfile.REGTYPE, **attributes))
    return extension[: extension.index(b"a\0", 512)] + tar


def _make_global() -> bytes:
    tar = bytearray(_make_tar(_make_entry(), body=b"x"))
    tar[156:157] = b"g"
    _sign(tar, 0)
    return bytes(tar)


_GOOD = _make_tar(_make_entry(), body=b"x" * 600)
BAD_TARS = {
    "checksum": (_GOOD[:10] + b"x" + _GOOD[11:], "no tar"),
    "short header": (_GOOD[:300], "no tar"),
    "short body": (_GOOD[:1000], "ends too early"),
    "digits": (_resized(b"9" * 12), "header that is none"),
    "negative": (_resized(b"\xff" * 12), "impossible size"),
    "huge": (_resized(b"\x80" + b"\xff" * 11), "impossible size"),
    "attribute": (_make_tar(_make_entry(size="-1")), "impossible size"),
    "records": (_make_tar(_make_entry(comment="x")).replace(b"13 comment=x", b"99 comment=x"), "cannot be read"),
    "folder or file": (_oldest("b/"), "may be a folder's"),
    "folder or file without a name": (_oldest(""), "may be a folder's"),  # the rest of its name may stand elsewhere
    "folder or file by its attributes": (_extend(_oldest("b"), path="b/"), "may be a folder's"),
    "attributes of attributes": (_extend(_make_global(), size="9"), "attributes of no entry"),
    "attributes at the end": (_make_tar(_make_entry(comment="x"))[:1024], "attributes of no entry"),
    "extended attributes": (
        _make_tar(
            _make_entry("a", tarfile.REGTYPE, **{"SCHILY.xattr.user.x": "v" * 1024, "SCHILY.xattr.user.y": "v" * 1024})
        ),
        "more than 2048 bytes of extended attributes",
    ),
    "long attributes": (_make_tar(_make_entry(comment="x" * (1 << 20))), "bytes of attributes"),
}


@pytest.mark.parametrize(("tar", "words"), BAD_TARS.values(), ids=BAD_TARS)
def test_what_the_engine_might_read_in_another_way_is_refused(tar: bytes, words: str) -> None:
    with pytest.raises(LayerError, match=words):
        count_entries([tar], 100)


def test_attributes_are_not_read_without_an_end() -> None:
    extension = _make_tar(_make_entry(comment="x"))[:1024]
    assert count_entries([extension * 16 + _GOOD], 100) == 1
    with pytest.raises(LayerError, match="attributes of no entry"):
        count_entries([extension * 17 + _GOOD], 100)


def test_only_the_filling_of_the_last_block_may_be_missing() -> None:
    assert count_entries([_GOOD[: 512 + 600]], 100) == 1
    assert count_entries([], 100) == 0


def test_what_comes_after_the_end_is_no_entry_but_is_unpacked() -> None:
    tar = _GOOD + b"y" * 5000
    assert _measure(gzip.compress(tar)) == Layer(digest_of(tar), len(tar), 1)


def test_a_layer_is_not_unpacked_beyond_its_cap() -> None:
    """Two MiB that unpack to two GiB."""
    bomb = gzip.compress(_make_tar(_make_entry(), body=bytes(8 << 20))[:512] + bytes(8 << 20))
    taken = 0

    def look() -> None:
        nonlocal taken
        taken += 1

    with pytest.raises(LayerError, match="more than the 1048576 bytes"):
        measure_layer(io.BytesIO(bomb), 1 << 20, 10, look)
    assert taken <= 2


def test_a_layer_has_no_more_entries_than_its_cap() -> None:
    tar = _make_tar(*(_make_entry(str(number)) for number in range(11)))
    assert _measure(tar, most_entries=11).entries == 11
    with pytest.raises(LayerError, match="more than 10 files"):
        _measure(tar, most_entries=10)


def test_a_layer_of_pieces_that_unpack_to_nothing_can_be_given_up() -> None:
    class GivenUp(Exception):
        pass

    def give_up() -> None:
        raise GivenUp

    file = io.BytesIO(gzip.compress(b"") * 10_000 + gzip.compress(_GOOD))
    with pytest.raises(GivenUp):
        measure_layer(file, 1 << 20, 10, give_up)
    assert file.tell() <= unpack_module.READ_BYTES


@pytest.mark.parametrize("magic", [b"BZh91AY&SY", b"\xfd7zXZ\0\0\4"])
def test_a_tar_that_begins_like_something_packed_is_refused(magic: bytes) -> None:
    """Some engines would unpack it, to anything."""
    with pytest.raises(LayerError, match="bzip2 or xz"):
        _measure(_rename(magic))


@pytest.mark.parametrize("first", [0x50, 0x5F])
def test_a_tar_that_begins_like_zstd_is_read_as_such(first: int) -> None:
    """To engines that know zstd all of the tar is a note before what is packed."""
    inner = _make_tar(_make_entry("b"), _make_entry("c"), body=bytes(5 << 20))
    note = _rename(bytes([first]) + b"\x2a\x4d\x18" + (len(_GOOD) - 8).to_bytes(4, "little"))
    layer = note + zstd.compress(inner)
    assert _measure(layer) == Layer(digest_of(inner), len(inner), 2)
    assert unpack_module.find_packing(io.BytesIO(layer)) == "zstd"


def _rename(name: bytes) -> bytes:
    tar = bytearray(_GOOD)
    tar[: len(name)] = name
    _sign(tar, 0)
    return bytes(tar)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_damaged_layer_is_refused(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(hashlib.sha256(b"x").digest() * 100)
    for damaged in (packed[:-1], packed[:10] + bytes([packed[10] ^ 255]) + packed[11:], packed + b"junk"):
        with pytest.raises(LayerError, match="cannot be unpacked"):
            list(read_unpacked(io.BytesIO(damaged)))


def test_a_window_that_needs_much_memory_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 28}
    compressor = zstd.ZstdCompressor(options=options)
    packed = compressor.compress(bytes(1 << 20)) + compressor.flush()
    with pytest.raises(LayerError, match="cannot be unpacked"):
        list(read_unpacked(io.BytesIO(packed)))


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
@pytest.mark.parametrize("content", [b"", b"x", b"x" * 255])
def test_pieces_of_little_have_a_cap(
    monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes], content: bytes
) -> None:
    """Each takes its time: the bytes that an image may unpack to bound how many pieces it has."""
    monkeypatch.setattr(unpack_module, "FREE_PIECES", 3)
    piece = pack(content)
    assert b"".join(read_unpacked(io.BytesIO(piece * 3))) == content * 3
    with pytest.raises(LayerError, match="more than 3 pieces"):
        list(read_unpacked(io.BytesIO(piece * 1000)))


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_piece_for_each_block_of_a_tar_is_none_of_little(
    monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    """As where each file's header and content are packed apart, with something at the end that unpacks to nothing."""
    monkeypatch.setattr(unpack_module, "FREE_PIECES", 3)
    layer = pack(bytes(512)) * 1000 + pack(b"") * 3
    assert sum(map(len, read_unpacked(io.BytesIO(layer)))) == 512_000


def test_counts_are_kept_and_the_oldest_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "KEPT_COUNTS", 2)
    counts = Counts(tmp_path / "layers")
    digests = [digest_of(bytes([number])) for number in range(3)]
    for number, digest in enumerate(digests):
        counts.keep(digest, Layer(digest, number, 1))
        path = tmp_path / "layers" / digest.removeprefix("sha256:")
        seconds = 10**9 + number
        subprocess.run(["touch", "-d", f"@{seconds}", path], check=True)
    assert [counts.get(digest) for digest in digests] == [None, Layer(digests[1], 1, 1), Layer(digests[2], 2, 1)]
    path.write_bytes(b"sha256:00 1")
    assert counts.get(digests[2]) is None
