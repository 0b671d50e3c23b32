"""Outcomes of a document: a result of its task, or a failure."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from schema.base import Frozen

Language = Literal["zh", "en", "mixed", "other"]
Score = Annotated[float, Field(ge=0, le=1)]

SentimentLabel = Literal["negative", "neutral", "positive"]
ModerationLabel = Literal["abuse", "hate", "sexual", "violence", "spam", "fraud", "illicit"]

SENTIMENT_LABELS: tuple[SentimentLabel, ...] = ("negative", "neutral", "positive")
MODERATION_LABELS: tuple[ModerationLabel, ...] = (
    "abuse",
    "hate",
    "sexual",
    "violence",
    "spam",
    "fraud",
    "illicit",
)


def _half_open(span: tuple[int, int]) -> tuple[int, int]:
    start, end = span
    if not 0 <= start < end:
        msg = f"a span is half-open with 0 <= start < end, not {span}"
        raise ValueError(msg)
    return span


Span = Annotated[tuple[int, int], AfterValidator(_half_open)]


class TaskResult(Frozen):
    """What every result carries.

    Attributes:
        v: version of this format.
        language: language of the document; `other` is neither Chinese nor Latin-script text.
        model_version: content hash of the artifact that made the result.
    """

    v: Literal[1] = 1
    language: Language
    model_version: str


class Evidence(Frozen):
    """A part of a document that moved a score.

    Attributes:
        span: its place, `[start, end)` in code points of the original text.
        weight: by how much the score falls when the part is left out; negative if it rises.
    """

    span: Span
    weight: Annotated[float, Field(ge=-1, le=1)]


def is_absent(value: object) -> bool:
    """Whether a field is left out of JSON."""
    return value is None


def _is_empty(value: object) -> bool:
    return not value


class SentimentResult(TaskResult):
    """Polarity of a document.

    Attributes:
        label: the label with the highest score.
        score: that label's score.
        scores: a score per label; they sum to 1.
        explanation: what moved the label's score, strongest first; only if the job asked for it.
    """

    task: Literal["sentiment"] = "sentiment"
    label: SentimentLabel
    score: Score
    scores: dict[SentimentLabel, Score]
    explanation: dict[SentimentLabel, list[Evidence]] | None = Field(
        default=None, exclude_if=is_absent
    )


class ModerationResult(TaskResult):
    """What a moderator should know about a document.

    Attributes:
        flagged: whether any label reached its threshold.
        labels: the labels that did, highest score first.
        scores: a score per label, independent of each other.
        explanation: for each of `labels`, or the label with the highest score if there are none:
            what moved its score, strongest first; only if the job asked for it.
    """

    task: Literal["moderation"] = "moderation"
    flagged: bool
    labels: list[ModerationLabel]
    scores: dict[ModerationLabel, Score]
    explanation: dict[ModerationLabel, list[Evidence]] | None = Field(
        default=None, exclude_if=is_absent
    )


class Keyword(Frozen):
    """One keyword or phrase.

    Attributes:
        text: as it first occurs in the document; in lower case if it was generated.
        score: how sure the model is.
        spans: every place where it occurs, `[start, end)` in code points of the original text;
            missing if it was generated.
        generated: true if the model generated it instead of finding it; otherwise missing.
    """

    text: Annotated[str, Field(min_length=1)]
    score: Score
    spans: list[Span] = Field(default_factory=list, exclude_if=_is_empty)
    generated: bool = Field(default=False, exclude_if=_is_empty)

    @model_validator(mode="after")
    def _stands_or_was_generated(self) -> Self:
        if not (self.spans or self.generated):
            msg = "a keyword that was not generated occurs in the text: give its spans"
            raise ValueError(msg)
        return self


class KeywordsResult(TaskResult):
    """Keywords of a document: first those that were found, then generated ones, each best first."""

    task: Literal["keywords"] = "keywords"
    keywords: list[Keyword]


Result = Annotated[SentimentResult | ModerationResult | KeywordsResult, Field(discriminator="task")]
RESULT: TypeAdapter[SentimentResult | ModerationResult | KeywordsResult] = TypeAdapter(Result)


class Stage(StrEnum):
    """The stage at which a document failed."""

    INTAKE = "intake"
    PREPROCESS = "preprocess"
    TOKENIZE = "tokenize"
    PREDICT = "predict"
    POSTPROCESS = "postprocess"
    RUN = "run"


class ErrorCode(StrEnum):
    """Why a document failed; a stable word for programs.

    The first group is decided at intake, before the job opens; these documents have no text and
    are never retried. Nor is a document whose text was erased before it had an outcome.
    """

    INVALID_JSON = "invalid_json"
    INVALID_RECORD = "invalid_record"
    INVALID_ENCODING = "invalid_encoding"
    INVALID_CHARACTER = "invalid_character"
    INVALID_ID = "invalid_id"
    INVALID_METADATA = "invalid_metadata"
    MISSING_TEXT = "missing_text"
    EMPTY_TEXT = "empty_text"
    TEXT_TOO_LARGE = "text_too_large"
    METADATA_TOO_LARGE = "metadata_too_large"
    DUPLICATE_ID = "duplicate_id"
    DAMAGED_FILE = "damaged_file"

    NO_CONTENT = "no_content"
    NO_GENERATOR = "no_generator"
    STAGE_ERROR = "stage_error"
    TOO_LARGE_FOR_DEVICE = "too_large_for_device"
    WORKER_CRASHED = "worker_crashed"
    MODEL_UNAVAILABLE = "model_unavailable"
    ERASED = "erased"


class Failure(Frozen):
    """Why a document has no result.

    Attributes:
        code: for programs.
        stage: the stage at which it failed.
        message: for people; never holds the text itself.
    """

    code: ErrorCode
    stage: Stage
    message: str
