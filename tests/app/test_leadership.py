"""Replicas of one lease: who may write when, whatever is stopped, cut off, killed or lost."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from analyzer.app.lease import Timing
from analyzer.errors import ClusterUnavailable, ConflictError, LeadershipLost
from analyzer.ports import Object, Ref
from tests.app.replicas import NAME, ROUTE, Replica, World

DURATION_S = 15.0


@pytest.fixture
def world() -> Iterator[World]:
    world = World(duration_s=DURATION_S)
    yield world
    world.close()


def two(world: World) -> tuple[Replica, Replica]:
    """Start two replicas, and return the leader and the one that stands by."""
    for name in ("a", "b"):
        world.add(name)
    world.until(
        lambda: bool(world.writers()), within_s=DURATION_S + 2
    )  # the Lease is made, and might have been deleted
    leader = world.leader()
    world.pass_time(5)
    (other,) = (replica for replica in world.replicas if replica is not leader)
    return leader, other


def lease(world: World) -> Object:
    spec: Object = world.cluster._store.read(NAME)["spec"]
    return spec


def writes_of(world: World, replica: Replica) -> int:
    return sum(name == replica.name for _, name in world.written)


def test_of_two_of_one_name_one_leads_and_writes(world: World) -> None:
    leader, other = two(world)
    world.pass_time(30)
    assert writes_of(world, leader) > 50
    assert writes_of(world, other) == 0
    assert lease(world)["holderIdentity"] == leader.leadership.identity
    assert leader.metrics.registry.get_sample_value("serin_leader") == 1
    assert other.metrics.registry.get_sample_value("serin_leader") == 0


def test_one_that_stands_by_asks_the_server_for_next_to_nothing(world: World) -> None:
    leader, other = two(world)
    for replica in (leader, other):
        replica.line.calls.clear()
    written = writes_of(world, leader)
    world.pass_time(60)
    assert other.line.calls == []  # its watch is open
    for_writes = 2 * (writes_of(world, leader) - written)  # a get and a patch each
    assert abs(len(leader.line.calls) - for_writes - 60 / Timing(DURATION_S).renew_s) <= 2


def test_a_released_lease_is_taken_within_two_seconds(world: World) -> None:
    leader, other = two(world)
    leader.end()
    assert lease(world)["holderIdentity"] == ""
    assert world.until(other.may_write, within_s=2) <= 2
    assert (lease(world)["leaseTransitions"], other.leadership.epoch) == (2, 2)


def test_a_dead_leader_is_replaced_when_its_lease_has_not_changed_for_its_duration(world: World) -> None:
    leader, other = two(world)
    leader.kill()
    last_heard_s = world.clock.elapsed_s
    world.until(other.may_write, within_s=DURATION_S + 1)
    assert world.clock.elapsed_s - last_heard_s > DURATION_S - Timing(DURATION_S).renew_s - 0.3


def test_a_stopped_leader_that_wakes_up_does_not_write(world: World) -> None:
    leader, other = two(world)
    leader.stopped = True
    world.until(other.may_write, within_s=DURATION_S + 1)
    assert not leader.may_write()
    before = writes_of(world, leader)
    leader.stopped = False
    world.pass_time(60)
    assert writes_of(world, leader) == before
    assert not leader.leadership.leads
    assert all(isinstance(error, LeadershipLost) for error in leader.refusals)  # nothing that would page anybody
    assert world.leader() is other


def test_a_leader_that_was_stopped_for_a_moment_and_not_replaced_goes_on_in_its_epoch(world: World) -> None:
    leader, _ = two(world)
    leader.stopped = True
    world.pass_time(Timing(DURATION_S).deadline_s + 1)
    leader.stopped = False
    world.until(leader.may_write, within_s=1)
    assert (leader.leadership.epoch, leader.leadership.term) == (1, 1)


def test_a_leader_cut_off_stops_in_time_and_another_takes_over(world: World) -> None:
    leader, other = two(world)
    leader.line.cut = True
    world.until(lambda: not leader.may_write(), within_s=Timing(DURATION_S).deadline_s)
    assert not other.may_write()
    world.until(other.may_write, within_s=DURATION_S)
    with pytest.raises(ClusterUnavailable, match="no route to the API server"):  # it may say so, and people are told
        leader.leadership.check(1.0)
    leader.line.cut = False
    world.until(lambda: not leader.leadership.leads, within_s=3)
    with pytest.raises(LeadershipLost, match=f"stands by; the leader is {other.leadership.identity}"):
        leader.leadership.check(1.0)


def test_when_the_server_was_away_for_all_the_leader_goes_on_in_its_epoch(world: World) -> None:
    leader, other = two(world)
    leader.line.cut = other.line.cut = True
    world.pass_time(60)
    assert world.writers() == []
    assert leader.leadership.leads  # it still decides, and its evidence grows
    told = leader.changes
    # Whoever comes first: here the old leader. Had it been the other one, that would lead now, in an epoch of its own.
    leader.line.cut = False
    world.until(leader.may_write, within_s=3)
    other.line.cut = False
    world.pass_time(30)
    assert world.leader() is leader
    assert (leader.leadership.epoch, leader.leadership.term) == (1, 1)
    assert leader.changes == told + 1  # what is due is due at once


def test_a_wall_clock_that_steps_changes_nothing(world: World) -> None:
    leader, _ = two(world)
    for step_s in (-3600.0, 7200.0, -3600.0):
        world.clock.step_wall(step_s)
        world.pass_time(20)
        assert world.leader() is leader
    assert world.epochs == [1]


def test_a_renewal_whose_answer_is_lost_is_no_renewal_and_no_loss(world: World) -> None:
    leader, _ = two(world)
    leader.line.lost = lambda: world.clock.elapsed_s % 7 < 4
    world.pass_time(60)
    leader.line.lost = lambda: False
    world.pass_time(10)
    assert world.leader() is leader
    assert world.epochs == [1]


def test_a_deleted_lease_is_not_taken_while_its_holder_may_still_write(world: World) -> None:
    leader, other = two(world)
    leader.line.delay_s = lambda: 0.3
    world.cluster.delete(NAME)
    world.until(lambda: not leader.leadership.leads, within_s=5)
    world.until(lambda: bool(world.writers()), within_s=DURATION_S + 2)
    assert world.leader() in (leader, other)
    world.pass_time(3)
    assert world.epochs == [1, 2]  # not 1 again, though the new Lease knows nothing of the old


def test_a_lease_that_a_person_cleared_is_not_taken_while_its_holder_may_still_write(world: World) -> None:
    leader, _ = two(world)
    obj = world.cluster._store.read(NAME)
    obj["spec"]["holderIdentity"] = ""
    world.cluster.apply(obj)
    world.until(lambda: not leader.leadership.leads, within_s=5)
    world.until(lambda: bool(world.writers()), within_s=DURATION_S + 2)


def test_an_epoch_copied_from_elsewhere_is_outranked_by_whoever_does_hold_the_lease(world: World) -> None:
    leader, _ = two(world)
    obj = world.cluster._store.read(ROUTE)
    obj["metadata"]["annotations"]["serin.dev/epoch"] = "57"
    world.cluster.apply(obj)
    written = writes_of(world, leader)
    world.until(lambda: leader.leadership.epoch == 58, within_s=4)
    world.pass_time(2)
    assert writes_of(world, leader) > written
    assert (world.leader(), world.epochs) == (leader, [1, 57, 58])


def test_an_epoch_that_nobody_can_have_reached_is_no_epoch(world: World) -> None:
    leader, _ = two(world)
    obj = world.cluster._store.read(ROUTE)
    obj["metadata"]["annotations"]["serin.dev/epoch"] = "9" * 30
    world.cluster.apply(obj)
    written = writes_of(world, leader)
    world.pass_time(10)
    assert writes_of(world, leader) > written
    assert leader.leadership.epoch == 1


def test_a_write_of_an_older_leader_that_was_on_its_way_too_long_fails(world: World) -> None:
    """The server gets it 20 s after the time-out has ended the call: nothing on our side can stop that any more."""
    leader, other = two(world)
    late: list[tuple[Ref, list[Object]]] = []
    real = world.cluster.patch

    async def slow(ref: Ref, operations: list[Object], **_more: object) -> Object:
        late.append((ref, operations))
        raise TimeoutError

    world.cluster.patch = slow  # type: ignore[method-assign, assignment]
    world.until(lambda: any(ref == ROUTE for ref, _ in late), within_s=2)
    leader.kill()
    world.cluster.patch = real  # type: ignore[method-assign]
    world.until(lambda: writes_of(world, other) > 0, within_s=DURATION_S + 2)
    ref, operations = next(call for call in late if call[0] == ROUTE)
    with pytest.raises(ConflictError, match=r"test operation for path /metadata/annotations/serin\.dev~1epoch failed"):
        asyncio.run(world.cluster.patch(ref, operations))


@pytest.mark.parametrize("duration_s", [0.0, 2.0, 10.5])
def test_a_lease_that_cannot_be_written_in_whole_seconds_is_refused(duration_s: float) -> None:
    with pytest.raises(ValueError, match="whole seconds, 3 or more"):
        World(duration_s=duration_s).add("a")


class Troubled(RuleBasedStateMachine):
    """Three replicas, and whatever can happen to them. `World.check` looks at every instant."""

    @initialize(seed=st.integers(0, 2**32 - 1), duration_s=st.sampled_from([6.0, 15.0]))
    def begin(self, seed: int, duration_s: float) -> None:
        note(f"seed {seed}")
        self.world = World(duration_s=duration_s, seed=seed)
        for name in ("a", "b", "c"):
            self.world.add(name)

    def pick(self, number: int) -> Replica:
        return self.world.alive[number % len(self.world.alive)]

    @rule(seconds=st.floats(0.1, 25.0))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(number=st.integers(0, 5))
    def stop_or_continue(self, number: int) -> None:
        replica = self.pick(number)
        replica.stopped = not replica.stopped

    @rule(number=st.integers(0, 5))
    def cut_or_mend(self, number: int) -> None:
        line = self.pick(number).line
        line.cut = not line.cut

    @rule(number=st.integers(0, 5), longest_s=st.sampled_from([0.0, 0.2, 2.0, 6.0]))
    def slow_down(self, number: int, longest_s: float) -> None:
        self.pick(number).line.delay_s = lambda: self.world.rng.uniform(0.0, longest_s)

    @rule(number=st.integers(0, 5), share=st.sampled_from([0.0, 0.3, 1.0]))
    def lose_answers(self, number: int, share: float) -> None:
        self.pick(number).line.lost = lambda: self.world.rng.random() < share

    @rule(seconds=st.floats(-7200, 7200))
    def step_the_wall_clock(self, seconds: float) -> None:
        self.world.clock.step_wall(seconds)

    @rule(number=st.integers(0, 5), gently=st.booleans())
    def replace(self, number: int, gently: bool) -> None:  # noqa: FBT001
        replica = self.pick(number)
        if gently and not replica.stopped:
            replica.end()
        else:
            replica.kill()
        self.world.add(f"{replica.name}+")

    @precondition(lambda self: hasattr(self, "world") and NAME in self.world.cluster._store)
    @rule()
    def delete_the_lease(self) -> None:
        self.world.cluster.delete(NAME)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._mend()
        finally:
            self.world.close()

    def _mend(self) -> None:
        """Left alone, one leads, and writes."""
        for replica in self.world.alive:
            replica.stopped = replica.line.cut = False
            replica.line.delay_s = lambda: 0.0
            replica.line.lost = lambda: False
        # A lease deleted just now is noticed first, and then lies there for its duration.
        before = len(self.world.written)
        self.world.pass_time(self.world.duration_s)
        self.world.until(lambda: len(self.world.written) > before + 1, within_s=2 * self.world.duration_s)


def test_whatever_happens_no_two_may_write_and_epochs_never_fall() -> None:
    run_state_machine_as_test(
        Troubled,
        settings=settings(
            max_examples=25,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
