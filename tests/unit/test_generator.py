"""Keywords that do not occur in the text, on toy data."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.fixtures.phrases import ROWS, TEXTS, TOKENIZER, TRAINING, fresh
from worker.pipeline.batch import pad
from worker.pipeline.generator import END, MOST_TOKENS, SIGNS
from worker.pipeline.model import token_mask
from worker.pipeline.records import Encoded, Generated
from worker.training.examples import Example
from worker.training.generator import Generation, outputs, phrase_examples
from worker.training.loop import train
from worker.training.rows import KeywordsRow


def learn(examples: Sequence[Example]) -> Generation:
    state = fresh(outputs(examples))
    for _ in train(state, examples, lambda model: model.mean_token_probability(examples), TRAINING):
        pass
    return state.model.eval()


def generated(model: Generation, rows: Sequence[Sequence[int]]) -> list[list[Generated]]:
    ids, lengths = pad([np.array(row, dtype=np.int32) for row in rows])
    with torch.inference_mode():
        states = model.encoder(ids, lengths)
    return model.generator.generate(Encoded(ids, states, token_mask(ids, lengths)))


def read(phrase: Generated) -> str:
    return " ".join(map(TOKENIZER.text_of, phrase.words))


@pytest.fixture(scope="module")
def learned() -> Generation:
    return learn(list(phrase_examples(ROWS, TOKENIZER)))


def test_phrases_are_made_that_no_text_holds(learned: Generation) -> None:
    """Without it the option would only repeat what the tagger finds."""
    found = generated(learned, [TOKENIZER.ids_of(text) for text in TEXTS])

    likely = [{read(phrase) for phrase in phrases if phrase.score > 0.2} for phrases in found]
    assert likely == [{"green leaves", "茶"}, {"dark beans"}] * 2


def test_phrases_come_best_first(learned: Generation) -> None:
    """Without it the best keyword would be cut off."""
    (phrases,) = generated(learned, [TOKENIZER.ids_of(TEXTS[0])])

    scores = [phrase.score for phrase in phrases]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert len({read(phrase) for phrase in phrases}) > 2


def test_phrases_do_not_depend_on_batch_mates(learned: Generation) -> None:
    """Without it a document's result would change with its neighbours."""
    rows = [TOKENIZER.ids_of(text) for text in TEXTS]

    together = generated(learned, rows)
    alone = [generated(learned, [row])[0] for row in rows]

    for one, other in zip(together, alone, strict=True):
        assert [p.words for p in one if p.score > 1e-4] == [
            p.words for p in other if p.score > 1e-4
        ]
        assert [p.score for p in one] == pytest.approx([p.score for p in other], abs=1e-5)


def test_a_token_that_can_only_be_copied_is_copied() -> None:
    """Without it a phrase could not hold a name that was in no training keyword."""
    rng = np.random.default_rng(0)
    examples = []
    for token in rng.integers(1, 250, 160).tolist():
        gold = np.zeros((1, MOST_TOKENS), dtype=np.int32)
        gold[0, :2] = SIGNS + token + 1, END + 1
        examples.append(Example(np.array([251, 252, token, 253], dtype=np.int32), gold))
    asked = {int(example.gold[0, 0]) - SIGNS - 1 for example in examples}
    unseen = next(token for token in range(1, 250) if token not in asked)

    model = learn(examples)
    ((best, *_),) = generated(model, [[251, 252, unseen, 253]])

    assert best.words == ((unseen,),)


def test_generation_is_bounded() -> None:
    """Without it a network that never ends a phrase would block a worker."""
    model = fresh(torch.arange(1, 20)).model.eval()
    with torch.no_grad():
        model.generator.bias[END] = -1e9

    (phrases,) = generated(model, [[5, 6, 7]])

    assert phrases == []


def test_only_keywords_that_a_text_lacks_are_learned() -> None:
    """Without it the generator would learn to repeat the text."""
    rows = [
        KeywordsRow(text="Green  tea", keywords=("green tea",)),
        KeywordsRow(text="Green tea", keywords=("Tea",), all_keywords=("Tea", "hot  Cups")),
    ]

    (example,) = phrase_examples(rows, TOKENIZER)

    target = [token - 1 for token in example.gold[0].tolist() if token]
    assert example.gold.shape == (1, MOST_TOKENS)
    assert target[-1] == END
    assert TOKENIZER.text_of([token - SIGNS for token in target if token >= SIGNS]) == "hotcups"


def test_shared_vectors_are_no_weights_of_its_own(learned: Generation) -> None:
    """Without it an artifact would hold shared vectors twice, and training would change them."""
    owned = {parameter.data_ptr() for parameter in learned.parameters()}

    assert learned.encoder.embedding.weight.data_ptr() not in owned
    assert not learned.encoder.embedding.weight.requires_grad
