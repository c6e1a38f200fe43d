"""The next trial of a study: what is proposed, with all that is recorded of it at its start."""

from __future__ import annotations

from collections.abc import Sequence

from isoshare.evaluators.objectives import DEVICE_OBJECTIVES, exact_values
from isoshare.search.proposals.proposer import Proposer
from isoshare.search.proposals.sampler import History, MakeSampler
from isoshare.storage.records import TrialRecord


class Sampling:
    """A sampler that knows the history of a search, and whoever proposes when it does not.

    objectives: those of the study, as they were asked for. remaining: what may still be gained, as
    a share of the hypervolume; None if the sampler cannot tell.
    """

    def __init__(
        self, history: History, make_sampler: MakeSampler, objectives: Sequence[str]
    ) -> None:
        self._space = history.space
        # Parameters are recorded whatever is searched for: plan files and exports need them; what
        # devices hold, where it costs nothing to know, for pages that build no network.
        bounded = (limit.objective for limit in history.exact_limits)
        held = DEVICE_OBJECTIVES.values() if history.space.knows_devices else ()
        self._recorded = tuple(dict.fromkeys(("parameters", *objectives, *bounded, *held)))
        self._sampler = make_sampler(history)
        self._proposer = Proposer(history, self._sampler)
        self.remaining: float | None = None

    def next_trial(self, number: int) -> TrialRecord | None:
        """A trial of a plan that the study does not have; None if there is none left."""
        proposal = self._proposer.propose(number)
        if proposal is None:
            return None
        return TrialRecord(
            number=number,
            plan=proposal.plan,
            origin=proposal.origin,
            state="running",
            exact=exact_values(self._recorded, self._space, proposal.plan),
            proposal={**self._sampler.memory(proposal.plan), "remaining": self.remaining},
            attempts=1,
        )

    def tell(self, trial: TrialRecord) -> None:
        """A trial has ended that was never finished before."""
        self._sampler.tell(trial)

    def look_ahead(self) -> None:
        """Find out again what may still be gained."""
        self.remaining = self._sampler.remaining()
