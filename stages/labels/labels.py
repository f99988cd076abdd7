"""Canonical language labels, and the one table that maps the labels of language-ID models to them.

A canonical label is a pair such as `por_Latn`: ISO 639-3 code and ISO 15924 script. The canonical set is FineWeb2's
config names plus `eng_Latn`, so that its thresholds and stop words apply to documents as they are labelled here. FineWeb2
folds some macro-languages into their main member (`zho` → `cmn`, `est` → `ekk`) and names others as a whole (`fas`);
the table follows it in each case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ConfigError

UNDETERMINED = "und"
"""ISO 639-3 code of a text whose language was not determined."""

_PAIR = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_LIST = Path(__file__).with_name("fineweb2_labels.txt")

# Codes are those of fastText's lid.176 (names of Wikipedias) and of py3langid; both give a code that they share the
# same meaning. Pairs are those that the models have seen: a language that is also written in another script is not
# answered for text in that script. Where there are several, the document's script chooses.
_TABLE = """
ace  ace_Latn
af   afr_Latn
als  gsw_Latn
am   amh_Ethi
an   arg_Latn
ar   arb_Arab
ary  ary_Arab
arz  arz_Arab
as   asm_Beng
ast  ast_Latn
av   ava_Cyrl
az   azj_Latn
azb  azb_Arab
ba   bak_Cyrl
bar  bar_Latn
bcl  bcl_Latn
be   bel_Cyrl
bg   bul_Cyrl
bh   bho_Deva
bn   ben_Beng
bo   bod_Tibt
bpy  bpy_Beng
br   bre_Latn
bs   bos_Latn
bxr  bxr_Cyrl
ca   cat_Latn
cbk  cbk_Latn
ce   che_Cyrl
ceb  ceb_Latn
ckb  ckb_Arab
co   cos_Latn
crh  crh_Latn
cs   ces_Latn
cv   chv_Cyrl
cy   cym_Latn
da   dan_Latn
de   deu_Latn
diq  diq_Latn
dsb  dsb_Latn
dty  dty_Deva
dv   div_Thaa
dz   dzo_Tibt
el   ell_Grek
eml  eml_Latn
en   eng_Latn
eo   epo_Latn
es   spa_Latn
et   ekk_Latn
eu   eus_Latn
ext  ext_Latn
fa   fas_Arab
fi   fin_Latn
fo   fao_Latn
fr   fra_Latn
frr  frr_Latn
fuv  fuv_Latn
fy   fry_Latn
ga   gle_Latn
gcf  gcf_Latn
gcr  gcr_Latn
gd   gla_Latn
gl   glg_Latn
gn   gug_Latn
gom  gom_Deva
grc  grc_Grek
gu   guj_Gujr
gug  gug_Latn
guw  guw_Latn
gv   glv_Latn
ha   hau_Latn
hbo  hbo_Hebr
he   heb_Hebr
hi   hin_Deva
hif  hif_Latn
hr   hrv_Latn
hsb  hsb_Latn
ht   hat_Latn
hu   hun_Latn
hy   hye_Armn
ia   ina_Latn
id   ind_Latn
ie   ile_Latn
ig   ibo_Latn
ilo  ilo_Latn
io   ido_Latn
is   isl_Latn
it   ita_Latn
ja   jpn_Jpan
jbo  jbo_Latn
jv   jav_Latn
ka   kat_Geor
kab  kab_Latn
kik  kik_Latn
kk   kaz_Cyrl
km   khm_Khmr
kn   kan_Knda
ko   kor_Hang
krc  krc_Cyrl
ku   kmr_Latn
kv   kpv_Cyrl
kw   cor_Latn
ky   kir_Cyrl
la   lat_Latn
lb   ltz_Latn
lez  lez_Cyrl
lg   lug_Latn
li   lim_Latn
lij  lij_Latn
lmo  lmo_Latn
ln   lin_Latn
lo   lao_Laoo
lrc  lrc_Arab
lt   lit_Latn
ltg  ltg_Latn
lv   lvs_Latn
mai  mai_Deva
mg   plt_Latn
mhr  mhr_Cyrl
min  min_Latn
mk   mkd_Cyrl
ml   mal_Mlym
mn   khk_Cyrl
mr   mar_Deva
mrj  mrj_Cyrl
ms   zsm_Latn
mt   mlt_Latn
mwl  mwl_Latn
my   mya_Mymr
myv  myv_Cyrl
mzn  mzn_Arab
nah  nah_Latn
nap  nap_Latn
nds  nds_Latn
ne   npi_Deva
new  new_Deva
nl   nld_Latn
nn   nno_Latn
no   nob_Latn
nso  nso_Latn
oc   oci_Latn
om   gaz_Latn
or   ory_Orya
os   oss_Cyrl
pa   pan_Guru
pam  pam_Latn
pcm  pcm_Latn
pfl  pfl_Latn
pl   pol_Latn
pms  pms_Latn
pnb  pnb_Arab
ps   pbt_Arab
pt   por_Latn
qu   quz_Latn
rm   roh_Latn
ro   ron_Latn
ru   rus_Cyrl
rue  rue_Cyrl
rw   kin_Latn
sa   san_Deva
sah  sah_Cyrl
sc   srd_Latn
scn  scn_Latn
sco  sco_Latn
sd   snd_Arab
sdh  sdh_Arab
se   sme_Latn
sh   srp_Latn
si   sin_Sinh
sk   slk_Latn
sl   slv_Latn
sn   sna_Latn
so   som_Latn
sq   als_Latn
sr   srp_Cyrl srp_Latn
st   sot_Latn
su   sun_Latn
sv   swe_Latn
sw   swh_Latn
ta   tam_Taml
te   tel_Telu
tg   tgk_Cyrl
th   tha_Thai
tk   tuk_Latn
tl   fil_Latn
tr   tur_Latn
tt   tat_Cyrl
tyv  tyv_Cyrl
ug   uig_Arab
uk   ukr_Cyrl
ur   urd_Arab
uz   uzn_Latn uzn_Cyrl
uzs  uzs_Arab
vec  vec_Latn
vep  vep_Latn
vi   vie_Latn
vls  vls_Latn
vo   vol_Latn
wa   wln_Latn
war  war_Latn
wuu  wuu_Hani
xal  xal_Cyrl
xh   xho_Latn
xmf  xmf_Geor
yi   ydd_Hebr
yo   yor_Latn
yue  yue_Hani
zh   cmn_Hani
zu   zul_Latn
zxx
"""
MODEL_CODES: Mapping[str, list[str]] = {
    "langid": (
        "ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr "
        "fuv fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko "
        "ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru "
        "rw sa sdh se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo "
        "yue zh zu zxx"
    ).split(),
    "fasttext": (
        "af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy "
        "da de diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy "
        "ia id ie ilo io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min "
        "mk ml mn mr mrj ms mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm "
        "ro ru rue sa sah sc scn sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep "
        "vi vls vo wa war wuu xal xmf yi yo yue zh"
    ).split(),
}
"""The labels of each backend's default model: py3langid's own, and lid.176. Stated so that a plan need not read models; a
test compares."""
_MEMBERS = {
    "ara": "arb",
    "aze": "azj",
    "est": "ekk",
    "grn": "gug",
    "hbs": "srp",
    "kur": "kmr",
    "lav": "lvs",
    "mlg": "plt",
    "mon": "khk",
    "msa": "zsm",
    "nep": "npi",
    "nor": "nob",
    "ori": "ory",
    "orm": "gaz",
    "pes": "fas",
    "prs": "fas",
    "pus": "pbt",
    "que": "quz",
    "sqi": "als",
    "swa": "swh",
    "tgl": "fil",
    "twi": "fat",
    "uzb": "uzn",
    "yid": "ydd",
    "zho": "cmn",
}
"""Codes of macro-languages and of members that FineWeb2 has under another code."""
FOLDED_SCRIPTS = {"Hans": "Hani", "Hant": "Hani", "Hira": "Jpan", "Kana": "Jpan", "Hrkt": "Jpan", "Kore": "Hang"}
"""Scripts that FineWeb2 has under another code."""
# `sh` (Serbo-Croatian) has no pair of its own in FineWeb2; its Wikipedia stands nearest to Serbian in Latin script.
# `zxx` (no linguistic content) deliberately maps to nothing: such text is `und`.


@cache
def canonical_labels() -> frozenset[str]:
    """The canonical label pairs: FineWeb2's 1,929 and `eng_Latn`."""
    lines = _LIST.read_text("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


@cache
def codes() -> Mapping[str, tuple[str, ...]]:
    """Canonical pairs of each code that a model may give, its usual script first; empty where it maps to `und`."""
    rows = (line.split() for line in _TABLE.split("\n") if line)
    return MappingProxyType({row[0]: tuple(row[1:]) for row in rows})


def members() -> Mapping[str, str]:
    """Codes of macro-languages, and of members that FineWeb2 has under another code, each with that code."""
    return MappingProxyType(_MEMBERS)


@cache
def supported_labels(backend: str) -> frozenset[str]:
    """Canonical labels that a backend's default model can answer, without reading the model."""
    return frozenset(pair for code in MODEL_CODES[backend] for pair in codes()[code])


def canonical_label(language: str, script: str) -> str:
    """The label pair of an ISO 639-3 code and an ISO 15924 code as labelled data have them: macro-languages and scripts
    folded as FineWeb2 folds them. A pair outside the canonical set is given back as it is."""
    pair = f"{_MEMBERS.get(language, language)}_{FOLDED_SCRIPTS.get(script, script)}"
    unfolded = f"{language}_{script}"
    return unfolded if unfolded in canonical_labels() else pair


def pairs_of(label: str) -> tuple[str, ...] | None:
    """Canonical pairs that a model's label stands for: by the table for a code, itself for a pair such as GlotLID's
    `por_Latn`, also one outside the canonical set. None for anything else."""
    if _PAIR.fullmatch(label):
        return () if label[:3] in ("zxx", UNDETERMINED) else (label,)
    return codes().get(label)


def map_labels(labels: Iterable[str], source: str) -> tuple[tuple[str, ...], ...]:
    """`pairs_of` for all labels of a model.

    Raises ConfigError when some have no mapping, naming `source` and the first of them.
    """
    mapped = [(label, pairs_of(label)) for label in labels]
    unknown = [label for label, pairs in mapped if pairs is None]
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:5])
        raise ConfigError(
            f"{source}: {len(unknown)} of {len(mapped)} labels name no language, such as {shown}. Expected codes as in "
            "fastText's lid.176 (`pt`) or pairs as in GlotLID (`por_Latn`). Use a language-ID model."
        )
    return tuple(pairs for _, pairs in mapped if pairs is not None)


def row_labels(batch: pa.Table) -> list[str] | None:
    """The label pair of each row from the columns `language` and `language_script`; None without such columns.

    A `language` that is a pair already (`por_Latn`) is taken as it is; text of unknown language is `und`.
    """
    if "language" not in batch.column_names:
        return None
    languages = one_chunk(batch["language"]).to_pylist()
    scripts: list[str | None] = [None] * len(languages)
    if "language_script" in batch.column_names:
        scripts = one_chunk(batch["language_script"]).to_pylist()
    pairs = zip(languages, scripts, strict=True)
    return [f"{a}_{b}" if a and b and "_" not in a and a != UNDETERMINED else a or UNDETERMINED for a, b in pairs]
