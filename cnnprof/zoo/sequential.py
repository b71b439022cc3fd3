"""Sequence models: an LSTM that reads an image row by row, and one that reads text."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["lstm_rows", "lstm_text"]


class LstmRows(nn.Module):
    """MNIST as a sequence of 28 rows: (N, 28, 28) -> (N, 10)."""

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, hidden, batch_first=True)
        self.classify = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(x)
        result: Tensor = self.classify(states[:, -1])
        return result


class LstmText(nn.Module):
    """Sentiment of token ids (N, T): embedding 128, two bidirectional layers of 256, linear."""

    def __init__(self, words: int = 20_000, hidden: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, 128)
        self.lstm = nn.LSTM(128, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.classify = nn.Linear(2 * hidden, 2)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(ids))
        result: Tensor = self.classify(states.mean(1))
        return result


def lstm_rows() -> nn.Module:
    return LstmRows()


def lstm_text() -> nn.Module:
    return LstmText()
