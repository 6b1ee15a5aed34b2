"""What a judge asks a causal language model, in as few and as full forward passes as possible.

`log_likelihoods`: how likely is each of several texts to continue one prefix? The prefix and all
continuations are packed into one row. A mask lets a continuation see the prefix and itself but no
other continuation, and its positions start where the prefix ends. So the prefix is computed once,
nothing is padded, and the output layer runs only where its answer counts.

`SharedPrefix` asks the same of many texts after a prefix that never changes.

`next_token_log_probs`: how likely is each of a few tokens to come next after a prompt?

The first two keep a promise: a number does not depend, to the bit, on what else was asked. (On a
CPU a matrix product gives each row the same bits whatever the number of rows, but attention does
not keep them when the layout of a row changes. So a row holds what belongs to one question only.)
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

CausalLM = Any
"""A transformers model with an output layer; its own classes are not typed."""
Tokens = Sequence[int]
FloatArray = NDArray[np.float32]
MAX_BATCH_TOKENS = 4096
MAX_BATCH_ROWS = 32


@torch.inference_mode()
def log_likelihoods(model: CausalLM, prefix: Tokens, continuations: Sequence[Tokens]) -> FloatArray:
    """Returns log p(continuation | prefix), summed over its tokens, in nats.

    Args:
        model: a causal decoder with ``attn_implementation="sdpa"``; "eager" would add the boolean
            mask to its scores, and "flash_attention_2" takes no such mask.
        prefix: P >= 1 token ids.
        continuations: n lists of at least one token id each.

    Returns:
        (n,) log-likelihoods.
    """
    last = len(prefix) - 1
    # The row: the prefix, then all but the last token of each continuation.
    row, position, owner = list(prefix), list(range(len(prefix))), [-1] * len(prefix)
    source: list[int] = []  # where in the row each scored token is predicted
    for number, tokens in enumerate(continuations):
        fed = tokens[:-1]
        source += [last, *range(len(row), len(row) + len(fed))]
        position += range(len(prefix), len(prefix) + len(fed))
        owner += [number] * len(fed)
        row += fed

    whose = torch.tensor(owner, device=model.device)  # (L,)
    visible = ((whose == -1) | (whose == whose[:, None])).tril()  # (L, L)
    hidden = model.get_decoder()(
        input_ids=torch.tensor([row], device=model.device),
        position_ids=torch.tensor([position], device=model.device),
        attention_mask=visible[None, None],
        use_cache=False,
    ).last_hidden_state[0, last:]  # (L - P + 1, d)
    logits = model.get_output_embeddings()(hidden).float()  # (L - P + 1, V)
    predicted_at = torch.tensor(source, device=model.device) - last
    target = torch.tensor([t for tokens in continuations for t in tokens], device=model.device)
    token_scores = logits[predicted_at, target] - logits.logsumexp(dim=-1)[predicted_at]
    parts = token_scores.split([len(tokens) for tokens in continuations])
    return torch.stack([part.sum() for part in parts]).cpu().numpy()


class SharedPrefix:
    """A prefix whose keys and values are computed once, for continuations scored one by one.

    Args:
        model: a causal decoder.
        prefix: P >= 2 token ids.
    """

    @torch.inference_mode()
    def __init__(self, model: CausalLM, prefix: Tokens) -> None:
        self.model = model
        self.last = prefix[-1]  # fed with each continuation, whose first token it predicts
        self.cache = DynamicCache(config=model.config)
        ids = torch.tensor([prefix[:-1]], device=model.device)
        model.get_decoder()(input_ids=ids, past_key_values=self.cache, use_cache=True)

    @torch.inference_mode()
    def log_likelihoods(self, continuations: Sequence[Tokens]) -> FloatArray:
        """Returns log p(continuation | prefix) of each, (n,), in nats."""
        result = np.empty(len(continuations), dtype=np.float32)
        lengths = np.array([len(tokens) for tokens in continuations])
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            for start in range(0, len(alike), MAX_BATCH_ROWS):
                rows = alike[start : start + MAX_BATCH_ROWS]
                result[rows] = self._score([continuations[row] for row in rows])
        return result

    def _score(self, continuations: Sequence[Tokens]) -> FloatArray:
        target = torch.tensor(np.array(continuations), device=self.model.device)  # (n, T)
        ids = torch.cat([torch.full_like(target[:, :1], self.last), target[:, :-1]], dim=1)
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(len(ids))
        hidden = self.model.get_decoder()(
            input_ids=ids, past_key_values=cache, use_cache=True
        ).last_hidden_state  # (n, T, d)
        logits = self.model.get_output_embeddings()(hidden).float()  # (n, T, V)
        token_scores = logits.gather(-1, target[..., None])[..., 0] - logits.logsumexp(dim=-1)
        scores: FloatArray = token_scores.sum(dim=1).cpu().numpy()
        return scores


@torch.inference_mode()
def next_token_log_probs(model: CausalLM, prompts: Sequence[Tokens], answers: Tokens) -> FloatArray:
    """Returns log p(token | prompt) for each of the tokens ``answers``, in nats.

    Prompts of like length run together, at most ``MAX_BATCH_TOKENS`` tokens at a time.

    Args:
        model: a causal language model.
        prompts: B lists of at least one token id each.
        answers: n token ids.

    Returns:
        (B, n) log-probabilities.
    """
    result = np.empty((len(prompts), len(answers)), dtype=np.float32)
    by_length = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    while by_length:
        longest = len(prompts[by_length[-1]])
        size = max(1, MAX_BATCH_TOKENS // longest)
        rows, by_length = by_length[-size:], by_length[:-size]
        # Padded on the left, so that every prompt's last token stands in the last column.
        ids = torch.tensor([[0] * (longest - len(prompts[r])) + [*prompts[r]] for r in rows])
        real = torch.tensor(
            [[longest - i <= len(prompts[r]) for i in range(longest)] for r in rows]
        )
        logits = model(
            input_ids=ids.to(model.device),
            attention_mask=real.long().to(model.device),
            position_ids=(real.cumsum(dim=1) - 1).clamp(min=0).to(model.device),
            use_cache=False,
            logits_to_keep=1,
        ).logits[:, -1]  # (rows, V)
        result[rows] = logits.float().log_softmax(dim=-1)[:, list(answers)].cpu()
    return result
