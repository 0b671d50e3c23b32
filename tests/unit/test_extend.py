"""Adding a generator to an artifact."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schema.documents import Task
from schema.errors import ArtifactError, InputError
from schema.outcomes import KeywordsResult
from tests.fixtures.corpus import SPLITS, broken_off
from tests.fixtures.phrases import POSTS, extension
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import CARD, GENERATOR, read_config
from worker.training.card import Card
from worker.training.checkpoint import CHECKPOINT
from worker.training.data_sets import FINDS_ONLY
from worker.training.extend import Extension, extend
from worker.training.feedback import Feedback, write_source
from worker.training.loop import EpochReport
from worker.training.rows import KeywordsRow, write_rows
from worker.training.run import Finished, Report

UNCHANGED = ("tokenizer.json", "weights.safetensors", "ranker.safetensors")


def until_an_epoch(reports: Iterator[Report]) -> None:
    next(report for report in reports if isinstance(report, EpochReport))


def test_a_generator_makes_keywords_beside_those_that_are_found(
    generating: Path, artifacts: Path
) -> None:
    """Without it generated keywords come at the cost of those found in the text."""
    texts = [text for text, _ in POSTS]

    plain = analyse(Pipeline.load(artifacts / "keywords", "cpu"), texts)
    both = analyse(Pipeline.load(generating / "keywords", "cpu"), texts, generate=True)

    for before, after, (_, gold) in zip(plain, both, POSTS, strict=True):
        assert isinstance(before, KeywordsResult)
        assert isinstance(after, KeywordsResult)
        found = [keyword for keyword in after.keywords if not keyword.generated]
        made = [keyword for keyword in after.keywords if keyword.generated]
        assert found == before.keywords
        assert made[0].text == gold[0].lower()
        assert made[0].spans == []


def test_nothing_is_generated_unless_asked_for(generating: Path) -> None:
    """Without it every job pays for the option, and mixes generated keywords with found ones."""
    (result,) = analyse(Pipeline.load(generating / "keywords", "cpu"), [POSTS[0][0]])

    assert isinstance(result, KeywordsResult)
    assert not any(keyword.generated for keyword in result.keywords)


def test_results_do_not_depend_on_batch_mates(generating: Path) -> None:
    """Without it a document's result would change with its neighbours."""
    pipeline = Pipeline.load(generating / "keywords", "cpu")
    texts = [POSTS[0][0], " ".join([POSTS[1][0]] * 60), "tea", POSTS[1][0], "", "玻璃 study"]

    together = analyse(pipeline, texts, generate=True)
    alone = [analyse(pipeline, [text], generate=True)[0] for text in texts]

    generated = 0
    for one, other in zip(together, alone, strict=True):
        assert type(one) is type(other)
        if isinstance(one, KeywordsResult) and isinstance(other, KeywordsResult):
            generated += sum(keyword.generated for keyword in one.keywords)
            assert [k.text for k in one.keywords] == [k.text for k in other.keywords]
            for keyword, same in zip(one.keywords, other.keywords, strict=True):
                # A generated keyword's probability is a product over its steps, each rounded.
                near = 1e-4 if keyword.generated else 1e-5
                assert keyword.score == pytest.approx(same.score, abs=near)
    assert generated > 1


def test_the_rest_of_the_artifact_stays(generating: Path, artifacts: Path) -> None:
    """Without it the figures of the tagger and the ranker would be wrong."""
    before, after = artifacts / "keywords", generating / "keywords"

    card = Card.model_validate_json((after / "card.json").read_bytes())

    for name in UNCHANGED:
        assert (after / name).read_bytes() == (before / name).read_bytes()
    assert card.model_version == Pipeline.load(after, "cpu").model_version
    assert card.model_version != Pipeline.load(before, "cpu").model_version
    assert card.generator is not None
    assert card.generator.sources[0].rows == 12
    assert FINDS_ONLY.text not in card.limits
    assert not any("news" in limit for limit in card.limits)
    assert "## Generated keywords" in (after / "CARD.md").read_text(encoding="utf-8")
    assert not (after / CHECKPOINT).exists()


def test_a_resumed_training_ends_as_an_uninterrupted_one(
    generating: Path, artifacts: Path, posts: Path, tmp_path: Path
) -> None:
    """Without it an interrupted training would give another generator for the same seed."""
    wanted = extension(posts, artifacts / "keywords")
    until_an_epoch(extend(wanted, tmp_path, resume=False))

    *_, last = extend(wanted, tmp_path, resume=True)

    assert isinstance(last, Finished)
    for name in read_config(tmp_path).files():
        assert (tmp_path / name).read_bytes() == (generating / "keywords" / name).read_bytes()


