"""Encoder and heads as one PyTorch module: prepared inputs in, predictions out."""

import math
from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from retarget.core.types import CLASSES, FloatArray, Kind
from retarget.methods.crf import CrfHead
from retarget.methods.heads import KnnHead, LinearHead
from retarget.methods.model import Member, TransferModel
from retarget.methods.neighbours import PRIOR_VOTES, TEMPERATURE, prior_shares
from retarget.sources.encoder import Encoder
from retarget.sources.intake import Intake

SMALLEST = 1e-30


class WholeModel(nn.Module):
    """A `TransferModel` behind its encoders. Maps a batch to (b, K) probabilities or values, of
    tagging to those of every word (b, T, K).

    What a chain says of a word follows from the whole sequence, which no graph of fixed operators
    sums over. Where a head is a chain the outputs of all members are given as they are:
    (b, T, M, K), of chains the emissions, of others the outputs at the member's temperature.

    `inputs` numbers the batch that each encoder reads (see `Intake`).
    """

    def __init__(
        self,
        encoders: Sequence[Encoder],
        model: TransferModel,
        inputs: Sequence[int],
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.inputs = tuple(inputs)
        self.apart = any(isinstance(m.head, CrfHead) for m in model.members)
        self.pooling = model.pooling
        self.kind: Kind = model.kind
        self.of_words = model.kind == "tagging"
        self.temperature = model.temperature
        self.members = nn.ModuleList([MemberModule(m) for m in model.members])
        total = sum(m.weight for m in model.members)
        self.shares = [m.weight / total for m in model.members]

    def forward(self, *batches: Tensor) -> Tensor:
        """Map prepared inputs, one for each batch that encoders share, to predictions."""
        layers = [
            encoder.pooled(batches[number], self.pooling)  # type: ignore[operator]  # nn.ModuleList forgets types
            for encoder, number in zip(self.encoders, self.inputs, strict=True)
        ]
        if not self.of_words:
            return self._combined(layers)
        examples, places = next(iter(layers[0].values())).shape[:2]
        rows = [{name: words.flatten(0, 1) for name, words in found.items()} for found in layers]
        found = self._combined(rows)
        return found.reshape(examples, places, *found.shape[1:])

    def _combined(self, layers: Sequence[dict[str, Tensor]]) -> Tensor:
        outputs = [member(layers[member.source]) for member in self.members]  # type: ignore[call-overload]  # nn.ModuleList forgets types
        if self.apart:
            return torch.stack(outputs, dim=1)
        if self.kind == "regression":
            return self._mean(outputs)
        mean = self._mean([_probabilities(self.kind, o) for o in outputs])
        if self.temperature == 1.0:
            return mean
        return _probabilities(self.kind, _log_odds(self.kind, mean) / self.temperature)

    def _mean(self, each: Sequence[Tensor]) -> Tensor:
        return torch.stack([s * e for s, e in zip(self.shares, each, strict=True)]).sum(dim=0)


class FedModel(nn.Module):
    """A `WholeModel` that reads what an `Intake` says, a tensor for each entry."""

    def __init__(self, whole: WholeModel, intake: Intake) -> None:
        super().__init__()
        self.whole, self.intake = whole, intake

    def forward(self, *parts: Tensor) -> Tensor:
        """Map entries, those of one batch together, to predictions."""
        left = iter(parts)
        groups = [list(islice(left, len(entries))) for entries in self.intake.entries]
        return self.whole(*map(self.intake.joined, groups))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class MemberModule(nn.Module):
    """One head behind its scale."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.layers, self.source = member.layers, member.source
        chain = isinstance(member.head, CrfHead)
        self.temperature = 1.0 if chain else member.temperature
        self.centre = _constant(member.scale.centre)
        self.factor = _constant(member.scale.factor)
        head = member.head
        self.head = KnnModule(head) if isinstance(head, KnnHead) else LinearModule(head)  # type: ignore[arg-type]  # heads are one of the three

    def forward(self, layers: dict[str, Tensor]) -> Tensor:
        """Map layers to outputs (b, K)."""
        x = torch.cat([layers[name] for name in self.layers], dim=1)
        return self.head((x - self.centre) * self.factor) / self.temperature  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class LinearModule(nn.Module):
    """`LinearHead` in PyTorch, or the emissions of a `CrfHead`."""

    def __init__(self, head: LinearHead | CrfHead) -> None:
        super().__init__()
        self.weight, self.bias = _constant(head.weight), _constant(head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (b, D) to outputs (b, K)."""
        return x @ self.weight.T + self.bias


class KnnModule(nn.Module):
    """`KnnHead` in PyTorch: see `retarget.methods.neighbours.vote`."""

    def __init__(self, head: KnnHead) -> None:
        super().__init__()
        n = len(head.bank)
        self.count = min(n, math.ceil(min(head.neighbours / head.weights.min(), n)))
        self.neighbours, self.kind = head.neighbours, head.of
        self.bank, self.votes = _constant(head.bank), _constant(head.votes)
        self.weights = _constant(head.weights)
        self.prior = _constant(prior_shares(head.votes, head.weights[None])[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map features (b, D) to outputs (b, K)."""
        unit = x / x.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
        near, order = (unit @ self.bank.T).topk(self.count, dim=1)
        force = self.weights[order]
        before = force.cumsum(dim=1) - force
        counts = torch.minimum((self.neighbours - before).clamp_min(0.0), force)
        counted = torch.exp((near - near[:, :1]) / TEMPERATURE) * counts
        total = counted.sum(dim=1, keepdim=True)
        sums = (counted.unsqueeze(2) * self.votes[order]).sum(dim=1)
        if self.kind == "regression":
            return sums / total
        share = (sums + PRIOR_VOTES * self.prior) / (total + PRIOR_VOTES)
        return _log_odds(self.kind, share)


def _constant(array: FloatArray) -> nn.Parameter:
    return nn.Parameter(torch.tensor(array, dtype=torch.float32), requires_grad=False)


def _probabilities(kind: Kind, outputs: Tensor) -> Tensor:
    return outputs.softmax(dim=1) if kind in CLASSES else outputs.sigmoid()


def _log_odds(kind: Kind, p: Tensor) -> Tensor:
    logs = p.clamp_min(SMALLEST).log()
    return logs if kind in CLASSES else logs - (1.0 - p).clamp_min(SMALLEST).log()
