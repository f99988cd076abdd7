"""Inference with fastText models over Arrow text buffers: the library's labels and scores, compiled.

A document is read as the library's callers pass it: one line, its newlines taken as spaces, closed by the end-of-line
token `</s>`. A token is a run of bytes between white space (space, tab, newline, vertical tab, form feed, carriage
return, NUL). Its features are its own row, if the dictionary has it, and the rows of its character n-grams; tokens make
word n-grams. The mean of all rows is the hidden vector, and the loss turns it into label scores. Additions are in
float32 and in the library's order, so that hidden vectors are equal bit for bit; exp and log are our own (see
`elementary`), correct to the last bit of float32 but for rare halves.

Source of the algorithm: fastText, `src/{dictionary,model,loss}.cc`; Joulin et al., *Bag of Tricks for Efficient Text
Classification* (arXiv:1607.01759). Hashing is FNV-1a over sign-extended bytes, as in the library.

Invalid UTF-8 is no error: as in the library, text is bytes, and a continuation byte belongs to what precedes it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.fasttext.features import embed, working_memory
from gristmill.stages.fasttext.model_file import HIERARCHICAL_SOFTMAX, SOFTMAX, FastTextModel
from gristmill.stages.fasttext.tables import SIGMOID_BOUND, SIGMOID_STEPS, Tables, make_tables
from gristmill.stages.kernels.elementary import exp, log
from gristmill.stages.kernels.scalars import Float, Int

_NO_LABEL = np.int32(-1)


@njit(cache=True, nogil=True, inline="always")
def _dot(output: np.ndarray, norms: np.ndarray, hidden: np.ndarray, row: Int) -> np.float32:
    total = np.float32(0.0)
    for i in range(output.shape[1]):
        total += hidden[i] * output[row, i]
    return np.float32(total * norms[row])


@njit(cache=True, nogil=True, inline="always")
def _offset_log(x: Float) -> np.float32:
    """The library's log(x + 1e-5), in float32."""
    return np.float32(log(np.float64(x) + 1e-5))


@njit(cache=True, nogil=True)
def _insert(labels: np.ndarray, scores: np.ndarray, filled: Int, label: np.int32, score: Float) -> Int:
    """Keeps the best len(labels) of what is offered, best first; a later one goes before an equal one, which is what
    the library's heap does for a single label. Returns how many are kept."""
    if filled == labels.size:
        if score < scores[filled - 1]:
            return filled
        filled -= 1
    at = filled
    while at > 0 and score >= scores[at - 1]:
        scores[at] = scores[at - 1]
        labels[at] = labels[at - 1]
        at -= 1
    scores[at] = score
    labels[at] = label
    return filled + 1


@njit(cache=True, nogil=True)
def _walk_tree(
    t: Tables,
    hidden: np.ndarray,
    floor: Float,
    labels: np.ndarray,
    scores: np.ndarray,
    stack_nodes: np.ndarray,
    stack_scores: np.ndarray,
) -> Int:
    """Labels of a hierarchical softmax, depth first as in the library; branches below the floor are not entered."""
    matrix, norms, left, right = t.output, t.output_norms, t.left, t.right
    n_labels = matrix.shape[0]
    least = _offset_log(np.float32(floor))
    filled: Int = 0
    depth = 1
    stack_nodes[0] = np.int32(2 * n_labels - 2)
    stack_scores[0] = np.float32(0.0)
    while depth:
        depth -= 1
        node = np.int64(stack_nodes[depth])
        score = stack_scores[depth]
        if score < least or (filled == labels.size and score < scores[filled - 1]):
            continue
        if node < n_labels:
            filled = _insert(labels, scores, filled, np.int32(node), score)
            continue
        power = np.float32(exp(-np.float64(_dot(matrix, norms, hidden, node - n_labels))))
        share = np.float32(1.0 / np.float64(np.float32(np.float32(1.0) + power)))
        rest = np.float32(1.0 - np.float64(share))
        stack_nodes[depth] = right[node - n_labels]
        stack_scores[depth] = np.float32(score + _offset_log(share))
        stack_nodes[depth + 1] = left[node - n_labels]
        stack_scores[depth + 1] = np.float32(score + _offset_log(rest))
        depth += 2
    return filled


