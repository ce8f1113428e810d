from abci_app.pb.learningchain.v1 import state_pb2 as pb
from tests.worker.worlds import ME, RIVAL, make_candidate, make_job, make_view
from worker.places import Place, find_place
from worker.policy import Policy


def place(job: pb.Job, loss: int, policy: Policy | None = None, **view: object) -> Place | None:
    return find_place(policy or Policy(), make_view(job, **view), job, loss)  # type: ignore[arg-type]


def test_the_first_loss_below_the_ceiling_leads() -> None:
    assert place(make_job(), 10**10) == Place(0, secured=False)
    assert place(make_job(), 10**10 + 1) is None


def test_a_rival_is_beaten_only_by_the_minimum_improvement() -> None:
    job = make_job(candidates=[make_candidate(RIVAL, 500_000)])
    assert place(job, 498_000) == Place(0, secured=False)
    assert place(job, 498_001) is None


def test_a_leader_may_lower_its_own_loss_by_anything_but_not_repeat_it() -> None:
    job = make_job(candidates=[make_candidate(ME, 500_000)])
    assert place(job, 499_999) == Place(0, secured=False)
    assert place(job, 500_000) is None


def test_with_runner_ups_a_worse_loss_takes_the_second_place() -> None:
    job = make_job(candidates=[make_candidate(RIVAL, 500_000)], runner_ups=1, free_places=2)
    assert place(job, 900_000) == Place(1, secured=False)


def test_without_a_free_place_the_deposit_is_locked_if_the_owner_allows_it() -> None:
    job = make_job(candidates=[make_candidate(RIVAL, 500_000)], runner_ups=1, free_places=1, deposit=10)
    assert place(job, 900_000) is None
    rich = pb.Account(balance=10)
    assert place(job, 900_000, Policy(max_deposit=9), account=rich) is None
    assert place(job, 900_000, Policy(max_deposit=10), account=pb.Account(balance=9)) is None
    assert place(job, 900_000, Policy(max_deposit=10), account=rich) == Place(1, secured=True)


def test_a_secured_candidacy_stays_secured() -> None:
    job = make_job(candidates=[make_candidate(ME, 500_000, secured=True)], deposit=10)
    assert place(job, 400_000) == Place(0, secured=True)


def test_an_account_at_its_cap_of_unsecured_candidacies_does_not_announce() -> None:
    full = pb.Standing(candidacies=2, unsecured_candidacies=2)
    assert place(make_job(), 1, standing=full) is None
    assert place(make_job(), 1, standing=pb.Standing(candidacies=2, unsecured_candidacies=2, wins=1)) is not None
    assert place(make_job(candidates=[make_candidate(ME, 5)]), 1, standing=full) is not None


def test_nobody_stands_in_more_than_64_jobs() -> None:
    assert place(make_job(), 1, standing=pb.Standing(candidacies=64, wins=100)) is None
