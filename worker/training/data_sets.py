"""What is known of the data sets that the models which ship learned from, by their names."""

from typing import Final, NamedTuple

from schema.documents import Task
from schema.outcomes import ModerationLabel

MASKED_SOURCES: Final = frozenset({"zh-fbs-sms"})
"""Private data was replaced with words for its kind."""
COARSE_SOURCES: Final = frozenset({"en-goemotions", "en-semeval2017", "en-vader-tweets"})
"""Reddit and tweets, where explicit talk is common."""

_ADVERTISING: Final[frozenset[ModerationLabel]] = frozenset({"spam", "fraud", "illicit"})
RULED_OUT_LABELS: Final[dict[str, frozenset[ModerationLabel]]] = {
    "en-sms-smishing": frozenset({"hate", "violence"}),
    "zh-fbs-sms": frozenset({"abuse", "hate", "violence"}),
    **dict.fromkeys(("en-davidson", "en-edos", "en-stormfront"), _ADVERTISING),
    **dict.fromkeys(("zh-cold", "zh-swsr"), _ADVERTISING),
}
"""Labels that a source does not annotate because they hardly occur where it was collected. They
count as negatives: otherwise no source would tell a model that advertisements are no threats."""


class Limit(NamedTuple):
    """What an artifact is not good at, or a known bias.

    Attributes:
        text: a sentence.
        sources: the sources that it is about; it applies if the labels of all of them were learned,
            and always if there are none.
    """

    text: str
    sources: tuple[str, ...] = ()


FINDS_ONLY: Final = Limit("Finds phrases that stand in the text; it makes none of its own.")
GENERATES: Final = (
    Limit("Generates keywords only where asked, from the beginning of a document; most are wrong."),
    Limit(
        "Generated Chinese keywords are learned from news titles, and few from abstracts.",
        ("zh-tnews", "zh-csl"),
    ),
)
"""Limits of an artifact with a generator, instead of `FINDS_ONLY`."""

_SENTIMENT: Final = (
    Limit(
        "Knows tweets, Reddit, reviews, Weibo and television dialogue; less accurate elsewhere.",
        ("en-semeval2017", "en-goemotions", "zh-shopping10", "zh-smp2020", "zh-cped"),
    ),
    Limit(
        "Neutral Chinese text is learned from Weibo and dialogue only; reviews had no such label.",
        ("zh-shopping10", "zh-smp2020", "zh-cped"),
    ),
    Limit(
        "Labels of zh-cped follow voice and face: two in five cannot be guessed from the text.",
        ("zh-cped",),
    ),
    Limit(
        "On zh-cped accuracy stays below always saying negative; macro F1 and recall are above.",
        ("zh-cped",),
    ),
    Limit("Sarcasm and quoted opinion are often misread."),
)
_MODERATION: Final = (
    Limit("Scores support a moderator and do not replace one: decisions on people need a person."),
    Limit(
        "African-American English and words of identity are flagged more often than they should.",
        ("en-davidson",),
    ),
    Limit(
        "English abuse and hate come from tweets sampled by keyword and from sexism data.",
        ("en-davidson", "en-edos"),
    ),
    Limit(
        "Chinese collections of abuse and hate are about region, race and gender; of other targets"
        " it knows what was written for it.",
        ("zh-cold", "zh-swsr"),
    ),
    Limit(
        "Collections have few hundred rows of sexual and of violent content; recall there is low.",
        ("en-ailuminate", "zh-jade"),
    ),
    Limit(
        "English fraud of collections is text messages; Chinese spam had numbers and names masked.",
        ("en-sms-smishing", "zh-fbs-sms"),
    ),
)
_KEYWORDS: Final = (
    FINDS_ONLY,
    Limit(
        "Collections hold abstracts, questions and Chinese news titles; of other documents it has"
        " learned from those alone that were written for it.",
        ("en-inspec", "en-stackexchange", "zh-csl", "zh-tnews"),
    ),
    Limit(
        "News keywords were made by a machine and are incomplete: precision is a lower bound.",
        ("zh-tnews",),
    ),
)
LIMITS: Final[dict[Task, tuple[Limit, ...]]] = {
    Task.SENTIMENT: _SENTIMENT,
    Task.MODERATION: _MODERATION,
    Task.KEYWORDS: _KEYWORDS,
}
"""Limits and biases, by task."""
