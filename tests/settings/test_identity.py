"""What is part of a run's identity, and what is not."""

import pytest

from fghash.settings.config import scientific
from fghash.settings.identity import canonical_json
from fghash.settings.resolve import configure


def science(**data):
    return scientific(configure([{"method": "hashnet", "data": {"name": "folder", **{"root": ".", **data}}}]))


def test_a_cache_counts_where_it_changes_the_training_crops():
    plain, ram, folder = science(), science(cache="ram"), science(cache="somewhere")
    assert ram == folder != plain
    assert science(cache="ram", crop="random") == science(crop="random")


@pytest.mark.parametrize("settings", [{"root": "/"}, {"num_workers": 3}, {"title": "cars"}])
def test_places_speed_and_titles_do_not_count(settings):
    assert science(**settings) == science()


def test_a_negative_zero_is_zero():
    zero, negative = (configure([{"method": "hashnet", "optim": {"warmup": value}}]) for value in (0.0, -0.0))
    assert canonical_json(scientific(zero)) == canonical_json(scientific(negative))


def test_freezing_and_normalisation_count():
    def backbone(**settings):
        return scientific(configure([{"method": "hashnet", "backbone": settings}]))

    assert len({str(backbone()), str(backbone(freeze="all")), str(backbone(freeze=2))}) == 3
    assert backbone(mean=[0.5, 0.5, 0.5]) != backbone()
