"""Words that name groups, by dimension: what the toxicity model abstracts over and what its figures are broken down by.

The words, English and German, are neutral names of groups, some reclaimed or outdated, not slurs: slurs are learned from the
data. Naming a group says nothing about a text; the list lets the model learn from "I hate X" and "X are welcome" once for
all X.
"""

from __future__ import annotations

import numpy as np

from gristmill.stages.toxicity.kernels import scoring as kernel

GROUPS: dict[str, str] = {
    "race_origin": """
        black blacks african africans africa white whites caucasian caucasians asian asians chinese china japanese
        japan korean koreans vietnamese thai filipino filipinos filipina indian indians pakistani pakistanis
        bangladeshi arab arabs arabic arabian arabians eastern persian persians iranian iranians iraqi iraqis syrian
        syrians turkish turk turks kurd kurds kurdish mexican mexicans mexico latino latinos latina latinas latinx
        hispanic hispanics immigrant immigrants immigration migrant migrants refugee refugees foreigner foreigners
        asylum native natives indigenous aboriginal aboriginals aborigines maori inuit american americans european
        europeans russian russians polish pole poles romanian romanians gypsy gypsies roma romani somali somalis
        nigerian nigerians ethiopian ethiopians haitian haitians jamaican jamaicans puerto rican ricans cuban cubans
        brazilian brazilians colombian colombians italian italians irish german germans french british english
        minority minorities race races racial ethnic ethnicity poc colored coloured ukrainian ukrainians moroccan
        moroccans algerian algerians egyptian egyptians palestinian palestinians israeli israelis afghan afghans
        tibetan tibetans mongolian mongolians hungarian hungarians greek greeks spanish spaniard spaniards oriental
        orientals nonwhite multiracial biracial
        ausländer ausländern flüchtling flüchtlinge flüchtlingen migrant migrantin migrantinnen schwarze schwarzen
        schwarzer türke türken türkin türkinnen araber arabern afrikaner afrikanern asiaten asiate syrer syrern rom
        sinti zigeuner einwanderer einwanderern asylbewerber asylbewerbern asylanten geflüchtete geflüchteten russen
        russe chinesen chinese afghanen afghane iraker iraner inder pole polen rumänen bulgaren kurden albaner
        serben italiener franzosen amerikaner ukrainer vietnamesen japaner koreaner dunkelhäutige""",
    "gender_sex": """
        woman women female females girl girls wife wives mother mothers feminist feminists feminism man men male males
        boy boys gay gays lesbian lesbians homosexual homosexuals homosexuality bisexual bisexuals transgender
        transgenders transgendered trans transsexual transsexuals transwoman transwomen transman transmen queer queers
        lgbt lgbtq lgbtqia nonbinary genderqueer gender sexuality heterosexual heterosexuals straight ladies lady
        housewife housewives asexual asexuals intersex pansexual daughter daughters sister sisters cis
        frau frauen mädchen mann männer männern junge jungen weib weiber schwule schwulen schwuler schwul lesbe lesben
        lesbisch homosexuelle homosexuellen homosexueller bisexuelle bisexuellen bisexueller transmenschen transmensch
        transfrau transfrauen transmann transmänner transsexuelle transsexuellen transsexueller feministin
        feministinnen feministen queere queeren mutter ehefrau tochter""",
    "religion": """
        muslim muslims juden islam islamic moslem moslems islamist islamists jew jews jewish judaism christian christians
        christianity catholic catholics protestant protestants mormon mormons hindu hindus hinduism buddhist buddhists
        buddhism sikh sikhs sikhism atheist atheists atheism taoist taoists religion religions religious quran koran
        bible mosque mosques synagogue synagogues church churches rabbi rabbis imam imams hijab burqa jehovah
        evangelical evangelicals pagan pagans zionist zionists sharia torah
        muslime muslimen muslimin musliminnen moslem islamisten jude jüdin jüdinnen jüdisch jüdische jüdischen christ
        christen christin katholiken protestanten hindu buddhisten atheist atheisten moschee moscheen kirche synagoge
        kopftuch""",
    "ability": """
        disabled disability disabilities handicapped handicap autistic autism blind deaf paralyzed paralysed wheelchair
        wheelchairs crippled mentally mental schizophrenic schizophrenics schizophrenia bipolar dyslexic dyslexia
        amputee amputees ill illness illnesses depressed depression epileptic epileptics mute impaired impairment
        impairments adhd dementia alzheimer alzheimers obese dwarf dwarfs dwarves disorder disorders bulimic anorexic
        albino albinos tourettes aspergers paraplegic paraplegics quadriplegic
        behinderte behinderten behinderter behinderung behindert blinde blinden blinder gehörlose gehörlosen
        gehörloser taube autist autisten autistisch rollstuhlfahrer rollstuhlfahrern rollstuhlfahrerin rollstuhl
        gelähmte geisteskranke depressive epileptiker""",
}


def group_words() -> dict[str, int]:
    """Each word and its class: 1 race_origin, 2 gender_sex, 3 religion, 4 ability."""
    words: dict[str, int] = {}
    for number, listed in enumerate(GROUPS.values(), start=1):
        for word in listed.split():
            words.setdefault(word, number)
    return words


def token_hash(word: str) -> int:
    """The kernel's hash of a text that is one token. Raises ValueError when it is none or several."""
    data = np.frombuffer(word.encode("utf-8"), np.uint8)
    tokens = kernel.new_tokens(2)
    count, *_ = kernel.read_window(data, 0, len(data), kernel.token_table(), 0, tokens)
    if count != 1:
        raise ValueError(f"{word!r} is {count} tokens; a group word must be one")
    return int(tokens.hashes[0])


def group_table() -> kernel.Groups:
    """The group words as the kernel takes them."""
    listed = sorted((token_hash(word), number) for word, number in group_words().items())
    return kernel.Groups(np.array([h for h, _ in listed], np.uint64), np.array([n for _, n in listed], np.uint8))
