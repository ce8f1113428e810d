"""The state tree against its definition, and what an update may cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abci_app.protocol import tree, tree_page
from abci_app.protocol.tree import MAX_KEY_BYTES, ROOTS_PAGE, TreeError, update_state, update_tree
from abci_app.protocol.tree_page import is_full
from tests.support.trees import DictPages, compute_app_hash, compute_root, get_bits

FROZEN_APP_HASH = "7caee917801dcf169d450021bb50c1944cf8fdd9b240a8f9f46a9ea4a0bd4374"
KEYS = [b"a%d" % number for number in range(60)]
Change = dict[bytes, bytes | None]
values = st.one_of(st.none(), st.binary(max_size=3))
histories = st.lists(st.dictionaries(st.sampled_from(KEYS), values, min_size=1), max_size=8)


small_trees = pytest.mark.parametrize("digits", [1, 2, 15])
"""Trees of few digits make keys share a whole tree's path, which 60 bits never would."""


@contextmanager
def trees_of(digits: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "TREE_DIGITS", digits)
        yield


def write(pages: DictPages, changes: Change) -> bytes:
    update = update_tree(pages, b"a", changes.items())
    pages.write(update.page_writes)
    return update.root


def replay(history: list[Change]) -> tuple[DictPages, dict[bytes, bytes], bytes]:
    pages, records, root = DictPages(), {}, tree_page.EMPTY_HASH
    for changes in history:
        root = write(pages, changes)
        records.update(changes)
    return pages, {key: value for key, value in records.items() if value is not None}, root


@small_trees
@given(history=histories)
def test_the_root_after_any_history_is_that_of_the_definition(digits: int, history: list[Change]) -> None:
    with trees_of(digits):
        _, records, root = replay(history)
    assert root == compute_root(records, 4 * digits)


@small_trees
@given(history=histories)
def test_pages_do_not_remember_how_they_came_about(digits: int, history: list[Change]) -> None:
    fresh = DictPages()
    with trees_of(digits):
        pages, records, root = replay(history)
        if records:
            assert write(fresh, dict(records)) == root
    assert pages == fresh


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 3_000))
def test_large_trees_agree_with_the_definition(seed: int, size: int) -> None:
    random = Random(seed)
    records = {b"a" + random.randbytes(20): random.randbytes(4) for _ in range(size)}
    pages = DictPages()
    write(pages, dict(records))
    changed = random.sample(sorted(records), random.randint(0, size))
    added = [b"a" + random.randbytes(20) for _ in range(random.randint(0, 50))]
    changes: Change = {key: random.choice([None, b"new"]) for key in [*changed, *added]}
    expected = {key: value for key, value in {**records, **changes}.items() if value is not None}
    assert (write(pages, changes) if changes else compute_root(records)) == compute_root(expected)


@given(st.dictionaries(st.sampled_from([b"cp", b"cs", b"j1", b"r1", b"r2", b"v1", b"s1", b"p1", *KEYS[:9]]), values))
def test_the_app_hash_is_a_map_of_all_stores(changes: Change) -> None:
    update = update_state(DictPages(), changes)
    assert update.app_hash == compute_app_hash({key: value for key, value in changes.items() if value is not None})


def test_the_app_hash_of_a_small_state_is_frozen() -> None:
    records: Change = {b"a1": b"one", b"a2": b"two", b"j1": b"job", b"cp": b"params"}
    assert update_state(DictPages(), records).app_hash.hex() == FROZEN_APP_HASH


def test_a_block_without_changes_keeps_the_app_hash_and_writes_nothing() -> None:
    pages = DictPages()
    before = update_state(pages, {b"a1": b"x", b"v1": b"y"})
    pages.write(before.page_writes)
    after = update_state(pages, {})
    assert (after.app_hash, after.page_writes) == (before.app_hash, {})


def test_taking_everything_back_leaves_nothing_but_the_roots() -> None:
    pages = DictPages()
    records: Change = dict.fromkeys(KEYS, b"x")
    pages.write(update_state(pages, records).page_writes)
    update = update_state(pages, dict.fromkeys(records))
    pages.write(update.page_writes)
    assert list(pages) == [ROOTS_PAGE]
    assert update.app_hash == compute_app_hash({})


def test_deleting_what_is_not_there_changes_nothing() -> None:
    pages = DictPages()
    root = write(pages, dict.fromkeys(KEYS[:20], b"x"))
    before = DictPages(pages)
    assert write(pages, dict.fromkeys(KEYS[20:])) == root
    assert pages == before


@pytest.mark.parametrize("key", [b"", b"z1", b"\x00a"])
def test_a_key_of_no_store_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="belongs to no store"):
        update_state(DictPages(), {key: b"x"})


def test_a_key_whose_length_needs_two_bytes_is_refused() -> None:
    key = b"a" * (MAX_KEY_BYTES + 1)
    with pytest.raises(ValueError, match="127 bytes"):
        update_state(DictPages(), {key: b"x"})
    assert update_state(DictPages(), {key[1:]: b"x"}).app_hash == compute_app_hash({key[1:]: b"x"})


def test_an_update_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one change"):
        update_tree(DictPages(), b"a", [])


@pytest.mark.parametrize("size", [0, 159, 161, 192])
def test_roots_of_another_size_are_found(size: int) -> None:
    pages = DictPages({ROOTS_PAGE: bytes(size)})
    with pytest.raises(TreeError, match=f"the page of the roots has {size} bytes"):
        update_state(pages, {b"a1": b"x"})


def test_a_missing_page_is_named() -> None:
    pages = DictPages()
    records: Change = {b"a%d" % number: b"x" for number in range(200)}
    write(pages, records)
    del pages[b"a0"]
    with pytest.raises(TreeError, match="page a0 of the state tree is missing"):
        write(pages, records)


