"""Who may upload a model to a relay: the candidate whose turn it is, by a claim that can be read."""

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.hashing import compute_model_commitment
from abci_app.protocol.limits import MIB
from tests.worker.claims import DIGEST, KEY, MODEL, OWNER, PARAMS, RELAY, make_claim, make_turn
from tests.worker.worlds import RIVAL, SALT, TAG, make_candidate, make_job
from worker.models.uploads import UploadClaim, UploadRefused, check_claim, parse_claim


def test_the_candidate_whose_turn_it_is_may_upload() -> None:
    check_claim(make_claim(), TAG, RELAY, PARAMS, make_turn(), OWNER)
    check_claim(make_claim(), TAG, RELAY, PARAMS, make_turn(pb.JOB_STATE_VOTE), OWNER)


@pytest.mark.parametrize(
    ("reason", "claim", "job"),
    [
        ("not waiting", make_claim(), None),
        ("not waiting", make_claim(), make_turn(pb.JOB_STATE_OPEN)),
        ("not waiting", make_claim(), make_turn(pb.JOB_STATE_TALLY)),
        ("another candidate", make_claim(account=RIVAL), make_turn()),
        ("do not open", make_claim(digest=b"o" * 32), make_turn()),
        ("do not open", make_claim(salt=b"o" * 32), make_turn()),
        ("size", make_claim(size=0), make_turn()),
        ("size", make_claim(size=16 * MIB + 1), make_turn()),
        ("key", make_claim(public_key=b"o" * 32), make_turn()),
    ],
)
def test_nobody_else_may_upload(reason: str, claim: UploadClaim, job: pb.Job | None) -> None:
    with pytest.raises(UploadRefused, match=reason):
        check_claim(claim, TAG, RELAY, PARAMS, job, OWNER)


def test_a_claim_signed_for_another_chain_is_refused() -> None:
    with pytest.raises(UploadRefused, match="signature"):
        check_claim(make_claim(), b"other!!!", RELAY, PARAMS, make_job_of_tag(b"other!!!"), OWNER)


def test_a_claim_for_another_relay_is_refused() -> None:
    with pytest.raises(UploadRefused, match=r"not valid for .* is http://other\.example"):
        check_claim(make_claim(), TAG, "http://other.example", PARAMS, make_turn(), OWNER)


def make_job_of_tag(tag: bytes) -> pb.Job:
    commitment = compute_model_commitment(tag, 1, KEY.address, DIGEST, SALT)
    return make_job(state=pb.JOB_STATE_REVEAL, candidates=[make_candidate(KEY.address, 5, commitment=commitment)])


def test_a_removed_key_may_not_upload() -> None:
    removed = pb.Account(keys=[pb.Key(public_key=KEY.public_key, scope=tx_pb2.KEY_SCOPE_REMOVED)])
    with pytest.raises(UploadRefused, match="key"):
        check_claim(make_claim(), TAG, RELAY, PARAMS, make_turn(), removed)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("account", ""), ("account", "0"), ("account", "00"), ("account", "00" * 21), ("account", "zz" * 20),
        ("key", "00" * 31), ("salt", ""), ("signature", "00" * 65), ("job", "-1"), ("job", "\u00b2"),
        ("job", "9999999999999999999"), ("job", "18446744073709551616"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_read_never_gets_to_the_node(header: str, value: str) -> None:
    headers = make_claim().to_headers()
    assert parse_claim(headers, DIGEST, len(MODEL)) == make_claim()
    with pytest.raises(UploadRefused, match=r"x-lc-job, x-lc-account \(20 bytes in hex\)"):
        parse_claim({**headers, f"x-lc-{header}": value}, DIGEST, len(MODEL))
