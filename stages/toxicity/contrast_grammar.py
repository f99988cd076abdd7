"""Sentences in English and German put together from groups, predicates and forms, attacks beside harmless ones.

`stages.toxicity.contrast_sentences` has whole sentences; here what is said of a group and the form that it is said in vary
apart, so that a model learns what a negation, a quotation, a question or another object does to the same words: "Nobody should
say that X are disgusting" beside "X are disgusting", and "I hate wet socks" beside "I hate X". Written for Gristmill and
under its licence; no sentence of a published test is among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gristmill.stages.toxicity.contrast_sentences import DEHUMANISING, HARMLESS, HATEFUL, NAMES

PER_FORM = 3
"""Sentences drawn for each form and group."""


class Sentence(NamedTuple):
    """A sentence, its language, the dimension of the group that it names (None: none), and its levels."""

    text: str
    language: str
    dimension: str | None
    level: int
    violence: int


class Grammar(NamedTuple):
    """What sentences of a language are made of.

    Attributes:
        language: a label pair.
        groups: names of groups by dimension: (plural, plural after a preposition, one of them).
        bad, good: predicates after "are". vermin: what dehumanises, after "are".
        hate, love: verbs with a group as their object. harm: what is done to somebody, after "should be".
        things: what is no group of people, with the verb that follows it, and as an object.
        hateful, dehumanising, violent: forms of attacks. harmless: forms without. other: forms about `things`.

    In forms {g}, {d} and {s} are a group's three names ({G} and {S} capitalised), {bad} and so on a word of each list,
    {thing} a thing as a subject with its verb, {it} as an object.
    """

    language: str
    groups: dict[str, tuple[tuple[str, str, str], ...]]
    bad: tuple[str, ...]
    good: tuple[str, ...]
    vermin: tuple[str, ...]
    hate: tuple[str, ...]
    love: tuple[str, ...]
    harm: tuple[str, ...]
    things: tuple[tuple[str, str], ...]
    hateful: tuple[str, ...]
    dehumanising: tuple[str, ...]
    violent: tuple[str, ...]
    harmless: tuple[str, ...]
    other: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_SINGULAR = {
    "black people": "a black person", "Africans": "an African", "Asians": "an Asian", "Chinese people": "a Chinese person",
    "Mexicans": "a Mexican", "immigrants": "an immigrant", "refugees": "a refugee", "migrants": "a migrant",
    "foreigners": "a foreigner", "Arabs": "an Arab", "Indians": "an Indian", "Pakistanis": "a Pakistani",
    "Latinos": "a Latino", "women": "a woman", "girls": "a girl", "gay people": "a gay man", "gays": "a gay person",
    "lesbians": "a lesbian", "trans people": "a trans person", "transgender people": "a transgender person",
    "homosexuals": "a homosexual", "bisexuals": "a bisexual", "queer people": "a queer person", "trans women": "a trans woman",
    "feminists": "a feminist", "Muslims": "a Muslim", "Jews": "a Jew", "Jewish people": "a Jewish person",
    "Christians": "a Christian", "Hindus": "a Hindu", "Sikhs": "a Sikh", "Buddhists": "a Buddhist",
    "disabled people": "a disabled person", "blind people": "a blind person", "deaf people": "a deaf person",
    "autistic people": "an autistic person", "people with disabilities": "a person with a disability",
    "wheelchair users": "a wheelchair user", "people with Down syndrome": "someone with Down syndrome",
    "Turks": "a Turk", "Somalis": "a Somali",
}  # fmt: skip

ENGLISH = Grammar(
    language="eng_Latn",
    groups={
        dimension: tuple((name, name, _SINGULAR[name]) for name in names if name in _SINGULAR)
        for dimension, names in NAMES.items()
    },
    bad=_words(
        "disgusting, stupid, worthless, inferior, repulsive, evil, vile, useless, dumb, filthy, dirty, lazy, pathetic, "
        "revolting, ugly, dangerous, sick, mentally inferior, a disgrace, a burden, scum, trash, garbage, perverts, idiots, "
        "morons, criminals, liars, thieves, freaks, cowards, a joke, a mistake of nature, the worst, a threat to us all, "
        "not welcome here, beneath us, too stupid to think, incapable of love, less than human, to blame for everything"
    ),
    good=_words(
        "wonderful, kind, smart, brave, lovely, beautiful, great, welcome, amazing, friendly, strong, creative, honest, "
        "talented, important, decent, loyal, trustworthy, intelligent, equal, people like everyone else, part of us"
    ),
    vermin=_words(
        "vermin, rats, pigs, parasites, cockroaches, insects, monkeys, apes, dogs, leeches, a plague, a cancer, a disease, "
        "a virus, animals, beasts, subhuman, maggots, snakes, waste"
    ),
    hate=_words(
        "hate, despise, detest, loathe, can't stand, cannot bear, am sick of, am disgusted by, have nothing but contempt for, "
        "want to get rid of, spit on, look down on"
    ),
    love=_words("love, like, admire, respect, support, adore, cherish, care about, stand up for, am grateful for"),
    harm=_words(
        "killed, shot, hanged, beaten up, deported, wiped out, exterminated, burned, locked up, gassed, tortured, attacked, "
        "banned, punished, put down, thrown out, stabbed, stoned, driven out of town, silenced"
    ),
    things=(
        ("this film is", "this film"), ("wet socks are", "wet socks"), ("my old phone is", "my old phone"),
        ("the weather is", "the weather"), ("Mondays are", "Mondays"), ("these shoes are", "these shoes"),
        ("airlines are", "airlines"), ("bankers are", "bankers"), ("politicians are", "politicians"),
        ("landlords are", "landlords"), ("critics are", "critics"), ("cheap wines are", "cheap wines"),
        ("the new update is", "the new update"), ("football referees are", "football referees"),
        ("capitalists are", "capitalists"), ("weeds are", "weeds"), ("spiders are", "spiders"), ("tax laws are", "tax laws"),
        ("the traffic is", "the traffic"), ("artists are", "artists"), ("mosquitoes are", "mosquitoes"),
        ("this game is", "this game"), ("this kitchen is", "this kitchen"), ("lawyers are", "lawyers"),
    ),
    hateful=(
        "{G} are {bad}.", "{G} are so {bad}.", "All {g} are {bad}.", "I {hate} {g}.", "I {hate} all {d}.", "{S} is {one}.",
        "I think that {g} are {bad}.", "If you ask me, {g} are {bad}.", "Why are {g} always {bad}?",
        "How can {g} be so {bad}?", "Isn't it obvious that {g} are {bad}?", "{G} will never be {good}.",
        "{G} are not {good}.", "{G} are anything but {good}.", "No {g} are {good}.", "I have never met {g} that are {good}.",
        "I would never trust {s}.", "I don't want {s} in my family.", "You are {s}, and I {hate} you for that.",
        "That is typical of {s}: {bad}.", "{G} don't belong in our country, they are {bad}.",
        "You are just {s} to me, {bad}.", "{G}? They are {bad}.", "I met {g} and all of them were {bad}.",
        "Everyone knows {g} are {bad}.", "I can't believe {g} are allowed here, they are {bad}.", "Fuck {g}, they are {bad}.",
        "I fucking {hate} {g}.", "{G} are fucking {bad}.", "Being {s} is {bad}.", "Send {g} back, they are {bad}.",
        "The only good thing about {g} is when they leave.", "{G} should have no rights.", "{G} do not deserve respect.",
    ),
    dehumanising=(
        "{G} are {vermin}.", "{G} are just {vermin}.", "I think {g} are {vermin}.", "{G} are nothing more than {vermin}.",
        "Aren't {g} simply {vermin}?", "They are {g}, and {g} are {vermin}.", "{G} live like {vermin}.",
        "{G} are not human, they are {vermin}.",
    ),
    violent=(
        "{G} should be {harm}.", "All {g} must be {harm}.", "{G} deserve to be {harm}.", "I want {g} to be {harm}.",
        "{S} like you should be {harm}.", "I hope {g} will be {harm}.", "It is time that {g} are {harm}.",
        "If I see {s}, that one will be {harm}.", "You are {s}, and you will be {harm}.",
    ),
    harmless=(
        "{G} are {good}.", "All {g} are {good}.", "I {love} {g}.", "{S} is always {good} to me.", "I am proud to be {s}.",
        "I {love} {d} and always will.", "It's great to live next to {g}.", "Being {s} is {good}.",
        "{G} are not {bad}.", "{G} are not {vermin}.", "{G} are by no means {bad}.", "I don't hate {g}.",
        "I would never hate {g}.", "No one should be {harm} for being {s}.", "{G} should never be {harm}.",
        "{G} do not deserve to be {harm}.", "It is wrong to say that {g} are {bad}.", "It is a lie that {g} are {bad}.",
        '"{G} are {bad}" is a terrible thing to say.', 'Saying "I hate {g}" makes you a bigot.',
        "Whoever says that {g} are {bad} knows nothing.", "You can't just say that {g} are {vermin}.",
        "Stop telling people that {g} are {bad}.", "He claimed {g} are {vermin}, and he was fired for it.",
        'Somebody wrote "{g} should be {harm}" on the wall; we called the police.',
        "People who say that {g} should be {harm} are {bad}.", "Racists believe that {g} are {vermin}, which is nonsense.",
        "I disagree with everybody who thinks that {g} are {bad}.", "It hurts when people call {g} {bad}.",
        "Why do people think that {g} are {bad}?", "Last year {g} were {harm} in that town, and the whole country mourned.",
        "My neighbour is {s}.", "She was the first to interview {s} there.", "The survey asked {g} about their rent.",
        "There is a film about {g} on television tonight.", "Many {g} came to the meeting.", "{S} wrote this song.",
        "You are {s}, and I {love} you for that.", "{G} deserve to be {good}.", "I am {s} and I am {good}.",
        "As {s}, I was afraid of being {harm}.", "This club is for {g}.", "What a fucking great concert by {g}!",
    ),
    other=(
        "I {hate} {it}.", "I really {hate} {it}.", "{Thing} {bad}.", "{Thing} so fucking {bad}.", "I fucking {hate} {it}.",
        "In my opinion {thing} {bad}.", "Why {it}? It's {bad}.", "{Thing} {vermin}, if you ask me.", "I {love} {it}.",
        "I wish {it} could be {harm}.", "They said {thing} {bad}, and I agree.", "Fuck, I missed {it}.",
    ),
)  # fmt: skip

GERMAN = Grammar(
    language="deu_Latn",
    groups={
        "race_origin": (
            ("Ausländer", "Ausländern", "ein Ausländer"), ("Flüchtlinge", "Flüchtlingen", "ein Flüchtling"),
            ("Migranten", "Migranten", "ein Migrant"), ("Schwarze", "Schwarzen", "ein Schwarzer"),
            ("Türken", "Türken", "ein Türke"), ("Araber", "Arabern", "ein Araber"),
            ("Afrikaner", "Afrikanern", "ein Afrikaner"),
            ("Asiaten", "Asiaten", "ein Asiate"), ("Syrer", "Syrern", "ein Syrer"), ("Polen", "Polen", "ein Pole"),
            ("Roma", "Roma", "ein Rom"), ("Einwanderer", "Einwanderern", "ein Einwanderer"),
            ("Asylbewerber", "Asylbewerbern", "ein Asylbewerber"), ("Geflüchtete", "Geflüchteten", "ein Geflüchteter"),
            ("schwarze Menschen", "schwarzen Menschen", "ein schwarzer Mensch"), ("Russen", "Russen", "ein Russe"),
            ("Chinesen", "Chinesen", "ein Chinese"), ("Afghanen", "Afghanen", "ein Afghane"),
        ),
        "gender_sex": (
            ("Frauen", "Frauen", "eine Frau"), ("Mädchen", "Mädchen", "ein Mädchen"), ("Schwule", "Schwulen", "ein Schwuler"),
            ("Lesben", "Lesben", "eine Lesbe"), ("Homosexuelle", "Homosexuellen", "ein Homosexueller"),
            ("Transmenschen", "Transmenschen", "ein Transmensch"), ("Transfrauen", "Transfrauen", "eine Transfrau"),
            ("Transsexuelle", "Transsexuellen", "ein Transsexueller"), ("Feministinnen", "Feministinnen", "eine Feministin"),
            ("Bisexuelle", "Bisexuellen", "ein Bisexueller"), ("queere Menschen", "queeren Menschen", "ein queerer Mensch"),
            ("trans Menschen", "trans Menschen", "ein trans Mensch"),
        ),
        "religion": (
            ("Muslime", "Muslimen", "ein Muslim"), ("Juden", "Juden", "ein Jude"), ("Christen", "Christen", "ein Christ"),
            ("Moslems", "Moslems", "ein Moslem"), ("Hindus", "Hindus", "ein Hindu"),
            ("Musliminnen", "Musliminnen", "eine Muslimin"),
            ("Jüdinnen", "Jüdinnen", "eine Jüdin"), ("Atheisten", "Atheisten", "ein Atheist"),
        ),
        "ability": (
            ("Behinderte", "Behinderten", "ein Behinderter"), ("Blinde", "Blinden", "ein Blinder"),
            ("Gehörlose", "Gehörlosen", "ein Gehörloser"), ("Autisten", "Autisten", "ein Autist"),
            ("Rollstuhlfahrer", "Rollstuhlfahrern", "ein Rollstuhlfahrer"),
            ("Menschen mit Behinderung", "Menschen mit Behinderung", "ein Mensch mit Behinderung"),
            ("behinderte Menschen", "behinderten Menschen", "ein behinderter Mensch"),
        ),
    },
    bad=_words(
        "widerlich, ekelhaft, dumm, wertlos, minderwertig, abstoßend, böse, nutzlos, blöd, dreckig, faul, erbärmlich, eklig, "
        "hässlich, gefährlich, krank, geistig unterlegen, eine Schande, eine Last, Abschaum, Müll, Dreck, pervers, Idioten, "
        "kriminell, Lügner, Diebe, Feiglinge, ein Witz, das Letzte, eine Gefahr für uns alle, hier nicht willkommen, "
        "unter unserer Würde, zu blöd zum Denken, an allem schuld, keine richtigen Menschen, verlogen, lächerlich"
    ),
    good=_words(
        "wunderbar, nett, klug, mutig, schön, toll, willkommen, großartig, freundlich, stark, kreativ, ehrlich, begabt, "
        "wichtig, "
        "anständig, treu, vertrauenswürdig, gleichberechtigt, Menschen wie alle anderen, ein Teil von uns, liebenswert"
    ),
    vermin=_words(
        "Ungeziefer, Ratten, Schweine, Parasiten, Kakerlaken, Insekten, Affen, Hunde, Blutsauger, eine Plage, "
        "ein Krebsgeschwür, "
        "eine Krankheit, ein Virus, Tiere, Bestien, Untermenschen, Maden, Schlangen, Abfall"
    ),
    hate=_words("hasse, verachte, verabscheue, verfluche, ertrage keine, will keine"),
    love=_words("liebe, mag, bewundere, respektiere, unterstütze, schätze, verteidige, brauche"),
    harm=_words(
        "getötet, erschossen, aufgehängt, verprügelt, abgeschoben, ausgerottet, vernichtet, verbrannt, eingesperrt, vergast, "
        "gefoltert, angegriffen, verboten, bestraft, rausgeworfen, erstochen, gesteinigt, verjagt, umgebracht"
    ),
    things=(
        ("dieser Film ist", "diesen Film"), ("nasse Socken sind", "nasse Socken"), ("mein altes Handy ist", "mein altes Handy"),
        ("das Wetter ist", "das Wetter"), ("Montage sind", "Montage"), ("diese Schuhe sind", "diese Schuhe"),
        ("Banker sind", "Banker"), ("Politiker sind", "Politiker"), ("Vermieter sind", "Vermieter"),
        ("Kritiker sind", "Kritiker"),
        ("das neue Update ist", "das neue Update"), ("Schiedsrichter sind", "Schiedsrichter"),
        ("Kapitalisten sind", "Kapitalisten"),
        ("Unkraut ist", "Unkraut"), ("Spinnen sind", "Spinnen"), ("der Verkehr ist", "den Verkehr"),
        ("Künstler sind", "Künstler"),
        ("Mücken sind", "Mücken"), ("dieses Spiel ist", "dieses Spiel"), ("Anwälte sind", "Anwälte"),
        ("die Bahn ist", "die Bahn"),
        ("Staus sind", "Staus"), ("Steuern sind", "Steuern"),
    ),
    hateful=(
        "{G} sind {bad}.", "{G} sind so {bad}.", "Alle {g} sind {bad}.", "Ich {hate} {g}.", "Ich finde, {g} sind {bad}.",
        "Meiner Meinung nach sind {g} {bad}.", "Warum sind {g} immer {bad}?", "Wie können {g} nur so {bad} sein?",
        "Ist doch klar, dass {g} {bad} sind.", "{G} werden nie {good} sein.", "{G} sind nicht {good}.",
        "{G} sind alles andere als {good}.", "Keine {g} sind {good}.", "Mit {d} kann man nicht leben, sie sind {bad}.",
        "Von {d} halte ich nichts, die sind {bad}.", "Du bist {s}, und dafür {verb} ich dich.",
        "{S} ist hier nicht willkommen.",
        "{G} gehören nicht in unser Land, sie sind {bad}.", "{G}? Die sind {bad}.", "Ich habe {g} getroffen, alle waren {bad}.",
        "Jeder weiß, dass {g} {bad} sind.", "Scheiß {g}, sie sind {bad}.", "Ich {hate} diese verdammten {d}.",
        "{G} sind verdammt nochmal {bad}.", "Schickt {g} zurück, sie sind {bad}.", "{G} sollten keine Rechte haben.",
        "{G} verdienen keinen Respekt.", "Wer braucht schon {g}? Die sind {bad}.", "Wegen {d} geht alles kaputt.",
        "Ohne {g} wäre die Welt besser.", "Typisch {g}: {bad}.", "Ich will mit {d} nichts zu tun haben, sie sind {bad}.",
    ),
    dehumanising=(
        "{G} sind {vermin}.", "{G} sind nur {vermin}.", "Ich finde, {g} sind {vermin}.", "{G} sind nichts weiter als {vermin}.",
        "Sind {g} nicht einfach {vermin}?", "Das sind {g}, und {g} sind {vermin}.", "{G} leben wie {vermin}.",
        "{G} sind keine Menschen, sondern {vermin}.",
    ),
    violent=(
        "{G} sollten {harm} werden.", "Alle {g} müssen {harm} werden.", "{G} verdienen es, {harm} zu werden.",
        "Ich will, dass {g} {harm} werden.", "{S} wie du sollte {harm} werden.", "Hoffentlich werden {g} {harm}.",
        "{G} gehören {harm}.", "Es wird Zeit, dass {g} {harm} werden.",
    ),
    harmless=(
        "{G} sind {good}.", "Alle {g} sind {good}.", "Ich {love} {g}.", "{S} ist immer {good}.", "Ich wohne gern neben {d}.",
        "{G} sind nicht {bad}.", "{G} sind keine {vermin}.", "{G} sind auf keinen Fall {bad}.", "Ich hasse {g} nicht.",
        "Ich würde {g} niemals hassen.", "Niemand darf {harm} werden, weil er {s} ist.", "{G} dürfen nie {harm} werden.",
        "{G} haben es nicht verdient, {harm} zu werden.", "Es ist falsch zu sagen, dass {g} {bad} sind.",
        "Es ist eine Lüge, dass {g} {bad} sind.", "\"{G} sind {bad}\" ist ein schrecklicher Satz.",
        "Wer \"Ich hasse {g}\" sagt, ist selbst {bad}.", "Wer behauptet, dass {g} {bad} sind, kennt keine.",
        "Man kann nicht einfach sagen, dass {g} {vermin} sind.", "Hört auf zu behaupten, {g} seien {bad}.",
        "Er sagte, {g} seien {vermin}, und wurde dafür entlassen.",
        "Jemand hat \"{G} sollten {harm} werden\" an die Wand geschrieben; wir haben die Polizei gerufen.",
        "Leute, die sagen, dass {g} {harm} werden sollten, sind {bad}.",
        "Rassisten glauben, {g} seien {vermin}, das ist Unsinn.",
        "Es tut weh, wenn Leute {g} {bad} nennen.", "Warum glauben manche, dass {g} {bad} sind?",
        "Letztes Jahr wurden dort {g} {harm}, und das ganze Land trauerte.", "Mein Nachbar ist {s}.",
        "Die Umfrage hat {g} nach ihrer Miete gefragt.", "Heute kommt ein Film über {g} im Fernsehen.",
        "Viele {g} kamen zu dem Treffen.", "{S} hat dieses Lied geschrieben.", "Mit {d} arbeite ich gern zusammen.",
        "Dieser Verein ist für {g}.", "Verdammt, war das ein tolles Konzert von {d}!",
        "Wir wollen {d} helfen, sie sind {good}.",
        "Du bist {s}, und dafür liebe ich dich.", "Gewalt gegen {g} nimmt zu, sagt die Polizei.",
    ),
    other=(
        "Ich hasse {it}.", "Ich verachte {it}.", "{Thing} {bad}.", "{Thing} so verdammt {bad}.",
        "Meiner Meinung nach: {thing} {bad}.",
        "Ich {love} {it}.", "Warum {it}? Das ist {bad}.", "{Thing} {vermin}, wenn du mich fragst.",
        "Scheiße, ich habe {it} verpasst.", "Ich ertrage {it} nicht mehr.", "Sie sagten, {thing} {bad}, und ich stimme zu.",
    ),
)  # fmt: skip

GRAMMARS = (ENGLISH, GERMAN)


def grammar_sentences() -> Iterator[Sentence]:
    """Every sentence once; which words go into a form is drawn by SHA-256 of form, group and number."""
    seen = set()
    for grammar in GRAMMARS:
        for sentence in _sentences(grammar):
            if sentence.text not in seen:
                seen.add(sentence.text)
                yield sentence


def _sentences(grammar: Grammar) -> Iterator[Sentence]:
    kinds = (
        (grammar.hateful, HATEFUL, HARMLESS),
        (grammar.dehumanising, DEHUMANISING, HARMLESS),
        (grammar.violent, DEHUMANISING, DEHUMANISING),
        (grammar.harmless, HARMLESS, HARMLESS),
    )
    for dimension, groups in grammar.groups.items():
        for names in groups:
            for forms, level, violence in kinds:
                for form in forms:
                    for number in range(PER_FORM):
                        text = _filled(grammar, form, names, ("", ""), f"{form}|{names[0]}|{number}")
                        yield Sentence(text, grammar.language, dimension, level, violence)
    for thing in grammar.things:
        for form in grammar.other:
            for number in range(2 * PER_FORM):
                text = _filled(grammar, form, ("", "", ""), thing, f"{form}|{thing[0]}|{number}")
                yield Sentence(text, grammar.language, None, HARMLESS, HARMLESS)


def _filled(grammar: Grammar, form: str, names: tuple[str, str, str], thing: tuple[str, str], key: str) -> str:
    drawn = hashlib.sha256(key.encode("utf-8")).digest()

    def pick(words: Sequence[str], at: int) -> str:
        return words[int.from_bytes(drawn[2 * at : 2 * at + 2], "big") % len(words)]

    group, dative, single = names
    return form.format(
        g=group, d=dative, s=single, G=_capital(group), S=_capital(single),
        bad=pick(grammar.bad, 0), one=pick(grammar.bad[:17], 1), good=pick(grammar.good, 2), vermin=pick(grammar.vermin, 3),
        hate=pick(grammar.hate, 4), verb=pick(grammar.hate[:3], 5), love=pick(grammar.love, 6), harm=pick(grammar.harm, 7),
        thing=thing[0], Thing=_capital(thing[0]), it=thing[1],
    )  # fmt: skip


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
