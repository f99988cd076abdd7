"""How well predicted labels agree with given ones: pure functions over two lists of label pairs.

Supported labels are those that the identifier can answer. Text in any other language should be refused, that is,
answered `und`; on the web that matters as much as being right about what is supported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.labels.labels import UNDETERMINED

MOST_COMMON: frozenset[str] = frozenset(
    """
    afr_Latn als_Latn arb_Arab azj_Latn bel_Cyrl ben_Beng bos_Latn bul_Cyrl cat_Latn ces_Latn cmn_Hani cym_Latn dan_Latn
    deu_Latn ekk_Latn ell_Grek eng_Latn epo_Latn eus_Latn fao_Latn fas_Arab fil_Latn fin_Latn fra_Latn gle_Latn glg_Latn
    guj_Gujr heb_Hebr hin_Deva hrv_Latn hun_Latn hye_Armn ind_Latn isl_Latn ita_Latn jpn_Jpan kan_Knda kat_Geor kaz_Cyrl
    khk_Cyrl khm_Khmr kir_Cyrl kmr_Latn kor_Hang lat_Latn lit_Latn lvs_Latn mal_Mlym mar_Deva mkd_Cyrl mya_Mymr nld_Latn
    nno_Latn nob_Latn npi_Deva ory_Orya pan_Guru pol_Latn por_Latn ron_Latn rus_Cyrl sin_Sinh slk_Latn slv_Latn som_Latn
    spa_Latn srp_Cyrl srp_Latn swe_Latn swh_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tha_Thai tur_Latn ukr_Cyrl urd_Arab
    uzn_Cyrl uzn_Latn vie_Latn zsm_Latn
    """.split()
)
"""The 80 most common languages of the web: those with most pages in the crawl CC-MAIN-2024-10, by Common Crawl's statistics
(github.com/commoncrawl/cc-crawl-statistics, `plots/languages.csv`, labels of CLD2) as canonical pairs. Serbian and Uzbek,
which the statistics do not divide, stand in both of their scripts."""
MAX_CONFUSIONS = 50
"""Pairs of labels that each list of confusions has at most."""


def evaluate(
    given: Sequence[str],
    predicted: Sequence[str],
    supported: Collection[str],
    *,
    only: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Figures of an identifier on labelled documents.

    Args:
        given: the true label of each document, such as `por_Latn` (see `stages.labels.labels.canonical_label`).
        predicted: the answer for each document; `und`, or a pair that begins with it, where there was none.
        supported: labels that the identifier can answer.
        only: restricts the figures on supported languages to these labels, as the most common languages.

    Returns a map of plain values:
        documents, documents_supported: how many there are, and how many of them have a supported label;
        languages_supported: supported labels that occur among the given ones;
        macro_f1_supported: mean over these of F1, where each counts the documents of supported languages;
        macro_f1_common, languages_common: the mean of F1 over the labels of MOST_COMMON that are given, and how many these
            are; one that the identifier cannot answer counts as 0;
        accuracy_supported: share of the documents of supported languages that were answered, and rightly;
        unsupported_accepted: share of the documents of other languages that were answered at all;
        false_per_10000: wrong answers per 10,000 documents, of supported and other languages together;
        f1: F1 by label;
        confusions, confusions_unsupported: [given, predicted, documents], most frequent first, where the given language
            is supported, and where it is not.
        A share of no documents is None.

    Raises ConfigError when the lists differ in length.
    """
    if len(given) != len(predicted):
        raise ConfigError(
            f"evaluate: expected one prediction per document, found {len(predicted)} for {len(given)} documents"
        )
    answers = [UNDETERMINED if label.startswith(UNDETERMINED) else label for label in predicted]
    named = set(supported)
    known = named if only is None else named & set(only)
    inside = [(truth, answer) for truth, answer in zip(given, answers, strict=True) if truth in known]
    foreign = [answer for truth, answer in zip(given, answers, strict=True) if truth not in named]
    truths, answered = Counter(truth for truth, _ in inside), Counter(answer for _, answer in inside)
    right = Counter(truth for truth, answer in inside if truth == answer)
    f1 = {label: 2 * right[label] / (truths[label] + answered[label]) for label in sorted(truths)}
    common = sorted(MOST_COMMON.intersection(given))
    pairs = zip(given, answers, strict=True)
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1] and pair[1] != UNDETERMINED)
    return {
        "documents": len(given),
        "documents_supported": len(inside),
        "languages_supported": len(f1),
        "macro_f1_supported": _share(sum(f1.values()), len(f1)),
        "macro_f1_common": _share(sum(f1.get(label, 0.0) for label in common), len(common)),
        "languages_common": len(common),
        "accuracy_supported": _share(sum(right.values()), len(inside)),
        "unsupported_accepted": _share(sum(answer != UNDETERMINED for answer in foreign), len(foreign)),
        "false_per_10000": _share(10_000 * sum(wrong.values()), len(given)),
        "f1": f1,
        "confusions": _ranked({pair: count for pair, count in wrong.items() if pair[0] in known}),
        "confusions_unsupported": _ranked({pair: count for pair, count in wrong.items() if pair[0] not in named}),
    }


def expected_calibration_error(
    scores: Sequence[float], right: Sequence[bool], bins: int = 15, weights: Sequence[float] | None = None
) -> float | None:
    """Expected calibration error: Σ over bins of equal width of |share right − mean score| · share of documents (Guo et
    al., *On Calibration of Modern Neural Networks*, ICML 2017), where documents count by their weight. Scores are clipped
    to [0, 1]. None without documents.

    Raises ConfigError when the lists differ in length or `bins` is not positive.
    """
    given = [1.0] * len(scores) if weights is None else weights
    if len(scores) != len(right) or len(scores) != len(given) or bins < 1:
        raise ConfigError(
            f"expected_calibration_error: expected one score per answer and at least one bin, found {len(scores)} "
            f"scores, {len(right)} answers, {len(given)} weights, {bins} bins"
        )
    gaps = [0.0] * bins
    for score, hit, weight in zip(scores, right, given, strict=True):
        clipped = min(max(score, 0.0), 1.0)
        gaps[min(int(clipped * bins), bins - 1)] += weight * (bool(hit) - clipped)
    total = sum(given)
    return sum(abs(gap) for gap in gaps) / total if total else None


def _ranked(confusions: Mapping[tuple[str, str], int]) -> list[list[Any]]:
    ranked = sorted(confusions.items(), key=lambda item: (-item[1], item[0]))
    return [[truth, answer, count] for (truth, answer), count in ranked[:MAX_CONFUSIONS]]


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
