"""The search space of a study as its record has it, without building any network."""

from __future__ import annotations

from isoshare.space.costs.closed_form import NetworkCosts
from isoshare.space.plan import Variant
from isoshare.space.search_space import SearchSpace
from isoshare.space.variants.variant_space import Space, VariantSpace
from isoshare.storage.records import StudyRecord
from isoshare.storage.study_values import NetworkRecord


def reference_of(study: StudyRecord) -> Variant:
    """The arguments of the variant that sizes are compared with; () where none are varied."""
    arguments = study.context.backbone.arguments
    return tuple((name, arguments[name]) for name in sorted(study.config.vary))


def recorded_space(study: StudyRecord) -> Space:
    """The space; plans of papers, whose options it may have offered besides, are left out."""

    def space(network: NetworkRecord) -> SearchSpace:
        costs = NetworkCosts.of(network.costs) if network.costs else None
        methods = study.config.methods
        return SearchSpace(
            network.sites, network.unshared, methods, costs=costs, variant=network.variant
        )

    if not study.config.vary:
        return space(study.context.network())
    members = {one.variant: space(one) for one in study.context.variants}
    return VariantSpace(members, study.config.vary, reference_of(study))