@njit(cache=True, nogil=True)
def _score_all(
    t: Tables, hidden: np.ndarray, floor: Float, labels: np.ndarray, scores: np.ndarray, output: np.ndarray
) -> Int:
    """Labels of a softmax, or of independent sigmoids, in label order as in the library."""
    matrix, norms, sigmoid = t.output, t.output_norms, t.sigmoid
    n_labels = matrix.shape[0]
    for label in range(n_labels):
        output[label] = _dot(matrix, norms, hidden, label)
    if t.loss == SOFTMAX:
        largest = output[0]
        for label in range(n_labels):
            largest = max(largest, output[label])
        total = np.float32(0.0)
        for label in range(n_labels):
            output[label] = np.float32(exp(np.float64(np.float32(output[label] - largest))))
            total += output[label]
        for label in range(n_labels):
            output[label] /= total
    else:
        for label in range(n_labels):
            x = output[label]
            if x < -SIGMOID_BOUND:
                output[label] = np.float32(0.0)
            elif x > SIGMOID_BOUND:
                output[label] = np.float32(1.0)
            else:
                shifted = np.float32(x + np.float32(SIGMOID_BOUND))
                step = np.float32(shifted * np.float32(SIGMOID_STEPS)) / np.float32(SIGMOID_BOUND)
                output[label] = sigmoid[np.int64(np.float32(step / np.float32(2.0)))]
    filled: Int = 0
    for label in range(n_labels):
        if output[label] >= np.float32(floor):
            filled = _insert(labels, scores, filled, np.int32(label), _offset_log(output[label]))
    return filled


@njit(cache=True, nogil=True)
def _predict(
    t: Tables, data: np.ndarray, offsets: np.ndarray, floor: Float, labels: np.ndarray, scores: np.ndarray
) -> None:
    work = working_memory(offsets[-1] - offsets[0], t.maxn)
    hidden = np.empty(t.width, np.float32)
    n_labels = t.output.shape[0]
    output = np.empty(n_labels, np.float32)
    stack_nodes = np.empty(n_labels + 1, np.int32)
    stack_scores = np.empty(n_labels + 1, np.float32)
    for row in range(offsets.size - 1):
        n_rows, work = embed(t, data, offsets[row], offsets[row + 1], hidden, work)
        filled: Int = 0
        if n_rows:
            if t.loss == HIERARCHICAL_SOFTMAX:
                filled = _walk_tree(t, hidden, floor, labels[row], scores[row], stack_nodes, stack_scores)
            else:
                filled = _score_all(t, hidden, floor, labels[row], scores[row], output)
        for i in range(filled):
            scores[row, i] = np.float32(exp(np.float64(scores[row, i])))
        for i in range(filled, labels.shape[1]):
            labels[row, i] = _NO_LABEL
            scores[row, i] = np.float32(0.0)


class FastTextClassifier:
    """A fastText model made ready for inference.

    Attributes:
        labels: names by label number, without the prefix.
    """

    def __init__(self, model: FastTextModel) -> None:
        self.labels = model.labels
        self._tables = make_tables(model)

    def predict(
        self, data: np.ndarray, offsets: np.ndarray, *, top: int = 1, floor: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best labels of each document.

        Args:
            data: uint8, the texts' bytes; offsets: int64 of shape (documents + 1,), as `pipeline.document.text_buffers`
                gives them.
            top: how many labels at most, the library's `k`.
            floor: labels below this score are left out, the library's `threshold`.

        Returns (labels, scores): int32 and float32 of shape (documents, top), best first, −1 and 0 where there are
        fewer. A score is the library's: probability + 1e-5, or for a hierarchical softmax Π (p + 1e-5) over the path to
        the label. A document whose features are all unknown has none.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, found {top}")
        rows = max(len(offsets) - 1, 0)
        top = min(top, len(self.labels))
        labels = np.empty((rows, top), np.int32)
        scores = np.empty((rows, top), np.float32)
        if rows:
            _predict(self._tables, data.view(np.int8), offsets, float(floor), labels, scores)
        return labels, scores
