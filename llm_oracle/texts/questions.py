"""What a language model is asked: a row of a request in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recsim_envs.arrays import IntArray
from recsim_envs.data.wording import Scenario, Wording


@dataclass(frozen=True)
class Question:
    """One row of a request, as the model gets it.

    Attributes:
        prompt: what the model reads.
        options: the texts of which one may follow the prompt.
        items: (k,) the candidates' ids, in the slate's order.
        order: (k,) option i belongs to ``items[order[i]]``.
    """

    prompt: str
    options: tuple[str, ...]
    items: IntArray
    order: IntArray


@dataclass
class Words:
    """What prompts are made of.

    Attributes:
        scenario: decides the calibration.
        wording: of the prompts.
        items: clean text of each item, cut to length.
        users: the same of the users; empty where the data describes none.
        length: of a prompt, in the model's unit.
        max_prompt: a longer prompt loses its oldest items, never a candidate.
        seed: of what is drawn for a prompt.
    """

    scenario: Scenario
    wording: Wording
    items: list[str]
    users: list[str]
    length: Callable[[str], int]
    max_prompt: int
    seed: int

    def fitted(self, past: IntArray, build: Callable[[list[str]], str]) -> str:
        """Builds a prompt from the texts of a past, without the oldest where it would be too long.

        Raises:
            ValueError: if it is too long even without any.
        """
        for start in range(len(past) + 1):
            prompt = build([self.items[item] for item in past[start:]])
            length = self.length(prompt)
            if length <= self.max_prompt:
                return prompt
        raise ValueError(
            f"the prompt has length {length} without any history, more than the limit of "
            f"{self.max_prompt}: raise max_prompt_length or cut the item texts shorter"
        )
