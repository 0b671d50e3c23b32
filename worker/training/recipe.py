"""The recipe of the shipped models: what they are trained on, and how."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from schema.documents import LABELS, Task
from schema.outcomes import MODERATION_LABELS
from worker.pipeline.artifact import ArtifactConfig
from worker.pipeline.model import Cell, ModelConfig
from worker.pipeline.tokenize import Tokenizer
from worker.training.corpus import (
    SPLITS,
    LicenceClass,
    Source,
    Split,
    identity_of,
    sources,
)
from worker.training.examples import OVERLAP, WINDOW
from worker.training.feedback import Feedback
from worker.training.loop import TrainingConfig
from worker.training.measures import folded
from worker.training.ordinary import ordinary_rows
from worker.training.pretrain import PRETRAINING, VOCABULARY, Pretraining
from worker.training.rows import LabelledRow, ModerationRow
from worker.training.sampling import draw_of
from worker.training.soft_labels import SoftLabels
from worker.training.start import Start
from worker.training.written import written_hash

TRAINING: Final[dict[Task, TrainingConfig]] = {
    Task.SENTIMENT: TrainingConfig(epochs=4),
    Task.MODERATION: TrainingConfig(epochs=3),
    Task.KEYWORDS: TrainingConfig(epochs=4, budget=8192, learning_rate=3e-3),
}
"""How each shipped model is trained."""

REFINING: Final[dict[Task, TrainingConfig]] = {
    task: replace(config, epochs=2, learning_rate=config.learning_rate / 4)
    for task, config in TRAINING.items()
}
"""How an artifact is trained further: gently, because it has learned most already."""

FOLDS: Final = 2
"""Number of folds of the keywords training texts; see `worker.training.ranker`."""

_UNCALIBRATED: Final[dict[Task, dict[str, float]]] = {
    Task.SENTIMENT: {},
    Task.MODERATION: dict.fromkeys(MODERATION_LABELS, 0.5),
    Task.KEYWORDS: {"keyword": 0.0},
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training is made from; the same recipe gives the same artifact on CPU.

    Attributes:
        task: what is learned.
        data: the data folder.
        licence_class: sources beyond this class are left out, also from the vocabulary.
        cell: kind of recurrent cell.
        training: how the network is trained.
        command: written to the card.
        start: folder of a language model or an artifact to start from; None makes a language
            model first.
        pretraining: how that language model is trained.
        vocabulary: number of its token ids.
        soft_labels: soft labels of teachers, learned beside the labels; if several teachers judged
            a text, the last one counts.
        feedback: people's verdicts to learn from beside the data, only a part of which is then
            replayed; None learns from the data alone.
        left_out: number of the fold that it does not learn from; None learns from all rows.
    """

    task: Task
    data: Path
    licence_class: LicenceClass
    cell: Cell
    training: TrainingConfig
    command: str
    start: Path | None = None
    pretraining: TrainingConfig = PRETRAINING
    vocabulary: int = VOCABULARY
    soft_labels: tuple[SoftLabels, ...] = ()
    feedback: Feedback | None = None
    left_out: int | None = None

    def identity(self, start: Start) -> str:
        """Hash over everything that decides the result, for checkpoints."""
        replay = None if self.feedback is None else self.feedback.replay
        taught = [taught.teacher.soft_labels for taught in self.soft_labels]
        options = [
            self.task,
            self.licence_class,
            self.cell,
            start.version,
            self.training,
            replay,
            taught,
            self.left_out,
            written_hash(self.task),
        ]
        used = [*self.sources(), *self.ordinary_sources()]
        return identity_of(options, used)

    def sources(self) -> list[Source]:
        """The labelled sources it learns from; feedback, if there is any, is the last one."""
        own = [] if self.feedback is None else [self.feedback.source]
        return [*self.original_sources(), *own]

    def sets(self, split: Split) -> list[tuple[Source, list[LabelledRow]]]:
        """The rows of each of `sources`, without rows of the data folder whose text was judged.

        These may be learned or held out by feedback, and people may have judged them otherwise.
        """
        used = self.sources()
        if self.feedback is None:
            return [(source, source.rows(split)) for source in used]
        *original, judged = [source.rows(split) for source in used]
        rows = [*self.feedback.unjudged(original), judged]
        return list(zip(used, rows, strict=True))

    def original_sources(self) -> list[Source]:
        """The labelled sources of the data folder."""
        return sources(self.data, self.task, self.licence_class)

    def ordinary_sources(self) -> list[Source]:
        """Sources of other tasks that moderation takes as ordinary text; otherwise none."""
        return self._other_sources() if self.task is Task.MODERATION else []

    def unlabelled_sources(self) -> list[Source]:
        """Sources of other tasks that a sentiment teacher may judge, too; otherwise none."""
        return self._other_sources() if self.task is Task.SENTIMENT else []

    def ordinary_sets(self, split: Split) -> list[tuple[Source, list[ModerationRow]]]:
        """Ordinary text of each of `ordinary_sources`, as weak negatives.

        Texts of any split of the labelled sources are left out: their labels are known, or they
        must remain unseen.
        """
        taken = self.ordinary_sources()
        known = self.texts(*SPLITS) if taken else frozenset()
        return [
            (source, [row for row in ordinary_rows(source, split) if folded(row.text) not in known])
            for source in taken
        ]

    def ordinary(self, split: Split) -> list[ModerationRow]:
        """The rows of all `ordinary_sets`; empty unless the task is moderation."""
        return [row for _, rows in self.ordinary_sets(split) for row in rows]

    def texts(self, *splits: Split) -> frozenset[str]:
        """The texts of these splits of the labelled sources, folded."""
        return frozenset(
            folded(row.text)
            for source in self.sources()
            for split in splits
            for row in source.rows(split)
        )

    def folds(self) -> list["Recipe"]:
        """For keywords without feedback, the same training without each fold; otherwise none."""
        parted = self.task is Task.KEYWORDS and self.feedback is None
        return [replace(self, left_out=number) for number in range(FOLDS) if parted]

    def leaves_out(self, row: LabelledRow) -> bool:
        """Whether a row belongs to the fold that is left out, which its text alone decides."""
        if self.left_out is None:
            return False
        return int(draw_of(f"folds: {folded(row.text)}") * FOLDS) == self.left_out

    def language_model(self) -> Pretraining:
        """The language model that the encoder starts from if there is no `start`."""
        return Pretraining(
            data=self.data,
            licence_class=self.licence_class,
            cell=self.cell,
            command=self.command,
            training=replace(self.pretraining, seed=self.training.seed),
            vocabulary=self.vocabulary,
        )

    def config(self, tokenizer: Tokenizer) -> ArtifactConfig:
        """The artifact's configuration before anything is calibrated."""
        model = ModelConfig(self.task, tokenizer.size, LABELS.get(self.task, ()), self.cell)
        return ArtifactConfig(model, _UNCALIBRATED[self.task], window=WINDOW, overlap=OVERLAP)

    def _other_sources(self) -> list[Source]:
        return [
            source
            for task in Task
            if task is not self.task
            for source in sources(self.data, task, self.licence_class)
        ]
