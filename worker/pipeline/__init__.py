"""From a text to its result: the stages, composed for one task.

    text ── preprocess ── tokenize ──► windows ── predict ──► predictions ── postprocess ──► result
                                                                  ▲
                                            for sentiment: character n-grams pooled

No stage knows another stage or a server, and only the tokenizer keeps state: words it has seen.
This module hands the output of each stage to the next.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np

from schema.documents import Task
from schema.errors import ArtifactError, DocumentError
from schema.outcomes import ErrorCode, KeywordsResult, Result, Stage
from worker.pipeline.artifact import Additions, ArtifactConfig, read_artifact
from worker.pipeline.explain import Occlusion, occlude, with_explanation
from worker.pipeline.faults import charged_to_document
from worker.pipeline.phrases import layout_of, phrases_of
from worker.pipeline.postprocess import (
    keywords_result,
    moderation_result,
    sentiment_result,
    with_generated,
)
from worker.pipeline.predict import ServingForm, serving_form
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import (
    Candidate,
    CleanText,
    Cut,
    FloatArray,
    Generated,
    IntArray,
    Layout,
    Phrase,
    Prediction,
    TokenizedDocument,
)
from worker.pipeline.tokenize import Tokenizer

NO_GENERATOR: Final = (
    "the model cannot generate keywords; leave `generate` out, or add a generator to it with:"
    " textmill-worker extend"
)


class Pipeline:
    """The stages of one artifact; `prepare` and `finish` may run in any thread.

    Attributes:
        task: the task it serves.
        model_version: content hash of the artifact.
        thresholds: see `ArtifactConfig`.
        vocabulary: number of token ids.
        pads: whether the device computes padding.
        generates: whether it can generate keywords that do not occur in the text.
    """

    def __init__(
        self,
        config: ArtifactConfig,
        tokenizer: Tokenizer,
        network: ServingForm,
        version: str,
        additions: Additions,
    ) -> None:
        """Put the stages together.

        Args:
            config: configuration of the artifact.
            tokenizer: tokenizer of the artifact.
            network: the artifact's network.
            version: content hash of the artifact.
            additions: what the artifact has besides its network.
        """
        self.task: Task = config.model.task
        self.model_version = version
        self.thresholds = config.thresholds
        self.vocabulary = config.model.vocabulary
        self.pads = network.pads
        self._config = config
        self._tokenizer = tokenizer
        self._network = network
        self._character_ngrams = additions.character_ngrams
        self._ranker = additions.ranker
        self._generator = additions.generator
        self.generates = self._generator is not None

    @classmethod
    def load(cls, folder: Path, device: str, task: Task | None = None) -> "Pipeline":
        """The pipeline of an artifact folder, see `read_artifact`."""
        config, version, tokenizer, model, additions = read_artifact(folder, device, task)
        return cls(config, tokenizer, serving_form(model, device), version, additions)

    def prepare(
        self, text: str, *, explain: bool = False, generate: bool = False
    ) -> TokenizedDocument:
        """Clean and tokenize a document.

        Args:
            text: the document.
            explain: whether to keep what `occlude` needs.
            generate: whether `generate` will be called for it.

        Raises:
            DocumentError: nothing is left to analyse, a stage failed on this document, or the
                artifact has no generator.
        """
        if generate and not self.generates:
            raise DocumentError(ErrorCode.NO_GENERATOR, Stage.PREDICT, NO_GENERATOR)
        with charged_to_document(Stage.PREPROCESS):
            clean = preprocess(text)
        with charged_to_document(Stage.TOKENIZE):
            spans = explain or self.task is Task.KEYWORDS
            document = self._tokenized(clean, spans=spans)
            if self._character_ngrams is None or spans or len(document.windows) == 1:
                return document
            # With several windows, spans are needed to find the text of each. They cost time, so
            # only the few long documents are tokenized a second time to get them.
            return self._tokenized(clean, spans=True)

    def predict(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Run one micro-batch on the device; only one thread may call it.

        Args:
            windows: token ids, of any documents; at least one window.

        Returns:
            One prediction per window, in their order.
        """
        return self._network(windows)

    def pooled(
        self, predictions: Sequence[Prediction], texts: Iterable[str]
    ) -> Sequence[Prediction]:
        """Pool predictions with the character n-grams of their texts, if the artifact has any.

        Pass many at a time: one alone takes as long as ten of many. No text influences another.

        Args:
            predictions: one per window.
            texts: the cleaned text of each window. Read only if there are n-grams: without them,
                a document of several windows may lack the spans that tell the text of each.
        """
        if self._character_ngrams is None or not predictions:
            return predictions
        scores = np.stack(cast("Sequence[FloatArray]", predictions))
        return list(self._character_ngrams.pooled(scores, list(texts)))

    def generate(self, windows: Sequence[IntArray]) -> list[Prediction]:
        """Generate keywords from one micro-batch on the device; only one thread may call it.

        Args:
            windows: token ids of the first window of each document, at least one.

        Returns:
            The phrases for each window, in order; `with_generated` takes them.
        """
        if self._generator is None:
            raise ArtifactError(NO_GENERATOR)
        return [*self._generator.generate(self._network.encode(windows))]

    def finish(
        self, text: str, document: TokenizedDocument, predictions: Sequence[Prediction]
    ) -> Result:
        """Turn the predictions of a document's windows into its result.

        Args:
            text: the original text.
            document: what `prepare` made of it.
            predictions: one per window of `document`, in order, after `pooled`.

        Raises:
            DocumentError: the stage failed on this document.
        """
        with charged_to_document(Stage.POSTPROCESS):
            return self._result(text, document, predictions)

    def occlude(
        self, result: Result, document: TokenizedDocument, predictions: Sequence[Prediction]
    ) -> Occlusion | None:
        """What to leave out of a document to explain its result; None for keywords.

        Args:
            result: what `finish` made.
            document: what `prepare` made of its text, with `explain`.
            predictions: one per window of `document`, in order, after `pooled`.

        Returns:
            An occlusion with windows, whose predictions `with_explanation` takes.

        Raises:
            DocumentError: the stage failed on this document.
        """
        with charged_to_document(Stage.POSTPROCESS):
            if isinstance(result, KeywordsResult):
                return None
            return occlude(result, document, cast("Sequence[FloatArray]", predictions))

    def with_explanation(
        self,
        result: Result,
        document: TokenizedDocument,
        occlusion: Occlusion,
        occluded: Sequence[Prediction],
    ) -> Result:
        """A result with its explanation.

        Args:
            result: what `finish` made.
            document: what `prepare` made of its text, with `explain`.
            occlusion: what `occlude` made.
            occluded: one prediction per window of `occlusion`, in order, after `pooled` with its
                texts.

        Raises:
            DocumentError: the stage failed on this document.
        """
        with charged_to_document(Stage.POSTPROCESS):
            if isinstance(result, KeywordsResult):
                return result
            scores = cast("Sequence[FloatArray]", occluded)
            return with_explanation(result, document, occlusion, scores)

    def with_generated(
        self, result: Result, text: str, document: TokenizedDocument, generated: Prediction
    ) -> Result:
        """A keywords result with the generated keywords added.

        Args:
            result: what `finish` made.
            text: the original text.
            document: what `prepare` made of it.
            generated: what `generate` made of the document's first window.

        Raises:
            DocumentError: the stage failed on this document.
        """
        with charged_to_document(Stage.POSTPROCESS):
            if not isinstance(result, KeywordsResult):
                return result
            phrases = [
                (" ".join(map(self._tokenizer.text_of, phrase.words)), phrase.score)
                for phrase in cast("list[Generated]", generated)
                if phrase.score >= self.thresholds["generated"]
            ]
            return with_generated(result, document, phrases, layout_of(document, text))

    def phrases(
        self, document: TokenizedDocument, predictions: Sequence[Prediction], layout: Layout
    ) -> list[Phrase]:
        """The phrases of a document as the tagger scores them, best first; for keywords only."""
        return phrases_of(document, cast("Sequence[list[Candidate]]", predictions), layout)

    def _tokenized(self, clean: CleanText, *, spans: bool) -> TokenizedDocument:
        return self._tokenizer.tokenize(
            clean, spans=spans, window=self._config.window, overlap=self._config.overlap
        )

    def _result(
        self, text: str, document: TokenizedDocument, predictions: Sequence[Prediction]
    ) -> Result:
        thresholds, version = self.thresholds, self.model_version
        match self.task:
            case Task.SENTIMENT:
                scores = cast("Sequence[FloatArray]", predictions)
                return sentiment_result(document, scores, version)
            case Task.MODERATION:
                scores = cast("Sequence[FloatArray]", predictions)
                return moderation_result(document, scores, thresholds, version)
            case Task.KEYWORDS:
                layout, missed = layout_of(document, text), None
                phrases = self.phrases(document, predictions, layout)
                if self._ranker is not None:
                    phrases = self._ranker.rank(document, phrases, layout)
                    missed = self._ranker.missed
                cut = Cut(self._config.keywords, thresholds["keyword"], missed)
                return keywords_result(document, phrases, layout, cut, version)
