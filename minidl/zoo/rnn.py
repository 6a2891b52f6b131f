"""A recurrent language model over characters: A. Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks, 2015.

Letters: N sequences, T characters.
"""
from .. import nn


class CharLSTM(nn.Module):
    """Embedding, LSTM layers, and the logits of the next character. Shapes: indices (N, T) -> (N, T, vocabulary)."""

    def __init__(self, vocabulary, embedding=128, hidden=256, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, index):
        y, _ = self.lstm(self.embedding(index))            # (N, T, hidden)
        return self.head(y)
