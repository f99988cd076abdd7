"""Words that tell close languages apart, where a model of byte n-grams cannot.

Bosnian, Croatian and Serbian in Latin script, and Indonesian and Malay, share nearly all their n-grams, but their standards
prescribe different words and spellings: `vreme`, `vrijeme`; `točno`, `tačno`; `karena`, `kerana`. A text that a model takes
for one language of such a group is given to the one whose words it has most of; the model's answer stands when there are
none, or as many.

The words come from what grammars and style guides of these languages list as differences (reflexes of yat; names of months;
-irati and -ovati; Indonesian and Malay after the common spelling of 1972), not from the texts that the figures in
docs/language.md are measured on. Each is counted for every language whose standard has it: `prije` for Bosnian and
Croatian, `uslov` for Bosnian and Serbian.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from gristmill.stages.kernels import unicode
from gristmill.stages.language.kernels.close_languages import ALPHABET, OTHER, letters

_SOUTH_SLAVIC = {
    "srp_Latn": """
        bezbedn* ceo cela cele celog celom celu čovek* dečak* dečij* delatnost* delom delovi delova deo detaljnije dete
        detet* devojč* devojk* gde hleb* hteo istorij* izmena izmene izveštaj* jul jula jun juna avgust* lek lekar* lepo
        lepa leto letnj* mera mere merama mesec* mesta mesto mestu mleko naselja nasleđ* nedelj* negde obaveštenj*
        obezbed* odeljenj* opštin* ovde ponedelj* posle pre predsedni* primer* promen* razumev* rečen* reč reči reka
        rešav* rešenj* rešiti sednic* sled* smer* spoljn* sreda stolet* svedo* svetsk* svetu telo tela tokom umetni*
        umetnost* uspeh* uspeš* uvek vazduh* vek veka veku verov* vest vesti vreme vremena vremenu vrednost* zahtev* zamen*
        želeo ćut*""",
    "hrv_Latn": """
        čimbeni* dužnosni* europ* gospodarstv* glazb* glede izvješć* itko kaznen* kazališ* kemij* knjižnic* kolodvor*
        kolovoz* lipnja lipnju liječni* listopad* momčad* natjecatelj* netko nitko nositelj* obitelj* odvjetni* otok*
        ožujk* povijes* poveznic* priopć* promidžb* prosinc* prosvjed* putovnic* rabi rabiti računal* ravnatelj* redatelj*
        rujna rujnu siječnj* srpnja srpnju studenog* stranac sudjel* suradn* sustav* svatko sveučiliš* svibnja svibnju
        tijekom tisuć* tjedan tjedn* tko točn* travnja travnju tvrtk* udrug* unatoč uporab* uvjet* veleposlan* veljač*
        vlak* zrakoplov* znanost* znanstven* županij*""",
    "bos_Latn": """
        augusta augustu bezbjedn* hljeb* historij* kahv* kanton* lahk* ljekar* mehk* polahko sedmic*""",
    "bos_Latn hrv_Latn": """
        bijel* cijel* čovjek* dijel* dijet* dio djec* djel* djet* djevoj* gdje htio jest lijek* lijep* ljeta ljeto mjera
        mjere mjerama mjesec* mjest* mlijek* naslije* nasljed* nedjelj* negdje nogomet* obavijest* odgoj* odjel* općin*
        opć* ovdje ovisi poduzeć* ponedjelj* poslije predsjedni* prije primjer* promjen* riječ* rijek* rješav* rješen* sjedni*
        sljede* smjer* stoljeć* svijet* svjedo* svjetsk* šutnj* tijel* također umjetn* uspjeh* uspješ* uvijek vanjsk*
        vidjet* vijek* vijest* vjer* vrijed* vrijem* zahtijev* zahtjev* zamijen* zamjen* zrak zraka zraku želio""",
    "bos_Latn srp_Latn": """
        advokat* ambasad* april* bibliotek* decemb* evrop* februar* fudbal* hemij* hiljad* januar* jeste ko krivičn* mart
        marta muzik* naučn* nauka nauke neko niko novemb* oktob* opšt* ostrv* pasoš* porodic* pozorišt* preduzeć* privred*
        računar* reditelj* saradn* septemb* šta tačn* takođe univerzitet* uopšte uprkos uslov* voz voza zvanični*""",
}
_MALAY = {
    "ind_Latn": """
        agustus aktivitas bahwa berbagai berbeda beda bis bisa butuh coba mencoba percobaan delapan desember dikarenakan
        dokter eropa februari fisika gratis informasi inggris internasional istri italia jepang juli jumat juni kabar
        kabupaten kalian kamis kampanye kantor karena kecamatan kesehatan komunitas kota kualitas laki lainnya layanan
        maret mau maupun menit miliar mobil modern musik nasional nomor obat obyek organisasi pelayanan pengadilan perkawinan
        persen perusahaan polisi prancis pria provinsi proyek rapat resmi rupiah saja senin sepeda setelah situs spanyol
        standar stasiun telepon televisi tentara triliun uang universitas yaitu yakni""",
    "zsm_Latn": """
        ahad aktiviti antarabangsa bahawa bandar bandaraya berbeza beza basikal bilion cuba mencuba percubaan disember
        doktor encik eropah filem fizik hendaklah hospital iaitu inggeris isnin isteri itali jepun julai jumaat kahwin
        perkahwinan kempen kerana kerakyatan kesihatan khabar khamis khidmat perkhidmatan komuniti kualiti lapan lelaki
        mahu mahupun maklumat manakala mesyuarat minit moden muzik nombor ogos pelbagai pengerusi peratus percuma
        perlembagaan pertubuhan piawai polis projek ringgit sahaja sekiranya selepas semasa sepanyol setiausaha stesen
        syarikat televisyen telefon tentera timbalan ubat universiti wang""",
}


@dataclass(frozen=True)
class CloseLanguages:
    """A group of close languages with an automaton for their words.

    Attributes:
        labels: canonical pairs; a word's vote is a bit set over them.
        moves: int16 of shape (states, ALPHABET): the state after a letter, 0 for none; a word begins in state 1.
        word_votes, prefix_votes: uint8 by state: whom a word votes for that ends here, and one that goes on from here.
    """

    labels: tuple[str, ...]
    moves: np.ndarray
    word_votes: np.ndarray
    prefix_votes: np.ndarray


@cache
def groups() -> tuple[CloseLanguages, ...]:
    """All groups of close languages."""
    return (_compile(_SOUTH_SLAVIC), _compile(_MALAY))


@cache
def letter_table() -> np.ndarray:
    """uint8 by code point below LATIN_END: the letter in an automaton's alphabet, in lower case, or OTHER."""
    return letters(unicode.lowered())


def _compile(words: Mapping[str, str]) -> CloseLanguages:
    labels = tuple(sorted({label for named in words for label in named.split()}))
    states: list[dict[int, int]] = [{}, {}]
    word_votes, prefix_votes = [0, 0], [0, 0]
    table = letter_table()
    for named, listed in words.items():
        vote = sum(1 << labels.index(label) for label in named.split())
        for word in listed.split():
            state = 1
            for letter in word.rstrip("*"):
                code = int(table[ord(letter)])
                if code == OTHER:
                    raise ValueError(f"close languages: {word!r} has the letter {letter!r}, which no automaton reads")
                if code not in states[state]:
                    states[state][code] = len(states)
                    states.append({})
                    word_votes.append(0)
                    prefix_votes.append(0)
                state = states[state][code]
            votes = prefix_votes if word.endswith("*") else word_votes
            votes[state] |= vote
    moves = np.zeros((len(states), ALPHABET), np.int16)
    for state, following in enumerate(states):
        for code, after in following.items():
            moves[state, code] = after
    return CloseLanguages(labels, moves, np.array(word_votes, np.uint8), np.array(prefix_votes, np.uint8))
