"""The limits and sources that an artifact's card states."""

from pathlib import Path

import pytest

from schema.documents import Task
from worker.pipeline.artifact import CARD, SHIPPED
from worker.training.card import Card, SetFigures, limits_of
from worker.training.card_page import readable
from worker.training.data_sets import FINDS_ONLY, GENERATES, LIMITS
from worker.training.measures import LabelMeasures, ModerationMeasures

WRITTEN = "written for training"


@pytest.mark.parametrize("task", list(Task))
def test_card_speaks_of_the_data_it_was_made_from_alone(task: Task, artifacts: Path) -> None:
    """Without it, a card would describe limits of data that its model was not trained on."""
    card = Card.model_validate_json((artifacts / task / CARD).read_bytes())

    assert card.limits == tuple(limit.text for limit in LIMITS[task] if not limit.sources)
    assert card.limits


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (Task.SENTIMENT, {"sentiment sentences"}),
        (Task.MODERATION, {"moderation sentences", "sentiment sentences"}),
        (Task.KEYWORDS, {"keywords abstracts", "keywords documents"}),
    ],
)
def test_card_names_what_was_written_for_training(
    task: Task, names: set[str], artifacts: Path
) -> None:
    """Without it, a card omits thousands of texts that its model learned."""
    card = Card.model_validate_json((artifacts / task / CARD).read_bytes())

    written = {entry.name: entry.rows for entry in card.sources if entry.use == WRITTEN}
    assert set(written) == names
    assert all(
        rows > (2000 if name.startswith("keywords") else 5000) for name, rows in written.items()
    )


@pytest.mark.parametrize("task", list(Task))
def test_cards_that_ship_hold_every_limit(task: Task) -> None:
    """Without it, a misspelt source name would remove a known bias from a card."""
    card = Card.model_validate_json((SHIPPED / task / CARD).read_bytes())
    limits = LIMITS[task]
    if card.generator is not None:
        limits = (*GENERATES, *(limit for limit in limits if limit is not FINDS_ONLY))

    said = limits_of(limits, card.sources)

    assert said == card.limits == tuple(limit.text for limit in limits)


def test_page_shows_no_precision_where_nothing_can_be_flagged_wrongly() -> None:
    """Without it, a model that flags everything shows a precision of 1."""
    card = Card.model_validate_json((SHIPPED / Task.MODERATION / CARD).read_bytes())
    measured = {"precision": 1, "recall": 0.5, "f1": 0.667, "auc": None}
    labels = {
        "spam": LabelMeasures(**measured, support=9),
        "fraud": LabelMeasures(**measured, support=0),
    }
    measures = ModerationMeasures(documents=9, flag_f1=1, flag_auc=None, ece=0, labels=labels)
    figures = SetFigures(name="mail", majority=None, measures=measures)

    page = readable(card.model_copy(update={"tests": (figures,)}))

    assert "| mail | spam | 9 | – | 0.500 | 0.667 | – |" in page
    assert "| mail | fraud | 0 | 1.000 | 0.500 | 0.667 | – |" in page
    assert "nothing can be flagged wrongly there" in page
