"""The last lines of an example that tags: from what the graph says of words to spans."""

from retarget.core.copied import definitions
from retarget.tasks import words


def tagging() -> str:
    """Return code that finds spans with what an `Intake`'s example has defined before it."""
    return "\n\n\n".join([*definitions(words, {"worded"}), _TAGGING.strip()])


_TAGGING = '''
def marginals(scores, chain):
    """Return (n, K) the probability of every tag of a linear chain with emissions (n, K)."""
    moves, start, end = (np.array(chain[k]) for k in ("transitions", "start", "end"))
    barred = np.where(ALLOWED, 0.0, -np.inf)
    moves, start = moves + barred[:-1], start + barred[-1]

    def total(x, axis):
        top = x.max(axis=axis, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            return np.log(np.exp(x - top).sum(axis=axis)) + top.squeeze(axis)

    n = len(scores)
    before, after = np.empty_like(scores), np.empty_like(scores)
    before[0], after[-1] = start + scores[0], end
    for i in range(1, n):
        before[i] = scores[i] + total(before[i - 1][:, None] + moves, 0)
        after[n - 1 - i] = total(moves + (scores[n - i] + after[n - i])[None], 1)
    both = before + after
    return np.exp(both - total(both, 1)[:, None])


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def probabilities(text):
    """Return (n, K) the probability of every tag of every word."""
    (output,) = SESSION.run(None, fed(text))
    output = output[0, : len(text.words)].astype(np.float64)
    if "members" not in CARD:
        return output
    mean = 0.0
    for i, member in enumerate(CARD["members"]):
        found = output[:, i]
        if member["chain"]:
            logs = np.log(np.maximum(marginals(found, member["chain"]), 1e-30))
            found = logs / member["temperature"]
        mean = mean + member["share"] * softmax(found)
    return softmax(np.log(np.maximum(mean, 1e-300)) / CARD["temperature"])


def allowed():
    """Return (K + 1, K) which tag may follow which, the last row of first tags: I-x follows B-x
    and I-x alone."""
    tags = CARD["classes"]
    rows = [[t[0] != "I" or a in ("B" + t[1:], t) for t in tags] for a in tags]
    return np.array([*rows, [t[0] != "I" for t in tags]])


ALLOWED = allowed()


def best(found):
    """Return the numbers of the most probable tags that may follow each other (Viterbi)."""
    logs = np.log(np.maximum(found, 1e-300))
    barred = np.where(ALLOWED, 0.0, -np.inf)
    sums, back = logs[0] + barred[-1], []
    for row in logs[1:]:
        through = sums[:, None] + barred[:-1]
        back.append(through.argmax(axis=0))
        sums = through.max(axis=0) + row
    tags = [int(sums.argmax())]
    for came in reversed(back):
        tags.append(int(came[tags[-1]]))
    return tags[::-1]


def predict(text):
    """Return the spans of a text: characters from `start` up to `end`, what they are, and the
    mean probability of their words' tags."""
    words = split_words(text)
    if not words:
        return []
    found = probabilities(Worded(text, words))
    spans = []
    for k, number in enumerate(best(found)):
        tag, (start, end) = CARD["classes"][number], words[k]
        if tag[0] == "B":
            spans.append({"start": start, "end": end, "label": tag[2:], "sure": []})
        if tag[0] != "O":
            spans[-1]["end"] = end
            spans[-1]["sure"].append(float(found[k, number]))
    for span in spans:
        span["text"] = text[span["start"] : span["end"]]
        span["probability"] = float(np.mean(span.pop("sure")))
    return spans


if __name__ == "__main__":
    for text in given():
        print(json.dumps({"text": text, "spans": predict(text)}))
'''
