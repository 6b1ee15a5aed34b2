"""What a judge asks a causal language model, in as few and as full forward passes as possible.

`SharedPrefix`: how likely is each of several texts to come next? What all questions begin with is
computed once; what one question begins with, once a question.

`next_token_log_probs`: how likely is each of a few tokens to come next after a prompt?
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsim_envs.arrays import Float32Array

if TYPE_CHECKING:
    from transformers import DynamicCache

CausalLM = Any
"""A transformers model with an output layer; its own classes are not typed."""
Tokens = Sequence[int]
MAX_BATCH_TOKENS = {"cpu": 1000, "cuda": 16384}
"""A few long prompts keep a CPU busy; more would leave its cache between layers."""
MAX_BATCH_ROWS = 32
LOGIT_ROWS = 8


class SharedPrefix:
    """Tokens that many questions begin with; their keys and values are computed once.

    An answer does not depend, to the bit, on what else is asked: attention gives a row other bits
    when its layout changes, so no row holds tokens of two questions. What is left is the matrix
    product's. oneDNN's (bfloat16) gives a row the same bits whatever the number of rows; MKL's
    (float32) does on some CPUs, and on all with ``MKL_CBWR=AVX2,STRICT`` in the environment.

    Args:
        model: a causal decoder whose attention adds a mask of any form, as ``LanguageModel`` loads
            it; transformers' "sdpa" and "eager" do, its "flash" ones do not.
        tokens: at least one token id.
    """

    @torch.inference_mode()
    def __init__(self, model: CausalLM, tokens: Tokens) -> None:
        self.model = model
        self.tokens = list(tokens)
        # Judges without a language model need no transformers, which takes seconds to import.
        from transformers import DynamicCache

        self.cache = DynamicCache(config=model.config)
        ids = torch.tensor([tokens], device=model.device)
        model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def log_likelihoods(self, prompt: Tokens, continuations: Sequence[Tokens]) -> Float32Array:
        """Scores the candidates of one question; see :func:`packed_log_likelihoods`.

        Args:
            prompt: P >= 1 token ids that follow the prefix.
            continuations: n lists of at least one token id each.

        Returns:
            (n,) log p(continuation | prefix, prompt), summed over its tokens, in nats.
        """
        cache = copy.deepcopy(self.cache)  # the call appends to what it is given
        scores = packed_log_likelihoods(self.model, prompt, continuations, cache)
        result: Float32Array = scores.cpu().numpy()
        return result

    @torch.inference_mode()
    def log_likelihoods_apart(
        self, prompt: Tokens, continuations: Sequence[Tokens]
    ) -> Float32Array:
        """Scores continuations of one prompt that are each a question of their own.

        Each takes a row of its own; equally long ones run together. Arguments and return value are
        those of :meth:`log_likelihoods`.
        """
        result = np.empty(len(continuations), dtype=np.float32)
        lengths = np.array([len(tokens) for tokens in continuations])
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            for start in range(0, len(alike), MAX_BATCH_ROWS):
                rows = alike[start : start + MAX_BATCH_ROWS]
                ids = torch.tensor([[*prompt, *continuations[row]] for row in rows])
                result[rows] = self._score_rows(ids, first=len(prompt))
        return result

    def _score_rows(self, ids: Tensor, first: int) -> Float32Array:
        """Scores the tokens ``ids[:, first:]`` of each row (n, L) given those before them."""
        ids = ids.to(self.model.device)
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(len(ids))
        asked = ids[:, first:]  # (n, T)
        predicted_at = torch.arange(first - 1, ids.shape[1] - 1, device=ids.device)
        logits = self.model(
            input_ids=ids[:, :-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=predicted_at,
        ).logits  # (n, T, V)
        token_scores = _log_probs(logits.flatten(0, 1), asked.flatten())
        scores: Float32Array = token_scores.view(len(ids), -1).sum(dim=1).cpu().numpy()
        return scores


def packed_log_likelihoods(
    model: CausalLM,
    prompt: Tokens,
    continuations: Sequence[Tokens],
    cache: DynamicCache | None = None,
) -> Tensor:
    """Scores several continuations of one prompt in one row, without padding or repetition.

    The row is the prompt and then all continuations. A mask lets a continuation see the prompt and
    itself but no other continuation, and its positions start where the prompt ends. Gradients flow,
    so that the same function scores and tunes.

    Args:
        model: as for :class:`SharedPrefix`.
        prompt: P >= 1 token ids.
        continuations: n lists of at least one token id each.
        cache: keys and values of tokens before the prompt; the call appends to it.

    Returns:
        (n,) log p(continuation | prompt), summed over its tokens, in nats.
    """
    last = len(prompt) - 1
    row, position, owner = list(prompt), list(range(len(prompt))), [-1] * len(prompt)
    source: list[int] = []  # where in the row each scored token is predicted
    for number, tokens in enumerate(continuations):
        fed = tokens[:-1]  # what follows the last token is nobody's question
        source += [last, *range(len(row), len(row) + len(fed))]
        position += range(len(prompt), len(prompt) + len(fed))
        owner += [number] * len(fed)
        row += fed

    device, known = model.device, 0 if cache is None else cache.get_seq_length()
    whose = torch.tensor(owner, device=device)  # (L,)
    visible = ((whose == -1) | (whose == whose[:, None])).tril()  # (L, L)
    visible = F.pad(visible, (known, 0), value=True)  # (L, known + L)
    bias = torch.zeros(visible.shape, dtype=model.dtype, device=device)
    bias.masked_fill_(~visible, torch.finfo(model.dtype).min)
    logits = model(
        input_ids=torch.tensor([row], device=device),
        position_ids=torch.tensor([position], device=device) + known,
        attention_mask=bias[None, None],
        past_key_values=cache,
        use_cache=cache is not None,
        logits_to_keep=torch.tensor(source, device=device),
    ).logits[0]  # (T, V), T tokens in all continuations
    target = torch.tensor([t for tokens in continuations for t in tokens], device=device)
    token_scores = _log_probs(logits, target)
    parts = token_scores.split([len(tokens) for tokens in continuations])
    return torch.stack([part.sum() for part in parts])


def _log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """The log-probability (T,) of each token of ``targets`` (T,) by its row of ``logits`` (T, V).

    A few rows at a time: what one takes in float32 stays in a CPU's cache, all of them would not.
    """
    blocks = zip(logits.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True)
    losses = [F.cross_entropy(rows.float(), tokens, reduction="none") for rows, tokens in blocks]
    return -torch.cat(losses)


@torch.inference_mode()
def next_token_log_probs(
    model: CausalLM, prompts: Sequence[Tokens], answers: Tokens, shared: SharedPrefix | None = None
) -> Float32Array:
    """Returns log p(token | prompt) for each of the tokens ``answers``, in nats.

    Prompts of like length run together, as many as :data:`MAX_BATCH_TOKENS` allows.

    Args:
        model: a causal language model.
        prompts: B lists of at least one token id each.
        answers: n token ids.
        shared: of the same model; what most prompts begin with.

    Returns:
        (B, n) log-probabilities.
    """
    result = np.empty((len(prompts), len(answers)), dtype=np.float32)
    begun: list[int] = []
    if shared is not None:
        known = len(shared.tokens)
        begun = [
            row
            for row, prompt in enumerate(prompts)
            if len(prompt) > known and list(prompt[:known]) == shared.tokens
        ]
    for rows, start in ((begun, shared), (sorted({*range(len(prompts))} - {*begun}), None)):
        by_length = sorted(rows, key=lambda row: len(prompts[row]))
        while by_length:
            size = max(
                1, MAX_BATCH_TOKENS.get(model.device.type, 4096) // len(prompts[by_length[-1]])
            )
            batch, by_length = by_length[-size:], by_length[:-size]
            log_probs = _last_log_probs(model, [prompts[row] for row in batch], start)
            result[batch] = log_probs[:, list(answers)].cpu()
    return result


def _last_log_probs(
    model: CausalLM, prompts: Sequence[Tokens], shared: SharedPrefix | None
) -> Tensor:
    """The log-probabilities (n, V) of what follows each of n prompts, in one forward pass."""
    known, cache = 0, None
    if shared is not None:
        known, cache = len(shared.tokens), copy.deepcopy(shared.cache)
        cache.batch_repeat_interleave(len(prompts))
    longest = max(len(prompt) for prompt in prompts)
    # Padded on the left, so that every prompt's last token stands in the last column.
    padding = [longest - len(prompt) for prompt in prompts]
    ids = [[0] * pad + [*prompt[known:]] for pad, prompt in zip(padding, prompts, strict=True)]
    real = torch.ones(len(prompts), longest, dtype=torch.long)  # what is known, then the ids
    for row, pad in enumerate(padding):
        real[row, known : known + pad] = 0
    with _last_position_only(model):
        logits = model(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=real.to(model.device),
            position_ids=(real.cumsum(dim=1) - 1)[:, known:].clamp(min=0).to(model.device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=torch.tensor([longest - known - 1], device=model.device),
        ).logits[:, -1]  # (n, V)
    log_probs: Tensor = logits.float().log_softmax(dim=-1)
    return log_probs


@contextlib.contextmanager
def _last_position_only(model: CausalLM) -> Iterator[None]:
    """Within this context the last block's MLP computes the last position only.

    The residual connection adds it to every position: the others are wrong, and nobody reads them.
    """
    blocks = getattr(model.get_decoder(), "layers", None)  # what most families call them
    mlp = None if blocks is None else getattr(blocks[-1], "mlp", None)
    if mlp is None:
        yield
        return
    hook = mlp.register_forward_pre_hook(lambda module, inputs: (inputs[0][:, -1:],))  # (n, 1, d)
    try:
        yield
    finally:
        hook.remove()
