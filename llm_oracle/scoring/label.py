"""Scoring by label, as in the paper: which letter does the model write after Table 1's prompt?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llm_oracle.calibration import Calibration
from llm_oracle.language_model.evidence import LabelAnswer
from llm_oracle.texts.prompts import LABELS, label_order, label_prompt
from llm_oracle.texts.questions import Question, Words
from recsim_envs.arrays import Float32Array, IntArray

if TYPE_CHECKING:
    import torch

    from llm_oracle.language_model.local import LanguageModel
    from llm_oracle.language_model.server import Server


class LabelModel(Protocol):
    """What reads labels: a model in this process or behind a server."""

    def beginning(self, prompts: Sequence[str]) -> Any:
        """Returns what all prompts begin with, in a form that saves reading it again."""

    def label_answers(
        self, prompts: Sequence[str], labels: Sequence[str], least_mass: float, beginning: Any
    ) -> Iterator[tuple[int, LabelAnswer]]:
        """Yields the number of each prompt and what the model says of the labels, as they come."""


class LabelScoring:
    """A candidate's score is the log-probability of its label less that of "None of them".

    Labels are shuffled for each question. Needs a model that binds labels to options: 7B parameters
    do, 135M do not.

    Args:
        model: reads the labels.
        words: what prompts are made of.
        least_mass: see :func:`llm_oracle.language_model.evidence.check_answer`.

    Attributes:
        name: of this way to score.
        example: what stands before every prompt.
        default_calibration: the likeliest label wins, as in the paper.
        masses: total probability of the labels in each fresh answer's sum, and their number.
    """

    name = "label"
    example = ""
    default_calibration = Calibration()

    def __init__(self, model: LabelModel, words: Words, least_mass: float) -> None:
        self.words = words
        self.masses = (0.0, 0)
        self._model, self._least_mass = model, least_mass
        # What any two prompts have in common; nothing of an item or a user.
        two = [
            label_prompt(words.wording, [word], [word], user=word if words.users else "")
            for word in "ab"
        ]
        self._beginning = model.beginning(two)

    def question(self, past: IntArray, slate: IntArray, user: str) -> Question:
        """Puts a row into words.

        Args:
            past: ids of the items shown, oldest first.
            slate: (k,) ids of the candidates.
            user: description, or "".
        """
        order = label_order(self.words.seed, past, slate)
        return labelled(self.words, past, slate, order, user)

    def scores(self, questions: Sequence[Question]) -> Iterator[tuple[int, Float32Array]]:
        """Yields the number of a question and its candidates' scores (k,), as they come.

        Raises:
            JudgeError: for an answer that is no verdict.
        """
        prompts = [question.prompt for question in questions]
        labels = questions[0].options
        for number, answer in self._model.label_answers(
            prompts, labels, self._least_mass, self._beginning
        ):
            total, n = self.masses
            self.masses = (total + answer.mass, n + 1)
            yield number, above_none(answer.values, questions[number].order)

    def training_scores(self, model: LanguageModel, question: Question) -> torch.Tensor:
        """Returns a question's scores (k,) with gradients to the model's adapter."""
        import torch

        ids = torch.tensor([model.tokens(question.prompt)], device=model.device)
        logits = model.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()
        labels = logits[model.label_tokens(len(question.options))]  # (k + 1,), as shown
        order = torch.from_numpy(question.order).to(labels.device)
        return torch.empty_like(labels[:-1]).index_copy(0, order, labels[:-1] - labels[-1])


class AnswerScoring:
    """The label that the model writes, for servers that give no log-probabilities.

    Scores are 0 and 1, and -1 for all where the answer is "None of them": they are in no unit, and
    what the default calibration makes of them are no probabilities. The attributes are those of
    :class:`LabelScoring`.

    Args:
        model: writes the labels.
        words: what prompts are made of.
    """

    name = "answer"
    example = ""
    default_calibration = Calibration()

    def __init__(self, model: Server, words: Words) -> None:
        self.words = words
        self.masses = (0.0, 0)
        self._model = model

    def question(self, past: IntArray, slate: IntArray, user: str) -> Question:
        """See :meth:`LabelScoring.question`."""
        order = label_order(self.words.seed, past, slate)
        return labelled(self.words, past, slate, order, user)

    def scores(self, questions: Sequence[Question]) -> Iterator[tuple[int, Float32Array]]:
        """See :meth:`LabelScoring.scores`."""
        prompts = [question.prompt for question in questions]
        labels = questions[0].options
        for number, label in self._model.chosen_labels(prompts, labels):
            chosen = np.array([label == option for option in labels], dtype=np.float32)
            yield number, above_none(chosen, questions[number].order)


def labelled(words: Words, past: IntArray, slate: IntArray, order: IntArray, user: str) -> Question:
    """Asks for a label; candidate ``order[i]`` is shown under label i."""
    shown = [words.items[item] for item in slate[order]]
    build = partial(label_prompt, words.wording, candidates=shown, user=user)
    return Question(words.fitted(past, build), tuple(LABELS[: len(slate) + 1]), slate, order)


def above_none(values: NDArray[np.floating], order: IntArray) -> Float32Array:
    """What is said of each label (k + 1,) less what is said of the last, in the slate's order."""
    scores = np.empty(len(order), dtype=np.float32)
    scores[order] = values[:-1] - values[-1]
    return scores
