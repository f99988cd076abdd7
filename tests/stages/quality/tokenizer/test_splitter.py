"""Words as datatrove's tokenizers split them: spaCy's blank pipelines, on texts and characters of many kinds."""

from __future__ import annotations

import unicodedata

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.stages.kernels import unicode
from gristmill.stages.quality.tokenizer import build_rules as build_word_rules
from gristmill.stages.quality.tokenizer import flags as word_flags
from gristmill.stages.quality.tokenizer import rules as word_rules
from gristmill.stages.quality.tokenizer.flags import TOKENIZERS
from gristmill.stages.quality.tokenizer.rules import piece_length, tokenizer_of
from gristmill.stages.quality.tokenizer.splitter import split_words

EXACT = ("xx", "tn", "en", "de", "ms", "uk", "lv", "eu", "hy")
_pipelines: dict[str, spacy.Language] = {}


def reference(text: str, name: str) -> list[str]:
    if name not in _pipelines:
        _pipelines[name] = spacy.blank(name)
    words = [token.text.strip() for token in _pipelines[name](text)]
    return [word for word in words if word]


SENTENCES = {
    "en": [
        "I can't believe it's John's 2nd car; they'd've said \"don't!\" (cannot) gonna, U.S. e.g. Mr. O'Neill.",
        "Visit https://example.org/a?b=c#d or mail me@example.com... well-known 10km 5% $3.50 US$4 3-4 2+2=4 :-) x86",
        "He said:'no'. \"Quoted\"—dash–dash--double (see [1]) 1,000.5 a/b and/or C++ 100€ 20°C. A.B.C. ....",
    ],
    "de": ['Der Geiß-Peter sagt: "So geht\'s!" z.B. am 3. Mai um 10 Uhr; Haus/Hof, 5-10 km, usw. Nr. 7 (Bd. 2)'],
    "fr": ["L'homme d'aujourd'hui n'est qu'un demi-dieu, dit-il; c'est-à-dire l’été, 20 % et 5 km. M. Jean-Paul"],
    "es": ["¿Qué dice el Sr. Pérez? ¡Nada! «Vino tinto» (2-3 €), p.ej. teórico-práctico."],
    "it": ["L'amico dell'uomo c'è: nient'altro che un po' d'acqua. Buon-giorno e via!"],
    "nl": ["'s Morgens eet hij zo'n boterham; d.w.z. auto's--fietsen (foto's)."],
    "pl": ['W latach 1990-1995 był to biało-czerwony, tzn. "dobry" wynik: 4.5 pkt.'],
    "pt": ["Disse-lhe: guarda-chuva, d'água, R$ 5,00 e 10% (art. 5.º)."],
    "sv": ['Det är EU:s chef, kl. 10; bl.a. "ja" och nej!'],
    "fi": ["Esim. EU:n päätös, linja-auto ja 5 %:n korko."],
    "ru": ["Он сказал: «Кто-нибудь, т.е. А. С. Пушкин, 5 км/ч — здесь?» и т.д."],
    "uk": ["Сім'я п'є каву, м. Київ, вул. Січова; «так» — і ні."],
    "ms": ["Bata-bata itu, bukunya-nya dan #tag; Rp100 5-a /akhir kuda-."],
    "tn": ["Go-na le 5-nyana, motho/batho: (ee)."],
    "am": ["ሰላም ነው። እንዴት ነህ፣ ወንድሜ፡፡"],
    "ar": ["قال: «نعم»، ثم ذهب. أليس كذلك؟"],
    "xx": ["Kuʻu ʻāina “aloha”! ki̱ -wa, xyz… 3.14 :) a.b A.B \u200bzero 😀smile😀"],
}


@pytest.mark.parametrize("name", SENTENCES)
def test_typical_sentences_split_as_by_spacy(name: str) -> None:
    for sentence in SENTENCES[name]:
        assert split_words(sentence, TOKENIZERS.index(name)) == reference(sentence, name)


PIECES = [
    "word", "Ünder", "don't", "e.g.", "10", "5km", "...", "..", ".", ",", "-", "--", "—", "'s", "’s", "'", '"', "(", ")",
    "/", ":", "#", "$", "%", "+", "=", "漢字", "слово", "😀", "a.", "U.S", "é", "[", "]", "?", "!", "…", "&", "*", "~", "x",
]  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_nearly_every_chance_sequence_splits_as_by_spacy(name: str) -> None:
    import random

    draw = random.Random(name)
    chunks = ["".join(draw.choices(PIECES, k=draw.randint(1, 5))) for _ in range(2000)]
    number = TOKENIZERS.index(name)
    differ = [chunk for chunk in chunks if split_words(chunk, number) != reference(chunk, name)]
    # URL-like accidents and exceptions that reach over other rules are what is left.
    assert len(differ) <= 0.02 * len(chunks), differ[:20]


@settings(max_examples=200)
@given(st.text(), st.sampled_from(range(len(TOKENIZERS))))
def test_words_hold_every_character_that_is_no_white_space(text: str, tokenizer: int) -> None:
    words = split_words(text, tokenizer)
    # Python's newer or older Unicode may know another space.
    if all(unicodedata.category(char) != "Cn" for char in text):
        assert "".join(words) == "".join(text.split())
    assert all(words)


@given(st.text(st.characters(categories=["L"]), max_size=30))
def test_a_word_of_letters_stays_whole_without_exceptions(word: str) -> None:
    expected = reference(word, "xx")
    assert split_words(word, 0) == expected


def test_marks_are_words_in_the_languages_of_india_and_numbers_stay_whole() -> None:
    hindi, urdu = tokenizer_of("hin_Deva"), tokenizer_of("urd_Arab")
    assert TOKENIZERS[hindi] == "indic" and TOKENIZERS[urdu] == "urdu"
    words = ["वह", "10.5", "किमी", "गया", ",", "'", "ठीक", "'", ".", ".", "है", "।"]
    assert split_words("वह 10.5 किमी गया, 'ठीक'.. है।", hindi) == words
    assert split_words("یہ 10.5 ہے۔ ٹھیک؟", urdu) == ["یہ", "10", ".", "5", "ہے", "۔", "ٹھیک؟"]


def test_labels_have_datatroves_tokenizers() -> None:
    expected = {
        "eng_Latn": "en",
        "deu_Latn": "de",
        "ewe_Latn": "tn",
        "cha_Latn": "ms",
        "ukr_Cyrl": "uk",
        "zzz_Latn": "xx",
    }
    assert {label: TOKENIZERS[tokenizer_of(label)] for label in expected} == expected


def test_only_scripts_without_spaces_have_the_fallback() -> None:
    having = ["cmn_Hani", "jpn_Jpan", "tha_Thai", "lao_Laoo", "khm_Khmr", "mya_Mymr", "bod_Tibt", "kor_Hang"]
    assert all(piece_length(label) > 1 for label in having)
    assert not any(piece_length(label) for label in ("eng_Latn", "hin_Deva", "und_Zyyy", "amh_Ethi", ""))


def test_the_tables_flags_agree_with_unicode() -> None:
    flags = word_rules.word_rules().flags
    classes = unicode.char_class()
    assert (((flags & word_flags.LETTER) != 0) == (classes == unicode.LETTER)).all()
    assert (((flags & word_flags.SPACE) != 0) == (classes == unicode.SPACE)).all()


def test_the_features_name_known_tokenizers_only() -> None:
    assert set(word_rules.FEATURES) <= set(TOKENIZERS)
    assert len(set(TOKENIZERS)) == len(TOKENIZERS)
    assert TOKENIZERS[0] == "xx"
    assert build_word_rules.VERSIONS["spacy"]