@pytest.mark.parametrize("left", [0, 1])
def test_a_page_with_less_than_two_leaves_is_found_by_the_record_that_is_set_below_it(left: int) -> None:
    pages = DictPages()
    keys = [key for key in (b"a%d" % number for number in range(200)) if get_bits(key).startswith(("0000", "1111"))]
    write(pages, dict.fromkeys(keys, b"x"))
    key = max(keys, key=lambda key: get_bits(key).startswith("0000"))
    pages[b"a0"] = tree_page.encode_page({1: bytes(32)}, {1: key}) if left else tree_page.encode_page({}, {})
    with pytest.raises(TreeError, match="page a0 of the state tree has less than two leaves"):
        write(pages, {key: b"new"})


def find_keys(*starts: str) -> list[bytes]:
    """Return a key for each beginning of a path in hexadecimal digits, each another one."""
    found: dict[int, bytes] = {}
    for number in range(1_000_000):
        digits = sha256(b"a%d" % number).hexdigest()
        place = next((at for at, start in enumerate(starts) if at not in found and digits.startswith(start)), None)
        if place is not None:
            found[place] = b"a%d" % number
        if len(found) == len(starts):
            break
    return [found[at] for at in range(len(starts))]


@pytest.mark.parametrize(
    ("digits", "first", "second"),
    [
        (15, ["22"], ["22", "22", "25"]),  # a leaf, and records before and after it of which two are beside it
        (3, ["222", "222"], ["223", "224", "25"]),  # the same with a further tree in the leaf's place,
        (3, ["222", "222"], ["222", "223", "224", "25"]),  # and a record for that tree as well
        (1, ["222", "222"], ["223", "25"]),
        (2, ["2222", "2222"], ["3"]),  # trees whose only leaf is a further tree
        (1, ["222", "222"], ["222"]),
    ],
)
def test_records_that_meet_on_their_way_make_the_same_tree_in_any_order(
    digits: int, first: list[str], second: list[str]
) -> None:
    keys = find_keys(*first, *second)
    blocks = [keys[: len(first)], keys[len(first) :]]
    for order in (blocks, blocks[::-1]):
        pages, written = DictPages(), dict[bytes, bytes]()
        with trees_of(digits):
            for block in order:
                written.update(dict.fromkeys(block, b"x"))
                assert write(pages, dict.fromkeys(block, b"x")) == compute_root(written, 4 * digits)
            fresh = DictPages()
            write(fresh, dict.fromkeys(keys, b"x"))
            assert pages == fresh
            for block in order:
                written = {key: value for key, value in written.items() if key not in block}
                assert write(pages, dict.fromkeys(block)) == compute_root(written, 4 * digits)
            assert pages == {}


def test_a_large_tree_that_shrinks_and_grows_is_that_of_the_definition_at_every_step() -> None:
    """Its upper pages are full, with inner nodes in all slots, until what lies below them is deleted."""
    random = Random(3)
    keys = [b"a%d" % number for number in range(3_000)]
    by_digit = {digit: [key for key in keys if get_bits(key).startswith(digit)] for digit in ("0000", "1011", "1111")}
    steps: list[Change] = [
        dict.fromkeys(keys, b"1"),
        dict.fromkeys(random.sample(keys, 40), b"2"),
        {by_digit["0000"][0]: b"3"},
        dict.fromkeys(by_digit["0000"][1:]),  # a slot of the top page becomes a leaf,
        {**dict.fromkeys(by_digit["1011"]), by_digit["1111"][5]: b"4"},  # another one empty while a third changes
        {by_digit["0000"][7]: b"5", by_digit["1011"][9]: b"6"},
        dict.fromkeys(keys, b"7"),
    ]
    pages, records = DictPages(), dict[bytes, bytes | None]()
    was_full = []
    for changes in steps:
        root = write(pages, changes)
        records.update(changes)
        left = {key: value for key, value in records.items() if value is not None}
        fresh = DictPages()
        assert root == write(fresh, dict(left)) == compute_root(left)
        assert pages == fresh
        was_full.append(is_full(pages[b"a"]))
    assert was_full == [True, True, True, False, False, False, True]


class CountedHash:
    """SHA-256 that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: bytes) -> object:
        self.calls += 1
        return sha256(data)


def count(patch: pytest.MonkeyPatch, keys: list[bytes], blocks: int, changes: int) -> tuple[float, float]:
    """Return SHA-256 calls and page writes per changed key in blocks of random changes to a tree of `keys`."""
    random = Random(7)
    pages = DictPages()
    write(pages, dict.fromkeys(keys, b"x"))
    counted = CountedHash()
    patch.setattr(tree, "sha256", counted)
    patch.setattr(tree_page, "sha256", counted)
    writes = 0
    for _ in range(blocks):
        update = update_tree(pages, b"a", [(key, random.randbytes(4)) for key in random.sample(keys, changes)])
        pages.write(update.page_writes)
        writes += len(update.page_writes)
    patch.undo()
    return counted.calls / blocks / changes, writes / blocks / changes


@pytest.mark.slow
def test_a_block_on_a_million_keys_hashes_and_writes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowed are 30 calls and 3 pages per changed key in blocks of 5 000; it is twelve, and two and a quarter."""
    keys = [b"a%d" % number for number in range(1_000_000)]
    hashes, writes = count(monkeypatch, keys, blocks=3, changes=5_000)
    assert 10 < hashes <= 12.5
    assert 2 < writes <= 2.5


def test_changes_of_one_block_share_their_way_to_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [b"a%d" % number for number in range(10_000)]
    hashes, writes = count(monkeypatch, keys, blocks=3, changes=5_000)
    assert 3 < hashes <= 7
    assert writes <= 0.8
