from collections.abc import Sequence
from dataclasses import replace

import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.pb.learningchain.v1 import tx_pb2
from abci_app.protocol.limits import UCREDIT
from tests.worker.worlds import CONTRACTOR, ME, NOW, make_job, make_view
from worker.filters import Refusal, find_check_refusal, find_refusal, get_registry
from worker.policy import Policy
from worker.resources import LEAST, compute_use


def refuse(policy: Policy, job: pb.Job, taken: int = 0, running: Sequence[pb.Job] = (), **view: object) -> str | None:
    refusal = find_refusal(policy, make_view(job, **view), job, taken, running)  # type: ignore[arg-type]
    return None if refusal is None else refusal.filter


def test_a_usual_job_is_accepted() -> None:
    assert refuse(Policy(), make_job()) is None


@pytest.mark.parametrize(
    ("name", "policy", "job"),
    [
        ("mode", Policy(train=False), make_job()),
        ("own_job", Policy(), make_job(contractor=ME)),
        ("min_bounty", Policy(min_bounty=51 * UCREDIT), make_job()),
        ("contractor_trust", Policy(base_bounty=49 * UCREDIT), make_job()),
        ("owners", Policy(refused_owners=frozenset({CONTRACTOR})), make_job()),
        ("owners", Policy(allowed_owners=frozenset({ME})), make_job()),
        ("registries", Policy(refused_registries=frozenset({"registry.example:5000"})), make_job()),
        ("registries", Policy(allowed_registries=frozenset({"docker.io"})), make_job()),
        (
            "registries",
            Policy(allowed_registries=frozenset({"registry.example:5000"})),
            make_job(eval_image="other.example/x@sha256:" + "b" * 64),
        ),
        ("min_time_left", Policy(min_time_left_ms=60_001), make_job()),
        ("resources", Policy(milli_cpus=499), make_job()),
        ("resources", Policy(memory_mib=511), make_job()),
        ("resources", Policy(disk_mib=63), make_job()),
        ("resources", Policy(), make_job(needs=tx_pb2.TrainingNeeds(gpus=1))),
        ("image_size", Policy(max_image_mib=2_047), make_job()),
    ],
)
def test_each_filter_refuses_by_its_name(name: str, policy: Policy, job: pb.Job) -> None:
    assert refuse(policy, job) == name


def test_a_limit_reached_exactly_is_accepted() -> None:
    policy = Policy(
        min_bounty=50 * UCREDIT, base_bounty=50 * UCREDIT, min_time_left_ms=60_000, milli_cpus=500, memory_mib=512,
        disk_mib=64, max_image_mib=2_048,
    )  # fmt: skip
    assert refuse(policy, make_job()) is None


def test_counts_refuse_only_when_they_are_used_up() -> None:
    assert refuse(Policy(max_parallel=2), make_job(), running=[make_job()]) is None
    assert refuse(Policy(max_parallel=2), make_job(), running=[make_job(), make_job()]) == "max_parallel"
    assert refuse(Policy(max_executions=3), make_job(), taken=2) is None
    assert refuse(Policy(max_executions=3), make_job(), taken=3) == "max_executions"


def test_a_suspended_account_does_not_train() -> None:
    assert refuse(Policy(), make_job(), standing=pb.Standing(suspended_until_ms=NOW + 1)) == "suspended"
    assert refuse(Policy(), make_job(), standing=pb.Standing(suspended_until_ms=NOW)) is None


@pytest.mark.parametrize(
    "account", [pb.Account(bond=1), pb.Account(unbonding=[pb.Unbonding(amount=1)])], ids=["bond", "unbonding"]
)
def test_an_account_that_holds_a_bond_trains_only_if_its_owner_risks_it(account: pb.Account) -> None:
    assert refuse(Policy(), make_job(), account=account) == "bond"
    assert refuse(Policy(risk_bond=True), make_job(), account=account) is None


def test_credits_that_an_account_earned_keep_it_from_no_training() -> None:
    assert refuse(Policy(), make_job(), account=pb.Account(balance=5 * UCREDIT)) is None


def test_what_a_contractor_paid_out_before_widens_the_trust_in_it() -> None:
    policy = Policy(base_bounty=20 * UCREDIT)
    assert refuse(policy, make_job(), contractors={CONTRACTOR: pb.Standing(bounties_paid_out=29 * UCREDIT)}) is not None
    assert refuse(policy, make_job(), contractors={CONTRACTOR: pb.Standing(bounties_paid_out=30 * UCREDIT)}) is None


