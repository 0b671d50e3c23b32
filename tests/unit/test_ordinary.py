"""Ordinary text, which moderation must not flag."""

from pathlib import Path

import pytest

from schema.documents import Task
from schema.outcomes import MODERATION_LABELS
from tests.fixtures.corpus import recipe, write_source
from worker.training import ordinary
from worker.training.corpus import sources
from worker.training.ordinary import ordinary_rows


def test_ordinary_texts_are_clean_of_what_their_source_rules_out(data_folder: Path) -> None:
    """Without it a model trained on offence alone would flag what is merely ordinary."""
    papers = ordinary_rows(sources(data_folder, Task.KEYWORDS)[0], "train")
    [reviews] = [
        source for source in sources(data_folder, Task.SENTIMENT) if source.name == "reviews"
    ]
    known = {row.text: row.annotated for row in ordinary_rows(reviews, "train")}

    assert all(row.annotated == set(MODERATION_LABELS) for row in papers)
    assert "hate" in known["lovely staff, great room"]
    assert "hate" not in known["awful service, dirty room"]


def test_texts_that_moderation_knows_are_no_ordinary_text(tmp_path: Path) -> None:
    """Without it, a text labelled as spam is taught as clean, or a test text is learned."""
    labelled = [{"text": text, "label": "neutral"} for text in ("Win a prize", "A calm day")]
    write_source(tmp_path / "sentiment" / "notes", labelled)
    write_source(tmp_path / "keywords" / "papers", [{"text": "Solar cells", "keywords": []}])
    write_source(tmp_path / "moderation" / "mail", [{"text": "WIN a  prize", "labels": ["spam"]}])
    for split in ("train", "valid"):
        (tmp_path / "moderation" / "mail" / f"{split}.jsonl.gz").unlink()

    rows = recipe(tmp_path, Task.MODERATION).ordinary("train")

    assert {row.text for row in rows} == {"A calm day", "Solar cells"}


def test_ordinary_text_that_names_an_identity_is_taken_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it such words would stand in attacks alone, and be flagged wherever they stand."""
    monkeypatch.setattr(ordinary, "_ROWS_A_SOURCE", 2)
    named = ["My lesbian aunt won the chess cup", "女权组织办的读书会真好"]
    plain = [f"The train {n} leaves on time" for n in range(50)]
    rows = [{"text": text, "label": "positive"} for text in plain + named]
    write_source(tmp_path / "sentiment" / "notes", rows)
    [source] = sources(tmp_path, Task.SENTIMENT)

    taken = ordinary_rows(source, "train")

    assert all(row.text in named for row in taken)
