"""Languages as people write them in a config: `de`, `deu`, `German`, `deu_Latn`; which label pairs each stands for.

English names (and some own ones) are those of the languages that the default models answer, some 190: all that a config for
them can name. The labels of other languages (GlotLID has some 2,000) are written as codes or pairs, of which the list of
canonical labels knows all, so that no library of names is needed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

from gristmill.stages.labels.labels import UNDETERMINED, canonical_label, canonical_labels, codes, members

SUGGESTED = 3
"""Labels that are suggested for one that means nothing."""
EXAMPLES = ("eng_Latn", "deu_Latn", "cmn_Hani")

# By the models' code; several names of one language are divided by `/`.
_NAMES = """
ace Acehnese/Achinese
af Afrikaans
als Alemannic/Alemannic German/Swiss German
am Amharic
an Aragonese
ar Arabic/Standard Arabic/Modern Standard Arabic
ary Moroccan Arabic
arz Egyptian Arabic
as Assamese
ast Asturian
av Avar/Avaric
az Azerbaijani/North Azerbaijani
azb South Azerbaijani
ba Bashkir
bar Bavarian
bcl Central Bikol
be Belarusian
bg Bulgarian
bh Bhojpuri
bn Bengali/Bangla
bo Tibetan/Standard Tibetan
bpy Bishnupriya/Bishnupriya Manipuri
br Breton
bs Bosnian
bxr Russia Buriat/Buryat/Buriat
ca Catalan/Valencian
cbk Chavacano
ce Chechen
ceb Cebuano
ckb Central Kurdish/Sorani
co Corsican
crh Crimean Tatar
cs Czech
cv Chuvash
cy Welsh
da Danish/Dansk
de German/Deutsch
diq Dimli/Zazaki
dsb Lower Sorbian
dty Dotyali
dv Dhivehi/Divehi/Maldivian
dz Dzongkha
el Greek/Modern Greek
eml Emiliano-Romagnolo
en English
eo Esperanto
es Spanish/Castilian/Español/Espanol
et Estonian/Standard Estonian
eu Basque
ext Extremaduran
fa Persian/Farsi
fi Finnish
fo Faroese
fr French/Français/Francais
frr Northern Frisian/North Frisian
fuv Nigerian Fulfulde
fy Western Frisian/West Frisian/Frisian
ga Irish
gcf Guadeloupean Creole French
gcr Guianese Creole French
gd Scottish Gaelic
gl Galician
gn Guarani/Paraguayan Guarani
gom Goan Konkani/Konkani
grc Ancient Greek
gu Gujarati
guw Gungbe
gv Manx
ha Hausa
hbo Ancient Hebrew/Biblical Hebrew
he Hebrew
hi Hindi
hif Fiji Hindi
hr Croatian
hsb Upper Sorbian
ht Haitian/Haitian Creole
hu Hungarian
hy Armenian
ia Interlingua
id Indonesian
ie Interlingue/Occidental
ig Igbo
ilo Iloko/Ilocano
io Ido
is Icelandic
it Italian/Italiano
ja Japanese/日本語
jbo Lojban
jv Javanese
ka Georgian
kab Kabyle
kik Kikuyu
kk Kazakh
km Khmer
kn Kannada
ko Korean/한국어
krc Karachay-Balkar
ku Northern Kurdish/Kurmanji/Kurdish
kv Komi/Komi-Zyrian
kw Cornish
ky Kyrgyz/Kirghiz
la Latin
lb Luxembourgish
lez Lezgian
lg Ganda/Luganda
li Limburgish/Limburgan
lij Ligurian
lmo Lombard
ln Lingala
lo Lao
lrc Northern Luri
lt Lithuanian
ltg Latgalian
lv Latvian/Standard Latvian
mai Maithili
mg Malagasy/Plateau Malagasy
mhr Eastern Mari/Meadow Mari
min Minangkabau
mk Macedonian
ml Malayalam
mn Mongolian/Halh Mongolian
mr Marathi
mrj Western Mari/Hill Mari
ms Malay/Standard Malay
mt Maltese
mwl Mirandese
my Burmese
myv Erzya
mzn Mazanderani
nah Nahuatl
nap Neapolitan
nds Low German/Low Saxon
ne Nepali
new Newari/Newar
nl Dutch/Flemish/Nederlands
nn Norwegian Nynorsk/Nynorsk
no Norwegian/Norsk/Norwegian Bokmal/Bokmal
nso Northern Sotho/Pedi
oc Occitan
om Oromo/West Central Oromo
or Odia/Oriya
os Ossetian/Ossetic
pa Punjabi/Panjabi/Eastern Punjabi
pam Pampanga/Kapampangan
pcm Nigerian Pidgin
pfl Palatine German
pl Polish/Polski
pms Piedmontese
pnb Western Punjabi/Western Panjabi
ps Pashto/Southern Pashto
pt Portuguese/Português/Portugues
qu Quechua
rm Romansh
ro Romanian/Moldovan
ru Russian/Русский
rue Rusyn
rw Kinyarwanda
sa Sanskrit
sah Yakut/Sakha
sc Sardinian
scn Sicilian
sco Scots
sd Sindhi
sdh Southern Kurdish
se Northern Sami
sh Serbo-Croatian
si Sinhala/Sinhalese
sk Slovak
sl Slovenian/Slovene
sn Shona
so Somali
sq Albanian/Tosk Albanian
sr Serbian
st Southern Sotho/Sotho
su Sundanese
sv Swedish/Svenska
sw Swahili
ta Tamil
te Telugu
tg Tajik
th Thai
tk Turkmen
tl Tagalog/Filipino
tr Turkish
tt Tatar
tyv Tuvan/Tuvinian
ug Uyghur/Uighur
uk Ukrainian/Українська
ur Urdu
uz Uzbek/Northern Uzbek
uzs Southern Uzbek
vec Venetian
vep Veps
vi Vietnamese
vls West Flemish/Vlaams
vo Volapuk
wa Walloon
war Waray
wuu Wu/Wu Chinese
xal Kalmyk
xh Xhosa
xmf Mingrelian
yi Yiddish/Eastern Yiddish
yo Yoruba
yue Cantonese/Yue Chinese
zh Chinese/Mandarin/Mandarin Chinese/中文
zu Zulu
"""
_CODE = re.compile(r"[a-z]{2,3}")
_PAIR = re.compile(r"([a-z]{2,3})[-_]([a-z]{4})")


@cache
def names() -> Mapping[str, tuple[str, ...]]:
    """Label pairs by English name, in small letters, such as `german`."""
    found: dict[str, tuple[str, ...]] = {}
    for line in _NAMES.strip().split("\n"):
        code, _, named = line.partition(" ")
        found |= dict.fromkeys(named.casefold().split("/"), codes()[code])
    return MappingProxyType(found)


@cache
def _by_language() -> Mapping[str, tuple[str, ...]]:
    """Pairs by ISO 639-3 code: those that the default models answer, else all canonical ones."""
    answered = {pair for pairs in codes().values() for pair in pairs}
    found: dict[str, list[str]] = {}
    for pair in sorted(answered):
        found.setdefault(pair[:3], []).append(pair)
    usual = set(found)
    for pair in sorted(canonical_labels()):
        if pair[:3] not in usual:
            found.setdefault(pair[:3], []).append(pair)
    return MappingProxyType({code: tuple(pairs) for code, pairs in found.items()})


def pairs_meant(label: str) -> tuple[str, ...]:
    """The canonical pairs that a label stands for as a person writes it: a pair (also with a macro-language or in another
    case), an ISO 639-3 or 639-1 code, or an English name. A language of several scripts has several, those that the default
    models answer; where nothing is known, none.

    >>> pairs_meant("de"), pairs_meant("Serbian"), pairs_meant("zho_Hans"), pairs_meant("Klingon")
    (('deu_Latn',), ('srp_Cyrl', 'srp_Latn'), ('cmn_Hani',), ())
    """
    if label in canonical_labels() or label == UNDETERMINED:
        return (label,)
    plain = " ".join(label.casefold().replace("-", " ").split())
    named = {name.replace("-", " "): pairs for name, pairs in names().items()}
    if plain in named:
        return named[plain]
    written = label.casefold()
    if pair := _PAIR.fullmatch(written):
        script = pair[2].capitalize()
        languages = [one[:3] for one in pairs_meant(pair[1])] if len(pair[1]) == 2 else [pair[1]]
        found = dict.fromkeys(canonical_label(language, script) for language in languages)
        return tuple(one for one in found if one in canonical_labels())
    if not _CODE.fullmatch(written):
        return ()
    # The models' own codes are Wikipedia's, of which some mean another language in ISO 639-3: `als` is one.
    known = _by_language().get(members().get(written, written))
    return known or (codes().get(written, ()) if len(written) == 2 else ())


def suggestions(label: str, allowed: Iterable[str]) -> str:
    """A clause with at most three of the labels that were probably meant, such as `did you mean deu_Latn (German)?`."""
    pairs = set(allowed)
    spoken = {pair: name.title() for name, found in reversed(list(names().items())) for pair in found}
    texts = {pair.casefold(): [pair] for pair in sorted(pairs)}
    for name, found in names().items():
        texts.setdefault(name, []).extend(pair for pair in found if pair in pairs)
    close = difflib.get_close_matches(label.casefold(), texts, n=2 * SUGGESTED, cutoff=0.6)
    likely = list(dict.fromkeys(pair for text in close for pair in texts[text]))[:SUGGESTED]
    if not likely:
        examples = [pair for pair in EXAMPLES if pair in pairs] or sorted(pairs)[:SUGGESTED]
        return f"write a language as {', '.join(examples)}, or by its code (de, deu) or English name"
    said = [f"{pair} ({spoken[pair]})" if pair in spoken else pair for pair in likely]
    return f"did you mean {' or '.join(said)}?"


def meant(labels: Iterable[str], field: str) -> tuple[str, ...]:
    """The pairs that labels of a config stand for, each once. Raises ValueError, with suggestions, for one that has none."""
    found: dict[str, None] = {}
    for label in labels:
        pairs = pairs_meant(label)
        if not pairs:
            raise ValueError(
                f"{field}: {label!r} is no language that is known: {suggestions(label, canonical_labels())}"
            )
        found |= dict.fromkeys(pairs)
    return tuple(found)
