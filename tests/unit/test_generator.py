"""Keywords beyond the text, on toy data."""

import numpy as np
import pytest
import torch

from schema.documents import Task as Analysis
from worker.pipeline.batch import pad
from worker.pipeline.generator import MOST_TOKENS, Generated, Generator
from worker.pipeline.model import Encoder, ModelConfig
from worker.pipeline.preprocess import preprocess
from worker.pipeline.tokenize import Tokenizer
from worker.training.generator import Task, fit_generator, tasks
from worker.training.rows import KeywordsRow

TEXTS = ["tea in cups", "coffee in mugs", "we drink tea daily", "we drink coffee daily"]
ROWS = [
    KeywordsRow(text=text, keywords=("green leaves", "茶") if "tea" in text else ("dark beans",))
    for text in TEXTS
]
TOKENIZER = Tokenizer.train(
    [preprocess(t) for t in [*TEXTS, "green leaves dark beans 茶"] * 9], 340
)


def network(seed: int = 0) -> tuple[Encoder, Generator]:
    torch.manual_seed(seed)
    config = ModelConfig(Analysis.KEYWORDS, TOKENIZER.size, (), embedding=24, hidden=16)
    encoder = Encoder(config).eval()
    with torch.no_grad():  # as far apart as trained vectors are
        encoder.embedding.weight.mul_(10)
    return encoder, Generator(encoder.embedding, 32)


def generated(
    encoder: Encoder, generator: Generator, rows: list[list[int]]
) -> list[list[Generated]]:
    ids, lengths = pad([np.array(row, dtype=np.int32) for row in rows])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    with torch.inference_mode():
        return generator.generate(encoder(ids, lengths), mask, ids)


def read(phrases: list[Generated]) -> list[str]:
    return [" ".join(map(TOKENIZER.text_of, phrase.ids)) for phrase in phrases]


@pytest.fixture(scope="module")
def learned() -> tuple[Encoder, Generator]:
    encoder, generator = network()
    examples = list(tasks(ROWS, TOKENIZER))
    losses = list(fit_generator(generator, encoder, examples, epochs=200, rate=0.02))
    assert losses[-1] < losses[0] / 10
    return encoder, generator


def test_phrases_are_made_that_no_text_holds(learned: tuple[Encoder, Generator]) -> None:
    """Without it the option would only repeat what the tagger finds."""
    found = generated(*learned, [TOKENIZER.ids_of(text) for text in TEXTS])

    assert [read(phrases) for phrases in found] == [
        ["green leaves", "茶"],
        ["dark beans"],
        ["green leaves", "茶"],
        ["dark beans"],
    ]
    assert all(0 < phrase.score <= 1 for phrases in found for phrase in phrases)


def test_phrases_do_not_depend_on_batch_mates(learned: tuple[Encoder, Generator]) -> None:
    """Without it a document's result would change with its neighbours."""
    rows = [TOKENIZER.ids_of(text) for text in TEXTS]

    together = generated(*learned, rows)
    alone = [generated(*learned, [row])[0] for row in rows]

    for one, other in zip(together, alone, strict=True):
        assert [phrase.ids for phrase in one] == [phrase.ids for phrase in other]
        assert [p.score for p in one] == pytest.approx([p.score for p in other], abs=1e-5)


def test_a_token_never_generated_in_training_is_copied() -> None:
    """Without it names that training never asked for could not be in a phrase."""
    encoder, generator = network()
    end = TOKENIZER.size
    chance = np.random.default_rng(0)
    examples = []
    for token in chance.integers(1, 250, 160).tolist():
        ids = np.array([251, 252, token, 253], dtype=np.int32)
        examples.append(Task(ids, np.array([token, end], dtype=np.int32)))
    unseen = next(token for token in range(1, 250) if all(token not in e.goal for e in examples))
    for _ in fit_generator(generator, encoder, examples, epochs=40, rate=0.01):
        pass

    [[phrase]] = generated(encoder, generator, [[251, 252, unseen, 253]])

    assert phrase.ids == ((unseen,),)


def test_generation_is_bounded() -> None:
    """Without it a network that never ends would hold a worker."""
    encoder, generator = network(seed=1)
    with torch.no_grad():
        generator.bias[TOKENIZER.size] = -1e9

    [phrases] = generated(encoder, generator, [[5, 6, 7]])

    assert sum(len(word) for phrase in phrases for word in phrase.ids) < MOST_TOKENS


def test_only_absent_keywords_are_learned() -> None:
    rows = [KeywordsRow(text="Green  tea", keywords=("green tea",)), *ROWS]

    assert len(list(tasks(rows, TOKENIZER))) == len(ROWS)


def test_shared_vectors_are_no_weights_of_its_own() -> None:
    """Without it an artifact would hold the vocabulary's vectors twice."""
    encoder, generator = network()

    owned = {parameter.data_ptr() for parameter in generator.parameters()}

    assert encoder.embedding.weight.data_ptr() not in owned
