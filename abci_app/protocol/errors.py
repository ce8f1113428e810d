"""Every reason to refuse a transaction: one class each, with a number and a name that never change.

Numbers below 100 are envelope failures, which change nothing. From 100 on a message failed: nonce and quota are
used up, nothing else happens. `hint` says what the sender can do next.
"""

from typing import ClassVar


class TxError(Exception):
    """A refused transaction. `code` is its stable number, `name` its stable name."""

    code: ClassVar[int] = 0
    name: ClassVar[str] = ""
    hint: ClassVar[str] = ""


class EnvelopeError(TxError):
    """The transaction as such is not acceptable now; nothing changes."""


class MessageError(TxError):
    """The message cannot be carried out; nonce and quota are consumed and nothing else."""


REASONS: dict[int, type[TxError]] = {}


def _reason(base: type[TxError], code: int, name: str, hint: str) -> type[TxError]:
    if code in REASONS:
        raise ValueError(f"error number {code} is used twice")
    class_name = "".join(word.capitalize() for word in name.split("_"))
    REASONS[code] = type(class_name, (base,), {"code": code, "name": name, "hint": hint, "__doc__": hint})
    return REASONS[code]


def _envelope(code: int, name: str, hint: str) -> type[TxError]:
    return _reason(EnvelopeError, code, name, hint)


def _message(code: int, name: str, hint: str) -> type[TxError]:
    return _reason(MessageError, code, name, hint)


# Bytes
TooLarge = _envelope(1, "too_large", "a transaction has at most 16 KiB")
Undecodable = _envelope(2, "undecodable", "the bytes are not a SignedTx holding a TxBody with one message")
NotCanonical = _envelope(3, "not_canonical", "encode fields in order, without defaults, unknown or repeated fields")
BadFieldLength = _envelope(4, "bad_field_length", "tag 8, account 20, public key 32 and signature 64 bytes")
WrongChain = _envelope(5, "wrong_chain", "sign for this chain: its tag comes from /params")
Expired = _envelope(6, "expired", "sign again with a later expires_at_height")
ExpiryTooFar = _envelope(7, "expiry_too_far", "expires_at_height is at most max_tx_lifetime blocks ahead")
DuplicateTx = _envelope(8, "duplicate_tx", "the same bytes are already in this block")
# Sender
UnknownAccount = _envelope(20, "unknown_account", "register the account first")
UnknownKey = _envelope(21, "unknown_key", "this public key does not belong to the account: add it with SetKey")
KeyRemoved = _envelope(22, "key_removed", "use another key of the account")
KeyExpired = _envelope(23, "key_expired", "use another key of the account, or set a later expiry with an owner key")
ScopeTooSmall = _envelope(24, "scope_too_small", "this message needs an owner key")
AccountBanned = _envelope(25, "account_banned", "a banned account can do nothing more")
WrongNonce = _envelope(26, "wrong_nonce", "use the next nonce of this key; one client sends through one node")
QuotaExceeded = _envelope(27, "quota_exceeded", "wait for the bucket to refill, or hold at least one credit")
BadSignature = _envelope(28, "bad_signature", "sign the exact body bytes with the key given")
FreshAccount = _envelope(29, "fresh_account", "the first transaction after Register waits for the next block")
PoorPlacesTaken = _envelope(30, "poor_places_taken", "the mempool's places for accounts below 1 credit are full: wait")
# Register
WorkTooSmall = _envelope(40, "work_too_small", "search a solution with more leading zero bits: /params tells how many")
AlreadyRegistered = _envelope(41, "already_registered", "this public key belongs to an account already")
RegistrationsFull = _envelope(42, "registrations_full", "too many registrations in this block: send it again")
RegisterNonce = _envelope(43, "register_nonce", "a Register has nonce 0")
RegisterAddress = _envelope(44, "register_address", "the account of a Register is the address of its public key")
BadSolution = _envelope(45, "bad_solution", "a solution has 1 to 32 bytes")

