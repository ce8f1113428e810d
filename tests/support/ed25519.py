"""Ed25519 in plain integers (RFC 8032), slow and simple: the oracle for the frozen vectors and where they come from."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

P: Final = 2**255 - 19
L: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = (-121665 * pow(121666, P - 2, P)) % P
_ROOT: Final = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
IDENTITY: Final[Point] = (0, 1)


def add(a: Point, b: Point) -> Point:
    """Return the sum of two points."""
    k = _D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + k, P - 2, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, P - 2, P)
    return x % P, y % P


def multiply(n: int, a: Point) -> Point:
    """Return n times a point."""
    out = IDENTITY
    while n:
        if n & 1:
            out = add(out, a)
        a, n = add(a, a), n >> 1
    return out


def find_x(y: int, sign: int) -> int | None:
    """Return the x of a point with this y and parity of x, None if there is none."""
    square = (y * y - 1) * pow(_D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * _ROOT % P
    if (x * x - square) % P:
        return None
    return x if x & 1 == sign else (P - x) % P


def encode(a: Point) -> bytes:
    """Return the canonical 32 bytes of a point."""
    return (a[1] | (a[0] & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """Return the point of 32 bytes if they are canonical, else None."""
    number = int.from_bytes(data, "little")
    y, sign = number % 2**255, number >> 255
    x = find_x(y, sign) if y < P else None
    return None if x is None or x & 1 != sign else (x, y)


BASE_Y: Final = 4 * pow(5, P - 2, P) % P
BASE: Final[Point] = (find_x(BASE_Y, 0) or 0, BASE_Y)


def compute_challenge(r: bytes, public_key: bytes, message: bytes) -> int:
    """Return k of a signature."""
    return int.from_bytes(hashlib.sha512(r + public_key + message).digest(), "little") % L


def is_valid(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Apply the rule: S < L; A and R canonical and not of small order; R = S·B − k·A, without cofactor."""
    r, s = decode(signature[:32]), int.from_bytes(signature[32:], "little")
    a = decode(public_key)
    if r is None or a is None or s >= L or IDENTITY in (multiply(8, a), multiply(8, r)):
        return False
    k = compute_challenge(signature[:32], public_key, message)
    return multiply(s, BASE) == add(r, multiply(k, a))


def find_torsion() -> Point:
    """Return a point of order 8, the first by its y."""
    for y in range(2, 100):
        x = find_x(y, 0)
        point = None if x is None else multiply(L, (x, y))
        if point is not None and multiply(4, point) != IDENTITY:
            return point
    raise AssertionError("there is a point of order 8 with a small y")


def derive_vectors() -> Iterator[tuple[str, bytes, bytes, bytes]]:
    """Yield name, public key, message and signature of every edge case, always the same."""
    secret, nonce = (int.from_bytes(hashlib.sha512(text).digest(), "little") % L for text in (b"secret", b"nonce"))
    a, r, torsion = multiply(secret, BASE), multiply(nonce, BASE), find_torsion()
    key, commitment, text = encode(a), encode(r), b"edge case"

    def sign(r_bytes: bytes, a_bytes: bytes, message: bytes, of: int = nonce, over: int = 0) -> bytes:
        s = (of + compute_challenge(r_bytes, a_bytes, message) * secret) % L + over
        return r_bytes + s.to_bytes(32, "little")

    good = sign(commitment, key, text)
    yield "ordinary", key, text, good
    yield "empty message", key, b"", sign(commitment, key, b"")
    yield "other message", key, text + b"!", good
    yield "S + L", key, text, sign(commitment, key, text, over=L)
    yield "S + 8 L, beyond 255 bits", key, text, sign(commitment, key, text, over=8 * L)
    yield "S of zero", key, text, commitment + bytes(32)
    for n in range(8):
        small = encode(multiply(n, torsion))
        message = _search(partial(_cancels, commitment, small, n))
        yield f"A of small order, {n} T", small, message, commitment + nonce.to_bytes(32, "little")
        yield f"R of small order, {n} T", key, text, sign(small, key, text, of=0)
    for number, data in enumerate(_yield_noncanonical()):
        yield f"A not canonical, {number}", data, text, commitment + nonce.to_bytes(32, "little")
        yield f"R not canonical, {number}", key, text, sign(data, key, text, of=0)
    mixed = encode(add(a, torsion))
    fits = _search(lambda m: compute_challenge(commitment, mixed, m) % 8 == 0)
    differs = _search(lambda m: compute_challenge(commitment, mixed, m) % 8 == 1)
    yield "A of mixed order, holds without cofactor", mixed, fits, sign(commitment, mixed, fits)
    yield "A of mixed order, holds with cofactor only", mixed, differs, sign(commitment, mixed, differs)
    shifted = encode(add(r, torsion))
    yield "R of mixed order, holds with cofactor only", key, text, sign(shifted, key, text)
    both = _search(lambda m: (compute_challenge(shifted, mixed, m) + 1) % 8 == 0)
    yield "A and R of mixed order, holds without cofactor", mixed, both, sign(shifted, mixed, both)
    off = next(y for y in range(2, 100) if find_x(y, 0) is None).to_bytes(32, "little")
    yield "A not on the curve", off, text, good
    yield "R not on the curve", key, text, off + good[32:]


def _cancels(r: bytes, public_key: bytes, n: int, message: bytes) -> bool:
    """Tell whether k times n T vanishes, so that the equation holds even without cofactor."""
    return compute_challenge(r, public_key, message) * n % 8 == 0


def _search(fits: Callable[[bytes], bool]) -> bytes:
    """Return the first message `edge case <n>` that fits."""
    return next(m for m in (b"edge case %d" % n for n in range(10_000)) if fits(m))


def _yield_noncanonical() -> Iterator[bytes]:
    """Yield encodings of points of small order that are not canonical: y + p, and a negative zero."""
    for y in (0, 1):
        for sign in (0, 1):
            yield (y + P | sign << 255).to_bytes(32, "little")
    for y in (1, P - 1):
        yield (y | 1 << 255).to_bytes(32, "little")
