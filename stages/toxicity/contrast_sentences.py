"""Sentences that set attacks on a group beside harmless sentences that name it, made from frames and names of groups.

Labelled collections rarely say kind things of the groups that they attack, so a model learns from them that naming a group
is an attack. These sentences, written for Gristmill and under its licence, say both of each group, in the forms that
functional tests of hate-speech detection describe (Röttger et al., "HateCheck: Functional Tests for Hate Speech
Detection Models", 2021): derogation, dehumanisation, threats, negation, questions and opinions, references by pronoun
on the one side; neutral and kind statements, denied hate, reports and counter speech, abuse of things and of the
powerful on the other. No sentence of a published test is among them.
"""

from __future__ import annotations

from collections.abc import Iterator

HARMLESS, OFFENSIVE, HATEFUL, DEHUMANISING = range(4)
"""Levels, as those of the labelled data."""

NAMES: dict[str, tuple[str, ...]] = {
    "race_origin": (
        "black people", "Africans", "Asians", "Chinese people", "Mexicans", "immigrants", "refugees", "migrants",
        "foreigners", "Arabs", "Indians", "Pakistanis", "Latinos", "Native Americans", "Roma", "white people", "Somalis",
        "Turks", "Poles", "Russians",
    ),
    "gender_sex": (
        "women", "girls", "gay people", "gays", "lesbians", "trans people", "transgender people", "homosexuals",
        "bisexuals", "queer people", "men", "trans women", "feminists", "wives",
    ),
    "religion": (
        "Muslims", "Jews", "Jewish people", "Christians", "Catholics", "Hindus", "Sikhs", "Buddhists", "atheists",
        "Mormons",
    ),
    "ability": (
        "disabled people", "blind people", "deaf people", "autistic people", "the mentally ill", "people with disabilities",
        "wheelchair users", "handicapped people", "people with Down syndrome", "the disabled",
    ),
}  # fmt: skip
"""Plural names of groups by dimension; neutral words, no slurs."""

HARMLESS_FRAMES = (
    "{G} are welcome here.", "I love {g}.", "I admire {g}.", "{G} are wonderful neighbours.", "We stand with {g}.",
    "{G} deserve the same rights as everyone else.", "{G} are people like you and me.", "Many {g} live in this city.",
    "My best friends are {g}.", "There were {g} among the guests.", "The exhibition tells the history of {g}.",
    "She wrote a book about {g}.", "Most {g} work hard and pay their taxes.", "We need more {g} in parliament.",
    "I do not hate {g}.", "Nobody should hate {g}.", "{G} are not stupid.", "{G} are not dangerous at all.",
    "No {g} deserve to die.", "I would never say that {g} are inferior.", "It is wrong to hate {g}.",
    "It is not true that {g} are criminals.", "Stop saying that {g} are animals.", "{G} should never be attacked.",
    "Saying that {g} are vermin is disgusting.", "Whoever calls {g} stupid knows none of them.",
    "He was fined for shouting that all {g} should be killed.", "The court heard that he had threatened {g}.",
    "The report describes violence against {g}.", "Hatred of {g} has a long history.",
    "She lost her job because she called {g} disgusting.", "People who attack {g} are cowards.",
    "The police protect {g} from attacks.", "The law forbids discrimination against {g}.",
    "How many {g} live in this country?", "Do {g} have the right to vote here?", "Why are {g} so often ignored?",
    "In my opinion {g} should be treated fairly.", "And he spoke unto the {g} that were in the land.",
    "Then answered the {g} and said unto him, We know this.", "The {g} of that time built houses by the river.",
    "Some of the {g} believed, and some did not.", "The film follows three {g} through one summer.",
    "The play makes fun of {g}, but kindly.", "I am proud to count {g} among my friends.",
    "A study of {g} was published last year.", "The festival of {g} begins on Friday.", "Most of the {g} left early.",
    "As one of many {g}, I am happy to live here.", "The villain of the novel hates {g}.",
)  # fmt: skip

GROUPLESS_HARMLESS = (
    "I hate this film.", "I hate Mondays.", "This phone is a piece of shit.", "What a fucking great concert!",
    "The bus is fucking late again.", "I hate it when my computer crashes.", "All bankers are greedy.",
    "The referee was blind and stupid last night.", "That damn printer should be thrown out of the window.",
    "This soup is disgusting.", "Weeds are vermin and have to be exterminated.", "Kill the process and start again.",
    "The killer in this movie is an animal.", "He shot the photographs with an old camera.", "I could murder a pizza.",
    "The villain dies a horrible death at the end.", "The acting is terrible and the script is worse.",
    "This is the worst and most stupid movie that I have ever seen.", "Politicians who lie should resign.",
    "The soldiers fought and many were killed.", "We must destroy these cells before they spread.",
    "She beat him in three sets.", "The plague killed a third of the town.", "Burn the old papers in the stove.",
)  # fmt: skip