# All messages
BadText = _message(100, "bad_text", "text is UTF-8 without control characters and within its length")
BadAmount = _message(101, "bad_amount", "an amount is at least 1 and less than 2^63")
InsufficientBalance = _message(102, "insufficient_balance", "the balance does not cover this")
# Keys, profile, transfers
BadKey = _message(110, "bad_key", "a public key has 32 bytes")
BadKeyProof = _message(111, "bad_key_proof", "the new key signs the chain tag and the account")
KeyTaken = _message(112, "key_taken", "a public key belongs for ever to the first account that had it")
TooManyKeys = _message(113, "too_many_keys", "16 keys at once, 64 ever: remove one, or use another account")
BadScope = _message(114, "bad_scope", "scope is owner, work or removed; removing has neither proof nor expiry")
LastOwnerKey = _message(115, "last_owner_key", "at least one owner key without expiry must remain")
KeyNotPresent = _message(116, "key_not_present", "only a key of this account can be removed")
BadKeyExpiry = _message(117, "bad_key_expiry", "the expiry is 0 or a block time in the future")
BadRecipient = _message(120, "bad_recipient", "the recipient is another registered account")
RecipientBanned = _message(121, "recipient_banned", "a banned account cannot receive credits")
# Jobs
BadImage = _message(200, "bad_image", "an image reference is at most 512 bytes and ends in @sha256:<64 hex>")
BadBounty = _message(201, "bad_bounty", "the bounty is at least min_bounty")
UnknownClass = _message(202, "unknown_class", "choose a class of /params")
BadVerifyFee = _message(203, "bad_verify_fee", "the verify fee is at least that of the class and at most 2^53")
BadDeposit = _message(204, "bad_deposit", "the deposit is 0, or from the verify fee to the bounty")
BadRunnerUps = _message(205, "bad_runner_ups", "at most max_runner_ups")
BadFreePlaces = _message(206, "bad_free_places", "at most 1 + runner-ups; exactly that with deposit 0")
BadExpiry = _message(207, "bad_expiry", "the expiry lies from min_job_ms to max_job_ms ahead")
BadRevealWindow = _message(208, "bad_reveal_window", "the reveal window lies within the chain's bounds")
BadTolerance = _message(209, "bad_tolerance", "the tolerance is at least min_tolerance and at most 2^61")
BadBanMargin = _message(210, "bad_ban_margin", "the ban margin is at least 10 x the tolerance and at most 2^61")
BadMinImprovement = _message(211, "bad_min_improvement", "more than the tolerance and at most 2^61")
BadLossCeiling = _message(212, "bad_loss_ceiling", "the loss ceiling lies within +-2^62")
BadNeeds = _message(213, "bad_needs", "a training need is above its upper bound")
TooManyOpenJobs = _message(214, "too_many_open_jobs", "wait until one of your jobs is settled")
TooFewCheckers = _message(215, "too_few_checkers", "other checkers of the class hold less than a third of the bond")
UnknownJob = _message(220, "unknown_job", "there is no such job; settled jobs are pruned after job_retention_ms")
NotContractor = _message(221, "not_contractor", "only the contractor of the job can do this")
JobNotOpen = _message(222, "job_not_open", "the job is not open any more")
JobExpired = _message(223, "job_expired", "the expiry of the job has passed")
JobHasAnnouncements = _message(224, "job_has_announcements", "a job can be cancelled only before any announcement")
# Announcements
OwnJob = _message(230, "own_job", "a contractor does not announce in its own job")
AccountSuspended = _message(231, "account_suspended", "wait until the suspension is over")
BadLoss = _message(232, "bad_loss", "a loss lies within +-2^62, an announced one not above the job's ceiling")
BadCommitment = _message(233, "bad_commitment", "a commitment is 32 bytes")
NotSecurable = _message(234, "not_securable", "a job without deposit has no secured places")
SecuredStays = _message(235, "secured_stays", "a secured candidacy stays secured: announce with secured set")
NotImproved = _message(236, "not_improved", "a new announcement must be lower than your previous one")
NotLeading = _message(237, "not_leading", "undercut the leader by the minimum improvement")
WouldNotRank = _message(238, "would_not_rank", "no place in the list is left at this loss")
TooManyCandidacies = _message(239, "too_many_candidacies", "an account stands in at most 64 jobs at once")
TooManyUnsecured = _message(240, "too_many_unsecured", "secure the announcement, or win or wait for open ones")
NoCheckersLeft = _message(241, "no_checkers_left", "no eligible checker would remain for this job")
# Reveal and votes
NotInReveal = _message(250, "not_in_reveal", "the job is not waiting for a model now")
NotYourTurn = _message(251, "not_your_turn", "another candidate has the turn")
DeadlinePassed = _message(252, "deadline_passed", "the window of this job's state is over")
CommitmentMismatch = _message(253, "commitment_mismatch", "digest and salt do not open your commitment")
ModelTooLarge = _message(254, "model_too_large", "the size lies from 1 byte to the class's model limit")
BadDigest = _message(255, "bad_digest", "a digest is 32 bytes")
BadSalt = _message(256, "bad_salt", "a salt is 32 bytes")
BadLocations = _message(257, "bad_locations", "at most 4 locations of 1 to 256 bytes of text")
NotInVote = _message(260, "not_in_vote", "the job is not taking commitments now")
WrongRound = _message(261, "wrong_round", "name the present round of the job")
NotSeated = _message(262, "not_seated", "this account has no seat in the round")
AlreadyCommitted = _message(263, "already_committed", "the first commitment of a round is final")
NotInTally = _message(264, "not_in_tally", "votes are revealed in the tally only")
NotCommitted = _message(265, "not_committed", "only a committed vote can be revealed")
AlreadyRevealed = _message(266, "already_revealed", "the vote was revealed already")
BadVote = _message(267, "bad_vote", "loss and receipt do not fit the finding")
VoteMismatch = _message(268, "vote_mismatch", "the vote does not open your commitment")
# Bonds, checkers and validators
BadBondAmount = _message(280, "bad_bond_amount", "move at least 1 credit, or all")
InsufficientBond = _message(281, "insufficient_bond", "the bond does not cover this")
TooManyUnbondings = _message(282, "too_many_unbondings", "at most 8 entries unbond at once: wait for one")
BadChecker = _message(283, "bad_checker", "name a class of /params; off has class 0")
NotJailed = _message(284, "not_jailed", "the account is not jailed")
StillJailed = _message(285, "still_jailed", "wait until unjail_ms have passed since the jail")
NotSupported = _message(299, "not_supported", "this chain version does not carry out this message")
