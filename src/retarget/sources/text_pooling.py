"""Tokens of texts pooled to vectors, those that don't count left out."""

from collections.abc import Callable

import torch
from torch import Tensor

Pool = Callable[[Tensor, Tensor], Tensor]


def mean(tokens: Tensor, counts: Tensor) -> Tensor:
    """Return the mean (b, d) of the tokens (b, t, d) that count (b, t); zeros where none does."""
    return total(tokens, counts) / counts.sum(1, keepdim=True).clamp(min=1)


def total(tokens: Tensor, counts: Tensor) -> Tensor:
    """Return the sum (b, d) of the tokens that count, each times how much."""
    return torch.bmm(counts[:, None], tokens)[:, 0]


def largest(tokens: Tensor, counts: Tensor) -> Tensor:
    """Return the largest value of every channel over the tokens that count."""
    lowest = torch.finfo(tokens.dtype).min
    found = tokens.masked_fill(counts[:, :, None] == 0, lowest).amax(1)
    return found * (counts.sum(1, keepdim=True) > 0)


def first(tokens: Tensor, counts: Tensor) -> Tensor:
    """Return the first token, whether it counts or not."""
    return tokens[:, 0]


def last(tokens: Tensor, counts: Tensor) -> Tensor:
    """Return the last token that counts; zeros where none does."""
    places = _places(counts) * counts
    chosen = (places == places.amax(1, keepdim=True)).to(tokens.dtype) * counts
    return total(tokens, chosen)


def weighted(tokens: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of the tokens that count, the k-th place weighted by k (Muennighoff 2022)."""
    weights = _places(counts) * counts
    return total(tokens, weights) / weights.sum(1, keepdim=True).clamp(min=1)


def mean_by_root(tokens: Tensor, counts: Tensor) -> Tensor:
    """Return the sum of the tokens that count over the square root of their number."""
    return total(tokens, counts) / counts.sum(1, keepdim=True).clamp(min=1).sqrt()


def mean_and_largest(tokens: Tensor, counts: Tensor) -> Tensor:
    """Return mean and largest value side by side (b, 2 d)."""
    return torch.cat([mean(tokens, counts), largest(tokens, counts)], dim=1)


def of_words(tokens: Tensor, words: Tensor) -> Tensor:
    """Return (b, t, d): at place j the mean of the pieces of word j + 1, given the word of each
    piece (b, t), from 1. Zeros for words without pieces and behind the last word."""
    numbers = torch.arange(1, words.shape[1] + 1, device=words.device)
    belongs = (words[:, None] == numbers[None, :, None]).to(tokens.dtype)
    return torch.bmm(belongs, tokens) / belongs.sum(2, keepdim=True).clamp(min=1)


def _places(counts: Tensor) -> Tensor:
    return torch.arange(1, counts.shape[1] + 1, device=counts.device).to(counts.dtype)[None]


# What sentence-transformers calls its ways of pooling, in the order in which it joins several.
NAMED: dict[str, Pool] = {
    "cls": first,
    "max": largest,
    "mean": mean,
    "mean_sqrt_len_tokens": mean_by_root,
    "weightedmean": weighted,
    "lasttoken": last,
}