def test_an_artifact_can_be_extended_again_where_it_lies(
    generating: Path, posts: Path, tmp_path: Path
) -> None:
    """Without it a generator could not be trained on newer data."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (generating / "keywords").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())

    *_, last = extend(extension(posts, folder), folder, resume=False)

    assert isinstance(last, Finished)
    for name in (*UNCHANGED, GENERATOR):
        assert (folder / name).read_bytes() == (generating / "keywords" / name).read_bytes()


def test_an_extension_that_is_broken_off_leaves_the_artifact_as_it_was(
    generating: Path, posts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a broken-off attempt to extend a serving model would destroy it."""
    folder = shutil.copytree(generating / "keywords", tmp_path / "model")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr("worker.training.extend.write_card", broken_off)
    chosen = extension(posts, folder).recipe
    wanted = Extension(folder, replace(chosen, training=replace(chosen.training, seed=9)))

    with pytest.raises(KeyboardInterrupt):
        list(extend(wanted, folder, resume=False))

    assert (folder / CHECKPOINT).is_dir()
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


def test_what_people_judged_is_learned_and_measured_apart(
    artifacts: Path, posts: Path, tmp_path: Path
) -> None:
    """Without it, a retrained model's generator learns held-out texts, and its card hides them."""
    judged = [KeywordsRow(text=f"Tea, cup {n}", keywords=("pottery",)) for n in range(30)]
    judged += [KeywordsRow(text=text, keywords=tuple(gold)) for text, gold in POSTS[:1]]
    source = write_source(tmp_path / "feedback", Task.KEYWORDS, judged)
    chosen = extension(posts, artifacts / "keywords").recipe
    chosen = replace(chosen, feedback=Feedback(source, replay=9))

    *_, last = extend(Extension(artifacts / "keywords", chosen), tmp_path / "out", resume=False)

    assert isinstance(last, Finished)
    assert last.card.generator is not None
    measured = {test.name: test.measures.documents for test in last.card.tests}
    learned = {entry.name: entry.rows for entry in last.card.generator.sources}
    assert measured == {"posts": SPLITS["test"], "feedback": len(source.rows("test"))}
    assert learned == {"posts": SPLITS["train"], "feedback": len(source.rows("train"))}


def test_without_absent_keywords_in_validation_training_texts_calibrate(
    artifacts: Path, posts: Path, tmp_path: Path
) -> None:
    """Without it, every score is next to nothing, and the threshold lets all phrases pass."""
    data = shutil.copytree(posts, tmp_path / "data")
    rows = [KeywordsRow(text="Dry soil", keywords=("dry soil",))]
    write_rows(data / "keywords" / "posts" / "valid.jsonl.gz", rows)

    list(extend(extension(data, artifacts / "keywords"), tmp_path / "out", resume=False))

    pipeline = Pipeline.load(tmp_path / "out", "cpu")
    (result,) = analyse(pipeline, [POSTS[0][0]], generate=True)
    assert isinstance(result, KeywordsResult)
    (made,) = [keyword for keyword in result.keywords if keyword.generated]
    assert made.text == "botany"
    assert made.score > 0.5


def test_two_extensions_do_not_write_to_one_folder(
    artifacts: Path, posts: Path, tmp_path: Path
) -> None:
    """Without it, the second one overwrites the checkpoint of the first."""
    wanted = extension(posts, artifacts / "keywords")
    first = extend(wanted, tmp_path, resume=False)
    next(report for report in first if isinstance(report, EpochReport))

    for resume in (False, True):
        with pytest.raises(InputError, match="another training writes to"):
            next(extend(wanted, tmp_path, resume=resume))

    *_, last = first
    assert isinstance(last, Finished)


def test_data_that_changes_during_an_extension_makes_no_artifact(
    artifacts: Path, posts: Path, tmp_path: Path
) -> None:
    """Without it, a card would name data that the generator did not learn."""
    data, out = shutil.copytree(posts, tmp_path / "data"), tmp_path / "out"
    reports = extend(extension(data, artifacts / "keywords"), out, resume=False)
    next(report for report in reports if isinstance(report, EpochReport))
    train_file = data / "keywords" / "posts" / "train.jsonl.gz"
    shutil.copy(train_file.with_name("test.jsonl.gz"), train_file)

    with pytest.raises(InputError, match="changed during the training"):
        list(reports)

    assert [path.name for path in out.iterdir()] == [CHECKPOINT]


def test_what_cannot_be_extended_is_refused(
    artifacts: Path, data_folder: Path, posts: Path, tmp_path: Path
) -> None:
    """Without it hours of training would end in an artifact that nobody can use."""
    with pytest.raises(ArtifactError, match="name one for keywords"):
        next(extend(extension(posts, artifacts / Task.SENTIMENT), tmp_path, resume=False))
    folder = shutil.copytree(artifacts / "keywords", tmp_path / "without card")
    (folder / CARD).unlink()
    with pytest.raises(ArtifactError, match="is missing or broken; restore it"):
        next(extend(extension(posts, folder), tmp_path, resume=False))
    with pytest.raises(InputError, match="nothing to learn"):
        list(extend(extension(data_folder, artifacts / "keywords"), tmp_path, resume=False))


def test_a_broken_generator_is_refused(generating: Path, tmp_path: Path) -> None:
    """Without it a damaged file would be loaded as weights."""
    for file in (generating / "keywords").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / GENERATOR).write_bytes(b"broken")

    with pytest.raises(ArtifactError, match="cannot read the generator"):
        Pipeline.load(tmp_path, "cpu")
