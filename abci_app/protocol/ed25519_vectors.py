"""Edge cases of Ed25519 and the verdict that every node must share; `tests/support/ed25519.py` derives them.

They tell the strict rule without cofactor from the looser ones of other libraries, or of other versions of the same
library: two nodes that disagree on one signature end up with different states.
"""

from typing import Final, NamedTuple


class Vector(NamedTuple):
    """One signature check in hexadecimal, and whether it must succeed."""

    name: str
    public_key: str
    message: str
    signature: str
    valid: bool


VECTORS: Final = (
    Vector(
        "ordinary",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "c663b6f60b7d655d5e443c641bbb9171e7f016a501dead4f95fa4462b243a902",
        True,
    ),
    Vector(
        "empty message",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "af85e52b5f043c940abbac776d8a1def3c097c91cf6d3418982682102d361901",
        True,
    ),
    Vector(
        "other message",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "65646765206361736521",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "c663b6f60b7d655d5e443c641bbb9171e7f016a501dead4f95fa4462b243a902",
        False,
    ),
    Vector(
        "S + L",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "b337ac5326e077b534e13307fab47086e7f016a501dead4f95fa4462b243a912",
        False,
    ),
    Vector(
        "S + 8 L, beyond 255 bits",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "2e0365dede95f81d112bf97b108a8918e8f016a501dead4f95fa4462b243a982",
        False,
    ),
    Vector(
        "S of zero",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "0000000000000000000000000000000000000000000000000000000000000000",
        False,
    ),
    Vector(
        "A of small order, 0 T",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "6564676520636173652030",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R of small order, 0 T",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "0100000000000000000000000000000000000000000000000000000000000000"
        "63db8fc6cb59b9411264474f0cbaf5b239525a5f6dd12badde254d3e97ee320c",
        False,
    ),
    Vector(
        "A of small order, 1 T",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "6564676520636173652033",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R of small order, 1 T",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
        "a1f14768e2ec8a1f73f5917abc5e848e4df427258c04074cc252017453b37204",
        False,
    ),
    Vector(
        "A of small order, 2 T",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "6564676520636173652031",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R of small order, 2 T",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "0000000000000000000000000000000000000000000000000000000000000080"
        "1ccf8736c8350f7833a8d7e2b85642e4a2d5946a8390c18fddc43200178a390b",
        False,
    ),
    Vector(
        "A of small order, 3 T",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "6564676520636173652032",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R of small order, 3 T",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
        "ab7cca75433af6eac56bd916b8ae39bd48d7401c946be51b211eb8cf7e08d30a",
        False,
    ),
    Vector(
        "A of small order, 4 T",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "6564676520636173652030",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R of small order, 4 T",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
        "b2455f5bbce78b2b9f4144221e079b635c162de78d27e737a68f571a5a3ea307",
        False,
    ),
    Vector(
        "A of small order, 5 T",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "6564676520636173652037",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R of small order, 5 T",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"
        "68676b3f40ae7ed9d0cad66a77e323980a59f3cc3a4b141bd186c47a5597c900",
        False,
    ),
    Vector(
        "A of small order, 6 T",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "6564676520636173652033",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R of small order, 6 T",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "0000000000000000000000000000000000000000000000000000000000000000"
        "0cd1a903c9188f4ea66027b884067473e45f520fe4e3a9851b4f8ecafacd8504",
        False,
    ),
    Vector(
        "A of small order, 7 T",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "6564676520636173652034",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R of small order, 7 T",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
        "494469148d8813a500d8cb8edfaa8194860df75aed51c16c72a5ece4f2ace90a",
        False,
    ),
    Vector(
        "A not canonical, 0",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R not canonical, 0",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
        "df3a39e02b7ccb7ada5ed9741f3961053f220ab6ba1e5bf90a627e67231b5904",
        False,
    ),
    Vector(
        "A not canonical, 1",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R not canonical, 1",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "8d65e55260f09083857a8dff9a78e45142f5073e42b82cb9c4e7b9a433cf1007",
        False,
    ),
    Vector(
        "A not canonical, 2",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R not canonical, 2",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
        "336b57cb566652cdf1743898ff99fba459fff4033c40257ae4f143e16e505505",
        False,
    ),
    Vector(
        "A not canonical, 3",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R not canonical, 3",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "653504a0e4074a4300e3960da3c8aa7fb43bdefc5b88206422b216155e904c03",
        False,
    ),
    Vector(
        "A not canonical, 4",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R not canonical, 4",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "0100000000000000000000000000000000000000000000000000000000000080"
        "a3abf92ea060f3fb52a262adf003ee1580f367a1f006dc0b010af769508cc606",
        False,
    ),
    Vector(
        "A not canonical, 5",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "e878dca548664051e5e695d8c157b538a506f9a3dd9f0e9cfed7f4de62238207",
        False,
    ),
    Vector(
        "R not canonical, 5",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "3ad4944e4e48b9f23c5d897409a8e1dd8f1c90b819ba1a8e9d7e6a2b40b90905",
        False,
    ),
    Vector(
        "A of mixed order, holds without cofactor",
        "bf0897a61d855442ee8ea10d40d5e4295cf6a0f9a153daecf3f162db13f2950a",
        "656467652063617365203130",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "29ac5934506e643895818e3a453a0e40d4163998bb3492aa246bd39ad867c10e",
        True,
    ),
    Vector(
        "A of mixed order, holds with cofactor only",
        "bf0897a61d855442ee8ea10d40d5e4295cf6a0f9a153daecf3f162db13f2950a",
        "6564676520636173652030",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "f4b13d1085e382f082d002137e6928a9ef027355ab12336f92cd60d992c9f509",
        False,
    ),
    Vector(
        "R of mixed order, holds with cofactor only",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "186ed2bdbd1a36f6437c5168b0221914018ea4f32a1c3fcd1c1794d64fbd596e"
        "86486a2ec422fbe25b7f9912fd9d1dbdc94b5db11e41156b49fa9dc5cda77708",
        False,
    ),
    Vector(
        "A and R of mixed order, holds without cofactor",
        "bf0897a61d855442ee8ea10d40d5e4295cf6a0f9a153daecf3f162db13f2950a",
        "6564676520636173652031",
        "186ed2bdbd1a36f6437c5168b0221914018ea4f32a1c3fcd1c1794d64fbd596e"
        "01e5cb612d3ac05d767f3924dce624f0d7116d490692f853a1ff937e0dd55806",
        True,
    ),
    Vector(
        "A not on the curve",
        "0200000000000000000000000000000000000000000000000000000000000000",
        "656467652063617365",
        "b31b20f50426242514d81b383548bd90de72fd0b8cf2382a88f9f52ce5076b23"
        "c663b6f60b7d655d5e443c641bbb9171e7f016a501dead4f95fa4462b243a902",
        False,
    ),
    Vector(
        "R not on the curve",
        "ff6f43ab4e72e31b78049fcc5f97455becdd0ea428c1fd6c7a0fc66e991c7cb9",
        "656467652063617365",
        "0200000000000000000000000000000000000000000000000000000000000000"
        "c663b6f60b7d655d5e443c641bbb9171e7f016a501dead4f95fa4462b243a902",
        False,
    ),
)
