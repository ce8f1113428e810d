import pytest

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol.params import CLASS_BOUNDS, MAX_CLASSES, RULES, SETS, BadParams, Rule, check_params, get_params


def test_every_parameter_has_a_rule_and_every_rule_a_parameter() -> None:
    assert [rule.name for rule in RULES] == [
        field.name for field in pb.Params.DESCRIPTOR.fields if field.name != "classes"
    ]
    assert [bound[0] for bound in CLASS_BOUNDS] == [f.name for f in pb.EvaluationClass.DESCRIPTOR.fields][1:]


@pytest.mark.parametrize("name", SETS)
def test_every_set_lies_within_its_own_bounds(name: str) -> None:
    check_params(get_params(name))


def test_sets_are_fresh_messages() -> None:
    get_params("devnet").tx_burst = 1
    assert get_params("devnet").tx_burst == 200


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_a_value_outside_its_hard_bound_is_refused_by_name(rule: Rule) -> None:
    for value in (rule.low - 1, rule.high + 1):
        if 0 <= value < 2**64:
            params = get_params("devnet")
            setattr(params, rule.name, value)
            with pytest.raises(BadParams, match=rule.name):
                check_params(params)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("min_job_ms", "max_job_ms"),
        ("min_reveal_window_ms", "max_reveal_window_ms"),
        ("poor_burst", "tx_burst"),
        ("poor_per_minute", "tx_per_minute"),
        ("power_unit", "min_validator_bond"),
        ("max_missed_blocks", "signed_window"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(first: str, second: str) -> None:
    params = get_params("devnet")
    setattr(params, first, getattr(params, second) + 1)
    with pytest.raises(BadParams, match=first):
        check_params(params)


@pytest.mark.parametrize(("name", "unit", "low", "high"), CLASS_BOUNDS)
def test_classes_have_bounds_too(name: str, unit: str, low: int, high: int) -> None:
    for value in (low - 1, high + 1):
        if value >= 0:
            params = get_params("public")
            setattr(params.classes[1], name, value)
            with pytest.raises(BadParams, match=f"class 1: {name}"):
                check_params(params)


@pytest.mark.parametrize("name", ["", "x" * 33, "a\n", "é"])
def test_a_class_has_a_printable_name(name: str) -> None:
    params = get_params("public")
    params.classes[2].name = name
    with pytest.raises(BadParams, match="class 2"):
        check_params(params)


def test_there_are_1_to_16_classes() -> None:
    params = get_params("public")
    params.classes.extend([params.classes[0]] * (MAX_CLASSES - 2))
    with pytest.raises(BadParams, match="1 to 16"):
        check_params(params)
    del params.classes[:]
    with pytest.raises(BadParams, match="1 to 16"):
        check_params(params)


def test_the_values_given_by_the_protocol_are_kept() -> None:
    devnet, public = get_params("devnet"), get_params("public")
    assert (devnet.registration_bits, public.registration_bits) == (12, 24)
    assert (devnet.vote_window_ms, public.vote_window_ms) == (10_000, 600_000)
    assert (devnet.committee_seats, public.committee_seats) == (15, 31)
    assert (devnet.unbonding_ms, public.unbonding_ms) == (60_000, 21 * 86_400_000)
    assert [(c.cores, c.seconds, c.min_verify_fee) for c in public.classes] == [
        (2, 120, 100_000),
        (4, 900, 1_000_000),
        (8, 3_600, 10_000_000),
    ]