def test_a_contractor_whose_jobs_end_badly_is_refused_from_four_jobs_on() -> None:
    few = pb.Standing(jobs_paid=0, jobs_refunded=3)
    bad = pb.Standing(jobs_paid=1, jobs_refunded=3)
    faulty = pb.Standing(jobs_paid=4, jobs_faulty=3)
    good = pb.Standing(jobs_paid=2, jobs_refunded=2)
    answers = [refuse(Policy(), make_job(), contractors={CONTRACTOR: s}) for s in (few, bad, faulty, good)]
    assert answers == [None, "contractor_counters", "contractor_counters", None]


def test_a_refusal_names_the_reason_in_words() -> None:
    job = make_job()
    refusal = find_refusal(Policy(memory_mib=100), make_view(job), job, 0, ())
    assert refusal is not None
    assert refusal.reason == "needs 512 MiB of memory, 100 are allowed"


def test_trainings_share_what_the_worker_may_use() -> None:
    """Each asks for 500 milli-CPUs, 512 MiB of memory, 64 MiB of disk."""
    one, two = [make_job()], [make_job(), make_job()]
    policy = Policy(max_parallel=4, milli_cpus=1_499, memory_mib=4_096, disk_mib=4_096)
    assert refuse(policy, make_job(), running=one) is None
    refusal = find_refusal(policy, make_view(make_job()), make_job(), 0, two)
    assert refusal == Refusal("resources", "needs 500 milli-CPUs, 1499 are allowed, 1000 of them in use")
    assert refuse(replace(policy, milli_cpus=1_500), make_job(), running=two) is None


def test_a_job_that_names_no_needs_gets_an_equal_share() -> None:
    policy = Policy(max_parallel=3, milli_cpus=1_000, memory_mib=2_048, disk_mib=90)
    modest = make_job(needs=tx_pb2.TrainingNeeds())
    assert compute_use(policy, modest.terms.needs) == (333, 682, 30)
    assert refuse(policy, modest, running=[modest, modest]) is None
    assert refuse(policy, modest, running=[make_job(), modest]) == "resources"  # 500 + 333 + 333 milli-CPUs


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("digits@sha256:0", "docker.io"),
        ("ada/digits@sha256:0", "docker.io"),
        ("localhost/digits@sha256:0", "localhost"),
        ("127.0.0.1:5000/digits@sha256:0", "127.0.0.1:5000"),
        ("ghcr.io/ada/digits@sha256:0", "ghcr.io"),
        ("GHCR.io:443/ada/digits@sha256:0", "ghcr.io"),
        ("ghcr.io:00443/ada/digits@sha256:0", "ghcr.io"),
        ("ghcr.io:4430/ada/digits@sha256:0", "ghcr.io:4430"),
        ("registry-1.docker.io/ada/digits@sha256:0", "docker.io"),
        ("Index.Docker.io:443/ada/digits@sha256:0", "docker.io"),
        ("[2001:DB8:0::1]:05000/digits@sha256:0", "[2001:db8::1]:5000"),
        ("[2001:db8::1]/digits@sha256:0", "[2001:db8::1]"),
    ],
)
def test_the_registry_of_an_image(image: str, registry: str) -> None:
    assert get_registry(image) == registry


@pytest.mark.parametrize("entry", ["evil.example", "EVIL.example:443", "evil.example:0443"])
@pytest.mark.parametrize("host", ["evil.example", "EVIL.Example", "evil.example:443", "eviL.example:0443"])
def test_a_registry_is_the_same_however_it_is_written(entry: str, host: str) -> None:
    job = make_job(image=f"{host}/x/y@sha256:" + "a" * 64)
    assert refuse(Policy(refused_registries=frozenset({entry})), job) == "registries"
    assert find_check_refusal(Policy(refused_registries=frozenset({entry})), job) is not None
    assert refuse(Policy(allowed_registries=frozenset({entry})), job) is None


def test_a_registry_refused_without_a_port_is_refused_at_every_port_and_allowed_at_the_usual_one_only() -> None:
    job = make_job(image="evil.example:8443/x/y@sha256:" + "a" * 64)
    assert refuse(Policy(refused_registries=frozenset({"evil.example"})), job) == "registries"
    assert refuse(Policy(allowed_registries=frozenset({"evil.example"})), job) == "registries"
    assert refuse(Policy(refused_registries=frozenset({"evil.example:8444"})), job) is None


def test_a_training_gets_what_runs_at_all_however_little_its_job_asks_for() -> None:
    """The engine refuses less for any image, and the job would be tried again and again."""
    needs = tx_pb2.TrainingNeeds(milli_cpus=1, memory_mib=1, disk_mib=1)
    assert compute_use(Policy(), needs) == LEAST
