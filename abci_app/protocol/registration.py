"""The price of an account: work that rises with demand and falls with every full ten minutes of block time."""

from abci_app.pb.learningchain.v1 import state_pb2 as pb
from abci_app.protocol import keys
from abci_app.protocol.limits import REGISTRATION_PERIOD_MS, REGISTRATION_STEP
from abci_app.protocol.state import StateRead, StateWrite


def get_recent_registrations(state: StateRead, now_ms: int) -> int:
    """Return the number of registrations, halved at every full period that has passed."""
    load = state.get(keys.REGISTRATION_LOAD, pb.RegistrationLoad)
    if load is None:
        return 0
    passed = now_ms // REGISTRATION_PERIOD_MS - load.period
    return load.recent >> max(0, passed)


def get_required_bits(state: StateRead, params: pb.Params, now_ms: int) -> int:
    """Return how many leading zero bits a Register needs now."""
    return params.registration_bits + (get_recent_registrations(state, now_ms) // REGISTRATION_STEP).bit_length()


def count_registration(state: StateWrite, now_ms: int) -> None:
    """Count one successful registration."""
    recent = get_recent_registrations(state, now_ms)
    load = state.edit(keys.REGISTRATION_LOAD, pb.RegistrationLoad)
    load.recent = recent + 1
    load.period = now_ms // REGISTRATION_PERIOD_MS