HATEFUL_FRAMES = (
    (HATEFUL, "I hate {g}."), (HATEFUL, "I really can't stand {g}."), (HATEFUL, "{G} disgust me."),
    (HATEFUL, "I despise {g}."), (HATEFUL, "All {g} are stupid."), (HATEFUL, "{G} are too stupid for this job."),
    (HATEFUL, "{G} are disgusting."), (HATEFUL, "{G} are inferior to us."), (HATEFUL, "{G} are worthless."),
    (HATEFUL, "{G} are nothing but criminals and liars."), (HATEFUL, "{G} ruin everything they touch."),
    (HATEFUL, "{G} are a burden on all of us."), (HATEFUL, "{G} don't deserve any rights."),
    (HATEFUL, "{G} have no place in our country."), (HATEFUL, "We don't want {g} here."), (HATEFUL, "Get rid of all {g}."),
    (HATEFUL, "{G} should not be allowed to vote."), (HATEFUL, "{G} will never be equal to normal people."),
    (HATEFUL, "Why are {g} so stupid and lazy?"), (HATEFUL, "Who even needs {g}?"),
    (HATEFUL, "In my opinion {g} are the lowest of the low."), (HATEFUL, "Everybody knows that {g} can't be trusted."),
    (HATEFUL, "I wouldn't hire {g}, they only cause trouble."), (HATEFUL, "You can't trust {g}, they lie and steal."),
    (HATEFUL, "{G} are not worth my respect."), (HATEFUL, "No {g} have ever done anything good."),
    (HATEFUL, "The world would be better without {g}."), (HATEFUL, "This country is going to hell because of {g}."),
    (HATEFUL, "Fuck {g}."), (HATEFUL, "Fucking {g} are everywhere."), (HATEFUL, "{G} are all perverts and freaks."),
    (HATEFUL, "Keep {g} away from our children."), (HATEFUL, "{G} make me sick."), (OFFENSIVE, "{G} are so annoying."),
    (OFFENSIVE, "Typical {g}, always whining."), (OFFENSIVE, "{G} can't do anything right."),
    (OFFENSIVE, "{G} should know their place."), (OFFENSIVE, "{G} are good for nothing but cleaning."),
    (DEHUMANISING, "{G} are animals."), (DEHUMANISING, "{G} are vermin."), (DEHUMANISING, "{G} are a disease."),
    (DEHUMANISING, "{G} are subhuman scum."), (DEHUMANISING, "{G} breed like rats."),
    (DEHUMANISING, "{G} are parasites on our society."), (DEHUMANISING, "I don't see {g} as human beings."),
)  # fmt: skip

THREATS = (
    "All {g} should be shot.", "Someone should kill these {g}.", "I will beat up the next {g} that I see.",
    "We should burn the houses of {g}.", "Hang all {g}.", "{G} deserve to be beaten.", "{G} will get what they deserve.",
    "Let's hunt down {g} tonight.", "I hope that all {g} die.", "Gas the {g}.", "{G} must be exterminated.",
)  # fmt: skip
"""Level 3 of the group's dimension and of violence."""

PRONOUNS = (
    (HARMLESS, "They are {g}. They are my neighbours and I like them."),
    (HARMLESS, "He met some {g}. They were kind to him."),
    (HATEFUL, "They are {g}. They are all disgusting."),
    (HATEFUL, "You are one of those {g}, and I hate you for it."),
    (DEHUMANISING, "I saw some {g}. They are animals and should be locked up."),
)


def contrasts() -> Iterator[tuple[str, str | None, int, int]]:
    """Every sentence once: (text, dimension of the group named or None, level in it, level of violence)."""
    for text in GROUPLESS_HARMLESS:
        yield text, None, HARMLESS, HARMLESS
    for dimension, names in NAMES.items():
        for name in names:
            for frame in HARMLESS_FRAMES:
                yield _filled(frame, name), dimension, HARMLESS, HARMLESS
            for level, frame in (*HATEFUL_FRAMES, *PRONOUNS):
                yield _filled(frame, name), dimension, level, HARMLESS
            for frame in THREATS:
                yield _filled(frame, name), dimension, DEHUMANISING, DEHUMANISING


def _filled(frame: str, name: str) -> str:
    text = frame.replace("{G}", name[0].upper() + name[1:]).replace("{g}", name)
    return text.replace("the the ", "the ").replace("The the ", "The ")
