"""The parts of a phrase that are hashed."""

from tests.fixtures.ranking import document_of, phrase_at
from worker.pipeline.phrase_hashes import KINDS, buckets_of, words_of


def test_words_beside_a_phrase_and_at_its_ends_have_buckets_of_their_own() -> None:
    """Without it the ranker would learn nothing from the words around a term."""
    documents = [
        document_of("study of solar cells on glass"),
        document_of("price of solar cells in glass"),
    ]

    phrases = [[phrase_at(document, "solar cells")] for document in documents]
    [one], [other] = (
        buckets_of(document.clean.text, phrase, words_of(document, phrase)).tolist()
        for document, phrase in zip(documents, phrases, strict=True)
    )

    assert [kind for kind, left, right in zip(KINDS, one, other, strict=True) if left != right] == [
        "after"
    ]
